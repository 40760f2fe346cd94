"""Schedule: HOW a layer is computed. A plain value: printable, comparable, storable, pinnable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from convgen.errors import ScheduleError


class Family(StrEnum):
    """Algorithm families; each has one module under ``convgen/kernels``."""

    DIRECT = "direct"  # output channels in lanes, MR x NV register tile
    DEPTHWISE = "depthwise"  # one input channel per output channel, channels in lanes
    GROUPED = "grouped"  # small groups, several side by side in lanes
    PLANAR = "planar"  # pixels in lanes, weights broadcast, for few output channels
    PLANES = "planes"  # the same over planes (NCHW), which are read where they lie or copied once
    REDUCTION = "reduction"  # inputs of a window in lanes, for few outputs of many inputs each
    WINOGRAD = "winograd"  # minimal filtering: fewer products, transforms before and after


@dataclass(frozen=True)
class Schedule:
    """One way to compute a layer; never changes what is computed.

    ``lanes``: vector width in elements; ``tile_h`` x ``tile_w``: output pixels of the register
    tile (MR = tile_h * tile_w; winograd: of a Winograd tile); ``vectors``: NV, vectors of output
    channels (NR = NV * lanes). ``block``: winograd's tiles per block, as rows (MR) times strips
    of the product of a block with one of the transformed filters; [1, 1] elsewhere. Planar turns
    the tile round: ``tile_w`` vectors of pixels times ``vectors`` channels, the pixels counted
    through strips of ``tile_h`` rows; planes has ``tile_h`` rows of ``tile_w`` such vectors each;
    reduction sums one pixel of ``vectors`` channels in ``tile_w`` vectors each.
    """

    family: Family
    lanes: int
    tile_h: int
    tile_w: int
    vectors: int
    rows: int = 1
    strips: int = 1

    def __post_init__(self) -> None:
        if self.lanes not in (1, 2, 4, 8, 16, 32, 64):
            raise ScheduleError(f"schedule: lanes {self.lanes} is not 1, 2, 4, 8, 16, 32 or 64")
        for key, value, top in (
            ("tile[0]", self.tile_h, 64),
            ("tile[1]", self.tile_w, 64),
            ("vectors", self.vectors, 16),
            ("block[0]", self.rows, 64),
            ("block[1]", self.strips, 1024),
        ):
            if not 1 <= value <= top:
                raise ScheduleError(f"schedule: {key} is {value}, it must lie in 1..{top}")

    def __str__(self) -> str:
        """The flow-style YAML that pins this schedule in a spec."""
        block = f", block: [{self.rows}, {self.strips}]" if self._blocked else ""
        return (
            f"{{family: {self.family}, lanes: {self.lanes}, "
            f"tile: [{self.tile_h}, {self.tile_w}], vectors: {self.vectors}{block}}}"
        )

    @property
    def _blocked(self) -> bool:
        return (self.rows, self.strips) != (1, 1)

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON and YAML; ``from_mapping`` reads it back."""
        data: dict[str, Any] = {
            "family": str(self.family),
            "lanes": self.lanes,
            "tile": [self.tile_h, self.tile_w],
            "vectors": self.vectors,
        }
        return data | {"block": [self.rows, self.strips]} if self._blocked else data

    @classmethod
    def from_text(cls, text: str) -> Schedule:
        """Read what ``str`` gave. Raises ``ScheduleError``."""
        import yaml

        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError:
            data = None
        if not isinstance(data, dict):
            raise ScheduleError(f"schedule: {text!r} is not a map")
        return cls.from_mapping(data)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Schedule:
        """Read what ``to_mapping`` or ``explain`` printed. Raises ``ScheduleError``."""
        keys = ("family", "lanes", "tile", "vectors")
        if not set(keys) <= set(data) <= {*keys, "block"}:
            raise ScheduleError(f"schedule: keys must be {', '.join(keys)} and, if any, block")
        try:
            family = Family(data["family"])
        except ValueError:
            names = ", ".join(Family)
            raise ScheduleError(
                f"schedule: no family {data['family']!r}; there are {names}"
            ) from None
        pairs = data["tile"], data.get("block", (1, 1))
        if not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
            raise ScheduleError("schedule: tile is [height, width], block is [rows, strips]")
        values = [data["lanes"], *pairs[0], data["vectors"], *pairs[1]]
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            raise ScheduleError("schedule: lanes, tile, vectors and block are ints")
        return cls(family, *values)

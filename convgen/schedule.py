"""Schedule: HOW a layer is computed. A plain value: printable, comparable, storable, pinnable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from convgen.errors import ScheduleError


class Family(StrEnum):
    """Algorithm families; each has one module under ``convgen/families``."""

    DIRECT = "direct"  # output channels in lanes, MR x NV register tile
    DEPTHWISE = "depthwise"  # one input channel per output channel, channels in lanes


@dataclass(frozen=True)
class Schedule:
    """One way to compute a layer; never changes what is computed.

    ``lanes``: vector width in elements; ``tile_h`` x ``tile_w``: output pixels of the register
    tile (MR = tile_h * tile_w); ``vectors``: NV, vectors of output channels (NR = NV * lanes).
    """

    family: Family
    lanes: int
    tile_h: int
    tile_w: int
    vectors: int

    def __post_init__(self) -> None:
        if self.lanes not in (1, 2, 4, 8, 16, 32, 64):
            raise ScheduleError(f"schedule: lanes {self.lanes} is not 1, 2, 4, 8, 16, 32 or 64")
        for key, value, top in (
            ("tile[0]", self.tile_h, 64),
            ("tile[1]", self.tile_w, 64),
            ("vectors", self.vectors, 16),
        ):
            if not 1 <= value <= top:
                raise ScheduleError(f"schedule: {key} is {value}, it must lie in 1..{top}")

    def __str__(self) -> str:
        """The flow-style YAML that pins this schedule in a spec."""
        return (
            f"{{family: {self.family}, lanes: {self.lanes}, "
            f"tile: [{self.tile_h}, {self.tile_w}], vectors: {self.vectors}}}"
        )

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON and YAML; ``from_mapping`` reads it back."""
        data = asdict(self)
        data["family"] = str(self.family)
        data["tile"] = [data.pop("tile_h"), data.pop("tile_w")]
        return data

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Schedule:
        """Read what ``to_mapping`` or ``explain`` printed. Raises ``ScheduleError``."""
        known = {"family", "lanes", "tile", "vectors"}
        if set(data) != known:
            raise ScheduleError(f"schedule: keys must be {', '.join(sorted(known))}")
        try:
            family = Family(data["family"])
        except ValueError:
            names = ", ".join(Family)
            raise ScheduleError(
                f"schedule: no family {data['family']!r}; there are {names}"
            ) from None
        tile = data["tile"]
        ok = isinstance(tile, (list, tuple)) and len(tile) == 2
        values = [data["lanes"], data["vectors"], *(tile if ok else [None])]
        if not all(isinstance(v, int) and not isinstance(v, bool) for v in values):
            raise ScheduleError("schedule: lanes and vectors are ints, tile is [height, width]")
        return cls(family, data["lanes"], tile[0], tile[1], data["vectors"])

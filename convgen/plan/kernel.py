"""KernelPlan: every number and name that a template prints, no decision left open.

Strides and offsets count elements. A *unit* is one row of tiles, of one block of channels, of one
group, of one image: the piece of work that ``<name>_run_part`` deals out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from convgen.errors import ScheduleError
from convgen.plan.leeway import Tiling
from convgen.plan.packing import ByteOrder, Loop, Packing, Rest
from convgen.plan.tile import Region, Tile, View
from convgen.spec.elements import Element, arrays_of, packed_element
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import CoreStep, Target, VectorIsa


class PlainSums:
    """What most bodies share: sums as wide as the layer asks for, and outputs that each stand for
    themselves."""

    @property
    def wraps(self) -> bool:
        return False

    @property
    def table_in(self) -> str:
        return "body"

    @property
    def tiling(self) -> None:
        return None


@dataclass(frozen=True)
class Body(PlainSums):
    """The kernel for one instruction set: its tiles, what they walk, and the rectangles.

    ``rest``: of a step that takes several inputs, one more for a single input behind its loop.
    ``turned``: elements of x, where its planes are first copied to the workspace with the channels
    of a pixel side by side, which tiles then read; else 0.
    """

    isa: VectorIsa
    family: Family
    regions: tuple[Region, ...]
    loops: tuple[Loop, ...]
    operations: tuple[str, ...]
    rest: Rest | None = None
    turned: int = 0

    @property
    def tiles(self) -> tuple[Tile, ...]:
        return tuple(dict.fromkeys(region.tile for region in self.regions))

    @property
    def runs(self) -> tuple[tuple[Tile, int, int], ...]:
        """(tile, first region, one past the last), in the order of the region table."""
        found = []
        first = 0
        for tile, group in groupby(self.regions, key=lambda region: region.tile):
            last = first + len(list(group))
            found.append((tile, first, last))
            first = last
        return tuple(found)


class AnyTile(Protocol):
    """A microkernel: how many outputs it stores."""

    @property
    def pixels(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def multiply_adds(self) -> int:
        """Written out in its C."""
        ...


class AnyBody(Protocol):
    """What every kind of body shows; what else it holds is its room's business."""

    @property
    def isa(self) -> VectorIsa: ...

    @property
    def family(self) -> Family: ...

    @property
    def operations(self) -> tuple[str, ...]:
        """Vector operations that the kernel's text calls."""
        ...

    @property
    def tiles(self) -> tuple[AnyTile, ...]:
        """The microkernels, each once."""
        ...

    @property
    def regions(self) -> tuple[Region, ...]:
        """The output in rectangles; none where a kernel has no table of them."""
        ...

    @property
    def wraps(self) -> bool:
        """Whether 8-bit sums wrap on their way, as the instructions do."""
        ...

    @property
    def table_in(self) -> str:
        """Which function walks the table of regions (``<name>_body``, ``<name>_run_part``)."""
        ...

    @property
    def tiling(self) -> Tiling | None:
        """How outputs hang together, None where each one stands for itself."""
        ...


@dataclass(frozen=True)
class KernelPlan:
    """A layer, decided: what ``render`` prints. ``bodies``: the target's own, then plain C.
    ``narrower``: of a fat target, the plans of the other instruction sets, widest first; all read
    one packing. ``tag``: what the names of a body's C functions end in, where a file holds several.
    ``sections``: how 8-bit weights are packed, else None and ``packing`` says all.
    ``step``: the step of several products of an 8-bit kernel in core registers, else None.
    ``alike``: further layers that this one's code computes, which differ in their scales alone.
    """

    spec: ConvSpec
    schedule: Schedule
    target: Target
    view: View
    packing: Packing
    bodies: tuple[AnyBody, ...]
    align: int = 64
    workspace_bytes: int = 0
    narrower: tuple[KernelPlan, ...] = ()
    tag: str = ""
    sections: ByteOrder | None = None
    step: CoreStep | None = None
    alike: tuple[ConvSpec, ...] = ()

    def __post_init__(self) -> None:
        sizes = {"packed weights": self.packed_bytes, "workspace": self.workspace_bytes}
        for what, size in sizes.items():
            if size >= 2**31:
                raise ScheduleError(
                    f"schedule: {what} of {size} bytes: a kernel's indices reach 2^31 bytes only"
                )

    @property
    def body(self) -> AnyBody:
        return self.bodies[0]

    @property
    def plain(self) -> AnyBody:
        return self.bodies[-1]

    @property
    def fat(self) -> bool:
        """Whether the CPU decides at run time which of the file's bodies it runs."""
        return bool(self.target.parts) and len(self.bodies) > 1

    @property
    def isas(self) -> tuple[str, ...]:
        """Names of the instruction sets that the file has a body for, beside plain C."""
        return tuple((plan.step or plan.body.isa).name for plan in (self, *self.narrower))

    @property
    def packed(self) -> Element:
        """What packed weights are: as they are stored where several are multiplied at a time."""
        return arrays_of(self.spec).w if self.packing.side > 1 else packed_element(self.spec)

    @property
    def packed_bytes(self) -> int:
        p, s = self.packing, self.sections
        return s.size(self.spec.oc, p.depth) if s else p.elements * self.packed.size

    @property
    def regions(self) -> tuple[Region, ...]:
        return self.body.regions

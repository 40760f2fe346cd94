"""KernelPlan: every number and name that a template prints, no decision left open.

Strides and offsets count elements. A *unit* is one row of tiles, of one block of channels, of one
group, of one image: the piece of work that ``<name>_run_part`` deals out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from convgen.errors import ScheduleError
from convgen.plan.leeway import Tiling
from convgen.spec.elements import Element, arrays_of, packed_element
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import CoreStep, Target, VectorIsa


@dataclass(frozen=True, order=True)
class Tile:
    """A register tile: ``h`` x ``w`` output pixels (MR) times ``vectors`` of channels (NV).

    ``tail``: channels that the last vector stores, the number of lanes when it is full.
    ``taps``: taps of a row that are unrolled, ``tap_rows``: rows of them; 0 where a loop counts.
    """

    h: int
    w: int
    vectors: int
    lanes: int
    tail: int
    taps: int = 0
    tap_rows: int = 0

    @property
    def name(self) -> str:
        part = "" if self.full else f"_tail{self.tail}"
        unrolled = f"_taps{self.taps}" if self.taps else ""
        if self.tap_rows:
            unrolled = f"_taps{self.tap_rows}x{self.taps}"
        return f"{self.h}x{self.w}x{self.vectors}{unrolled}{part}"

    @property
    def pixels(self) -> int:
        return self.h * self.w

    @property
    def full(self) -> bool:
        return self.tail == self.lanes

    @property
    def channels(self) -> int:
        """Output channels that one tile stores (NR, less what the tail leaves out)."""
        return (self.vectors - 1) * self.lanes + self.tail

    @property
    def multiply_adds(self) -> int:
        """Written out in the C of this tile."""
        return max(1, self.taps) * max(1, self.tap_rows) * self.pixels * self.vectors

    def stored(self, vector: int) -> int:
        """Lanes of this vector that hold real channels."""
        return self.tail if vector == self.vectors - 1 else self.lanes

    def pixel(self, index: int) -> tuple[int, int]:
        """Row and column of a pixel inside the tile."""
        return divmod(index, self.w)


@dataclass(frozen=True)
class Side:
    """One axis of a problem: output o sees, by its tap k, the input o*stride - before + k*dilation.

    ``x_step``, ``y_step``: elements from one input and one output to the next. ``first``: the place
    of tap 0 among the axis's packed taps. The outputs are those at ``origin``, ``origin + every``,
    ... of the layer's.
    """

    size: int
    out: int
    taps: int
    stride: int
    dilation: int
    before: int
    x_step: int
    y_step: int
    first: int = 0
    origin: int = 0
    every: int = 1

    def input(self, output: int, tap: int) -> int:
        """The input that an output sees by this tap."""
        return output * self.stride - self.before + tap * self.dilation

    def places(self, output: int, count: int) -> str:
        """The layer's outputs that ``count`` of this side's are, in words."""
        start = self.origin + output * self.every
        text = f"{start}..{start + (count - 1) * self.every}"
        return text if self.every == 1 else f"{text} by {self.every}"


@dataclass(frozen=True)
class Rectangle:
    """Outputs whose windows all meet the same taps: rows, columns and the range of taps each.

    Of a 3-D layer a box: the same of planes. ``sides``: the axes of its problem, depth, height and
    width, in whose outputs and taps it counts.
    """

    oh: int
    rows: int
    ow: int
    cols: int
    kh: int
    kh_taps: int
    kw: int
    kw_taps: int
    od: int = 0
    planes: int = 1
    kd: int = 0
    kd_taps: int = 1
    sides: tuple[Side, ...] = ()

    def part(self, row: int, rows: int, col: int, cols: int) -> Rectangle:
        """The sub-rectangle at (row, col), counted from this one's corner."""
        return replace(self, oh=self.oh + row, rows=rows, ow=self.ow + col, cols=cols)

    @property
    def taps(self) -> int:
        return self.kd_taps * self.kh_taps * self.kw_taps

    @property
    def packed(self) -> tuple[int, int, int]:
        """Its first tap among the packed ones of each axis."""
        taps = (self.kd, self.kh, self.kw)
        kd, kh, kw = (side.first + tap for side, tap in zip(self.sides, taps, strict=True))
        return kd, kh, kw


@dataclass(frozen=True)
class Region:
    """A rectangle of a range of channels, covered exactly by one tile; literal offsets for C."""

    tile: Tile
    area: Rectangle
    oc: int
    blocks: int
    x0: int
    x_row: int
    x_col: int
    w0: int
    y0: int

    @property
    def row_tiles(self) -> int:
        return self.area.rows // self.tile.h

    @property
    def col_tiles(self) -> int:
        return self.area.cols // self.tile.w

    @property
    def tiles(self) -> int:
        """How many of them one group of one image takes."""
        return self.row_tiles * self.col_tiles * self.area.planes * self.blocks

    @property
    def comment(self) -> str:
        a = self.area
        depth, height, width = a.sides
        deep = depth.taps > 1 or depth.out > 1 or depth.every > 1
        planes = f"planes {depth.places(a.od, a.planes)}, " if deep else ""
        taps = f"{_span(a.kd, a.kd_taps)} x " if deep else ""
        return (
            f"{planes}rows {height.places(a.oh, a.rows)}, columns {width.places(a.ow, a.cols)}, "
            f"channels {self.oc}..{self.oc + self.blocks * self.tile.channels - 1}, "
            f"taps {taps}{_span(a.kh, a.kh_taps)} x {_span(a.kw, a.kw_taps)}"
        )


def _span(first: int, count: int) -> str:
    return "none" if count == 0 else f"{first}..{first + count - 1}"


@dataclass(frozen=True)
class View:
    """A layer as the kernel walks it: groups, channels and strides.

    ``oc`` and ``ic`` are per group; a depthwise layer is walked as one group. ``x_lane``: what one
    output channel adds to the input's address, 1 where channels meet channels, else 0.
    ``unrolled``: taps of a full row that tiles unroll, 0 for none; ``windows``: whole windows are.
    ``sd``, ``sh``, ``sw``: the windows' strides, ``dd``, ``dh``, ``dw``: their dilations, as the
    kernel sees them (its problem's, not the layer's).
    """

    groups: int
    ic: int
    oc: int
    x_image: int
    x_row: int
    x_pixel: int
    x_channel: int
    x_group: int
    y_image: int
    y_row: int
    y_pixel: int
    y_channel: int
    y_group: int
    x_lane: int = 0
    unrolled: int = 0
    windows: bool = False
    x_plane: int = 0
    y_plane: int = 0
    sd: int = 1
    sh: int = 1
    sw: int = 1
    dd: int = 1
    dh: int = 1
    dw: int = 1


@dataclass(frozen=True)
class Packing:
    """Order of the packed weights: per group and block of ``lanes`` channels, first the biases,
    then for every tap and input channel one vector of weights: [g][block][1 + taps*ic][lanes].

    Channels that do not exist hold zeros. ``w_*``: strides of the caller's weights. ``winograd``:
    (m, r) down and across, where kh x kw stands for the transformed filters' m+r-1, else None.
    ``side``: how many input channels lie side by side: [g][block][1 + taps*rows][lanes][side],
    where the last number of each lane in the first row is its bias, those before it 0, and so are
    those that a tap's last row has no channels for. ``kh`` counts the rows of taps of all planes.
    ``rows``, ``columns``: which of the caller's each packed row and column of taps is, where they
    are packed in another order. ``w_group``: from one group of the caller's weights to the next.
    """

    lanes: int
    groups: int
    oc: int
    kh: int
    kw: int
    ic: int
    w_kh: int
    w_kw: int
    w_ic: int
    w_oc: int
    winograd: tuple[tuple[int, int], tuple[int, int]] | None = None
    side: int = 1
    w_group: int = 0
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def blocks(self) -> int:
        return -(-self.oc // self.lanes)

    @property
    def depth(self) -> int:
        """Multiply-adds per output, K = KH * KW * ic."""
        return self.kh * self.kw * self.ic

    @property
    def w_tap(self) -> int:
        """From one tap of the caller's weights to the next: in every layout a row of taps ends
        where the next begins."""
        assert self.w_kh == self.kw * self.w_kw, self
        return self.w_kw

    @property
    def row(self) -> int:
        """Numbers of the row of biases, and of each row of weights."""
        return self.lanes * self.side

    @property
    def tap(self) -> int:
        """Numbers of all rows of one tap."""
        return -(-self.ic // self.side) * self.row

    @property
    def block_stride(self) -> int:
        return self.row + self.kh * self.kw * self.tap

    @property
    def group_stride(self) -> int:
        return self.blocks * self.block_stride

    @property
    def elements(self) -> int:
        return self.groups * self.group_stride

    def offset(self, channel: int) -> int:
        """Where a channel's numbers begin in its group."""
        return channel // self.lanes * self.block_stride + channel % self.lanes * self.side


@dataclass(frozen=True)
class Loop:
    """One loop of the reduction: ``for (var = 0; var < count; ++var)``; ``count`` is C text."""

    var: str
    count: str
    x_step: int
    w_step: int


@dataclass(frozen=True)
class Rest:
    """A step inside the first ``depth`` loops alone: where its input and weights lie from there."""

    depth: int
    x: int
    w: int


@dataclass(frozen=True)
class Body:
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
    def wraps(self) -> bool:
        return False

    @property
    def table_in(self) -> str:
        return "body"

    @property
    def tiling(self) -> None:
        """Each output stands for itself."""
        return None

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


class ByteOrder(Protocol):
    """How 8-bit weights are packed: their order is the room's business."""

    def size(self, filters: int, depth: int) -> int:
        """Bytes of all packed weights of this many filters of this depth."""
        ...

    @property
    def biases(self) -> int:
        """Bytes of each bias, where every bias comes first as it is; else 0."""
        ...

    @property
    def block_stride(self) -> int:
        """Bytes of a block of channels, 0 where weights come filter by filter."""
        ...

    @property
    def patterns(self) -> tuple[tuple[int, int, int, int], ...]:
        """The rows of taps that four bytes of a weight come from, where rows go in fours."""
        ...

    def rounds(self, spec: ConvSpec) -> frozenset[int]:
        """How often loops over packed weights go round at most, beside those over taps."""
        ...


@dataclass(frozen=True)
class KernelPlan:
    """A layer, decided: what ``render`` prints. ``bodies``: the target's own, then plain C.
    ``narrower``: of a fat target, the plans of the other instruction sets, widest first; all read
    one packing. ``tag``: what the names of a body's C functions end in, where a file holds several.
    ``sections``: how 8-bit weights are packed, else None and ``packing`` says all.
    ``step``: the step of several products of an 8-bit kernel in core registers, else None.
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

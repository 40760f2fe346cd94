"""Tiles, the rectangles of outputs that they cover, and the layer as they walk over it.

Strides and offsets count elements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


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

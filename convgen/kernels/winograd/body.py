"""Winograd's minimal filtering: its matrices, and the plan of such a kernel.

One dimension: y = AT [(G g) * (BT d)] gives m outputs of an r-tap filter g on m + r - 1 inputs d
with m + r - 1 products; two dimensions nest it (Lavin and Gray, "Fast Algorithms for Convolutional
Neural Networks", 2016). Along an axis where a filter has one tap nothing is transformed: F(1, 1).
The matrices are Toom and Cook's: polynomial products evaluated at chosen
points and infinity. All numbers here are exact fractions.
"""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels.winograd.matrices import IDENTITY, Filtering
from convgen.kernels.winograd.range import range_of
from convgen.plan.leeway import Tiling
from convgen.plan.range import Range
from convgen.plan.tile import Tile
from convgen.spec.schedule import Family
from convgen.target import VectorIsa

# c_F of the error bound c_F * gamma_{K+2} * (sum over c of max|x_c| in the tile * sum|w_c| + |b|),
# per (m, r): published here, held by every build, and by the tests over random layers. The first
# for F(m x m, r x r), the second for filters of one row or one column.
ERROR_FACTORS = {(2, 3): 0.1, (3, 3): 0.5, (4, 3): 0.5, (6, 3): 2.0, (2, 5): 0.1, (4, 5): 0.5}
FLAT_ERROR_FACTORS = {
    (2, 3): 0.3, (3, 3): 0.7, (4, 3): 0.8, (6, 3): 2.0,
    (2, 5): 0.3, (4, 5): 0.7, (6, 5): 3.5,
    (2, 7): 0.4, (4, 7): 2.0,
}  # fmt: skip
LEAST_CHANNELS = 8  # below them the transforms' own error, which C does not average out, shows


@dataclass(frozen=True)
class Work:
    """Predicted cycles, by which parts are cut: to transform a strip of MR tiles, to multiply it
    with the filters of one block of channels, to fetch those filters for a block of tiles."""

    transform: int
    multiply: int
    fetch: int


@dataclass(frozen=True)
class WinogradBody:
    """A Winograd kernel for one instruction set.

    ``high`` and ``wide``: F along a column and along a row, equal or one of them ``IDENTITY``.
    Tiles of m x m outputs, ``rows`` x ``cols`` of them an image, ``count`` in all, go in blocks of
    ``block`` tiles. Per block: transform the inputs to ``v`` [planes][block][ic], multiply each of
    the alpha x alpha matrices (``planes``) with the filters' (``tile``: MR tiles x NV vectors;
    ``last``: the same for the narrower last block of channels, or None) into ``m``
    [planes][block][NR], transform back.
    ``v_pitch``, ``v_plane``, ``m_plane``: elements from tile to tile and from matrix to matrix,
    padded so that no two streams share all their cache sets. ``fetch_in``, ``fetch_out``:
    images too large for the second cache, whose lines are asked for ahead. ``band``: of planes
    (NCHW), elements of the rows that a row of tiles reads, copied first so that the channels of a
    pixel lie side by side; 0 where they lie so in x.
    """

    isa: VectorIsa
    family: Family
    operations: tuple[str, ...]
    high: Filtering
    wide: Filtering
    rows: int
    cols: int
    count: int
    block: int
    tile: Tile
    last: Tile | None
    v_pitch: int
    v_plane: int
    m_plane: int
    work: Work
    fetch_in: bool = False
    fetch_out: bool = False
    band: int = 0

    @property
    def wraps(self) -> bool:
        return False

    @property
    def table_in(self) -> str:
        """Nowhere: places in the image are intervals that its tests cut to size."""
        return ""

    @property
    def tiling(self) -> Tiling:
        return Tiling(self.high.m, self.wide.m, self.error_factor, self.range)

    @property
    def flat(self) -> bool:
        """Whether the filter has one row or one column: one pass makes a transform."""
        return IDENTITY in (self.high, self.wide)

    @property
    def along(self) -> Filtering:
        """The F of every axis that is transformed."""
        return self.wide if self.high == IDENTITY else self.high

    @property
    def size(self) -> str:
        """As people write it, F(4x4, 3x3)."""
        high, wide = self.high, self.wide
        return f"F({high.m}x{wide.m}, {high.r}x{wide.r})"

    @property
    def planes(self) -> int:
        """Products for a tile and a pair of channels."""
        return self.high.alpha * self.wide.alpha

    @property
    def error_factor(self) -> float:
        """c_F, see ``ERROR_FACTORS``."""
        factors = FLAT_ERROR_FACTORS if self.flat else ERROR_FACTORS
        return factors[self.along.m, self.along.r]

    @property
    def range(self) -> Range:
        """For which x, w and b no step overflows."""
        return range_of(self.high, self.wide)

    @property
    def tiles(self) -> tuple[Tile, ...]:
        return (self.tile,) if self.last is None else (self.tile, self.last)

    @property
    def strips(self) -> int:
        """Rows of MR tiles that go through the products together."""
        return -(-self.count // self.tile.pixels)

    @property
    def blocks(self) -> int:
        return -(-self.count // self.block)

    @property
    def scratch(self) -> int:
        """Elements of workspace: v, m, and a patch of alpha x alpha vectors; between two passes of
        a transform a second one; of planes a band, and a tile's outputs channel by channel."""
        patches = (1 if self.flat else 2) * self.isa.lanes
        turned = self.band + self.outputs * self.isa.lanes if self.band else 0
        return self.planes * (self.v_plane + self.m_plane + patches) + turned

    @property
    def outputs(self) -> int:
        """Of a tile and a channel."""
        return self.high.m * self.wide.m

    @property
    def regions(self) -> tuple[()]:
        """None: this family cuts the output into tiles of its own, not by taps."""
        return ()

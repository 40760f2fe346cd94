"""The plan of a kernel over planes: output pixels in lanes, x read as it lies or copied once."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.plan.kernel import PlainSums
from convgen.spec.schedule import Family
from convgen.target import VectorIsa


@dataclass(frozen=True)
class PlanesTile:
    """Outputs summed in registers: ``rows`` rows of vectors of pixels, ``channels`` of each.

    ``places``: the pixel that each vector of a row begins with, from the tile's first; ``stored``:
    pixels of the last one that are stored. Others lie whole inside the row.
    """

    rows: int
    places: tuple[int, ...]
    stored: int
    channels: int
    lanes: int

    @property
    def pixels(self) -> int:
        """Outputs of one channel that are stored."""
        return self.rows * ((len(self.places) - 1) * self.lanes + self.stored)

    @property
    def vectors(self) -> int:
        """Of one channel."""
        return self.rows * len(self.places)

    @property
    def multiply_adds(self) -> int:
        """Written out in the C of this tile."""
        return self.vectors * self.channels


@dataclass(frozen=True)
class Columns:
    """``count`` tiles side by side: vectors at ``places`` from pixel ``first`` on, then ``step``
    pixels further each time; ``stored`` as in ``PlanesTile``."""

    places: tuple[int, ...]
    stored: int
    first: int
    step: int
    count: int


@dataclass(frozen=True)
class PlanesBody(PlainSums):
    """A kernel over planes for one instruction set.

    A unit of work is one of ``bands`` bands of outputs of an image and a group, for one of
    ``chunks`` chunks of ``chunk`` blocks of ``channels`` output channels each. A band is a share of
    the rows, or, where ``flat``, of the tiles of an image whose pixels form one row. Tiles have
    ``rows`` rows and stand in ``columns``.

    ``staged``: the rows under a band are copied first, [row][channel][phase of the stride]
    [``pitch``], with their padding; ``rows_in``: at most that many. With ``slot`` the pixels of
    each tile are copied instead, [tile of a band][channel][pixel], ``slot`` elements a tile:
    channels of an image lie pages apart, and many blocks of channels read them. Else x is read
    where it lies.
    ``x_row``, ``x_channel``: elements between rows, and channels, of what tiles read. ``taps``:
    where each step of the reduction lies; with ``inner`` > 1 each stands for that many channels.
    ``windows``: the steps are written out, and weights stay in registers.
    """

    isa: VectorIsa
    family: Family
    operations: tuple[str, ...]
    channels: int
    rows: int
    columns: tuple[Columns, ...]
    flat: bool
    bands: int
    chunks: int
    chunk: int
    staged: bool
    slot: int
    pitch: int
    rows_in: int
    x_row: int
    x_channel: int
    taps: tuple[int, ...]
    inner: int
    windows: bool

    @property
    def tiles(self) -> tuple[PlanesTile, ...]:
        """The tiles of whole blocks of channels."""
        return tuple(
            dict.fromkeys(
                PlanesTile(self.rows, c.places, c.stored, self.channels, self.isa.lanes)
                for c in self.columns
            )
        )

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return sum(columns.count for columns in self.columns)

    @property
    def scratch(self) -> int:
        """Elements of workspace."""
        if self.slot:
            return -(-self.across // self.bands) * self.slot
        return self.rows_in * self.x_row if self.staged else 0

    @property
    def regions(self) -> tuple[()]:
        """None: padding is written into the copy, so all windows are whole."""
        return ()

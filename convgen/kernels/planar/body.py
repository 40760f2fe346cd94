"""The plan of a planar kernel: output pixels in lanes, the input taken apart into planes first."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels.planar.shuffle import Network
from convgen.plan.kernel import PlainSums
from convgen.spec.schedule import Family
from convgen.target import VectorIsa


@dataclass(frozen=True)
class Segment:
    """From ``lane`` on, a vector of pixels lies at ``place`` - in lanes, not at its first lane."""

    lane: int
    place: int


@dataclass(frozen=True)
class PlanarTile:
    """Vectors of pixels times output channels, summed in registers.

    Pixels of a strip count on from row to row, so a vector may hold the end of one row and the
    beginning of the next: one segment each. ``stored``: pixels that are stored, at least one in the
    last vector.
    """

    vectors: tuple[tuple[Segment, ...], ...]
    channels: int
    stored: int

    @property
    def pixels(self) -> int:
        return self.stored

    @property
    def multiply_adds(self) -> int:
        """Written out in the C of this tile."""
        return len(self.vectors) * self.channels


@dataclass(frozen=True)
class Run:
    """``count`` tiles of one strip: the first at pixel ``p0``, which lies at ``x0`` in the planes.

    ``vectors``, ``stored``: of each tile, as in PlanarTile; ``x_step``, ``p_step``: to the next.
    """

    vectors: tuple[tuple[Segment, ...], ...]
    stored: int
    count: int
    x0: int
    x_step: int
    p0: int
    p_step: int


@dataclass(frozen=True)
class Strip:
    """``rows`` whole rows of outputs, their pixels cut into tiles."""

    rows: int
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Split:
    """How pixels of a row become planes, a vector of each plane at a time.

    A step takes ``lanes`` columns of every phase of the stride, ``whole`` times and once for the
    ``rest`` columns. ``step``: elements from one loaded vector to the next; ``full``: elements of
    each that the last step loads; ``places``: where the vector of each plane goes; ``starts``:
    (offset in the row, offset in the planes) of each block of planes. One element at a time where
    ``network`` is None.
    """

    network: Network | None
    whole: int
    rest: int
    step: int
    full: tuple[int, ...]
    places: tuple[int, ...]
    starts: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class PlanarBody(PlainSums):
    """A planar kernel for one instruction set.

    The output goes in bands of ``band`` rows. Per band the rows of the input that it reads become
    planes, [row][channel][phase of the stride][``pitch``], from element ``lead`` on: column
    i * SW + phase of a channel is element i. Zeros stand for the padding, those at the left in the
    tail of the plane before. Then strips of rows are summed: ``main``, and at the end of the image
    ``rest``. ``taps``: where each step of the reduction lies from an output's row and element in
    the planes. Sums lie in planes ``sums_pitch`` apart, [channel][pixel of the strip], and go to y
    by ``network``; with ``straight`` they are stored in y at once.
    """

    isa: VectorIsa
    family: Family
    operations: tuple[str, ...]
    channels: int
    band: int
    main: Strip
    rest: Strip | None
    pitch: int
    row_pitch: int
    lead: int
    taps: tuple[int, ...]
    planes: int
    split: Split
    straight: bool
    sums_pitch: int
    sums: int
    network: Network | None

    @property
    def strips(self) -> tuple[Strip, ...]:
        return (self.main,) if self.rest is None else (self.main, self.rest)

    def channel_counts(self, oc: int) -> tuple[int, ...]:
        """Channels of the tiles that a group of ``oc`` is cut into."""
        whole, rest = divmod(oc, self.channels)
        return (*((self.channels,) if whole else ()), *((rest,) if rest else ()))

    @property
    def tiles(self) -> tuple[PlanarTile, ...]:
        """The tiles of whole blocks of channels."""
        runs = [run for strip in self.strips for run in strip.runs]
        return tuple(
            dict.fromkeys(PlanarTile(run.vectors, self.channels, run.stored) for run in runs)
        )

    @property
    def scratch(self) -> int:
        """Elements of workspace: the planes of a band, and the sums of a strip."""
        return self.planes + self.sums

    @property
    def regions(self) -> tuple[()]:
        """None: padding is written into the planes, so all windows are whole."""
        return ()

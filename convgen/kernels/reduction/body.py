"""The plan of a kernel whose lanes lie along the reduction."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.plan.kernel import PlainSums
from convgen.spec.schedule import Family
from convgen.target import VectorIsa


@dataclass(frozen=True)
class ReductionTile:
    """One pixel of ``channels`` output channels, each summed in several vectors."""

    channels: int
    pixels: int = 1

    @property
    def multiply_adds(self) -> int:
        """Written out in the C of this tile."""
        return self.channels


@dataclass(frozen=True)
class ReductionBody(PlainSums):
    """A kernel for one instruction set: one pixel of ``channels`` output channels at a time, each
    of which is summed in ``strands`` vectors of partial sums, so that no multiply-add waits.

    Inputs and weights come in runs of memory: ``run`` of them for a whole window's row of taps, or,
    where not ``joined``, for one tap. ``whole``: the window is an image of planes, one run.
    """

    isa: VectorIsa
    family: Family
    operations: tuple[str, ...]
    channels: int
    strands: int
    run: int
    joined: bool
    whole: bool

    @property
    def tiles(self) -> tuple[ReductionTile, ...]:
        return (ReductionTile(self.channels),)

    @property
    def regions(self) -> tuple[()]:
        """None: a window's taps outside the image are left out by its own bounds."""
        return ()

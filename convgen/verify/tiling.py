"""How far outputs of a plan may be off beyond the rounding of each sum, and what a tile reads."""

from __future__ import annotations

from convgen.plan.kernel import KernelPlan
from convgen.plan.leeway import NO_LEEWAY, Leeway, Tiling

__all__ = ["NO_LEEWAY", "Leeway", "Tiling", "leeway_of", "tiles_over", "tiling_of"]


def leeway_of(plan: KernelPlan) -> Leeway:
    """What this plan's own body is allowed."""
    return Leeway(tiling_of(plan), plan.body.isa.flushes)


def tiling_of(plan: KernelPlan) -> Tiling | None:
    """How this plan's outputs hang together; None where each one stands for itself."""
    return plan.body.tiling


def tiles_over(size: int, place: int, before: int, taps: int, out: int, dilation: int) -> range:
    """Outputs of the tiles of ``size`` outputs that read input ``place`` on one axis."""
    step, phase = divmod(place + before, dilation)
    last = step // size
    first = max(0, -((size + taps - 2 - step) // size))
    stop = phase + dilation * (last + 1) * size
    return range(phase + dilation * first * size, min(out, stop), dilation)

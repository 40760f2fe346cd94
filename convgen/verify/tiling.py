"""What kernels may do beyond rounding each sum by itself: Winograd's tiles, numbers taken for 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convgen.plan.kernel import KernelPlan


@dataclass(frozen=True)
class Tiling:
    """Outputs made in tiles of ``rows`` x ``cols``, the first at output (0, 0); stride 1.

    A tile reads the ``rows + KH - 1`` rows and ``cols + KW - 1`` columns under it; with dilation
    d both its outputs and its inputs lie d apart. Its sums may be
    off by ``factor`` * gamma_{K+2} * (sum over c of max|x_c| in the tile * sum|w_c| + |b|), plus
    64 (K+1) underflows; ``factor`` is the published c_F. Non-finite values may spread over it.
    """

    rows: int
    cols: int
    factor: float


@dataclass(frozen=True)
class Leeway:
    """``tiling``: how the outputs of a Winograd kernel hang together, None where each one stands
    for itself. ``flushes``: numbers below 2^-126 may count as 0 in x, w, b, sums and outputs."""

    tiling: Tiling | None = None
    flushes: bool = False


NO_LEEWAY = Leeway()


def leeway_of(plan: KernelPlan) -> Leeway:
    """What this plan's own body is allowed."""
    return Leeway(tiling_of(plan), plan.body.isa.flushes)


def tiling_of(plan: KernelPlan) -> Tiling | None:
    """How this plan's outputs hang together; None where each one stands for itself."""
    from convgen.kernels.winograd.body import WinogradBody

    body = plan.body
    if not isinstance(body, WinogradBody):
        return None
    return Tiling(body.high.m, body.wide.m, body.error_factor)


def tiles_over(size: int, place: int, before: int, taps: int, out: int, dilation: int) -> range:
    """Outputs of the tiles of ``size`` outputs that read input ``place`` on one axis."""
    step, phase = divmod(place + before, dilation)
    last = step // size
    first = max(0, -((size + taps - 2 - step) // size))
    stop = phase + dilation * (last + 1) * size
    return range(phase + dilation * first * size, min(out, stop), dilation)

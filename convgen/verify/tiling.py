"""How Winograd's outputs are judged: those of one tile share rounding errors, NaN and Inf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convgen.plan import KernelPlan


@dataclass(frozen=True)
class Tiling:
    """Outputs made in tiles of ``size`` x ``size``, the first at output (0, 0); stride 1.

    A tile reads the ``size + KH - 1`` rows and ``size + KW - 1`` columns under it; with dilation
    d both its outputs and its inputs lie d apart. Its sums may be
    off by ``factor`` * gamma_{K+2} * (sum over c of max|x_c| in the tile * sum|w_c| + |b|), plus
    64 (K+1) underflows; ``factor`` is the published c_F. Non-finite values may spread over it.
    """

    size: int
    factor: float

    def tiles_over(self, place: int, before: int, taps: int, out: int, dilation: int) -> range:
        """Outputs of the tiles that read input ``place`` on one axis."""
        step, phase = divmod(place + before, dilation)
        last = step // self.size
        first = max(0, -((self.size + taps - 2 - step) // self.size))
        stop = phase + dilation * (last + 1) * self.size
        return range(phase + dilation * first * self.size, min(out, stop), dilation)


def tiling_of(plan: KernelPlan) -> Tiling | None:
    """How this plan's outputs hang together; None where each one stands for itself."""
    from convgen.winograd import WinogradBody

    body = plan.body
    return Tiling(body.m, body.error_factor) if isinstance(body, WinogradBody) else None

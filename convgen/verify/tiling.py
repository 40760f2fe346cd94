"""How Winograd's outputs are judged: those of one tile share rounding errors, NaN and Inf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convgen.plan import KernelPlan


@dataclass(frozen=True)
class Tiling:
    """Outputs made in tiles of ``size`` x ``size``, the first at output (0, 0); stride 1, dense.

    A tile reads the ``size + KH - 1`` rows and ``size + KW - 1`` columns under it. Its sums may be
    off by ``factor`` * gamma_{K+2} * (sum over c of max|x_c| in the tile * sum|w_c| + |b|), plus
    64 (K+1) underflows; ``factor`` is the published c_F. Non-finite values may spread over it.
    """

    size: int
    factor: float

    def tiles_over(self, place: int, before: int, taps: int, out: int) -> tuple[int, int]:
        """Outputs (first, one past the last) of the tiles that read input ``place`` on one axis."""
        last = (place + before) // self.size
        first = -((self.size + taps - 2 - place - before) // self.size)
        return max(0, first * self.size), min(out, (last + 1) * self.size)


def tiling_of(plan: KernelPlan) -> Tiling | None:
    """How this plan's outputs hang together; None where each one stands for itself."""
    from convgen.winograd import WinogradBody

    body = plan.body
    return Tiling(body.m, body.error_factor) if isinstance(body, WinogradBody) else None

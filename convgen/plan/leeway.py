"""What kernels may do beyond rounding each sum by itself: Winograd's tiles, numbers taken for 0."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.plan.range import Range


@dataclass(frozen=True)
class Tiling:
    """Outputs made in tiles of ``rows`` x ``cols``, the first at output (0, 0); stride 1.

    A tile reads the ``rows + KH - 1`` rows and ``cols + KW - 1`` columns under it; with dilation
    d both its outputs and its inputs lie d apart. Its sums may be
    off by ``factor`` * gamma_{K+2} * (sum over c of max|x_c| in the tile * sum|w_c| + |b|), plus
    64 (K+1) underflows; ``factor`` is the published c_F, ``range`` the published range in which
    no step overflows. Non-finite values may spread over it.
    """

    rows: int
    cols: int
    factor: float
    range: Range | None = None


@dataclass(frozen=True)
class Leeway:
    """``tiling``: how the outputs of a Winograd kernel hang together, None where each one stands
    for itself. ``flushes``: numbers below 2^-126 may count as 0 in x, w, b, sums and outputs."""

    tiling: Tiling | None = None
    flushes: bool = False


NO_LEEWAY = Leeway()

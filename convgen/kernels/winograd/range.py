"""For which inputs and weights no step of a Winograd kernel overflows, from its matrices alone.

The transforms add before they subtract, so that a step may be far larger than the sum it is for.
Every line of the straight-line code is followed with the largest size that each value can have; a
product of plane (i, j) is at most beta_i beta_j X * gamma_i gamma_j S, with X = max|x|, S = sum|w|
of a filter over all its channels, beta_i what row i of BT adds up to and gamma_i the largest
entry of row i of G.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from convgen.kernels.winograd.combination import Combination, program
from convgen.kernels.winograd.matrices import IDENTITY, Filtering, matrices
from convgen.plan.range import Range

_TOP = 127  # float32's largest number lies just below 2^128
_SLACK = 1  # bits for what rounding adds: gamma(K+2) of any layer is far below 1


@dataclass(frozen=True)
class _Sizes:
    """``rows``: of the results. ``peak``: of all that is calculated on the way, inputs included."""

    rows: tuple[Fraction, ...]
    peak: Fraction


def _followed(matrix: tuple[tuple[Fraction, ...], ...], sizes: Sequence[Fraction]) -> _Sizes:
    """What values can grow to in the program of ``matrix`` on inputs of these sizes."""
    known = {f"d_{k}": size for k, size in enumerate(sizes)}
    peak = max(sizes)
    plan = program(matrix)

    def grown(line: Combination) -> Fraction:
        return sum((abs(factor) * known[name] for factor, name in line.terms), Fraction(0))

    for line in plan.shared:
        known[line.name] = grown(line)
        peak = max(peak, known[line.name])
    rows = tuple(grown(line) for line in plan.rows)
    return _Sizes(rows, max(peak, *rows))


@cache
def range_of(high: Filtering, wide: Filtering) -> Range:
    """The range of a kernel that takes F of ``high`` down columns and of ``wide`` along rows."""
    along = wide if high == IDENTITY else high
    axes = 1 if IDENTITY in (high, wide) else 2
    found = matrices(along.m, along.r)
    inward = _followed(found.bt, [Fraction(1)] * along.alpha)
    gamma = [max(map(abs, row)) for row in found.g]
    products = [b * g for b, g in zip(inward.rows, gamma, strict=True)]
    outward = _followed(found.at, products)
    # The other axis scales every size by what a row of its own transform comes to.
    one = Fraction(1)
    other = max([one, *products, *outward.rows]) if axes == 2 else one
    most_x = inward.peak * (max([one, *inward.rows]) if axes == 2 else one)
    most_w = max([one, *gamma])
    return Range(
        product=_TOP - _SLACK - _above(outward.peak * other),
        x=_TOP - _SLACK - _above(most_x),
        w=_TOP - _SLACK - _above(most_w * most_w if axes == 2 else most_w),
        bias=_TOP - _SLACK,
    )


def _above(size: Fraction) -> int:
    """The least e with size <= 2^e."""
    e = 0
    while 2**e < size:
        e += 1
    return e

"""Winograd's matrices, Toom and Cook's: polynomial products at chosen points and infinity.

All numbers are exact fractions; the paper is in ``body``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

Matrix = tuple[tuple[Fraction, ...], ...]

# Points of small height keep rounding errors low; 1/2 with -2 is about three times more accurate
# than 2 with -2 (Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
# Convolution", 2020, search such sets).
_HALF = Fraction(1, 2)
POINTS = tuple(
    Fraction(p) for p in (0, 1, -1, _HALF, -2, 2, -_HALF, Fraction(3, 4), Fraction(-3, 2))
)


@dataclass(frozen=True)
class Matrices:
    """``at``: m x alpha, ``g``: alpha x r, ``bt``: alpha x alpha, with alpha = m + r - 1."""

    at: Matrix
    g: Matrix
    bt: Matrix


@dataclass(frozen=True)
class Filtering:
    """F(m, r) along one axis: ``m`` outputs of a filter of ``r`` taps. F(1, 1) is the identity."""

    m: int
    r: int

    @property
    def alpha(self) -> int:
        """Inputs, and products."""
        return self.m + self.r - 1


IDENTITY = Filtering(1, 1)


@dataclass(frozen=True)
class Passes:
    """What transforms one tile of one vector of channels: ``times`` a matrix is applied, and
    vectors ``moved`` (loads and stores)."""

    times: int
    moved: int


def passes(high: Filtering, wide: Filtering) -> tuple[Passes, Passes]:
    """Of the transform of the inputs, and of that of the products."""
    planes, outputs = high.alpha * wide.alpha, high.m * wide.m
    if IDENTITY in (high, wide):
        return Passes(1, 2 * planes), Passes(1, planes + outputs)
    inward = Passes(high.alpha + wide.alpha, 4 * planes)
    return inward, Passes(wide.alpha + high.m, 2 * (planes + high.m * wide.alpha))


@cache
def matrices(m: int, r: int) -> Matrices:
    """Toom and Cook's matrices for m outputs and r taps, on the first m + r - 2 points."""
    alpha = m + r - 1
    points = POINTS[: alpha - 1]
    assert len(points) == alpha - 1, "more points than are listed"
    others = [[b for j, b in enumerate(points) if j != i] for i in range(alpha - 1)]
    scale = [_product([a - b for b in rest]) for a, rest in zip(points, others, strict=True)]
    at = [
        [*(a**i for a in points), Fraction(int(i == m - 1))]
        for i in range(m)
    ]  # fmt: skip
    g = [[a**k / s for k in range(r)] for a, s in zip(points, scale, strict=True)]
    g.append([Fraction(int(k == r - 1)) for k in range(r)])
    bt = [[*_polynomial(rest), Fraction(0)] for rest in others]
    bt.append(_polynomial(points))
    return Matrices(_frozen(at), _frozen(g), _frozen(bt))


def _product(values: list[Fraction]) -> Fraction:
    result = Fraction(1)
    for value in values:
        result *= value
    return result


def _polynomial(roots: list[Fraction] | tuple[Fraction, ...]) -> list[Fraction]:
    """Coefficients, constant first, of the product of (x - root)."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        for i, c in enumerate(coefficients):
            shifted[i] -= root * c
        coefficients = shifted
    return coefficients


def _frozen(rows: list[list[Fraction]]) -> Matrix:
    return tuple(tuple(row) for row in rows)

"""TFLite's fixed-point scaling of 8-bit layers as two multiply-adds in float32, where they agree.

What becomes of a sum is a step function of it: the output rises by one at at most 255 thresholds
and is level between them. Another function that never falls is the same one for every int32 sum if
it is right on both sides of each threshold; that is tried here for

    floor(a * factor + (a * rest + addend)),   a: the sum as a float32,

where the bracket is rounded to float32 and nothing else is. So the search below may guess: what it
returns has been shown, channel by channel, not approximated.

It never falls: from one float32 a to the next, d more, a * factor grows by d * factor, 2^-16 or
more. The bracket falls by d * |rest|, which is under 2^-23 of that, and by an ulp of its own: by
2^-23 at most while |a * factor| < 2^24, and by 2^-22 of d * factor beyond. At 0, where ``signed``
ones change their addend, they rise because it is no less than 1/2.

Near the thresholds float64 holds all of it exactly: |a| < 2^25 and |a * factor| < 2^9 there. The
addend and the rest are multiples of 2^-50, so a * rest + addend is one, and below 2. The bracket,
no less than 1/16, is then a multiple of 2^-28, a * factor one of 2^-40, and so is their sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from convgen.numbers.thresholds import thresholds
from convgen.spec.quant import Requantization, Rounding

_LEAST = 2.0**-16  # of a factor
_GRID = 50  # rests are multiples of 2^-50

Reals = NDArray[np.float64]
Int64s = NDArray[np.int64]


@dataclass(frozen=True)
class FloatSteps:
    """One float32 of each kind per entry of the layer's ``factors``. ``signed``: sums below 0 take
    1 - addend, for their halves go down."""

    factors: tuple[float, ...]
    rests: tuple[float, ...]
    addends: tuple[float, ...]
    signed: bool


@lru_cache(maxsize=64)
def float_steps(how: Requantization) -> FloatSteps | None:
    """The same outputs for every int32 sum; None where a channel withstands or is out of reach.

    For shifts from -21 to -1. Outputs are the same after the clamp to ``how.low`` .. ``how.high``.
    """
    if how.rounding is Rounding.ONNX:
        return None
    # Halves below 0 go down, which nobody sees after a clamp at the zero point.
    signed = how.rounding is Rounding.TFLITE and how.low < how.zero
    steps = np.arange(how.low - how.zero + 1, how.high - how.zero + 1)
    factor, right = np.array(how.factors, np.int64), -np.array(how.shifts, np.int64)
    real = factor * 2.0 ** -(31 + right)
    if real.min() < _LEAST or not len(steps):
        return None
    first = thresholds(factor, right, steps, once=how.rounding is Rounding.TFLITE_SINGLE)
    found = np.zeros((3, len(real)))
    open_ = np.arange(len(real))
    # The middle of what is possible first, then beside it, then with the ratio itself a bit off.
    for off, share in product((0, 1, -1, 2, -2, 4, -4, 0.5, -0.5), (0.5, 0.25, 0.75)):
        tried = _guess(real[open_] * (1 + off * 2.0**-27), first[open_], steps, signed, share)
        found[:, open_] = tried
        open_ = open_[~_right(tried, first[open_], steps, signed)]
        if not len(open_):
            factors, rests, addends = (tuple(row.tolist()) for row in found)
            return FloatSteps(factors, rests, addends, signed)
    return None


def _guess(real: Reals, first: Int64s, steps: Int64s, signed: bool, share: float) -> Reals:
    """[3][channel]: factors, rests and the addends ``share`` of the way through what is possible.

    addend + ratio * first >= step > addend + ratio * (first - 1); signed ones are mirrored.
    """
    factor = real.astype(np.float32).astype(np.float64)
    rest = np.ldexp(np.rint(np.ldexp(real - factor, _GRID)), -_GRID)
    ratio = (factor + rest)[:, None]
    least, most = steps - ratio * first, steps - ratio * (first - 1)
    if signed:
        mirrored = steps < 1
        least, most = np.where(mirrored, 1 - most, least), np.where(mirrored, 1 - least, most)
    low, high = least.max(axis=1), most.min(axis=1)
    addend = (low + (high - low) * share).astype(np.float32).astype(np.float64)
    return np.stack([factor, rest, addend])


def _right(tried: Reals, first: Int64s, steps: Int64s, signed: bool) -> NDArray[np.bool_]:
    """Per channel: below each step one sum before its threshold, and not below it there."""
    reached = (evaluated(tried, first, signed) >= steps).all(axis=1)
    level = (evaluated(tried, first - 1, signed) < steps).all(axis=1)
    addend = tried[2]
    held = (addend >= (0.5 if signed else 0.125)) & (addend <= 0.875)
    return np.asarray(reached & level & held)


def evaluated(tried: Reals, sums: Int64s, signed: bool) -> Reals:
    """[channel][...]: the formula at the top."""
    factor, rest, addend = (row[:, None] for row in tried)
    if signed:
        addend = np.where(sums < 0, 1 - addend, addend)
    a = sums.astype(np.float32).astype(np.float64)
    bracket = (a * rest + addend).astype(np.float32)
    result: Reals = np.floor(a * factor + bracket)
    return result

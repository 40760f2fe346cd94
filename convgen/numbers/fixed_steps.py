"""TFLite's fixed-point scaling of 8-bit layers as one multiply-add in 64 bits, where they agree.

What becomes of a sum is a step function of it, with at most 255 steps. The function

    floor((sum * factor + addend) / 2^(32 + shift))

never falls either, so it is the same one for every int32 sum, after saturation, if it is right on
both sides of each step. For one factor every step bounds the addend from above and from below; an
addend between all bounds, if there is one, is right by construction. All of it is in integers.

Halves below 0 go down, so that there the steps lie a bit higher than on one line, by as much as the
first of the two roundings can tell apart. Where such outputs are seen, the addend is less below 0.

On a core that multiplies 32 by 32 bits onto 64 this is one instruction, its high word needs no
other, and a saturation that shifts its operand is the last: TFLite's own two roundings take ten.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from convgen.numbers.thresholds import thresholds
from convgen.spec.quant import Requantization, Rounding

Int64s = NDArray[np.int64]
_MOST_RIGHT = 21  # bits that a step may be shifted by: thresholds are int64
_TRIED = 8  # shifts, from the largest that fits down
_BESIDE = (0, 1, -1, 2, -2, 3, -3, 4, -4)  # the ratio itself, and its neighbours


@dataclass(frozen=True)
class FixedSteps:
    """One int32 factor and one int64 addend per entry of the layer's ``factors``, and one shift for
    all. The zero point is in the addends: results are outputs before saturation. ``below``: how
    much less each addend is for sums below 0, int32; empty where none is."""

    factors: tuple[int, ...]
    addends: tuple[int, ...]
    shift: int
    below: tuple[int, ...] = ()


@lru_cache(maxsize=64)
def fixed_steps(how: Requantization) -> FixedSteps | None:
    """The same outputs for every int32 sum after the clamp to ``how.low`` .. ``how.high``; None
    where one channel withstands, or scales by 1/2 or more, or by less than 2^-21 but not by 0."""
    if how.rounding is Rounding.ONNX:
        return None
    live = np.array(how.factors) > 0
    factor = np.array(how.factors, np.int64)[live]
    right = -np.array(how.shifts, np.int64)[live]
    steps = np.arange(how.low - how.zero + 1, how.high - how.zero + 1)
    if not live.any() or right.min() < 1 or right.max() > _MOST_RIGHT or not len(steps):
        return None
    first = thresholds(factor, right, steps, once=how.rounding is Rounding.TFLITE_SINGLE)
    # factor * 2^(1 + shift - right) has to keep to 31 bits, and factor has no more.
    most = int(right.min()) - 1
    shifts = range(most, max(-1, most - _TRIED), -1)
    for signed, shift in ((signed, shift) for signed in (False, True) for shift in shifts):
        found = _found(factor, 1 + shift - right, first, steps, 32 + shift, signed)
        if found is not None:
            factors, addends, below = (np.zeros(len(live), np.int64) for _ in found)
            addends[~live] = np.int64(1) << (31 + shift)  # by 0 every sum gives the zero point
            factors[live], addends[live], below[live] = found
            addends += np.int64(how.zero) << (32 + shift)
            less = tuple(below.tolist()) if signed else ()
            return FixedSteps(tuple(factors.tolist()), tuple(addends.tolist()), shift, less)
    return None


def _scaled(factor: Int64s, by: Int64s) -> Int64s:
    """factor * 2^by to the nearest integer; ``by`` is at most 0."""
    down = -by
    result: Int64s = (factor + ((np.int64(1) << down) >> 1)) >> down
    return result


def _found(
    factor: Int64s, by: Int64s, first: Int64s, steps: Int64s, bits: int, signed: bool
) -> tuple[Int64s, Int64s, Int64s] | None:
    """Factors near factor * 2^by, addends in the middle of their bounds, and what those are less by
    for sums below 0: as much as 2^31 / factor sums come to."""
    factors, addends, below = (np.zeros_like(factor) for _ in range(3))
    ratio, open_ = _scaled(factor, by), np.arange(len(factor))
    level = steps.astype(np.int64) << bits
    for beside in _BESIDE:
        tried = ratio[open_] + beside
        less = (tried << 31) // factor[open_] * signed

        def products(sums: Int64s, tried: Int64s = tried, less: Int64s = less) -> Int64s:
            result: Int64s = sums * tried[:, None] - (sums < 0) * less[:, None]
            return result

        least = (level - products(first[open_])).max(axis=1)
        most = (level - products(first[open_] - 1) - 1).min(axis=1)
        good = (least <= most) & (tried > 0) & (tried < 2**31) & (less < 2**31)
        factors[open_[good]], below[open_[good]] = tried[good], less[good]
        addends[open_[good]] = ((least + most) // 2)[good]
        open_ = open_[~good]
        if not len(open_):
            return factors, addends, below
    return None

"""TFLite's fixed-point scaling of 8-bit layers as one multiply-add in 64 bits, where they agree.

What becomes of a sum is a step function of it, with at most 255 steps. The function

    floor((sum * factor + addend) / 2^(32 + shift))

never falls either, so it is the same one for every int32 sum, after saturation, if it is right on
both sides of each step. For one factor every step bounds the addend from above and from below; an
addend between all bounds, if there is one, is right by construction. All of it is in integers.

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
    all. The zero point is in the addends: results are outputs before saturation."""

    factors: tuple[int, ...]
    addends: tuple[int, ...]
    shift: int


@lru_cache(maxsize=64)
def fixed_steps(how: Requantization) -> FixedSteps | None:
    """The same outputs for every int32 sum after the clamp to ``how.low`` .. ``how.high``; None
    where one channel withstands, or scales by 1/2 or more, or by less than 2^-21."""
    if how.rounding is Rounding.ONNX:
        return None
    factor, right = np.array(how.factors, np.int64), -np.array(how.shifts, np.int64)
    steps = np.arange(how.low - how.zero + 1, how.high - how.zero + 1)
    if factor.min() <= 0 or right.min() < 1 or right.max() > _MOST_RIGHT or not len(steps):
        return None
    first = thresholds(factor, right, steps, once=how.rounding is Rounding.TFLITE_SINGLE)
    # factor * 2^(1 + shift - right) has to keep to 31 bits, and factor has no more.
    most = int(right.min()) - 1
    for shift in range(most, max(-1, most - _TRIED), -1):
        found = _found(_scaled(factor, 1 + shift - right), first, steps, 32 + shift)
        if found is not None:
            factors, addends = found
            addends = addends + (np.int64(how.zero) << (32 + shift))
            return FixedSteps(tuple(factors.tolist()), tuple(addends.tolist()), shift)
    return None


def _scaled(factor: Int64s, by: Int64s) -> Int64s:
    """factor * 2^by to the nearest integer; ``by`` is at most 0."""
    down = -by
    result: Int64s = (factor + ((np.int64(1) << down) >> 1)) >> down
    return result


def _found(ratio: Int64s, first: Int64s, steps: Int64s, bits: int) -> tuple[Int64s, Int64s] | None:
    """Factors near ``ratio`` and addends in the middle of their bounds."""
    factors, addends = np.zeros_like(ratio), np.zeros_like(ratio)
    open_ = np.arange(len(ratio))
    for beside in _BESIDE:
        tried = ratio[open_] + beside
        level = steps.astype(np.int64) << bits
        products = first[open_] * tried[:, None]
        least = (level - products).max(axis=1)
        most = (level - products + tried[:, None] - 1).min(axis=1)
        good = (least <= most) & (tried > 0) & (tried < 2**31)
        factors[open_[good]] = tried[good]
        addends[open_[good]] = ((least + most) // 2)[good]
        open_ = open_[~good]
        if not len(open_):
            return factors, addends
    return None

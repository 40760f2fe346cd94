"""Scaling by one multiply-add of 64 bits: the very outputs of TFLite's two roundings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from convgen.numbers.fixed_steps import FixedSteps, fixed_steps
from convgen.numbers.thresholds import thresholds
from convgen.oracle.integers import fixed_point_scaled
from convgen.spec.quant import Requantization, Rounding, fixed_point

CHANNELS = 10
RANGES = ((-128, -128), (-20, -20), (4, -128), (100, -128), (0, 0))  # zero point, least output


def scaling(rounding: Rounding, zero: int, low: int, seed: int, top: int = 127) -> Requantization:
    """Ratios of one layer's channels, a factor of three apart."""
    rng = np.random.default_rng([seed, zero + 128])
    least = rng.uniform(-14, -3)
    pairs = [fixed_point(float(2**x)) for x in rng.uniform(least, least + 1.5, CHANNELS)]
    factors, shifts = zip(*pairs, strict=True)
    return Requantization(rounding, zero, low, top, factors, shifts)


def outputs(how: Requantization, steps: FixedSteps, sums: np.ndarray) -> list[list[int]]:
    """The formula, in Python's integers."""
    found = []
    below = steps.below or (0,) * CHANNELS
    for row, f, a, d in zip(sums.tolist(), steps.factors, steps.addends, below, strict=True):
        values = ((s * f + a - (d if s < 0 else 0)) >> (32 + steps.shift) for s in row)
        found.append([min(max(value, how.low), how.high) for value in values])
    return found


@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
@pytest.mark.parametrize(("zero", "low"), RANGES)
def test_the_same_outputs_for_every_sum_that_could_tell(
    zero: int, low: int, rounding: Rounding
) -> None:
    """At every step of every channel, one before it, and at the ends of int32."""
    served = 0
    for seed in range(6):
        how = scaling(rounding, zero, low, seed)
        steps = fixed_steps(how)
        if steps is None:
            continue
        served += 1
        rise = np.arange(how.low - how.zero + 1, how.high - how.zero + 1)
        factor, right = np.array(how.factors, np.int64), -np.array(how.shifts, np.int64)
        first = thresholds(factor, right, rise, once=rounding is Rounding.TFLITE_SINGLE)
        rng = np.random.default_rng(seed)
        more = rng.integers(-(2**31), 2**31, (CHANNELS, 40))
        ends = np.tile([-(2**31), 2**31 - 1, -1, 0, 1], (CHANNELS, 1))
        sums = np.concatenate([first, first - 1, more, ends], axis=1).astype(np.int64)
        got = outputs(how, steps, sums)
        for channel in range(CHANNELS):
            line = sums[channel : channel + 1].reshape(1, 1, -1, 1)
            want = fixed_point_scaled(how, line, np.array([channel])).reshape(-1) + how.zero
            want = np.clip(want, how.low, how.high).tolist()
            assert got[channel] == want, (seed, channel)
        assert max(map(abs, steps.factors)) < 2**31 and max(steps.below, default=0) < 2**31
        assert 0 <= steps.shift < 22
    assert served >= 4  # nearly all that scale by less than 1/2


@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
@pytest.mark.parametrize(("zero", "low"), RANGES)
def test_dead_channels_give_the_zero_point(zero: int, low: int, rounding: Rounding) -> None:
    """A factor of 0 leaves the others as they are, and gives the zero point for every sum."""
    alive = next(how for seed in range(6) if fixed_steps(how := scaling(rounding, zero, low, seed)))
    dead = replace(alive, factors=(0, *alive.factors[1:]), shifts=(-1, *alive.shifts[1:]))
    found = fixed_steps(dead)
    assert found is not None
    ends = np.tile([-(2**31), -1, 0, 1, 2**31 - 1, 12345], (CHANNELS, 1))
    nothing = min(max(zero, dead.low), dead.high)
    assert outputs(dead, found, ends)[0] == [nothing] * ends.shape[1]
    before = fixed_steps(alive)
    assert before is not None
    assert outputs(dead, found, ends)[1:] == outputs(alive, before, ends)[1:]


def test_below_zero_the_addend_is_another_one_only_where_it_shows() -> None:
    whole = fixed_steps(scaling(Rounding.TFLITE, 4, -128, 1))
    clamped = fixed_steps(scaling(Rounding.TFLITE, 4, 4, 1))
    once = fixed_steps(scaling(Rounding.TFLITE_SINGLE, 4, -128, 1))
    assert whole is not None and len(whole.below) == CHANNELS and min(whole.below) > 0
    assert clamped is not None and clamped.below == ()
    assert once is not None and once.below == ()


def test_what_is_out_of_reach() -> None:
    """Float steps, ratios of 1/2 and more, nothing at all, and less than 2^-21."""
    for ratios in ((0.75,), (0.0,), (2.0**-23,), (2.0**-9, 3.0)):
        pairs = [fixed_point(ratio) for ratio in ratios]
        factors, shifts = zip(*pairs, strict=True)
        assert fixed_steps(Requantization(Rounding.TFLITE, 0, 0, 127, factors, shifts)) is None
    assert fixed_steps(Requantization(Rounding.ONNX, 0, 0, 127, scales=(0.01,))) is None

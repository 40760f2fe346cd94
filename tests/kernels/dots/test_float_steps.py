"""Fixed-point scaling in float32: equal for every int32 sum, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from convgen.kernels.dots.float_steps import FloatSteps, evaluated, float_steps
from convgen.numbers.thresholds import thresholds
from convgen.oracle.integers import fixed_point_scaled
from convgen.spec.quant import Requantization, Rounding, fixed_point

INT32 = 2**31


def requantization(seed: int) -> Requantization:
    """Channels of ratios from 2^-15 to 1/2, an output range that may begin at the zero point."""
    rng = np.random.default_rng([seed, 17])
    around = rng.uniform(-13, -3)
    pairs = [
        fixed_point(2.0 ** (around + rng.uniform(-2, 1.9))) for _ in range(rng.integers(1, 40))
    ]
    zero = int(rng.integers(-128, 100))
    low = int(rng.choice([-128, zero, max(-128, zero - 20)]))
    high = int(rng.choice([127, zero + 20]))
    rounding = (Rounding.TFLITE, Rounding.TFLITE_SINGLE)[seed % 2]
    factors, shifts = zip(*pairs, strict=True)
    return Requantization(rounding, zero, low, high, factors, shifts)


def both(
    how: Requantization, steps: FloatSteps, sums: NDArray[np.int64]
) -> list[NDArray[np.int64]]:
    """[channel][sum]: outputs by the oracle's fixed point and in float32."""
    tried = np.array([steps.factors, steps.rests, steps.addends])
    channels = np.arange(len(how.factors))[:, None]
    every = np.broadcast_to(sums, (len(how.factors), sums.shape[-1]))
    fixed = fixed_point_scaled(how, every, channels)
    found = evaluated(tried, every, steps.signed).astype(np.int64)
    return [np.clip(value + how.zero, how.low, how.high) for value in (fixed, found)]


@pytest.mark.parametrize("seed", range(60))
def test_equal_for_sums_of_every_size(seed: int) -> None:
    how = requantization(seed)
    steps = float_steps(how)
    assert steps is not None, "no float32 numbers were found where there nearly always are some"
    rng = np.random.default_rng(seed)
    near = [rng.integers(-(2**k), 2**k, 3000) for k in range(8, 32)]
    sums = np.concatenate([*near, np.arange(-2000, 2000), [-INT32, INT32 - 1, 2**24 + 1]])
    want, got = both(how, steps, sums)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
def test_equal_for_all_sums_that_saturate_nothing(rounding: Rounding) -> None:
    """One channel, a zero point within, all sums up to both ends."""
    factor, shift = fixed_point(0.000731)
    how = Requantization(rounding, 9, -128, 127, (factor,), (shift,))
    steps = float_steps(how)
    assert steps is not None
    want, got = both(how, steps, np.arange(-200_000, 200_001))
    assert want.min() == -128 and want.max() == 127
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
def test_channels_where_the_first_guess_fails(rounding: Rounding) -> None:
    """Of 500 channels some always do; right are those numbers that hold at every threshold."""
    ratios = np.random.default_rng(4).uniform(2.0**-13, 2.0**-11, 500)
    factors, shifts = zip(*(fixed_point(float(ratio)) for ratio in ratios), strict=True)
    how = Requantization(rounding, 0, -128, 127, factors, shifts)
    steps = float_steps(how)
    assert steps is not None
    right = -np.array(shifts, np.int64)
    once = rounding is Rounding.TFLITE_SINGLE
    first = thresholds(np.array(factors, np.int64), right, np.arange(-127, 128), once=once)
    for sums in (first, first - 1):
        want, got = both(how, steps, sums)
        np.testing.assert_array_equal(got, want)


def test_a_wrong_number_would_not_be_equal() -> None:
    """The sums of these tests are many enough to see the last bit of a rest."""
    factor, shift = fixed_point(0.000731)
    how = Requantization(Rounding.TFLITE, 9, -128, 127, (factor,), (shift,))
    steps = float_steps(how)
    assert steps is not None
    other = FloatSteps(steps.factors, (steps.rests[0] + 2.0**-30,), steps.addends, steps.signed)
    want, got = both(how, other, np.arange(-200_000, 200_001))
    assert not np.array_equal(got, want)


@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
@pytest.mark.parametrize("seed", range(10))
def test_thresholds_are_where_the_oracle_rises(rounding: Rounding, seed: int) -> None:
    how = requantization(seed)
    how = Requantization(rounding, how.zero, -128, 127, how.factors, how.shifts)
    factor, right = np.array(how.factors, np.int64), -np.array(how.shifts, np.int64)
    steps = np.arange(-255, 256)
    first = thresholds(factor, right, steps, once=rounding is Rounding.TFLITE_SINGLE)
    inside = np.abs(first) < INT32
    assert inside.any()
    channels = np.arange(len(factor))[:, None]
    above = fixed_point_scaled(how, first, channels)
    below = fixed_point_scaled(how, first - 1, channels)
    assert (above >= steps)[inside].all() and (below < steps)[inside].all()


def test_ratios_out_of_reach_are_refused() -> None:
    """Two of them: float64 would round within the proof; and ONNX, which is in float32 already."""
    small = fixed_point(2.0**-18)
    how = Requantization(Rounding.TFLITE, 0, -128, 127, (small[0],), (small[1],))
    assert float_steps(how) is None
    assert float_steps(Requantization(Rounding.ONNX, 0, -128, 127, scales=(0.01,))) is None

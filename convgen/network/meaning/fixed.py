"""TFLite's fixed-point arithmetic on NumPy arrays (after gemmlowp), and its float roundings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.graph import Quantization, Value
from convgen.oracle.integers import fixed_point_scaled
from convgen.spec.quant import Requantization, Rounding, fixed_point

Array = NDArray[Any]
LIMITS = {
    "int8": (-128, 127),
    "uint8": (0, 255),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}


def scaled(sums: Array, ratios: float | tuple[float, ...], rounding: Rounding) -> Array:
    """sums * ratio as TFLite's MultiplyByQuantizedMultiplier, int64; one ratio, or one per index of
    the last axis.
    """
    many = ratios if isinstance(ratios, tuple) else (ratios,)
    return by_pairs(sums, [fixed_point(ratio) for ratio in many], rounding)


def by_pairs(sums: Array, pairs: list[tuple[int, int]], rounding: Rounding) -> Array:
    """The same with multipliers (factor, shift) that are made already."""
    factors, shifts = zip(*pairs, strict=True)
    how = Requantization(rounding, 0, 0, 0, factors, shifts)
    channels = np.arange(len(pairs)) if len(pairs) > 1 else np.zeros(1, np.intp)
    return fixed_point_scaled(how, np.asarray(sums, np.int64), channels)


def real(value: Value, q: Array) -> Array:
    """The real numbers of quantised integers, float64 (exact: a float32 times an integer)."""
    quant = quant_of(value)
    return (q.astype(np.float64) - along(quant.zero_point, quant, q.ndim)) * along(
        quant.scale, quant, q.ndim
    )


def along(numbers: tuple[Any, ...], quant: Quantization, rank: int) -> Array:
    """One number, or one per index of the quantised axis, ready to broadcast."""
    if quant.per_tensor:
        return np.asarray(numbers[0])
    assert quant.axis is not None
    shape = [-1 if at == quant.axis % rank else 1 for at in range(rank)]
    return np.asarray(numbers).reshape(shape)


def quant_of(value: Value | None) -> Quantization:
    assert value is not None and value.quant is not None, value
    return value.quant


def stored(value: Value, x: Array, rounding: Rounding) -> Array:
    """Real numbers as the value's integers: the quotient in float32, then rounded and clamped."""
    quant = quant_of(value)
    single = x.astype(np.float32) / along(quant.scale, quant, x.ndim).astype(np.float32)
    nearest = np.rint(single) if rounding is Rounding.ONNX else half_away(single)
    low, high = LIMITS[value.dtype]
    nearest = np.clip(np.nan_to_num(nearest.astype(np.float64), nan=0.0), -1e9, 1e9)
    q = nearest.astype(np.int64) + along(quant.zero_point, quant, x.ndim)
    return np.clip(q, low, high).astype(str(value.dtype))


def half_away(x: Array) -> Array:
    """C's round(): halves away from 0."""
    whole = np.trunc(x)
    return np.asarray(whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0))

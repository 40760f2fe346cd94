"""Quantisation as values: what the integers of a layer stand for, and how sums become outputs.

    real = scale * (q - zero_point)
    sum  = b[oc] + sum over taps inside the image of (x - x_zero) * (w - w_zero)      exact, int32
    y    = clamp(zero + rounded(sum * x_scale * w_scale[oc] / y_scale))

Scales are held as float32, as every framework holds them. ``requantization`` gives the numbers of
the last line in the very steps of the framework whose rounding the spec names.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import TypeVar

T = TypeVar("T")
SUM_LIMIT = 2**31 - 1
MAX_SHIFT = 30


class Rounding(StrEnum):
    """How a sum is scaled. ``tflite``: fixed point, rounded twice, as TFLite's reference kernels
    (after gemmlowp); ``tflite_single``: the same multiplier, rounded once; ``onnx``: float32,
    half to even."""

    TFLITE = "tflite"
    TFLITE_SINGLE = "tflite_single"
    ONNX = "onnx"


@dataclass(frozen=True)
class Affine:
    """real = scale * (q - zero_point): one entry for the whole array, or one per output channel.

    ``scale`` is empty where no output depends on it (int32 sums).
    """

    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Quant:
    """What a layer's integers mean. ``output`` None: y holds the int32 sums themselves.

    ``sum``: how sums are quantised before an activation that is a table; else None.
    """

    input: Affine
    weight: Affine
    output: Affine | None
    sum: Affine | None = None
    rounding: Rounding = Rounding.TFLITE

    @property
    def x_zero(self) -> int:
        return self.input.zero_point[0]

    def w_zeros(self, channels: int) -> tuple[int, ...]:
        """One weight zero point per output channel."""
        return spread(self.weight.zero_point, channels)


@dataclass(frozen=True)
class Requantization:
    """From int32 sums to stored integers. ``low``, ``high``: the type's limits, narrowed by an
    activation that is a clamp.

    Fixed point: sum * factor[oc] * 2^(shift[oc] - 31). Float: sum * scale[oc] in float32. Each has
    one entry per output channel in the rounding that uses it, none in the other. ``table``: the
    256 outputs for the integers from the type's least one up; empty without one.
    """

    rounding: Rounding
    zero: int
    low: int
    high: int
    factors: tuple[int, ...] = ()
    shifts: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    table: tuple[int, ...] = ()


def spread(values: tuple[T, ...], channels: int) -> tuple[T, ...]:
    """One value per channel."""
    return values * channels if len(values) == 1 else values


def float32(value: float) -> float:
    """The nearest float32, infinity beyond them."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def ratios(
    quant: Quant, target: Affine, channels: int, *, single_product: bool
) -> tuple[float, ...]:
    """x_scale * w_scale / y_scale per channel, rounded where the named framework rounds.

    ``single_product``: x_scale * w_scale is rounded to float32 first, as TFLite does for uint8.
    """
    x, y = quant.input.scale[0], target.scale[0]
    found = []
    for w in spread(quant.weight.scale, channels):
        product = x * w  # of two float32: exact in float64
        if single_product or quant.rounding is Rounding.ONNX:
            product = float32(product)
        ratio = product / y
        found.append(float32(ratio) if quant.rounding is Rounding.ONNX else ratio)
    return tuple(found)


def fixed_point(ratio: float) -> tuple[int, int]:
    """(factor, shift) with ratio near factor * 2^(shift - 31), factor in 2^30..2^31-1, or (0, 0).

    TFLite's QuantizeMultiplier (tensorflow/lite/kernels/internal/quantization_util.cc).
    """
    mantissa, shift = math.frexp(ratio)
    # Exact in float64: a mantissa has 53 bits, of which 22 come to lie behind the point.
    factor = math.floor(mantissa * 2.0**31 + 0.5)
    if factor == 2**31:
        factor, shift = factor // 2, shift + 1
    return (0, 0) if shift < -31 else (factor, shift)


def half_away(value: Fraction) -> int:
    """The nearest integer, halves away from 0."""
    size = math.floor(abs(value) + Fraction(1, 2))
    return -size if value < 0 else size


def half_even(value: Fraction) -> int:
    """The nearest integer, halves to the even one."""
    return round(value)


def rounder(rounding: Rounding) -> Callable[[Fraction], int]:
    """How a rounding mode brings a real constant to an integer."""
    return half_even if rounding is Rounding.ONNX else half_away


def quantized(value: float, to: Affine, rounding: Rounding) -> int:
    """A real constant in quantised form, unclamped: the quotient in float32, then rounded."""
    ratio = float32(float32(value) / to.scale[0])
    if math.isinf(ratio):
        return to.zero_point[0] + (2**31 if ratio > 0 else -(2**31))
    return to.zero_point[0] + rounder(rounding)(Fraction(ratio))


def farthest(limits: tuple[int, int], zero: int) -> int:
    """The largest distance of an integer of the type from its zero point."""
    low, high = limits
    return max(high - zero, zero - low)

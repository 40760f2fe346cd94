"""The oracle of 8-bit layers: the very integers that a kernel must give, in NumPy.

Sums are exact. How they become outputs follows, operation by operation, what each rounding names:
TFLite's MultiplyByQuantizedMultiplier (gemmlowp's SaturatingRoundingDoublingHighMul, then
RoundingDivideByPOT), the same rounded once, or ONNX Runtime's float32 product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle.floats import Points, checked, summed
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.layouts import in_layout, weights_hwio
from convgen.spec.model import ConvSpec
from convgen.spec.quant import SUM_LIMIT, Requantization, Rounding, spread
from convgen.spec.requantize import input_reach, least_output, requantization

Array = NDArray[Any]
Int64s = NDArray[np.int64]


def sums_at(spec: ConvSpec, x: Array, w: Array, b: Array | None, points: Points) -> Int64s:
    """The exact sums, bias included, int64 [n, oh, ow, oc] of ``points``.

    Products are below 2^18 and fewer than 2^31, so float64 counts them without rounding.
    """
    assert spec.quant is not None
    centred = x.astype(np.int16) - np.int16(spec.quant.x_zero)
    filters = _centred(spec, w, np.int16)
    sums = summed(spec, centred, filters, b, points, np.dtype(np.float64))
    exact: Int64s = sums.astype(np.int64)
    return exact


def outputs_at(spec: ConvSpec, sums: Int64s, points: Points) -> Array:
    """The outputs for sums at ``points``, in y's element type."""
    how = requantization(spec)
    y = numpy_dtype(arrays_of(spec).y)
    if how is None:
        return np.maximum(sums, least_output(spec)).astype(y)
    scaled = _scaled(how, sums, points.channels(spec)) + how.zero
    clamped = np.clip(scaled, how.low, how.high)
    if how.table:
        return np.array(how.table)[clamped - how.low].astype(y)
    return clamped.astype(y)


def _scaled(how: Requantization, sums: Int64s, channels: NDArray[np.intp]) -> Int64s:
    if how.rounding is Rounding.ONNX:
        scale = np.array(how.scales, np.float32)[channels]
        product = sums.astype(np.float32) * scale
        nearest: Int64s = np.rint(np.clip(product, -1e6, 1e6)).astype(np.int64)
        return nearest
    return fixed_point_scaled(how, sums, channels)


def fixed_point_scaled(how: Requantization, sums: Int64s, channels: NDArray[np.intp]) -> Int64s:
    """TFLite's two roundings, or its single one, before the zero point."""
    factor, shift = np.array(how.factors)[channels], np.array(how.shifts)[channels]
    if how.rounding is Rounding.TFLITE_SINGLE:
        right = 31 - shift
        once: Int64s = (sums * factor + (np.int64(1) << (right - 1))) >> right
        return once
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    room = SUM_LIMIT >> left  # beyond it the output is saturated anyway
    product = (np.clip(sums, -room, room) << left) * factor
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.where(nudged < 0, -(-nudged >> 31), nudged >> 31)  # C's division: towards 0
    rest = high & ((np.int64(1) << right) - 1)
    threshold = (((np.int64(1) << right) - 1) >> 1) + (high < 0)
    twice: Int64s = (high >> right) + (rest > threshold)
    return twice


def largest_sums(spec: ConvSpec, w: Array, b: Array | None) -> Int64s:
    """Per output channel sum|w - zero| * max|x - zero| + |b|: no input can give a larger sum."""
    assert spec.quant is not None
    filters = _centred(spec, w, np.int64)
    sizes: Int64s = np.abs(filters).sum(axis=(0, 1, 2)) * input_reach(spec)
    return sizes if b is None else sizes + np.abs(b.astype(np.int64))


def overflowing(spec: ConvSpec, w: Array, b: Array | None) -> int | None:
    """The first output channel whose sums may leave int32, None if there is none."""
    beyond = np.flatnonzero(largest_sums(spec, w, b) > SUM_LIMIT)
    return int(beyond[0]) if len(beyond) else None


def overflow_words(spec: ConvSpec, w: Array, b: Array | None, channel: int) -> str:
    """Why a channel's sums may leave int32: the sum, its figures, the limit."""
    reach = input_reach(spec)
    without = int(largest_sums(spec, w, None)[channel])
    bias = 0 if b is None else abs(int(b[channel]))
    added = f" + {bias:,} of the bias" if b is not None else ""
    return (
        f"sums of output channel {channel} can reach sum|w - zero| x max|x - zero| = "
        f"{without // reach:,} x {reach}{added} = {without + bias:,}, beyond 2^31 - 1 = "
        f"{SUM_LIMIT:,}"
    )


def _centred(spec: ConvSpec, w: Array, kind: Any) -> NDArray[Any]:
    """The weights less their channel's zero point, as [kd*kh, kw, c/g, oc]."""
    assert spec.quant is not None
    zeros = np.array(spread(spec.quant.w_zeros(spec.oc), spec.oc), kind)
    centred: NDArray[Any] = weights_hwio(spec, w).astype(kind) - zeros
    return centred


def reference(spec: ConvSpec, x: Any, w: Any, b: Any = None) -> Array:
    """The layer's output to the bit, in y's element type and layout.

    ``x``: integers of the layer's dtype and ``spec.x_shape`` (any number of images with
    ``batch: any``), ``w``: int8, ``b``: int32. Raises ``ValueError`` for a wrong shape or dtype,
    and for weights whose sums may leave int32.
    """
    x, w, b = checked(spec, x, w, b)
    arrays = arrays_of(spec)
    for name, array, element in (("x", x, arrays.x), ("w", w, arrays.w), ("b", b, arrays.b)):
        if array is not None and array.dtype != numpy_dtype(element):
            raise ValueError(f"{name}: expected {element.name}, got {array.dtype}")
    channel = overflowing(spec, w, b)
    if channel is not None:
        raise ValueError(f"w: {overflow_words(spec, w, b, channel)}")
    points = Points.every(spec, x.shape[0])
    return in_layout(spec, outputs_at(spec, sums_at(spec, x, w, b, points), points))

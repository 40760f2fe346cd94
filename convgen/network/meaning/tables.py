"""8-bit functions of one number: their 256 results, as TFLite's reference kernels give them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.graph import Value
from convgen.network.meaning import elementwise
from convgen.network.meaning.fixed import LIMITS, half_away, quant_of, scaled, stored
from convgen.network.ops import Activate, Requantize, Unary
from convgen.spec.model import Act
from convgen.spec.quant import Rounding, fixed_point

Array = NDArray[Any]


def table(op: Any, x: Value, y: Value, rounding: Rounding) -> Array:
    """The output for every integer of the input's type, from the least one up; y's dtype, [256].

    ``op``: ``Activate``, ``Unary`` or ``Requantize``. ONNX has no 8-bit functions of its own: there
    the real function is taken between dequantisation and quantisation, each in float32.
    """
    low, high = LIMITS[x.dtype]
    q = np.arange(low, high + 1)
    if isinstance(op, Requantize):
        return _requantized(x, y, q, rounding)
    if rounding is Rounding.ONNX:
        return stored(y, elementwise_of(op, _single(x, q)), rounding)
    kind = op.activation.kind if isinstance(op, Activate) else None
    match kind:
        case Act.NONE | Act.RELU | Act.RELU6 | Act.CLIP:
            return _clamped(op, x, y, q, rounding)
        case Act.LEAKY_RELU:
            return _leaky(op, x, y, q, rounding)
        case Act.HARDSWISH:
            return _hardswish(x, y, q)
        case _:
            return _looked_up(op, x, y, q)


def elementwise_of(op: Activate | Unary, x: Array) -> Array:
    """The real function."""
    return elementwise.activate(op, x) if isinstance(op, Activate) else elementwise.unary(op, x)


def _single(x: Value, q: Array) -> Array:
    """scale * (q - zero) in float32, as kernels dequantise, held in float64."""
    quant = quant_of(x)
    return (np.float32(quant.scale[0]) * (q - quant.zero_point[0]).astype(np.float32)).astype(
        np.float64
    )


def _requantized(x: Value, y: Value, q: Array, rounding: Rounding) -> Array:
    if rounding is Rounding.ONNX:
        return stored(y, _single(x, q), rounding)
    a, b = quant_of(x), quant_of(y)
    v = scaled(q - a.zero_point[0], a.scale[0] / b.scale[0], rounding)
    return _fit(v + b.zero_point[0], y)


def _fit(v: Array, y: Value, low: int | None = None, high: int | None = None) -> Array:
    least, most = LIMITS[y.dtype]
    return np.clip(
        v, least if low is None else max(low, least), most if high is None else min(high, most)
    ).astype(str(y.dtype))


def clamp_limits(act: Any, y: Value) -> tuple[int, int]:
    """The integers between which a clamping activation holds an output (float32 quotients)."""
    low, high = LIMITS[y.dtype]
    quant = quant_of(y)
    ends = {
        Act.NONE: (None, None),
        Act.RELU: (0.0, None),
        Act.RELU6: (0.0, 6.0),
        Act.CLIP: (act.low, act.high),
    }
    first, last = ends[act.kind]

    def at(value: float) -> int:
        q = half_away(np.asarray(np.float32(value) / np.float32(quant.scale[0])))
        return int(np.clip(q, -1e9, 1e9)) + quant.zero_point[0]

    low = low if first is None else min(max(low, at(first)), high)
    high = high if last is None else max(min(high, at(last)), low)
    return low, high


def _clamped(op: Activate, x: Value, y: Value, q: Array, rounding: Rounding) -> Array:
    """ReLU and the like: rescaled if the scales differ, then clamped."""
    a, b = quant_of(x), quant_of(y)
    ratio = float(np.float32(a.scale[0]) / np.float32(b.scale[0]))
    v = scaled(q - a.zero_point[0], ratio, rounding) + b.zero_point[0]
    return _fit(v, y, *clamp_limits(op.activation, y))


def _leaky(op: Activate, x: Value, y: Value, q: Array, rounding: Rounding) -> Array:
    a, b = quant_of(x), quant_of(y)
    one, two = np.float32(a.scale[0]), np.float32(b.scale[0])
    v = q - a.zero_point[0]
    plain = scaled(v, float(one / two), rounding)
    alpha = np.float32(op.activation.alpha)
    steep = scaled(v, abs(float(one * alpha / two)), rounding)
    steep = -scaled(v, -float(one * alpha / two), rounding) if alpha < 0 else steep
    return _fit(np.where(v >= 0, plain, steep) + b.zero_point[0], y)


def _looked_up(op: Activate | Unary, x: Value, y: Value, q: Array) -> Array:
    """TFLite fills a table: float32 dequantisation, the function, times 1/scale, rounded."""
    b = quant_of(y)
    value = elementwise_of(op, _single(x, q)).astype(np.float32)
    inverse = np.float32(1) / np.float32(b.scale[0])
    rescaled = half_away(value * inverse).astype(np.float64)
    rescaled = np.clip(np.nan_to_num(rescaled, nan=0.0), -1e9, 1e9)
    return _fit(rescaled.astype(np.int64) + b.zero_point[0], y)


def _hardswish(x: Value, y: Value, q: Array) -> Array:
    """16-bit fixed point throughout, on the scale of the input times 2^-7."""
    a, b = quant_of(x), quant_of(y)
    fine = np.float32(1 / 128) * np.float32(a.scale[0])
    out, out_shift = _sixteen(float(fine / np.float32(b.scale[0])))
    relu, relu_shift = _sixteen(float(fine / np.float32(3 / 32768)))
    v = (q - a.zero_point[0]).astype(np.int64) * 128
    preshift = _high_mul(v, out)
    r = _saturate(v << (relu_shift - 1)) if relu_shift > 0 else v
    r = _high_mul(r, relu)
    if relu_shift > 0:
        r = _saturate(r << 1)
    elif relu_shift < 0:
        r = _divide(r, -relu_shift)
    r = (r + (1 << 15)) >> 1
    product = r * preshift
    high = np.sign(product) * (np.abs(product) >> 15)  # C's division: towards 0
    # A positive exponent is refused by TFLite, which has no rule for it.
    return _fit(_divide(high, max(0, -out_shift)) + b.zero_point[0], y)


def _sixteen(ratio: float) -> tuple[int, int]:
    """A multiplier of 16 bits, and its shift."""
    factor, shift = fixed_point(ratio)
    return (32767 if factor >= 2**31 - 1 - 2**15 else (factor + 2**15) >> 16), shift


def _high_mul(v: Array, factor: int) -> Array:
    """(2*v*factor) / 2^16, rounded, in 16 bits."""
    product = v * factor
    nudged = product + np.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return np.asarray(np.sign(nudged) * (np.abs(nudged) >> 15))


def _saturate(v: Array) -> Array:
    return np.clip(v, -32768, 32767)


def _divide(v: Array, exponent: int) -> Array:
    """v / 2^exponent, halves away from 0."""
    mask = (1 << exponent) - 1
    rest = v & mask
    return np.asarray((v >> exponent) + (rest > (mask >> 1) + (v < 0)))

"""Quantised nodes, to the bit: TFLite's reference kernels, or ONNX's rounding where a graph has it.

Where TFLite computes a multiplier in float32, so do we; sums are exact in int64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.graph import Node, Value
from convgen.network.meaning import movement, sliding
from convgen.network.meaning.context import Context
from convgen.network.meaning.fixed import (
    LIMITS,
    along,
    by_pairs,
    half_away,
    quant_of,
    real,
    scaled,
    stored,
)
from convgen.network.meaning.tables import clamp_limits, table
from convgen.network.ops import (
    Activate,
    AvgPool,
    Binary,
    BinaryFn,
    Conv,
    ConvTransposed,
    Dense,
    Dequantize,
    Elem,
    MaxPool,
    Pad,
    PRelu,
    Quantize,
    Reduce,
    ReduceFn,
    Requantize,
    Resize,
    ResizeMode,
    Softmax,
    Unary,
)
from convgen.spec.quant import Rounding, fixed_point, float32

Array = NDArray[Any]
_ARITHMETIC = (
    Activate,
    AvgPool,
    Binary,
    Conv,
    ConvTransposed,
    Dense,
    MaxPool,
    Pad,
    PRelu,
    Reduce,
    Resize,
    Softmax,
    Unary,
)
# The dense reference kernel of LiteRT rounds once, as measured on thousands of outputs; its other
# kernels round twice.
DENSE = Rounding.TFLITE_SINGLE


def applies(graph: Context, node: Node) -> bool:
    """Has the node integer meaning?"""
    if isinstance(node.op, (Quantize, Dequantize, Requantize)):
        return True
    first = graph.operands(node)[0]
    quantised = first is not None and first.quant is not None and not first.dtype.is_float
    return quantised and isinstance(node.op, _ARITHMETIC)


def run(graph: Context, node: Node, given: Sequence[Array | None]) -> Array:
    """The node's output, in its storage type."""
    ins, (y,) = graph.operands(node), graph.results(node)
    x, rounding = ins[0], graph.rounding
    a = given[0]
    assert x is not None and a is not None
    match node.op:
        case Quantize():
            return stored(y, a, rounding)
        case Dequantize():
            return a if x.dtype.is_float else real(x, a)
        case Requantize() | Activate() | Unary():
            assert x.dtype.eight_bit, (node.name, x)
            found: Array = table(node.op, x, y, rounding)[a.astype(np.int64) - LIMITS[x.dtype][0]]
            return found
        case Conv() | ConvTransposed() | Dense():
            return _products(node.op, ins, y, given, rounding)
        case Binary():
            return _binary(node.op, ins, y, given, rounding)
        case MaxPool():
            low, high = clamp_limits(node.op.activation, y)
            return np.clip(sliding.max_pool(node.op, a), low, high).astype(a.dtype)
        case AvgPool():
            return _average(node.op, y, a)
        case Reduce():
            return _reduce(node.op, x, y, a, rounding)
        case Softmax():
            return _softmax(node.op, x, y, a)
        case Pad():
            fill = stored(x, np.array(node.op.value), rounding)
            return movement.pad(node.op, a, float(fill))
        case PRelu():
            return _prelu(ins, y, given, rounding)
        case Resize():
            return _resize(node.op, a)
        case _:
            raise AssertionError(node)


def _products(
    op: Conv | ConvTransposed | Dense,
    ins: Sequence[Value | None],
    y: Value,
    given: Sequence[Array | None],
    rounding: Rounding,
) -> Array:
    """Convolutions and dense layers: exact sums, then one multiplier per output channel."""
    x, w = ins[:2]
    a, filters = given[:2]
    assert x is not None and w is not None and a is not None and filters is not None
    centred = a.astype(np.int64) - quant_of(x).zero_point[0]
    weight = quant_of(w)
    taps = filters.astype(np.int64) - along(weight.zero_point, weight, filters.ndim)
    match op:
        case Conv():
            sums = sliding.conv_sums(op, centred, taps)
        case ConvTransposed():
            sums = sliding.transposed_sums(op, centred, taps)
        case Dense():
            sums = centred @ taps
    if len(given) > 2 and given[2] is not None:
        sums = sums + given[2].astype(np.int64)
    if y.dtype is Elem.INT32:
        out = sums.astype(np.int32)
    else:
        out = _requantized(sums, multipliers(op, x, w, y, rounding), op, y, rounding)
    return out if isinstance(op, Dense) else sliding.in_order(op, out)


def multipliers(op: Any, x: Value, w: Value, y: Value, rounding: Rounding) -> tuple[float, ...]:
    """x_scale * w_scale / y_scale, one or one per output channel, rounded where TFLite rounds: a
    dense layer (and every uint8 one) with one scale multiplies x's and w's in float32.
    """
    xs, ys = quant_of(x).scale[0], quant_of(y).scale[0]
    scales = quant_of(w).scale
    single = len(scales) == 1 and (isinstance(op, Dense) or x.dtype is Elem.UINT8)
    found = []
    for ws in scales:
        product = float32(xs * ws) if single or rounding is Rounding.ONNX else xs * ws
        ratio = product / ys
        found.append(float32(ratio) if rounding is Rounding.ONNX else ratio)
    return tuple(found)


def _requantized(
    sums: Array, ratios: tuple[float, ...], op: Any, y: Value, rounding: Rounding
) -> Array:
    if rounding is Rounding.ONNX:
        product = sums.astype(np.float32) * np.asarray(ratios, np.float32)
        v = np.rint(np.clip(product, -1e6, 1e6)).astype(np.int64)
    else:
        v = scaled(sums, ratios, DENSE if isinstance(op, Dense) else rounding)
    low, high = clamp_limits(op.activation, y)
    return np.clip(v + quant_of(y).zero_point[0], low, high).astype(str(y.dtype))


def _binary(
    op: Binary,
    ins: Sequence[Value | None],
    y: Value,
    given: Sequence[Array | None],
    rounding: Rounding,
) -> Array:
    one, two = quant_of(ins[0]), quant_of(ins[1])
    assert given[0] is not None and given[1] is not None
    if op.fn in (BinaryFn.MAX, BinaryFn.MIN):
        pick = np.maximum if op.fn is BinaryFn.MAX else np.minimum
        return np.asarray(pick(given[0], given[1]))
    a = given[0].astype(np.int64) - one.zero_point[0]
    b = given[1].astype(np.int64) - two.zero_point[0]
    out = quant_of(y)
    if rounding is Rounding.ONNX:
        return stored(y, _real_binary(op, a, one.scale[0], b, two.scale[0]), rounding)
    match op.fn:
        case BinaryFn.ADD | BinaryFn.SUB:
            widest = 2 * max(one.scale[0], two.scale[0])
            a = scaled(a << 20, one.scale[0] / widest, rounding)
            b = scaled(b << 20, two.scale[0] / widest, rounding)
            total = a + b if op.fn is BinaryFn.ADD else a - b
            v = scaled(total, widest / (2**20 * out.scale[0]), rounding)
        case BinaryFn.MUL:
            ratio = float32(float32(one.scale[0] * two.scale[0]) / out.scale[0])
            v = scaled(a * b, ratio, rounding)
        case _:
            raise AssertionError(op)
    low, high = clamp_limits(op.activation, y)
    return np.asarray(np.clip(v + out.zero_point[0], low, high).astype(str(y.dtype)))


def _real_binary(op: Binary, a: Array, a_scale: float, b: Array, b_scale: float) -> Array:
    """Dequantised, computed and rounded in float32, as ONNX's QDQ form says."""
    from convgen.oracle.floats import activation

    left = np.float32(a_scale) * a.astype(np.float32)
    right = np.float32(b_scale) * b.astype(np.float32)
    functions = {
        BinaryFn.ADD: np.add, BinaryFn.SUB: np.subtract,
        BinaryFn.MUL: np.multiply, BinaryFn.DIV: np.divide,
    }  # fmt: skip
    return activation(op.activation, functions[op.fn](left, right).astype(np.float64))


def _average(op: AvgPool, y: Value, a: Array) -> Array:
    """The mean of the integers themselves (both ends have one scale), halves away from 0."""
    total, count = sliding.pool_sums(op, a.astype(np.int64))
    mean = np.sign(total) * ((np.abs(total) + count // 2) // count)
    low, high = clamp_limits(op.activation, y)
    return sliding.in_order(op, np.clip(mean, low, high).astype(a.dtype))


def _reduce(op: Reduce, x: Value, y: Value, a: Array, rounding: Rounding) -> Array:
    axes = tuple(axis % a.ndim for axis in op.axes)
    one, two = quant_of(x), quant_of(y)
    if op.fn in (ReduceFn.MAX, ReduceFn.MIN):
        pick = np.max if op.fn is ReduceFn.MAX else np.min
        return np.asarray(pick(a, axis=axes, keepdims=op.keepdims))
    count = math.prod(a.shape[axis] for axis in axes)
    total = (a.astype(np.int64) - one.zero_point[0]).sum(axis=axes, keepdims=op.keepdims)
    factor, shift = fixed_point(one.scale[0] / two.scale[0])
    if op.fn is ReduceFn.MEAN:
        # 1/count goes into the multiplier, with as many bits kept as fit.
        extra = min(count.bit_length() - 1, 32, 31 + shift)
        factor, shift = (factor << extra) // count, shift - extra
    else:
        assert op.fn is ReduceFn.SUM, op
    v = by_pairs(total, [(factor, shift)], rounding) + two.zero_point[0]
    low, high = LIMITS[y.dtype]
    return np.asarray(np.clip(v, low, high).astype(str(y.dtype)))


def _softmax(op: Softmax, x: Value, y: Value, a: Array) -> Array:
    """A table of e^-k*scale in float32, its sum in float32 in order, one quotient, rounded."""
    assert not op.log, op
    scale = np.float32(-quant_of(x).scale[0] * op.beta)
    steps = np.exp((scale * np.arange(256, dtype=np.float32)).astype(np.float64))
    powers = steps.astype(np.float32)
    moved = np.moveaxis(a, op.axis, -1).astype(np.int64)
    terms = powers[moved.max(axis=-1, keepdims=True) - moved]
    total = np.cumsum(terms, axis=-1, dtype=np.float32)[..., -1:]
    out = quant_of(y)
    inverse = np.float32(1) / (total * np.float32(out.scale[0]))
    q = half_away(terms * inverse).astype(np.int64) + out.zero_point[0]
    low, high = LIMITS[y.dtype]
    made = np.clip(q, low, high).astype(str(y.dtype))
    return np.ascontiguousarray(np.moveaxis(made, -1, op.axis))


def _prelu(
    ins: Sequence[Value | None], y: Value, given: Sequence[Array | None], rounding: Rounding
) -> Array:
    one, slope, out = quant_of(ins[0]), quant_of(ins[1]), quant_of(y)
    assert given[0] is not None and given[1] is not None
    a = given[0].astype(np.int64) - one.zero_point[0]
    b = given[1].astype(np.int64) - slope.zero_point[0]
    plain = scaled(a, float32(one.scale[0] / out.scale[0]), rounding)
    ratio = float32(float32(one.scale[0] * slope.scale[0]) / out.scale[0])
    steep = scaled(a * b, ratio, rounding)
    low, high = LIMITS[y.dtype]
    v = np.where(a >= 0, plain, steep) + out.zero_point[0]
    return np.asarray(np.clip(v, low, high).astype(str(y.dtype)))


def _resize(op: Resize, a: Array) -> Array:
    from convgen.network.meaning import resizing

    if op.mode is ResizeMode.NEAREST:
        return resizing.resize(op, a)
    return resizing.bilinear_integers(op, a)

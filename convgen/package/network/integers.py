"""Kernels of quantised steps: fixed-point numbers out of scales, as TFLite derives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from convgen.kernels.integer import (
    DequantizeBody,
    IntEachBody,
    IntReduceBody,
    IntSoftmaxBody,
    QuantizeBody,
    Scale,
    SumBody,
    TableBody,
)
from convgen.kernels.integer.body import CHUNK
from convgen.kernels.nest import Dim, Nest, Walk, nest
from convgen.network import ops
from convgen.network.graph import Quantization
from convgen.network.ops.face import Elem
from convgen.network.plan import Slot, Step
from convgen.package.network.use import C_TYPES, Use, both, clamp, only
from convgen.spec.elements import ELEMENTS
from convgen.spec.quant import Rounding, fixed_point, float32

EIGHT = (Elem.INT8, Elem.UINT8)
MOST = 1 << 23  # elements of 8 bits whose sum fits int32


def quantised(step: Step) -> bool:
    """Whether the step has integer meaning."""
    if isinstance(step.op, ops.Quantize | ops.Dequantize | ops.Requantize):
        return True
    first = next((slot for slot in step.inputs if slot is not None), None)
    return first is not None and first.quant is not None and not first.dtype.is_float


def scale_of(ratio: float, rounding: Rounding) -> Scale:
    return Scale(*fixed_point(ratio), once=rounding is Rounding.TFLITE_SINGLE)


def _quant(slot: Slot) -> Quantization:
    assert slot.quant is not None and slot.quant.per_tensor, slot
    return slot.quant


def _walk(shape: Sequence[int], *strides: Sequence[int]) -> Walk:
    return Walk(nest(shape, *strides), CHUNK, len(strides) - 1)


def _per_tensor(*slots: Slot) -> bool:
    return all(slot.quant is not None and slot.quant.per_tensor for slot in slots)


def _sum(
    step: Step,
    walk: Walk,
    types: tuple[str, str, str],
    zeros: tuple[int, int, int],
    scales: tuple[Scale, Scale, Scale],
    limits: tuple[int, int],
) -> SumBody:
    """The same sum with its operands looked up, for machines with vectors of int32."""
    op = step.op
    assert isinstance(op, ops.Binary)
    low, high = ELEMENTS[step.outputs[0].dtype].limits
    one, two, last = scales
    sign = 1 if op.fn == "add" else -1
    first = tuple(_scaled((q - zeros[0]) << 20, one) for q in range(low, high + 1))
    second = tuple(sign * _scaled((q - zeros[1]) << 20, two) for q in range(low, high + 1))
    return SumBody(walk, types, first, second, low, last, zeros[2], *limits)


def _scaled(v: int, scale: Scale) -> int:
    """What the C function ``scaled`` gives, in Python's integers."""
    left, right = max(scale.shift, 0), max(-scale.shift, 0)
    wide = min(max(v << left, -(2**31) + 1), 2**31 - 1)
    high = (wide * scale.factor + (1 << 30)) >> 31
    size = (abs(high) + ((1 << right) >> 1)) >> right
    return -size if high < 0 else size


def _binary(step: Step, rounding: Rounding, lanes: bool = False) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Binary)
    a, b = both(step)
    (y,) = step.outputs
    right = all(slot.dtype in EIGHT for slot in (a, b, y)) and _per_tensor(a, b, y)
    known = ("add", "sub", "mul", "max", "min")
    if not right or op.fn not in (*known, *(("div",) if rounding is Rounding.ONNX else ())):
        return ()
    one, two, out = _quant(a), _quant(b), _quant(y)
    walk = _walk(y.shape, a.strides, b.strides, y.strides)
    types = (C_TYPES[a.dtype], C_TYPES[b.dtype], C_TYPES[y.dtype])
    zeros = (one.zero_point[0], two.zero_point[0], out.zero_point[0])
    limits = clamp(op.activation, y, rounding)
    if rounding is Rounding.ONNX and op.fn not in ("max", "min"):
        return (Use(_reals(op.fn, walk, types, (a, b, y), limits), (a, b, y)),)
    first = second = last = None
    if op.fn in ("add", "sub"):
        widest = 2 * max(one.scale[0], two.scale[0])
        first = scale_of(one.scale[0] / widest, rounding)
        second = scale_of(two.scale[0] / widest, rounding)
        last = scale_of(widest / (2**20 * out.scale[0]), rounding)
        if lanes and rounding is Rounding.TFLITE and last.shift < 0 and a.dtype == b.dtype:
            quick = _sum(step, walk, types, zeros, (first, second, last), limits)
            return (Use(quick, (a, b, y)),)
    elif op.fn == "mul":
        ratio = float32(float32(one.scale[0] * two.scale[0]) / out.scale[0])
        last = scale_of(ratio, rounding)
    body = IntEachBody(op.fn, walk, types, zeros, first, second, last, *limits)
    return (Use(body, (a, b, y)),)


def _reals(
    op: str,
    walk: Walk,
    types: tuple[str, str, str],
    slots: tuple[Slot, Slot, Slot],
    limits: tuple[int, int],
) -> QuantizeBody:
    """ONNX has no 8-bit arithmetic of its own: real numbers in between, in float32."""
    a, b, y = slots
    out = _quant(y)
    affine = tuple((_quant(slot).zero_point[0], _quant(slot).scale[0]) for slot in (a, b))
    return QuantizeBody(
        walk, types, out.scale[0], out.zero_point[0], *limits, even=True, op=op, affine=affine
    )


def _prelu(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    a, b = both(step)
    (y,) = step.outputs
    right = all(slot.dtype in EIGHT for slot in (a, b, y)) and _per_tensor(a, b, y)
    if not right or rounding is Rounding.ONNX:
        return ()
    one, two, out = _quant(a), _quant(b), _quant(y)
    plain = scale_of(float32(one.scale[0] / out.scale[0]), rounding)
    ratio = float32(float32(one.scale[0] * two.scale[0]) / out.scale[0])
    walk = _walk(y.shape, a.strides, b.strides, y.strides)
    types = (C_TYPES[a.dtype], C_TYPES[b.dtype], C_TYPES[y.dtype])
    zeros = (one.zero_point[0], two.zero_point[0], out.zero_point[0])
    limits = ELEMENTS[y.dtype].limits
    steep = scale_of(ratio, rounding)
    body = IntEachBody("prelu", walk, types, zeros, plain, steep, None, *limits)
    return (Use(body, (a, b, y)),)


def _table(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    """Any function of one 8-bit number; the graph's meaning of it gives the 256 entries."""
    from convgen.network.graph import Value
    from convgen.network.meaning.tables import table

    x, y = only(step)
    if x.dtype not in EIGHT or not _per_tensor(x, y):
        return ()
    one = Value("x", x.shape, x.dtype, x.quant)
    entries = table(step.op, one, Value("y", y.shape, y.dtype, y.quant), rounding)
    body = TableBody(
        _walk(y.shape, x.strides, y.strides),
        (C_TYPES[x.dtype], C_TYPES[y.dtype]),
        ELEMENTS[x.dtype].limits[0],
        tuple(entries.tolist()),
    )
    return (Use(body, (x, y)),)


def _quantize(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    x, y = only(step)
    if x.dtype is not Elem.FLOAT32 or y.dtype not in EIGHT or not _per_tensor(y):
        return ()
    out = _quant(y)
    body = QuantizeBody(
        _walk(y.shape, x.strides, y.strides),
        ("float", C_TYPES[y.dtype]),
        out.scale[0],
        out.zero_point[0],
        *ELEMENTS[y.dtype].limits,
        even=rounding is Rounding.ONNX,
    )
    return (Use(body, (x, y)),)


def _dequantize(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    x, y = only(step)
    if x.dtype not in (*EIGHT, Elem.INT16, Elem.INT32) or not _per_tensor(x):
        return ()
    one = _quant(x)
    walk = _walk(y.shape, x.strides, y.strides)
    types = (C_TYPES[x.dtype], "float")
    body = DequantizeBody(walk, types, one.scale[0], one.zero_point[0])
    return (Use(body, (x, y)),)


def _reduce(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Reduce)
    x, y = only(step)
    right = x.dtype in EIGHT and y.dtype in EIGHT and _per_tensor(x, y)
    if not right or op.fn not in ("mean", "sum", "max", "min"):
        return ()
    if rounding is Rounding.ONNX and op.fn not in ("max", "min"):
        return ()
    rank = len(x.shape)
    folded = sorted({axis % rank for axis in op.axes}, key=lambda at: -x.strides[at])
    kept = sorted((at for at in range(rank) if at not in folded), key=lambda at: -y.strides[at])
    count = 1
    for at in folded:
        count *= x.shape[at]
    if count >= MOST:
        return ()
    outer = nest(*([seq[at] for at in kept] for seq in (x.shape, x.strides, y.strides)))
    one, out = _quant(x), _quant(y)
    scale = None
    if op.fn in ("mean", "sum"):
        factor, shift = fixed_point(one.scale[0] / out.scale[0])
        if op.fn == "mean":  # 1/count goes into the multiplier, with as many bits kept as fit
            extra = min(count.bit_length() - 1, 32, 31 + shift)
            factor, shift = (factor << extra) // count, shift - extra
        scale = Scale(factor, shift, rounding is Rounding.TFLITE_SINGLE)
    body = IntReduceBody(
        op.fn,
        Nest((*outer.dims, Dim(1, (0, 0)))),
        nest(*([seq[at] for at in folded] for seq in (x.shape, x.strides))),
        (C_TYPES[x.dtype], C_TYPES[y.dtype]),
        one.zero_point[0],
        out.zero_point[0],
        scale,
        count,
        *ELEMENTS[y.dtype].limits,
    )
    return (Use(body, (x, y)),)


def _softmax(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    import numpy as np

    op = step.op
    assert isinstance(op, ops.Softmax)
    x, y = only(step)
    if x.dtype not in EIGHT or y.dtype not in EIGHT or not _per_tensor(x, y) or op.log:
        return ()
    one, out = _quant(x), _quant(y)
    scale = np.float32(-one.scale[0] * op.beta)
    steps = np.exp((scale * np.arange(256, dtype=np.float32)).astype(np.float64))
    axis = op.axis % len(x.shape)
    rest = [at for at in range(len(x.shape)) if at != axis]
    outer = nest(*([seq[at] for at in rest] for seq in (x.shape, x.strides, y.strides)))
    body = IntSoftmaxBody(
        x.shape[axis],
        Nest((*outer.dims, Dim(1, (0, 0)))),
        x.strides[axis],
        y.strides[axis],
        (C_TYPES[x.dtype], C_TYPES[y.dtype]),
        tuple(steps.astype(np.float32).tolist()),
        out.scale[0],
        out.zero_point[0],
        *ELEMENTS[y.dtype].limits,
    )
    return (Use(body, (x, y)),)


Maker = Callable[[Step, Rounding], tuple[Use, ...]]
# On machines with vectors of int32.
ON_LANES: dict[type[Any], Maker] = {ops.Binary: partial(_binary, lanes=True)}
QUANTISED: dict[type[Any], Maker] = {
    ops.Binary: _binary,
    ops.PRelu: _prelu,
    ops.Activate: _table,
    ops.Unary: _table,
    ops.Requantize: _table,
    ops.Quantize: _quantize,
    ops.Dequantize: _dequantize,
    ops.Reduce: _reduce,
    ops.Softmax: _softmax,
}

"""From a step to its kernels: which body, and which slots its arrays are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from convgen.errors import UsageError
from convgen.kernels.copy import Axis, copy_body, mapped_body
from convgen.kernels.elementwise import each_body
from convgen.kernels.pool import PoolBody
from convgen.kernels.reduce import reduce_body
from convgen.kernels.softmax import softmax_body
from convgen.kernels.steps import StepBody
from convgen.network import ops
from convgen.network.ops.face import Elem
from convgen.network.plan import Move, Moves, Slot, Step
from convgen.spec.model import Act, Activation

C_TYPES = {
    Elem.FLOAT32: "float",
    Elem.FLOAT64: "double",
    Elem.FLOAT16: "uint16_t",
    Elem.BFLOAT16: "uint16_t",
    Elem.INT8: "int8_t",
    Elem.UINT8: "uint8_t",
    Elem.INT16: "int16_t",
    Elem.UINT16: "uint16_t",
    Elem.INT32: "int32_t",
    Elem.UINT32: "uint32_t",
    Elem.INT64: "int64_t",
    Elem.UINT64: "uint64_t",
    Elem.BOOL: "uint8_t",
}
NO_ACT = Activation()


@dataclass(frozen=True)
class Use:
    """One kernel at work: its body, and the slots it is given: inputs, then the output."""

    body: StepBody
    slots: tuple[Slot, ...]


class Unsupported(UsageError):
    """A step that no kernel carries out yet."""


def uses_of(step: Step) -> tuple[Use, ...]:
    """The kernels of a step that is no convolution, in order. Raises ``Unsupported``."""
    maker = MAKERS.get(type(step.op))
    found = None if maker is None else maker(step)
    if not found:
        kinds = ", ".join(sorted({str(slot.dtype) for slot in (*step.reads, *step.writes)}))
        raise Unsupported(
            f"node {', '.join(step.nodes) or step.name}: no kernel computes {step.op.kind} of "
            f"{kinds} tensors yet; cut the network before it with --cut"
        )
    return found


def _floats(step: Step) -> bool:
    return all(slot.dtype is Elem.FLOAT32 for slot in (*step.reads, *step.writes))


def _binary(step: Step) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Binary)
    a, b = _both(step)
    (y,) = step.outputs
    names = {"add", "sub", "mul", "div", "max", "min"}
    if not _floats(step) or op.fn not in names:
        return ()
    body = each_body(op.fn, op.activation, y.shape, (a.strides, b.strides, y.strides))
    return (Use(body, (a, b, y)),)


def _both(step: Step) -> tuple[Slot, Slot]:
    a, b = step.inputs
    assert a is not None and b is not None, step
    return a, b


def _only(step: Step) -> tuple[Slot, Slot]:
    (x,), (y,) = step.inputs[:1], step.outputs
    assert x is not None, step
    return x, y


def _activate(step: Step) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Activate)
    x, y = _only(step)
    if not _floats(step):
        return ()
    body = each_body("copy", op.activation, y.shape, (x.strides, y.strides))
    return (Use(body, (x, y)),)


def _prelu(step: Step) -> tuple[Use, ...]:
    x, slope = _both(step)
    (y,) = step.outputs
    if not _floats(step):
        return ()
    body = each_body("prelu", NO_ACT, y.shape, (x.strides, slope.strides, y.strides))
    return (Use(body, (x, slope, y)),)


def _pool(step: Step) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.MaxPool | ops.AvgPool)
    x, y = _only(step)
    kinds = (Elem.FLOAT32, Elem.INT8, Elem.UINT8)
    if x.dtype not in kinds or len(op.kernel) != 2 or x.strides[3] != 1 or y.strides[3] != 1:
        return ()
    (n, h, w, c), (_, oh, ow, _) = x.shape, y.shape
    (pt, pb), (pl, pr) = op.pads
    low, high = (0, 0) if x.dtype is Elem.FLOAT32 else clamp(op.activation, y)
    body = PoolBody(
        "max" if isinstance(op, ops.MaxPool) else "avg",
        n, h, w, c, oh, ow, *op.kernel, *op.strides, *op.dilations, pt, pl, pb, pr,
        isinstance(op, ops.AvgPool) and op.include_pad,
        *x.strides[:3], *y.strides[:3], op.activation, C_TYPES[x.dtype], low, high,
    )  # fmt: skip
    return (Use(body, (x, y)),)


def _reduce(step: Step) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Reduce)
    x, y = _only(step)
    if not _floats(step) or op.fn not in ("mean", "sum", "max", "min"):
        return ()
    y_strides = y.strides if len(y.strides) == len(x.strides) else ()
    body = reduce_body(op.fn, x.shape, op.axes, x.strides, y_strides, NO_ACT)
    return (Use(body, (x, y)),)


def _softmax(step: Step) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Softmax)
    x, y = _only(step)
    if not _floats(step) or op.log:
        return ()
    axis = op.axis % len(x.shape)
    return (Use(softmax_body(x.shape, axis, op.beta, x.strides, y.strides), (x, y)),)


def _moves(step: Step) -> tuple[Use, ...]:
    return tuple(use for move in step.moves for use in _move(move))


def _move(move: Move) -> tuple[Use, ...]:
    target = move.target
    if not target.size:
        return ()
    element, size = C_TYPES[target.dtype], target.dtype.size
    if move.source is None:
        order = sorted(range(len(target.shape)), key=lambda at: -abs(target.strides[at]))
        axes = [Axis(target.shape[at], target.strides[at]) for at in order]
        fill = literal(move.fill, target.dtype)
        return (Use(mapped_body(axes, element, size, fill, constant=True), (target,)),)
    source = move.source
    body = copy_body(target.shape, source.strides, target.strides, element, size)
    return (Use(body, (source, target)),)


def literal(value: float, dtype: Elem) -> str:
    """A stored value as C has it."""
    from convgen.ctext.activations import float_literal

    if dtype is Elem.FLOAT32:
        return float_literal(value)
    return repr(float(value)) if dtype is Elem.FLOAT64 else str(int(value))


def clamp(act: Activation, y: Slot) -> tuple[int, int]:
    """The limits of 8-bit outputs: their type's, narrowed by an activation that is a clamp."""
    from convgen.spec.elements import ELEMENTS
    from convgen.spec.quant import Affine, Rounding
    from convgen.spec.table import clamp as narrowed

    limits = ELEMENTS[y.dtype].limits
    if act.kind is Act.NONE or y.quant is None:
        return limits
    meaning = Affine(y.quant.scale, y.quant.zero_point)
    return narrowed(act, meaning, limits, Rounding.TFLITE)


Maker = Callable[[Step], tuple[Use, ...]]
MAKERS: dict[type[Any], Maker] = {
    ops.Binary: _binary,
    ops.Activate: _activate,
    ops.PRelu: _prelu,
    ops.MaxPool: _pool,
    ops.AvgPool: _pool,
    ops.Reduce: _reduce,
    ops.Softmax: _softmax,
    Moves: _moves,
}

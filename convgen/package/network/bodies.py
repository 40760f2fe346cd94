"""From a step to its kernels: which body, and which slots its arrays are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from convgen.errors import UsageError
from convgen.kernels.apply import apply_body
from convgen.kernels.cast import CastBody
from convgen.kernels.copy import Axis, copy_body, mapped_body
from convgen.kernels.elementwise import each_body
from convgen.kernels.integer.body import CHUNK
from convgen.kernels.matmul import matmul_body
from convgen.kernels.nest import Walk, nest
from convgen.kernels.pool import PoolBody
from convgen.kernels.reduce import reduce_body
from convgen.kernels.softmax import softmax_body
from convgen.network import ops
from convgen.network.graph import Graph
from convgen.network.ops.face import Elem
from convgen.network.plan import Move, Moves, Step
from convgen.package.network.images import linear, lrn, transposed
from convgen.package.network.integers import ON_LANES, QUANTISED, quantised
from convgen.package.network.use import C_TYPES, NO_ACT, Use, both, clamp, literal, only
from convgen.spec.quant import Rounding


class Unsupported(UsageError):
    """A step that no kernel carries out yet."""


def uses_of(
    step: Step, rounding: Rounding, graph: Graph, *, lanes: bool = False
) -> tuple[Use, ...]:
    """The kernels of a step that is no convolution, in order. Raises ``Unsupported``.

    ``rounding``: the framework whose arithmetic quantised steps have; ``graph``: with the constants
    of transposed convolutions; ``lanes``: the target has vectors of int32 (``target.dots``).
    """
    if isinstance(step.op, ops.ConvTransposed):
        found = transposed(step, rounding, graph)
        return _found(step, found)
    own = ON_LANES if lanes else {}
    table = {**QUANTISED, **QUANTISED_TOO, **own} if quantised(step) else MAKERS
    maker = table.get(type(step.op))
    return _found(step, () if maker is None else maker(step, rounding))


def _found(step: Step, found: tuple[Use, ...]) -> tuple[Use, ...]:
    if not found:
        kinds = ", ".join(sorted({str(slot.dtype) for slot in (*step.reads, *step.writes)}))
        raise Unsupported(
            f"node {', '.join(step.nodes) or step.name}: no kernel computes {step.op.kind} of "
            f"{kinds} tensors yet; cut the network before it with --cut"
        )
    return found


def _floats(step: Step) -> bool:
    return all(slot.dtype is Elem.FLOAT32 for slot in (*step.reads, *step.writes))


def _binary(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Binary)
    a, b = both(step)
    (y,) = step.outputs
    names = {"add", "sub", "mul", "div", "max", "min"}
    if not _floats(step) or op.fn not in names:
        return _applied(step, op.fn) if op.activation == NO_ACT else ()
    body = each_body(op.fn, op.activation, y.shape, (a.strides, b.strides, y.strides))
    return (Use(body, (a, b, y)),)


def _activate(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Activate)
    x, y = only(step)
    if not _floats(step):
        return ()
    body = each_body("copy", op.activation, y.shape, (x.strides, y.strides))
    return (Use(body, (x, y)),)


UNARY = ("abs", "neg", "square", "reciprocal", "exp", "elu", "selu", "hard_sigmoid")


def _unary(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Unary)
    x, y = only(step)
    if not _floats(step) or op.fn not in UNARY:
        return _applied(step, op.fn, op.alpha)
    beta = op.gamma if op.fn == "selu" else op.beta
    body = each_body(op.fn, NO_ACT, y.shape, (x.strides, y.strides), op.alpha, beta)
    return (Use(body, (x, y)),)


def _matmul(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    a, b = both(step)
    (y,) = step.outputs
    if not _floats(step):
        return ()
    body = matmul_body(y.shape, a.shape[-1], (a.strides, b.strides, y.strides))
    return (Use(body, (a, b, y)),)


def _where(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    return _applied(step, "where")


def _applied(step: Step, fn: str, alpha: float = 1.0) -> tuple[Use, ...]:
    """Any function of elements, in plain C."""
    slots = (*step.reads, *step.outputs)
    odd = (Elem.FLOAT16, Elem.BFLOAT16)
    if any(slot.dtype in odd or slot.quant is not None for slot in slots):
        return ()
    y = slots[-1]
    types = tuple(C_TYPES[slot.dtype] for slot in slots)
    body = apply_body(fn, y.shape, [slot.strides for slot in slots], types, alpha)
    return () if body is None else (Use(body, slots),)


def _cast(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    x, y = only(step)
    odd = (Elem.FLOAT16, Elem.BFLOAT16)
    if x.dtype in odd or y.dtype in odd:
        return ()
    loops = Walk(nest(y.shape, x.strides, y.strides), CHUNK, 1)
    body = CastBody(loops, (C_TYPES[x.dtype], C_TYPES[y.dtype]), y.dtype is Elem.BOOL)
    return (Use(body, (x, y)),)


def _prelu(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    x, slope = both(step)
    (y,) = step.outputs
    if not _floats(step):
        return ()
    body = each_body("prelu", NO_ACT, y.shape, (x.strides, slope.strides, y.strides))
    return (Use(body, (x, slope, y)),)


def _pool(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.MaxPool | ops.AvgPool)
    x, y = only(step)
    if x.dtype not in POOLED or len(op.kernel) != 2 or x.strides[3] != 1 or y.strides[3] != 1:
        return ()
    (n, h, w, c), (_, oh, ow, _) = x.shape, y.shape
    (pt, pb), (pl, pr) = op.pads
    (kh, kw), (sh, sw), (dh, dw) = op.kernel, op.strides, op.dilations
    (xi, xr, xp), (yi, yr, yp) = x.strides[:3], y.strides[:3]
    low, high = (0, 0) if x.dtype is Elem.FLOAT32 else clamp(op.activation, y, rounding)
    body = PoolBody(
        "max" if isinstance(op, ops.MaxPool) else "avg",
        n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, pt, pl, pb, pr,
        isinstance(op, ops.AvgPool) and op.include_pad,
        xi, xr, xp, yi, yr, yp, op.activation, C_TYPES[x.dtype], low, high,
    )  # fmt: skip
    return () if body.hollow else (Use(body, (x, y)),)


def _reduce(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Reduce)
    x, y = only(step)
    if not _floats(step) or op.fn not in ("mean", "sum", "max", "min"):
        return ()
    y_strides = y.strides if len(y.strides) == len(x.strides) else ()
    body = reduce_body(op.fn, x.shape, op.axes, x.strides, y_strides, NO_ACT)
    return (Use(body, (x, y)),)


def _softmax(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.Softmax)
    x, y = only(step)
    if not _floats(step) or op.log:
        return ()
    axis = op.axis % len(x.shape)
    return (Use(softmax_body(x.shape, axis, op.beta, x.strides, y.strides), (x, y)),)


def _moves(step: Step, rounding: Rounding) -> tuple[Use, ...]:
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


POOLED = (Elem.FLOAT32, Elem.INT8, Elem.UINT8)
Maker = Callable[[Step, Rounding], tuple[Use, ...]]
MAKERS: dict[type[Any], Maker] = {
    ops.Binary: _binary,
    ops.Activate: _activate,
    ops.PRelu: _prelu,
    ops.MaxPool: _pool,
    ops.AvgPool: _pool,
    ops.Reduce: _reduce,
    ops.Softmax: _softmax,
    ops.Unary: _unary,
    ops.MatMul: _matmul,
    ops.Where: _where,
    ops.Cast: _cast,
    ops.Resize: linear,
    ops.LocalResponseNorm: lrn,
    Moves: _moves,
}
QUANTISED_TOO: dict[type[Any], Maker] = {
    ops.MaxPool: _pool,
    ops.AvgPool: _pool,
    ops.Resize: linear,
    Moves: _moves,
}

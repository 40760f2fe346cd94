"""Operators without a kernel of their own as several that have one."""

from __future__ import annotations

from typing import Any

from convgen.network.graph import Node
from convgen.network.ops import (
    Binary,
    BinaryFn,
    LayerNorm,
    Reduce,
    ReduceFn,
    Softmax,
    Unary,
    UnaryFn,
)
from convgen.network.passes.draft import Draft


def take_apart(draft: Draft) -> None:
    """Layer normalisation, log softmax, and reductions beyond sums, means and extremes."""
    for node in draft.each():
        if not draft.exact(node):
            continue
        match node.op:
            case Reduce():
                _reduction(draft, node, node.op)
            case Softmax(log=True):
                _log_softmax(draft, node, node.op)
            case LayerNorm():
                _layer_norm(draft, node, node.op)


def _reduction(draft: Draft, node: Node, op: Reduce) -> None:
    def summed(name: str) -> str:
        return draft.before(node, f"{node.output}.sum", _sum(op), [name])

    x = node.inputs[0]
    note = f"{op.kind} `{node.name}`: taken apart"
    match op.fn:
        case ReduceFn.L1:
            x = _unary(draft, node, UnaryFn.ABS, x)
            draft.update(node, note, op=_sum(op), inputs=(x,))
        case ReduceFn.SUM_SQUARE:
            x = _unary(draft, node, UnaryFn.SQUARE, x)
            draft.update(node, note, op=_sum(op), inputs=(x,))
        case ReduceFn.L2:
            x = summed(_unary(draft, node, UnaryFn.SQUARE, x))
            draft.update(node, note, op=Unary(UnaryFn.SQRT), inputs=(x,))
        case ReduceFn.LOG_SUM:
            draft.update(node, note, op=Unary(UnaryFn.LOG), inputs=(summed(x),))
        case ReduceFn.LOG_SUM_EXP:
            kept = Reduce(ReduceFn.MAX, op.axes, keepdims=True)
            top = draft.before(node, f"{node.output}.top", kept, [x])
            low = draft.before(node, f"{node.output}.low", Binary(BinaryFn.SUB), [x, top])
            total = summed(_unary(draft, node, UnaryFn.EXP, low))
            log = draft.before(node, f"{node.output}.log", Unary(UnaryFn.LOG), [total])
            if not op.keepdims:
                again = Reduce(ReduceFn.MAX, op.axes, keepdims=False)
                top = draft.before(node, f"{node.output}.flat", again, [top])
            draft.update(node, note, op=Binary(BinaryFn.ADD), inputs=(log, top))
        case _:
            return


def _sum(op: Reduce) -> Reduce:
    return Reduce(ReduceFn.SUM, op.axes, keepdims=op.keepdims)


def _unary(draft: Draft, node: Node, fn: UnaryFn, x: str) -> str:
    return draft.before(node, f"{node.output}.{fn}", Unary(fn), [x])


def _log_softmax(draft: Draft, node: Node, op: Softmax) -> None:
    """z - log(sum of e^z), z = beta * (x - max)."""
    x = node.inputs[0]
    axis = op.axis % len(draft.values[x].shape)
    top = draft.before(node, f"{node.output}.top", Reduce(ReduceFn.MAX, (axis,)), [x])
    z = draft.before(node, f"{node.output}.low", Binary(BinaryFn.SUB), [x, top])
    if op.beta != 1:
        beta = _number(draft, node, op.beta)
        z = draft.before(node, f"{node.output}.scaled", Binary(BinaryFn.MUL), [z, beta])
    powers = _unary(draft, node, UnaryFn.EXP, z)
    total = draft.before(node, f"{node.output}.sum", Reduce(ReduceFn.SUM, (axis,)), [powers])
    log = draft.before(node, f"{node.output}.log", Unary(UnaryFn.LOG), [total])
    note = f"log_softmax `{node.name}`: taken apart"
    draft.update(node, note, op=Binary(BinaryFn.SUB), inputs=(z, log))


def _layer_norm(draft: Draft, node: Node, op: LayerNorm) -> None:
    def step(word: str, of: Any, *inputs: str) -> str:
        return draft.before(node, f"{node.output}.{word}", of, inputs)

    x = node.inputs[0]
    rank = len(draft.values[x].shape)
    axes = tuple(range(op.axis % rank, rank))
    mean = step("mean", Reduce(ReduceFn.MEAN, axes), x)
    centred = step("centred", Binary(BinaryFn.SUB), x, mean)
    squares = step("squares", Unary(UnaryFn.SQUARE), centred)
    variance = step("variance", Reduce(ReduceFn.MEAN, axes), squares)
    held = step("held", Binary(BinaryFn.ADD), variance, _number(draft, node, op.epsilon))
    spread = step("spread", Unary(UnaryFn.SQRT), held)
    work = [(BinaryFn.DIV, spread)]
    work += zip((BinaryFn.MUL, BinaryFn.ADD), node.inputs[1:], strict=False)
    *others, (last, operand) = [(fn, name) for fn, name in work if name]
    y = centred
    for fn, name in others:
        y = step(str(fn), Binary(fn), y, name)
    note = f"layer_norm `{node.name}`: taken apart"
    draft.update(node, note, op=Binary(last), inputs=(y, operand))


def _number(draft: Draft, node: Node, value: float) -> str:
    import numpy as np

    return draft.constant(np.array([value], np.float32), f"{node.output}.number")

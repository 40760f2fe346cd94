"""Activations that exporters spell out in parts, recognised again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from convgen.network.graph import Node
from convgen.network.ops import Activate, Binary, BinaryFn, Unary, UnaryFn
from convgen.network.passes.draft import Draft
from convgen.spec.model import Act, Activation

_NEAR = 2e-5  # relative: constants such as sqrt(2) come in float32, or even float16


def recognise(draft: Draft) -> None:
    """x*sigmoid(x), x*hard_sigmoid(x), clip((x + 3)/6), GELU, max and min with a number."""
    for node in draft.each():
        if len(node.outputs) != 1 or not draft.exact(node):
            continue
        _clip(draft, node)
    for node in draft.each():
        if len(node.outputs) == 1 and draft.exact(node):
            _hard_sigmoid(draft, node)
    for node in draft.each():
        if len(node.outputs) == 1 and draft.exact(node):
            _gated(draft, node) or _gelu(draft, node)


def number(draft: Draft, name: str) -> float | None:
    """The one number that a constant holds."""
    array = draft.array(name)
    if array is None or array.size == 0 or not draft.values[name].dtype.is_float:
        return None
    first = float(array.reshape(-1)[0])
    return first if array.size == 1 or bool((array == first).all()) else None


def _near(value: float | None, wanted: float) -> bool:
    return value is not None and abs(value - wanted) <= _NEAR * max(1.0, abs(wanted))


def _sides(draft: Draft, node: Node, fn: BinaryFn) -> Iterator[tuple[str, float]]:
    """(value, number) of a commutative node with a constant number that does not change shape."""
    op = node.op
    if not isinstance(op, Binary) or op.fn is not fn or op.activation.kind is not Act.NONE:
        return
    for at in (0, 1):
        value = number(draft, node.inputs[1 - at])
        same = draft.values[node.inputs[at]].shape == draft.values[node.output].shape
        if value is not None and same and node.inputs[at] not in draft.constants:
            yield node.inputs[at], value


def _becomes(draft: Draft, node: Node, op: Any, inputs: tuple[str, ...], note: str) -> bool:
    """Other operator, other inputs; parts that nobody reads any more fall out later."""
    draft.update(node, note, op=op, inputs=inputs)
    return True


def _clip(draft: Draft, node: Node) -> bool:
    """max(x, number), min(x, number)."""
    for fn in (BinaryFn.MAX, BinaryFn.MIN):
        for x, value in _sides(draft, node, fn):
            act = Activation(Act.RELU) if fn is BinaryFn.MAX and value == 0 else None
            if act is None:
                ends = {"low": value} if fn is BinaryFn.MAX else {"high": value}
                act = Activation(Act.CLIP, **ends)
            return _becomes(draft, node, Activate(act), (x,), f"{fn} with a number: a clip")
    return False


def _source(draft: Draft, name: str) -> tuple[Node, Any] | None:
    node = draft.made_by(name)
    return None if node is None else (node, node.op)


def _limits(op: Any) -> tuple[float | None, float | None] | None:
    """Of an activation that clips."""
    if not isinstance(op, Activate):
        return None
    match op.activation.kind:
        case Act.RELU6:
            return 0.0, 6.0
        case Act.CLIP:
            return op.activation.low, op.activation.high
        case _:
            return None


def _scaled(draft: Draft, node: Node) -> tuple[str, float] | None:
    """(x, factor) of x*factor or x/number."""
    for x, value in _sides(draft, node, BinaryFn.MUL):
        return x, value
    op = node.op
    if isinstance(op, Binary) and op.fn is BinaryFn.DIV and op.activation.kind is Act.NONE:
        divisor = number(draft, node.inputs[1])
        same = draft.values[node.inputs[0]].shape == draft.values[node.output].shape
        if divisor and same:
            return node.inputs[0], 1 / divisor
    return None


def _six(draft: Draft, name: str) -> str | None:
    """x of clip(x + 3, 0, 6)."""
    clip = draft.made_by(name)
    if clip is None or _limits(clip.op) != (0.0, 6.0):
        return None
    add = draft.made_by(clip.inputs[0])
    if add is None:
        return None
    return next((x for x, n in _sides(draft, add, BinaryFn.ADD) if _near(n, 3.0)), None)


def _hard_sigmoid(draft: Draft, node: Node) -> bool:
    """clip(x + 3, 0, 6) / 6."""
    part = _scaled(draft, node)
    if part is None or not _near(part[1], 1 / 6):
        return False
    x = _six(draft, part[0])
    if x is None:
        return False
    op = Unary(UnaryFn.HARD_SIGMOID, alpha=1 / 6, beta=0.5)
    return _becomes(draft, node, op, (x,), "clip(x + 3, 0, 6) / 6: a hard sigmoid")


def _gated(draft: Draft, node: Node) -> bool:
    """x * gate(x): SiLU or hard swish."""
    op = node.op
    if (part := _scaled(draft, node)) is not None and _near(part[1], 1 / 6):
        inner = draft.made_by(part[0])
        if inner is not None and (x := _product(draft, inner)) is not None:
            note = "x * clip(x + 3, 0, 6) / 6: hard swish"
            return _becomes(draft, node, Activate(Activation(Act.HARDSWISH)), (x,), note)
    if not isinstance(op, Binary) or op.fn is not BinaryFn.MUL:
        return False
    if op.activation.kind is not Act.NONE:
        return False
    for at in (0, 1):
        x, gate = node.inputs[at], draft.made_by(node.inputs[1 - at])
        if gate is None or gate.inputs[0] != x:
            continue
        act = _gate(gate.op)
        if act is not None:
            note = f"x * {gate.op.kind}(x): {act}"
            return _becomes(draft, node, Activate(Activation(act)), (x,), note)
    return False


def _gate(op: Any) -> Act | None:
    if isinstance(op, Activate) and op.activation.kind is Act.SIGMOID:
        return Act.SILU
    hard = isinstance(op, Unary) and op.fn is UnaryFn.HARD_SIGMOID
    if hard and _near(op.alpha, 1 / 6) and _near(op.beta, 0.5):
        return Act.HARDSWISH
    return None


def _product(draft: Draft, node: Node) -> str | None:
    """x of x * clip(x + 3, 0, 6)."""
    op = node.op
    if not isinstance(op, Binary) or op.fn is not BinaryFn.MUL:
        return None
    for at in (0, 1):
        x = _six(draft, node.inputs[1 - at])
        if x is not None and x == node.inputs[at]:
            return x
    return None


def _gelu(draft: Draft, node: Node) -> bool:
    """The three factors x, 1/2 and 1 + erf(x / sqrt 2), or 1 + tanh(...), in any order."""
    factors = _factors(draft, node, 3)
    half = [f for f in factors if isinstance(f, float)]
    names = [f for f in factors if isinstance(f, str)]
    if len(names) != 2 or not _near(math.prod(half), 0.5):
        return False
    for x, other in (names, names[::-1]):
        act = _one_plus(draft, other, x)
        if act is not None:
            note = f"x/2 * (1 + {'erf' if act is Act.GELU else 'tanh'}(...)): {act}"
            return _becomes(draft, node, Activate(Activation(act)), (x,), note)
    return False


def _factors(draft: Draft, node: Node | None, depth: int) -> list[str | float]:
    """What a tree of products multiplies; a leaf is a value's name or a number."""
    if node is None or depth == 0:
        return []
    part = _scaled(draft, node)
    if part is not None:
        return [part[1], *_leaves(draft, part[0], depth)]
    op = node.op
    if isinstance(op, Binary) and op.fn is BinaryFn.MUL and op.activation.kind is Act.NONE:
        return [leaf for name in node.inputs for leaf in _leaves(draft, name, depth)]
    return []


def _leaves(draft: Draft, name: str, depth: int) -> list[str | float]:
    inner = draft.private(name)
    return _factors(draft, inner, depth - 1) or [name]


def _one_plus(draft: Draft, name: str, x: str) -> Act | None:
    """1 + erf(x / sqrt 2), or 1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))."""
    add = draft.made_by(name)
    if add is None:
        return None
    inner = next((v for v, n in _sides(draft, add, BinaryFn.ADD) if _near(n, 1.0)), None)
    found = None if inner is None else _source(draft, inner)
    if found is None:
        return None
    node, op = found
    before = draft.made_by(node.inputs[0])
    part = None if before is None else _scaled(draft, before)
    if part is None:
        return None
    if isinstance(op, Unary) and op.fn is UnaryFn.ERF:
        return Act.GELU if part[0] == x and _near(part[1], math.sqrt(0.5)) else None
    if isinstance(op, Activate) and op.activation.kind is Act.TANH:
        fits = _near(part[1], math.sqrt(2 / math.pi)) and _cubic(draft, part[0], x)
        return Act.GELU_TANH if fits else None
    return None


def _cubic(draft: Draft, name: str, x: str) -> bool:
    """Is a value x + 0.044715 * x^3?"""
    add = draft.made_by(name)
    if add is None or not isinstance(add.op, Binary) or add.op.fn is not BinaryFn.ADD:
        return False
    if x not in add.inputs:
        return False
    other = add.inputs[1 - add.inputs.index(x)]
    factors = _factors(draft, draft.made_by(other), 3)
    numbers = math.prod(f for f in factors if isinstance(f, float))
    power = 0
    for name in (f for f in factors if isinstance(f, str)):
        node = draft.made_by(name)
        if name == x:
            power += 1
        elif node is not None and isinstance(node.op, Binary) and node.op.fn is BinaryFn.POW:
            exponent = number(draft, node.inputs[1])
            power += int(exponent or 0) if node.inputs[0] == x else 9
        else:
            return False
    return power == 3 and _near(numbers, 0.044715)

"""Activations go into the epilogue of what they follow."""

from __future__ import annotations

from dataclasses import replace

from convgen.network.ops import Activate, AvgPool, Binary, BinaryFn, MaxPool
from convgen.network.passes.draft import Draft
from convgen.network.passes.folding import Weighted
from convgen.spec.model import Act, Activation

_ARITHMETIC = frozenset(
    {BinaryFn.ADD, BinaryFn.SUB, BinaryFn.MUL, BinaryFn.DIV, BinaryFn.MAX, BinaryFn.MIN}
)


def fuse_activations(draft: Draft) -> None:
    """Into convolutions, dense layers, pools and arithmetic, of which nothing else is read."""
    for node in draft.each():
        if not isinstance(node.op, Activate) or not draft.exact(node):
            continue
        before = draft.private(node.inputs[0])
        if before is None or not draft.exact(before):
            continue
        op = before.op
        takes = isinstance(op, (*Weighted, MaxPool, AvgPool)) or (
            isinstance(op, Binary) and op.fn in _ARITHMETIC
        )
        if not takes:
            continue
        assert isinstance(op, (*Weighted, MaxPool, AvgPool, Binary))
        act = _joined(op.activation, node.op.activation)
        if act is None:
            continue
        note = f"{node.op.kind} `{node.name}`: in the epilogue"
        current = draft.update(before, note, op=replace(op, activation=act))
        draft.take_over(current, node.output)


def _joined(first: Activation, then: Activation) -> Activation | None:
    """One activation for two, where there is one: clips of clips are clips."""
    if first.kind is Act.NONE:
        return then
    if then.kind is Act.NONE:
        return first
    one, two = _limits(first), _limits(then)
    if one is None or two is None:
        return None
    lows = [low for low in (one[0], two[0]) if low is not None]
    highs = [high for high in (one[1], two[1]) if high is not None]
    low, high = max(lows, default=None), min(highs, default=None)
    if low is not None and high is not None and low >= high:
        return None
    return named(low, high)


def named(low: float | None, high: float | None) -> Activation:
    """The plainest activation that clips to these limits."""
    if (low, high) == (None, None):
        return Activation()
    if (low, high) == (0.0, None):
        return Activation(Act.RELU)
    if (low, high) == (0.0, 6.0):
        return Activation(Act.RELU6)
    return Activation(Act.CLIP, low=low, high=high)


def _limits(act: Activation) -> tuple[float | None, float | None] | None:
    match act.kind:
        case Act.NONE:
            return None, None
        case Act.RELU:
            return 0.0, None
        case Act.RELU6:
            return 0.0, 6.0
        case Act.CLIP:
            return act.low, act.high
        case _:
            return None

"""Padding that goes into the windows of what reads it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from convgen.network.graph import Node
from convgen.network.ops import (
    Activate,
    AvgPool,
    Conv,
    MaxPool,
    Pad,
    PadMode,
    Reshape,
    Transpose,
)
from convgen.network.passes.draft import Draft
from convgen.spec.model import Act, Activation

_POSITIVE = frozenset({Act.RELU, Act.RELU6, Act.SIGMOID})


def fold_pads(draft: Draft) -> None:
    """Where a pad's border contributes to a window what the window's own padding would."""
    for node in draft.each():
        op = node.op
        if not isinstance(op, (Conv, AvgPool, MaxPool)):
            continue
        pad = draft.private(node.inputs[0])
        if pad is None or not isinstance(pad.op, Pad) or pad.op.mode is not PadMode.CONSTANT:
            continue
        sides = _spatial(pad.op, op)
        if sides is None or min(min(pair) for pair in sides) < 0:
            continue
        changes = _absorbed(draft, node, pad, sides)
        if changes is None:
            continue
        note = f"pad `{pad.name}`: in the window's own padding"
        inputs = (pad.inputs[0], *node.inputs[1:])
        draft.update(node, note, op=replace(op, **changes), inputs=inputs)
        draft.remove(pad)


def _spatial(pad: Pad, op: Any) -> tuple[tuple[int, int], ...] | None:
    """The pads of the spatial axes, if no other axis is padded."""
    first, last = (1, -1) if op.channels_last else (2, len(pad.pads))
    others = (*pad.pads[:first], *pad.pads[last:])
    return None if any(a or b for a, b in others) else pad.pads[first:last]


def _absorbed(
    draft: Draft, node: Node, pad: Node, sides: tuple[tuple[int, int], ...]
) -> dict[str, Any] | None:
    op, value = node.op, pad.op.value  # type: ignore[attr-defined]
    assert isinstance(op, (Conv, AvgPool, MaxPool))
    pads = tuple(
        (a + before, b + after) for (a, b), (before, after) in zip(op.pads, sides, strict=True)
    )
    wide = {"pads": pads}
    match op:
        case Conv():
            return wide if value == 0 else None
        case AvgPool():
            # The zeros count as elements: the window's padding must count too.
            plain = not any(a or b for a, b in op.pads) and not op.ceil
            return wide | {"include_pad": True} if value == 0 and plain else None
        case MaxPool():
            covered = all(
                max(pair) < taps and dilation == 1
                for pair, taps, dilation in zip(pads, op.kernel, op.dilations, strict=True)
            )
            least = value == -math.inf or (value == 0 and _positive(draft, pad.inputs[0]))
            return wide if least and covered and not op.ceil else None


def _positive(draft: Draft, name: str) -> bool:
    """Can no element be negative? Then a border of zeros never wins against a real element."""
    node = draft.made_by(name)
    if node is None or draft.values[name].quant is not None:
        return False
    if isinstance(node.op, Activate):
        return node.op.activation.kind in _POSITIVE
    activation = getattr(node.op, "activation", None)
    return activation is not None and activation.kind in _POSITIVE


def split_volumes(draft: Draft) -> None:
    """Pools in three dimensions as a pool over rows and columns and one over planes.

    A maximum is that of maxima; a mean is that of means where all windows have as many elements.
    """
    for node in draft.each():
        op = node.op
        if not isinstance(op, (MaxPool, AvgPool)) or len(op.kernel) != 3 or op.ceil:
            continue
        uneven = isinstance(op, AvgPool) and not op.include_pad and any(map(any, op.pads))
        if uneven or not draft.exact(node):
            continue
        _split(draft, node, op)


def _split(draft: Draft, node: Node, op: MaxPool | AvgPool) -> None:
    """Planes beside the images first, then every row and column of pixels as one row."""
    x, y = draft.values[node.inputs[0]].shape, draft.values[node.output].shape
    last = op.channels_last
    n, depth, c = x[0], x[1 if last else 2], x[-1 if last else 1]
    height, width = y[2:4] if last else y[3:5]
    name = node.name

    def before(word: str, made: Any, source: str) -> str:
        return draft.before(node, f"{name}.{word}", made, (source,))

    flat = node.inputs[0] if last else before("planes", Transpose((0, 2, 1, 3, 4)), node.inputs[0])
    rows = (*x[2:4], c) if last else (c, *x[3:5])
    flat = before("images", Reshape((n * depth, *rows)), flat)
    first = replace(
        op,
        kernel=op.kernel[1:],
        strides=op.strides[1:],
        pads=op.pads[1:],
        dilations=op.dilations[1:],
        activation=Activation(),
    )
    pooled = before("rows", first, flat)
    line = (n, depth, height * width, c) if last else (n, depth, c, height * width)
    pooled = before("pixels", Reshape(line), pooled)
    pooled = pooled if last else before("depth", Transpose((0, 2, 1, 3)), pooled)
    second = replace(
        op,
        kernel=(op.kernel[0], 1),
        strides=(op.strides[0], 1),
        pads=(op.pads[0], (0, 0)),
        dilations=(op.dilations[0], 1),
    )
    pooled = before("columns", second, pooled)
    note = "a pool over rows and columns, then one over planes"
    draft.update(node, note, op=Reshape(y), inputs=(pooled,))

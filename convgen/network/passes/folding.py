"""Arithmetic that goes into the weights and biases of what stands before it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convgen.network.graph import Node
from convgen.network.ops import (
    BatchNorm,
    Binary,
    BinaryFn,
    Conv,
    ConvTransposed,
    Dense,
    MatMul,
    Reshape,
    Transpose,
)
from convgen.network.passes.draft import Draft
from convgen.spec.model import Act

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weighted = (Conv, ConvTransposed, Dense)


def dense_from_matmul(draft: Draft) -> None:
    """A product with a constant matrix is a dense layer."""
    for node in draft.each():
        if isinstance(node.op, MatMul) and draft.exact(node):
            w = draft.array(node.inputs[1])
            if w is not None and w.ndim == 2:
                note = "a product with a constant matrix: a dense layer without bias"
                draft.update(node, note, op=Dense())


def fold_batch_norm(draft: Draft) -> None:
    """Into the convolution before it, or else a convolution of its own: one weight a channel."""
    import numpy as np

    for node in draft.each():
        op = node.op
        if not isinstance(op, BatchNorm) or not draft.exact(node):
            continue
        rows = [draft.array(name) for name in node.inputs[1:]]
        if any(row is None for row in rows):
            continue
        scale, bias, mean, var = (np.asarray(row, np.float64) for row in rows)
        factor = scale / np.sqrt(var + float(np.float32(op.epsilon)))
        offset = bias - mean * factor
        before = _weighted_before(draft, node.inputs[0])
        rank = len(draft.values[node.output].shape)
        if before is not None and _channel_axis(before, rank) == op.axis % rank:
            _scale_and_shift(draft, before, factor, offset)
            kind = f"batch_norm `{node.name}`"
            _swallow(
                draft, before, node, f"{kind}: its scale is in the weights, its shift in the bias"
            )
        elif 3 <= rank <= 5 and op.axis % rank in (1, rank - 1):
            _as_convolution(draft, node, op.axis % rank, factor, offset)


def _weighted_before(draft: Draft, name: str) -> Node | None:
    """The convolution or dense node that makes a value for one reader alone, without activation."""
    node = draft.private(name)
    if node is None or not isinstance(node.op, Weighted) or not draft.exact(node):
        return None
    ready = node.op.activation.kind is Act.NONE and node.inputs[1] in draft.constants
    return node if ready and all(name in draft.constants for name in node.given[2:]) else None


def _channel_axis(node: Node, rank: int) -> int:
    op = node.op
    return rank - 1 if isinstance(op, Dense) or getattr(op, "channels_last", False) else 1


def _scale_and_shift(draft: Draft, node: Node, factor: Any, offset: Any) -> Node:
    """w and b of a node times ``factor`` per output channel, plus ``offset``; float64 inside."""
    import numpy as np

    w = draft.constants[node.inputs[1]]
    b = draft.constants[node.inputs[2]] if len(node.given) > 2 else np.zeros(w.shape[-1])
    w_new = (w.astype(np.float64) * factor).astype(w.dtype)
    b_new = (b.astype(np.float64) * factor + offset).astype(w.dtype)
    b_new = np.ascontiguousarray(np.broadcast_to(b_new, (w.shape[-1],)))
    names = (draft.constant(w_new, node.inputs[1]), draft.constant(b_new, f"{node.name}.bias"))
    return draft.update(node, inputs=(node.inputs[0], *names))


def _swallow(draft: Draft, before: Node, node: Node, note: str, **changes: Any) -> Node:
    """``before`` makes the output of ``node``, which goes."""
    current = draft.update(draft.nodes[before.outputs[0]], note, **changes)
    target = node.output
    draft.take_over(current, target)
    return draft.nodes[target]


def _as_convolution(draft: Draft, node: Node, axis: int, factor: Any, offset: Any) -> None:
    """y = x*factor + offset as a depthwise 1x1 convolution."""
    import numpy as np

    x = draft.values[node.inputs[0]]
    spatial, depth = len(x.shape) - 2, x.shape[axis]
    ones = (1,) * spatial
    op = Conv(ones, ones, ((0, 0),) * spatial, ones, channels_last=axis != 1, groups=depth)
    dtype = np.dtype(str(x.dtype))
    w = draft.constant(factor.astype(dtype).reshape(*ones, 1, depth), f"{node.name}.scale")
    b = draft.constant(offset.astype(dtype), f"{node.name}.shift")
    note = "batch_norm: one weight and one bias a channel, a depthwise 1x1 convolution"
    draft.update(node, note, op=op, inputs=(node.inputs[0], w, b))


def fold_scales(draft: Draft) -> None:
    """A factor or a summand per channel after a convolution goes into its weights and bias."""
    for node in draft.each():
        op = node.op
        if not isinstance(op, Binary) or not draft.exact(node) or len(set(node.inputs)) != 2:
            continue
        constant_at = next((at for at in (0, 1) if node.inputs[at] in draft.constants), None)
        if constant_at is None:
            continue
        before = _weighted_before(draft, node.inputs[1 - constant_at])
        if before is None:
            continue
        shape = draft.values[node.output].shape
        if shape != draft.values[before.output].shape:
            continue
        array = draft.constants[node.inputs[constant_at]]
        row = per_channel(array, shape, _channel_axis(before, len(shape)))
        change = None if row is None else _affine(op.fn, row, first=constant_at == 0)
        if change is not None:
            _scale_and_shift(draft, before, *change)
            what = f"{op.fn} `{node.name}`: constant per channel, in the weights and the bias"
            current = draft.nodes[before.output]
            after = replace(current.op, activation=op.activation)  # type: ignore[type-var]
            _swallow(draft, current, node, what, op=after)


def per_channel(array: NDArray[Any], shape: tuple[int, ...], axis: int) -> NDArray[Any] | None:
    """A constant that differs along the channels alone, as [C]."""
    import numpy as np

    full = (1,) * (len(shape) - array.ndim) + array.shape
    if any(size != 1 for at, size in enumerate(full) if at != axis):
        return None
    row = np.asarray(array, np.float64).reshape(-1)
    return np.broadcast_to(row, (shape[axis],)) if row.size in (1, shape[axis]) else None


def _affine(fn: BinaryFn, row: Any, *, first: bool) -> tuple[Any, Any] | None:
    """(factor, offset) of y = fn(x, row), or fn(row, x) where the constant comes first."""
    import numpy as np

    one, zero = np.ones_like(row), np.zeros_like(row)
    match fn:
        case BinaryFn.ADD:
            return one, row
        case BinaryFn.SUB:
            return (-one, row) if first else (one, -row)
        case BinaryFn.MUL:
            return row, zero
        case BinaryFn.DIV if not first and np.all(row):
            return 1 / row, zero
        case _:
            return None


def dense_after_flatten(draft: Draft) -> None:
    """Channels-first images that are flattened for a dense layer: the layer's rows change places,
    so that the image can be read as it lies in memory, channels last.
    """
    import numpy as np

    for node in draft.each():
        if not isinstance(node.op, Dense) or node.inputs[1] not in draft.constants:
            continue
        flat = draft.private(node.inputs[0])
        if flat is None or not isinstance(flat.op, Reshape):
            continue
        x = draft.values[flat.inputs[0]]
        maker = draft.made_by(flat.inputs[0])
        first = maker is not None and getattr(maker.op, "channels_last", True) is False
        n, *rest = x.shape
        rows = len(rest) >= 2 and int(np.prod(rest)) == draft.values[node.inputs[1]].shape[0]
        if not first or not rows or rest[0] == 1 or int(np.prod(rest[1:])) == 1:
            continue
        if draft.values[flat.output].shape[:-1] not in ((n,), (n, 1)):
            continue
        w = draft.constants[node.inputs[1]]
        perm = (0, *range(2, len(x.shape)), 1)
        moved = w.reshape(*rest, w.shape[1]).transpose(*(p - 1 for p in perm[1:]), len(rest))
        new = draft.constant(
            moved.reshape(w.shape), node.inputs[1], draft.values[node.inputs[1]].quant
        )
        quant = x.quant
        seen = draft.before(flat, f"{flat.name}.channels_last", Transpose(perm), (flat.inputs[0],))
        draft.values[seen] = replace(draft.values[seen], quant=quant)
        draft.update(flat, "flattened with the channels last", inputs=(seen,))
        inputs = (node.inputs[0], new, *node.inputs[2:])
        draft.update(node, "rows of the weights in the order of the image in memory", inputs=inputs)

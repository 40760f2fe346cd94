"""Operators over any axes: renamed views, element-wise, along an axis, reductions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convgen.network.graph import Node
from convgen.network.layouts import View, ordered, reshape_order, same_strides
from convgen.network.ops import (
    Broadcast,
    LayerNorm,
    LocalResponseNorm,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Split,
    Transpose,
)
from convgen.network.plan import Room, Slot, contiguous
from convgen.network.steps.work import Work


def renamed(work: Work, node: Node) -> None:
    """No step: views of the input, if strides can say it."""
    op, name = node.op, node.inputs[0]
    if isinstance(op, Reshape):
        # The newest copy may allow what the first view does not.
        made = next((v for x in work.all(name) if (v := x.reshaped(op.shape))), None)
        made = made or work.copied(name, reshape_order(work.view(name), op.shape)).reshaped(
            op.shape
        )
        assert made is not None, node
        work.put(node.output, made)
        return
    view = work.view(name)
    match op:
        case Transpose():
            for other in work.all(name):
                work.put(node.output, other.permuted(op.perm))
        case Slice():
            work.put(node.output, view.window(op.starts, op.sizes, op.steps))
        case Broadcast():
            repeated = view.repeated(op.shape)
            assert repeated is not None, node
            work.put(node.output, repeated)
        case Split():
            at = 0
            for output, size in zip(node.outputs, op.sizes, strict=True):
                rank, axis = len(view.shape), op.axis % len(view.shape)
                starts = [at if i == axis else 0 for i in range(rank)]
                sizes = [size if i == axis else n for i, n in enumerate(view.shape)]
                work.put(output, view.window(starts, sizes, [1] * rank))
                at += size
        case _:
            for other in work.all(name):
                work.put(node.output, other)


def pointwise(work: Work, node: Node) -> None:
    """All operands repeated to the output's shape, axes in the output's memory order."""
    y = work.graph.values[node.output]
    values = [v for v in work.graph.operands(node) if v is not None]
    full = []
    for value in values:
        view = work.view(value.name).repeated(y.shape)
        assert view is not None, node
        full.append(view)
    leader = next((v for v in full if not _repeats(v) and min(v.strides, default=0) >= 0), None)
    strides = contiguous(y.shape) if leader is None else ordered(y.shape, leader.order)
    out = work.result(y, strides)
    order = out.order
    slots = [
        work.slot(value, view.permuted(order)) for value, view in zip(values, full, strict=True)
    ]
    target = work.slot(y, out.permuted(order))
    over = tuple(at for at, slot in enumerate(slots) if _may_share(work, slot, target))
    work.step(node, node.op, slots, target, over=over)


def _may_share(work: Work, one: Slot, two: Slot) -> bool:
    """Element on element, of one size, both in the arena, both from the buffer's start?"""
    arena = all(work.buffers[slot.buffer].room is Room.ARENA for slot in (one, two))
    alike = one.dtype.size == two.dtype.size and one.offset == two.offset == 0
    return arena and alike and same_strides(one.shape, one.strides, two.strides)


def along(work: Work, node: Node) -> None:
    """Operators with an axis; the output lies as the input does."""
    op = node.op
    assert isinstance(op, (Softmax, LocalResponseNorm))
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    view = work.view(x.name)
    if not view.compact:
        view = work.copied(x.name)
    out = work.result(y, ordered(y.shape, view.order))
    order = out.order
    axis = order.index(op.axis % len(order))
    slots = [work.slot(x, view.permuted(order))]
    work.step(node, replace(op, axis=axis), slots, work.slot(y, out.permuted(order)))


def layer_norm(work: Work, node: Node) -> None:
    """The normalised axes stay the last ones, in their logical order."""
    op = node.op
    assert isinstance(op, LayerNorm)
    values = work.graph.operands(node)
    y = work.graph.values[node.output]
    slots: list[Slot | None] = []
    for value in values:
        slots.append(None if value is None else work.slot(value, work.copied(value.name)))
    out = work.slot(y, work.result(y, contiguous(y.shape)))
    axis = op.axis % len(y.shape)
    work.step(node, replace(op, axis=axis), slots, out)


def reduce(work: Work, node: Node) -> None:
    op = node.op
    assert isinstance(op, Reduce)
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    axes = tuple(sorted(axis % len(x.shape) for axis in op.axes))
    view = work.view(x.name)
    kept = tuple(1 if at in axes else size for at, size in enumerate(x.shape))
    alive = [at for at in range(len(x.shape)) if op.keepdims or at not in axes]
    order = view.order
    strides = tuple(ordered(kept, order)[at] for at in alive)
    out = work.result(y, strides)
    wide = _kept(out, alive, len(x.shape))
    new = replace(op, axes=tuple(sorted(order.index(axis) for axis in axes)), keepdims=True)
    slots = [work.slot(x, view.permuted(order))]
    work.step(node, new, slots, work.slot(y, wide.permuted(order)))


def _repeats(view: View) -> bool:
    return any(
        size != 1 and stride == 0 for size, stride in zip(view.shape, view.strides, strict=True)
    )


def _kept(view: View, alive: Sequence[int], rank: int) -> View:
    """A reduced view with its lost axes back, size 1."""
    shape, strides = [1] * rank, [0] * rank
    for at, axis in enumerate(alive):
        shape[axis], strides[axis] = view.shape[at], view.strides[at]
    return replace(view, shape=tuple(shape), strides=tuple(strides))

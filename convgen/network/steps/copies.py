"""Operators that move elements: steps of copies and fills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convgen.network import moves
from convgen.network.graph import Node, Value
from convgen.network.layouts import View, ordered
from convgen.network.ops import Concat, DepthToSpace, Gather, Pad, Resize, SpaceToDepth, Tile
from convgen.network.plan import contiguous
from convgen.network.steps.work import RefusedError, Work

Ints = tuple[int, ...]


def moved(work: Work, node: Node) -> None:
    """Copies between views; the output's axes lie as those of the first input."""
    op = node.op
    values = [v for v in work.graph.operands(node) if v is not None]
    y = work.graph.values[node.output]
    views = [work.view(value.name) for value in values]
    leader = next((v for v in views if v.compact), views[0])
    if isinstance(op, Concat) and any(work.is_home(name, y.name) for name in node.given):
        _joined(work, node, op)
        return
    out = work.result(y, ordered(y.shape, leader.order))
    x, fill = views[0], 0.0
    match op:
        case Concat():
            work.moves("concat", node.name, _beside(op.axis, views, out), values, y, (node.name,))
            return
        case Pad():
            copies = moves.padded(op, x, out)
            fill = _fill(work, op, values[0])
        case Tile():
            copies = moves.tiled(op, x, out)
        case DepthToSpace():
            copies = moves.depth_to_space(op, x, out)
        case SpaceToDepth():
            copies = moves.space_to_depth(op, x, out)
        case _:
            raise AssertionError(node)
    work.moves(op.kind, node.name, copies, values[0], y, (node.name,), fill=fill)


def _joined(work: Work, node: Node, op: Concat) -> None:
    """Parts that are not in their place yet are copied there; without any there is no step."""
    y = work.graph.values[node.output]
    home = work.homes.get(y.name)
    out = work.root_view(y.name) if home is None else work.at_home(y, home)
    values = [work.graph.values[name] for name in node.inputs]
    copies = _beside(op.axis, [work.view(value.name) for value in values], out)
    left = [
        (copy, value)
        for copy, value in zip(copies, values, strict=True)
        if copy.source != copy.target
    ]
    if left:
        made, sources = zip(*left, strict=True)
        work.moves("concat", node.name, made, sources, y, (node.name,))
    work.put(y.name, out)


def _fill(work: Work, op: Pad, value: Value) -> float:
    """The stored value of a border."""
    if value.quant is None:
        return op.value
    import numpy as np

    from convgen.network.meaning.fixed import stored

    return float(stored(value, np.array(op.value), work.graph.rounding))


def resize(work: Work, node: Node) -> None:
    op = node.op
    assert isinstance(op, Resize)
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    view = work.view(x.name)
    if not view.compact:
        view = work.copied(x.name)
    out = work.result(y, ordered(y.shape, view.order))
    factors = moves.whole_factors(op, view)
    if factors is not None:
        copies = moves.enlarged(factors, view, out)
        work.moves("resize", node.name, copies, x, y, (node.name,))
        return
    order = out.order
    new = replace(
        op,
        sizes=tuple(op.sizes[axis] for axis in order),
        scales=tuple(op.scales[axis] for axis in order) if op.scales else (),
    )
    slots = [work.slot(x, view.permuted(order))]
    work.step(node, new, slots, work.slot(y, out.permuted(order)))


def gather(work: Work, node: Node) -> None:
    """Constant indices: a copy for each run of neighbours."""
    op = node.op
    assert isinstance(op, Gather)
    indices = work.graph.constants.get(node.inputs[1])
    if indices is None:
        raise RefusedError("its indices are computed at run time; they must be constants")
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    axis = op.axis % len(x.shape)
    view = work.view(x.name)
    flat = (*x.shape[:axis], int(indices.size), *x.shape[axis + 1 :])
    out = work.result(y, contiguous(y.shape)).reshaped(flat)
    assert out is not None
    copies = []
    picked = [int(i) % x.shape[axis] for i in indices.reshape(-1)]
    for at, start, count, step in _runs(picked):
        first = [start if i == axis else 0 for i in range(len(flat))]
        place = [at if i == axis else 0 for i in range(len(flat))]
        sizes = [count if i == axis else n for i, n in enumerate(x.shape)]
        pace = [step if i == axis else 1 for i in range(len(flat))]
        ones = [1] * len(flat)
        source, target = view.window(first, sizes, pace), out.window(place, sizes, ones)
        copies.append(moves.Copy(source, target))
    work.moves("gather", node.name, copies, x, y, (node.name,))


def _beside(axis: int, parts: Sequence[View], out: View) -> list[moves.Copy]:
    """Each part's place in the output."""
    rank, copies, at = len(out.shape), [], 0
    axis %= rank
    for part in parts:
        starts = [at if i == axis else 0 for i in range(rank)]
        copies.append(moves.Copy(part, out.window(starts, part.shape, [1] * rank)))
        at += part.shape[axis]
    return copies


def _runs(indices: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(place, first index, how many, step) of runs of evenly spaced indices."""
    found, at = [], 0
    while at < len(indices):
        end, step = at + 1, 1
        if end < len(indices):
            step = indices[end] - indices[at]
            while end < len(indices) and indices[end] - indices[end - 1] == step:
                end += 1
        found.append((at, indices[at], end - at, step if end - at > 1 else 1))
        at = end
    return found

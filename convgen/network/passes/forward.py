"""Factors and summands per channel that go into the weights of what reads them.

A factor can always move: padding's zeros stay zeros. A summand can where no window reaches into
padding. Both change sums by roundings only, as folding a batch norm does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convgen.network.graph import Node
from convgen.network.ops import Binary, BinaryFn, Conv, Dense
from convgen.network.passes.draft import Draft
from convgen.network.passes.folding import per_channel
from convgen.spec.model import Act

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LEAST = 1e-6  # a factor that is divided by: a smaller one would blow up the summand


def fold_forward(draft: Draft) -> None:
    """x*factor and x + summand in front of convolutions and dense layers."""
    for node in draft.each():
        readers = _readers(draft, node)
        found = _constant(draft, node, _axis(draft, readers))
        if found is None:
            continue
        x, factor, summand = found
        if summand is not None and any(_padded(reader) for reader in readers):
            continue
        for reader in readers:
            _take_in(draft, draft.nodes[reader.outputs[0]], factor, summand)
        draft.bypass(node, x)
        kind = node.op.kind
        draft.notes.append(f"{kind} `{node.name}`: in the weights of what reads it")


def summand_first(draft: Draft) -> None:
    """x*f + s in front of padded convolutions becomes (x + s/f)*f, whose factor can move on."""
    import numpy as np

    for node in draft.each():
        readers = _readers(draft, node)
        axis = _axis(draft, readers)
        found = _constant(draft, node, axis)
        if found is None or found[2] is None or not any(_padded(r) for r in readers):
            continue
        before = draft.private(found[0])
        inner = None if before is None else _constant(draft, before, axis)
        if inner is None or before is None or inner[1] is None:
            continue
        factor, summand = inner[1], found[2]
        if np.abs(factor).min() < _LEAST:
            continue
        shape = draft.values[node.output].shape
        dtype = str(draft.values[node.output].dtype)
        form = [-1 if at == axis else 1 for at in range(len(shape))]
        first = draft.constant((summand / factor).astype(dtype).reshape(form), f"{node.name}.first")
        second = draft.constant(factor.astype(dtype).reshape(form), f"{node.name}.factor")
        note = "the summand before the factor, which can move into weights"
        moved = draft.before(before, f"{node.name}.sum", Binary(), (inner[0], first))
        draft.update(node, note, op=Binary(BinaryFn.MUL), inputs=(moved, second))


def _constant(draft: Draft, node: Node, axis: int | None) -> tuple[str, Any, Any] | None:
    """(x, factor, None) or (x, None, summand) of arithmetic with a constant along ``axis``."""
    op = node.op
    if axis is None:
        return None
    if not isinstance(op, Binary) or op.activation.kind is not Act.NONE or not draft.exact(node):
        return None
    at = next((i for i in (0, 1) if node.inputs[i] in draft.constants), None)
    if at is None or node.inputs[1 - at] in draft.constants:
        return None
    x = node.inputs[1 - at]
    shape = draft.values[node.output].shape
    if shape != draft.values[x].shape or len(shape) < 2:
        return None
    row = per_channel(draft.constants[node.inputs[at]], shape, axis)
    if row is None:
        return None
    match op.fn:
        case BinaryFn.MUL:
            return x, row, None
        case BinaryFn.DIV if at == 1 and row.all():
            return x, 1 / row, None
        case BinaryFn.ADD:
            return x, None, row
        case BinaryFn.SUB if at == 1:
            return x, None, -row
        case _:
            return None


def _readers(draft: Draft, node: Node) -> list[Node]:
    """The nodes that read another's output, if all have constant weights to take something in."""
    if len(node.outputs) != 1 or node.output in draft.graph.outputs:
        return []
    name = node.output
    nodes = [draft.nodes[key] for key in draft.readers[name]]
    for reader in nodes:
        weights = isinstance(reader.op, (Conv, Dense)) and draft.exact(reader)
        known = weights and all(i in draft.constants for i in reader.given[1:])
        if not known or reader.inputs[0] != name or name in reader.inputs[1:]:
            return []
    return nodes


def _axis(draft: Draft, readers: list[Node]) -> int | None:
    """The axis that all readers sum over; None without one."""
    found = set()
    for node in readers:
        rank = len(draft.values[node.inputs[0]].shape)
        last = isinstance(node.op, Dense) or getattr(node.op, "channels_last", False)
        found.add(rank - 1 if last else 1)
    return found.pop() if len(found) == 1 else None


def _padded(node: Node) -> bool:
    return isinstance(node.op, Conv) and any(a or b for a, b in node.op.pads)


def _take_in(draft: Draft, node: Node, factor: Any, summand: Any) -> None:
    """Other weights and another bias for one reader."""
    import numpy as np

    w = draft.constants[node.inputs[1]]
    wide = w.astype(np.float64)
    groups = node.op.groups if isinstance(node.op, Conv) else 1
    if factor is not None:
        new = draft.constant((wide * _by_filter(factor, w, groups)).astype(w.dtype), node.inputs[1])
        draft.update(node, inputs=(node.inputs[0], new, *node.inputs[2:]))
        return
    more = (wide * _by_filter(summand, w, groups)).sum(axis=tuple(range(w.ndim - 1)))
    old = draft.constants[node.inputs[2]] if len(node.given) > 2 else np.zeros(w.shape[-1])
    bias = (old.astype(np.float64) + more).astype(w.dtype)
    name = draft.constant(bias, f"{node.name}.bias")
    draft.update(node, inputs=(*node.inputs[:2], name))


def _by_filter(row: NDArray[Any], w: NDArray[Any], groups: int) -> NDArray[Any]:
    """A number per input channel, in the shape [C/G, OC] of the weights' last two axes."""
    import numpy as np

    split = row.reshape(groups, w.shape[-2])
    return np.repeat(split, w.shape[-1] // groups, axis=0).T

"""Constants are computed, nodes that do nothing go, chains of moves become one."""

from __future__ import annotations

from typing import Any

from convgen.network.graph import Node
from convgen.network.ops import (
    Activate,
    Cast,
    Concat,
    Identity,
    Pad,
    Reshape,
    Resize,
    Slice,
    Tile,
    Transpose,
)
from convgen.network.ops.moving import Broadcast
from convgen.network.passes.draft import Draft
from convgen.spec.model import Act

_GROWS = 1 << 22  # a constant with more elements than this is not made out of smaller ones


def fold_constants(draft: Draft) -> None:
    """Nodes whose inputs are all known, computed in float64 and rounded once."""
    for node in draft.each():
        if not node.given or any(name not in draft.constants for name in node.given):
            continue
        size = sum(draft.values[name].size for name in node.outputs)
        if size > max(_GROWS, sum(draft.values[name].size for name in node.given)):
            continue
        if set(node.outputs) & set(draft.graph.outputs):
            continue  # an output that is known stays a node: something has to write it
        _fold(draft, node)


def _fold(draft: Draft, node: Node) -> None:
    from convgen.network.meaning.run import run_node, wide

    arrays = {name: wide(draft.constants[name]) for name in node.given}
    for name, array in zip(node.outputs, run_node(draft, node, arrays), strict=True):
        value = draft.values[name]
        made = draft.constant(array.astype(str(value.dtype)), f"{name}.value", value.quant)
        draft._redirect(name, made)
    draft.notes.append(f"{node.op.kind} `{node.name}`: all its inputs are constants, computed")
    draft.remove(node)


def drop_identities(draft: Draft) -> None:
    """Nodes whose output is their input."""
    for node in draft.each():
        if len(node.given) == 1 and len(node.outputs) == 1 and _does_nothing(draft, node):
            kind = node.op.kind
            if draft.bypass(node, node.given[0]):
                draft.notes.append(f"{kind} `{node.name}`: changes nothing, removed")


def _does_nothing(draft: Draft, node: Node) -> bool:
    x, y = draft.values[node.given[0]], draft.values[node.output]
    if x.type != y.type or x.quant != y.quant:
        return False
    op = node.op
    match op:
        case Identity() | Reshape() | Broadcast() | Cast() | Concat() | Tile():
            return True  # of one type on both sides
        case Activate():
            return op.activation.kind is Act.NONE
        case Transpose():
            # Axes of size 1 may change places.
            moved = [axis for axis in op.perm if x.shape[axis] != 1]
            return moved == sorted(moved)
        case Slice():
            return all(step == 1 for step, size in zip(op.steps, op.sizes, strict=True) if size > 1)
        case Pad():
            return not any(a or b for a, b in op.pads)
        case Resize():
            return all(op.scale(axis, size) == 1 for axis, size in enumerate(x.shape))
        case _:
            return False


def merge_moves(draft: Draft) -> None:
    """Transpose after transpose, reshape after reshape: one of each."""
    for node in draft.each():
        if not isinstance(node.op, (Transpose, Reshape)):
            continue
        first = draft.made_by(node.inputs[0])
        if first is None or type(first.op) is not type(node.op):
            continue
        note = f"follows {first.op.kind} `{first.name}` directly: one move does both"
        if isinstance(node.op, Transpose):
            assert isinstance(first.op, Transpose)
            op: Any = Transpose(tuple(first.op.perm[axis] for axis in node.op.perm))
        else:
            op = node.op
        draft.update(node, note, op=op, inputs=(first.inputs[0],))
        _drop_unread(draft, first)


def _drop_unread(draft: Draft, node: Node) -> None:
    """Remove a node whose outputs nothing needs any more."""
    unread = not any(draft.readers[name] for name in node.outputs)
    if unread and not set(node.outputs) & set(draft.graph.outputs):
        draft.remove(node)


def drop_dead(draft: Draft) -> None:
    """Nodes whose results nobody reads."""
    for node in reversed(list(draft.each())):
        if node.outputs[0] in draft.nodes:
            _drop_unread(draft, node)

"""Concatenations without copies: parts that are written into their place at once.

A part has a home in the concatenation's buffer when its maker can write pixels further apart than
its channels are wide, and everything else that reads it can read them so. Winograd's filtering
wants its channels close together: what it makes or reads is copied, as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from convgen.network.graph import Graph, Node
from convgen.network.ops import (
    Activate,
    AvgPool,
    Binary,
    Concat,
    Conv,
    Elem,
    MaxPool,
    PRelu,
    Unary,
)

_POINTWISE = (Activate, Binary, PRelu, Unary)


@dataclass(frozen=True)
class Home:
    """``root``: the concatenation whose buffer it is. ``first``: the channel that it begins at."""

    root: str
    first: int


def homes(graph: Graph) -> Mapping[str, Home]:
    """The values that lie in a concatenation's buffer, by name; roots themselves are not there."""
    parents: dict[str, tuple[str, int]] = {}
    for node in graph.nodes:
        if isinstance(node.op, Concat) and _whole(graph, node):
            first = 0
            for name in node.inputs:
                value = graph.values[name]
                if name not in parents and node.inputs.count(name) == 1 and _fits(graph, name):
                    parents[name] = (node.output, first)
                first += value.shape[axis_of(graph, node) or 0]
    found = {}
    for name in parents:
        root, first = name, 0
        while root in parents:
            root, more = parents[root]
            first += more
        found[name] = Home(root, first)
    return found


def axis_of(graph: Graph, node: Node) -> int | None:
    """The channels' axis of a concatenation of images, None of any other."""
    rank = len(graph.values[node.output].shape)
    orders = {
        op.channels_last
        for name in node.inputs
        if (maker := graph.producer.get(name)) is not None
        and isinstance(op := maker.op, (Conv, MaxPool, AvgPool))
    }
    readers = {
        user.op.channels_last
        for user in graph.users[node.output]
        if isinstance(user.op, (Conv, MaxPool, AvgPool))
    }
    known = orders | readers
    if not 3 <= rank <= 5 or len(known) != 1:
        return None
    return rank - 1 if known == {True} else 1


def _whole(graph: Graph, node: Node) -> bool:
    """A concatenation of float32 images along their channels, read inside the network alone."""
    op, value = node.op, graph.values[node.output]
    assert isinstance(op, Concat)
    axis = axis_of(graph, node)
    right = axis is not None and op.axis % len(value.shape) == axis
    return right and value.dtype is Elem.FLOAT32 and node.output not in graph.outputs


def _fits(graph: Graph, name: str) -> bool:
    """Can the value lie in a wider buffer?"""
    maker = graph.producer.get(name)
    if maker is None or name in graph.outputs:
        return False
    return _writes(graph, maker) and all(_reads(graph, user) for user in graph.users[name])


def _writes(graph: Graph, node: Node) -> bool:
    if isinstance(node.op, Concat):
        return _whole(graph, node)
    return isinstance(node.op, (*_POINTWISE, MaxPool, AvgPool)) or takes_wide(graph, node)


def _reads(graph: Graph, node: Node) -> bool:
    return isinstance(node.op, (*_POINTWISE, Concat, MaxPool, AvgPool)) or takes_wide(graph, node)


def takes_wide(graph: Graph, node: Node) -> bool:
    """A convolution that loses nothing when its pixels lie further apart: depthwise, or dense and
    none of those that Winograd's filtering is for, which wants its channels close together.
    """
    op = node.op
    if not isinstance(op, Conv) or len(op.kernel) > 2:
        return False
    if op.groups > 1:
        return graph.values[node.inputs[1]].shape[-2:] == (1, op.groups)
    return set(op.kernel) == {1} or max(*op.strides, *op.dilations) > 1

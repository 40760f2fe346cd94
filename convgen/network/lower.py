"""From nodes to steps: every operand a strided view, every step in canonical axes.

What only renames elements (reshape, transpose, slice, split, broadcast) makes no step as long as
its reader can use the view. Images are channels-last in memory, whatever the model's order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from convgen.errors import ConvgenError
from convgen.network import ops
from convgen.network.graph import Graph, Node, identifiers
from convgen.network.plan import Buffer, Room, Step, contiguous
from convgen.network.steps import arrays, copies, windows
from convgen.network.steps.work import RefusedError, Work

_LOWERINGS: Mapping[type, Callable[[Work, Node], None]] = {
    **dict.fromkeys(
        (ops.Reshape, ops.Transpose, ops.Slice, ops.Split, ops.Broadcast, ops.Identity),
        arrays.renamed,
    ),
    **dict.fromkeys(
        (
            ops.Activate,
            ops.Binary,
            ops.Cast,
            ops.Dequantize,
            ops.PRelu,
            ops.Quantize,
            ops.Requantize,
            ops.Unary,
            ops.Where,
        ),
        arrays.pointwise,
    ),
    **dict.fromkeys(
        (ops.Concat, ops.Pad, ops.Tile, ops.DepthToSpace, ops.SpaceToDepth), copies.moved
    ),
    ops.Softmax: arrays.along,
    ops.LocalResponseNorm: arrays.along,
    ops.LayerNorm: arrays.layer_norm,
    ops.Reduce: arrays.reduce,
    ops.Conv: windows.convolution,
    ops.ConvTransposed: windows.transposed,
    ops.Dense: windows.dense,
    ops.MatMul: windows.matmul,
    ops.MaxPool: windows.pool,
    ops.AvgPool: windows.pool,
    ops.Resize: copies.resize,
    ops.Gather: copies.gather,
}


class LowerError(ConvgenError):
    """Nodes that no kernel can carry out yet, all of them: name, operator, reason, advice."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """Steps in an order in which they can run, and the buffers they use."""

    graph: Graph
    steps: tuple[Step, ...]
    buffers: Mapping[str, Buffer]


def lower(graph: Graph) -> Lowered:
    """The steps of a simplified graph. Raises ``LowerError`` naming every node that has none."""
    work = Work(graph)
    refused = []
    for at, name in enumerate(graph.inputs):
        work.root(name, Room.INPUT, at)
    for node in graph.nodes:
        try:
            lowering = _LOWERINGS.get(type(node.op))
            if lowering is None:
                raise RefusedError("no kernel computes it yet; cut the network before it (--cut)")
            lowering(work, node)
        except RefusedError as error:
            refused.append(f"{node.op.kind} `{node.name}`: {error}")
            for value in graph.results(node):  # so that later nodes are looked at, too
                work.put(value.name, work.arena(value, contiguous(value.shape)))
    if refused:
        raise LowerError("\n".join(refused))
    for at, name in enumerate(graph.outputs):
        work.deliver(name, at)
    return Lowered(graph, _named(work.steps), MappingProxyType(work.buffers))


def _named(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps with C identifiers for names; specs get them as well."""
    keys = [f"{at}\0{step.name}" for at, step in enumerate(steps)]
    words = identifiers(
        keys, {}, of={key: step.name for key, step in zip(keys, steps, strict=True)}
    )
    named = []
    for key, step in zip(keys, steps, strict=True):
        spec = None if step.spec is None else replace(step.spec, name=words[key])
        named.append(replace(step, name=words[key], spec=spec))
    return tuple(named)

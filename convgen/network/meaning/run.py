"""Runs a graph, node by node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.graph import ABSENT, Graph, Node
from convgen.network.meaning import along, elementwise, integers, movement, resizing, sliding
from convgen.network.meaning.context import Context
from convgen.network.ops import (
    Activate,
    AvgPool,
    BatchNorm,
    Binary,
    Broadcast,
    Cast,
    Concat,
    Conv,
    ConvTransposed,
    Dense,
    DepthToSpace,
    Elem,
    Gather,
    Identity,
    LayerNorm,
    LocalResponseNorm,
    MatMul,
    MaxPool,
    Pad,
    PRelu,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Softmax,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
    Unary,
    Where,
)

Array = NDArray[Any]
Meaning = Callable[..., Array]

_MEANINGS: Mapping[type, Meaning] = {
    Activate: elementwise.activate,
    AvgPool: sliding.average_pool,
    BatchNorm: along.batch_norm,
    Binary: elementwise.binary,
    Broadcast: movement.broadcast,
    Cast: elementwise.cast,
    Concat: movement.concat,
    Conv: sliding.convolution,
    ConvTransposed: sliding.transposed,
    Dense: sliding.dense,
    DepthToSpace: movement.depth_to_space,
    Gather: movement.gather,
    Identity: movement.identity,
    LayerNorm: along.layer_norm,
    LocalResponseNorm: along.local_response_norm,
    MatMul: sliding.matmul,
    MaxPool: sliding.max_pool,
    PRelu: elementwise.prelu,
    Pad: movement.pad,
    Reduce: along.reduce,
    Reshape: movement.reshape,
    Resize: resizing.resize,
    Slice: movement.slice_,
    Softmax: along.softmax,
    SpaceToDepth: movement.space_to_depth,
    Tile: movement.tile,
    Transpose: movement.transpose,
    Unary: elementwise.unary,
    Where: elementwise.where,
}


def evaluate(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """Every value of one run: real ones in float64, integers in their own type.

    ``inputs``: an array for each input, in its shape and storage type. Raises ``ValueError`` for
    missing or wrong arrays.
    """
    found = {name: wide(array) for name, array in graph.constants.items()}
    found.update(bound_inputs(graph, inputs))
    for node in graph.nodes:
        found.update(zip(node.outputs, run_node(graph, node, found), strict=True))
    return found


def bound_inputs(graph: Graph, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs checked against the graph, reals as float64."""
    found: dict[str, Array] = {}
    for name in graph.inputs:
        value = graph.values[name]
        if name not in inputs:
            raise ValueError(f"input {name!r} is missing: {value.type} is expected")
        array = np.asarray(inputs[name])
        right = array.dtype.name == value.dtype or (
            array.dtype.kind == "f" and value.dtype.is_float
        )
        if array.shape != value.shape or not right:
            got = f"{'x'.join(map(str, array.shape))} {array.dtype}"
            raise ValueError(f"input {name!r}: expected {value.type}, got {got}")
        found[name] = wide(array)
    return found


def run_node(graph: Context, node: Node, arrays: Mapping[str, Array]) -> tuple[Array, ...]:
    """The outputs of one node from the arrays of its inputs, in the form that ``evaluate`` has.

    Integer arithmetic where the node's tensors are quantised, real arithmetic elsewhere.
    """
    given = [None if name == ABSENT else arrays[name] for name in node.inputs]
    with np.errstate(all="ignore"):
        if integers.applies(graph, node):
            made: tuple[Array, ...] = (integers.run(graph, node, given),)
        elif isinstance(node.op, Split):
            made = tuple(movement.split(node.op, given[0]))
        else:
            made = (_MEANINGS[type(node.op)](node.op, *given),)
    for value, array in zip(graph.results(node), made, strict=True):
        assert array.shape == value.shape, (node.name, array.shape, value)
        if not value.dtype.is_float:
            assert array.dtype.name == value.dtype, (node.name, array.dtype, value)
    return made


def wide(array: Any) -> Array:
    """Reals as float64, anything else as it is; bfloat16 is not held in graphs."""
    array = np.asarray(array)
    if array.dtype.kind == "f":
        return np.asarray(array.astype(np.float64))
    assert array.dtype.name in set(Elem), array.dtype
    return np.asarray(array)

"""Small ONNX models in few words, and what ONNX itself makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Arrays = Mapping[str, np.ndarray]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str | None] | None],
    outputs: Sequence[str],
    constants: Arrays | None = None,
    *,
    opset: int = 21,
    ir_version: int = 8,
    dtype: int = TensorProto.FLOAT,
    listed: bool = False,
) -> onnx.ModelProto:
    """``listed``: constants stand among the inputs too, as in files before IR version 4."""
    values = [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()]
    held = [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()]
    if listed:
        values += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in held]
    ends = [helper.make_empty_tensor_value_info(name) for name in outputs]
    for end in ends:
        end.type.tensor_type.elem_type = dtype
    graph = helper.make_graph(list(nodes), "g", values, ends, held)
    sets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=sets, ir_version=ir_version)


def node(op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return helper.make_node(op, list(inputs), list(outputs), **attributes)


def reference(proto: onnx.ModelProto, inputs: Arrays) -> list[np.ndarray]:
    """ONNX's own reference implementation."""
    from onnx.reference import ReferenceEvaluator

    return list(ReferenceEvaluator(proto).run(None, dict(inputs)))


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def small() -> Any:
    """One convolution, from 1x4x9x8."""
    held = {"w": random(6, 4, 3, 3), "b": random(6)}
    return model([node("Conv", ["x", "w", "b"], ["y"])], {"x": [1, 4, 9, 8]}, ["y"], held)

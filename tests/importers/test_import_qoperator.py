"""Operators of ONNX Runtime's domain on 8-bit tensors: real numbers between two quantisations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

from in_process import graph_of, outputs  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from onnx_models import model, node  # noqa: E402
from test_import_quantised import quantised  # noqa: E402

from convgen.importers.refusal import ModelError  # noqa: E402
from convgen.network.fuse import simplify  # noqa: E402
from convgen.network.graph import Graph  # noqa: E402

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(16)
DOMAIN = "com.microsoft"
X, Y = (0.0473, 3), (0.0317, -7)  # scale, zero point
HELD = {
    "xs": np.float32(X[0]), "xz": np.int8(X[1]), "ys": np.float32(Y[0]), "yz": np.int8(Y[1]),
}  # fmt: skip


def eight(*shape: int) -> Array:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def real(q: Array, scale: float, zero: int) -> Array:
    return np.float32(scale) * (q.astype(np.float32) - np.float32(zero))


def whole(x: Array, scale: float, zero: int) -> Array:
    q = np.rint(x.astype(np.float32) / np.float32(scale)) + zero
    return np.clip(q, -128, 127).astype(np.int8)


def made(nodes: list[Any], inputs: dict[str, list[int]], held: dict[str, Any]) -> Any:
    constants = {name: np.asarray(array) for name, array in {**HELD, **held}.items()}
    proto = model(nodes, inputs, ["y"], constants, opset=13, dtype=TensorProto.INT8)
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return proto


def imported(op: str, inputs: list[str], shapes: dict[str, list[int]], **how: Any) -> Graph:
    held = how.pop("held", {})
    one = node(op, inputs, ["y"], domain=DOMAIN, **how)
    return graph_of(made([one], shapes, held).SerializeToString(), "ONNX")


def both(graph: Graph, inputs: dict[str, Array]) -> Array:
    """What the simplified graph computes; as it was imported, real numbers are exact in between."""
    (first,), (then,) = outputs(graph, inputs), outputs(simplify(graph), inputs)
    assert np.abs(first.astype(int) - then.astype(int)).max() <= 1
    assert (first == then).mean() > 0.8
    return then


OF_TWO: dict[str, Callable[[Array, Array], Array]] = {
    "QLinearAdd": np.add,
    "QLinearMul": np.multiply,
}


@pytest.mark.parametrize("op", OF_TWO)
@pytest.mark.parametrize("constant", [False, True])
def test_arithmetic(op: str, constant: bool) -> None:
    a, b = eight(2, 3, 5), eight(3, 1) if constant else eight(2, 3, 5)
    names = ["a", "xs", "xz", "b", "ys", "yz", "xs", "xz"]
    shapes = {"a": [2, 3, 5]} if constant else {"a": [2, 3, 5], "b": [2, 3, 5]}
    graph = imported(op, names, shapes, held={"b": b} if constant else {})
    want = whole(OF_TWO[op](real(a, *X), real(b, *Y)), *X)
    assert (both(graph, {"a": a} if constant else {"a": a, "b": b}) == want).all()
    assert [n.op.kind for n in simplify(graph).nodes] == ["add" if "Add" in op else "mul"]


OF_ONE: dict[str, tuple[dict[str, Any], Callable[[Array], Array], str]] = {
    "QLinearSigmoid": ({}, lambda x: 1 / (1 + np.exp(-x.astype(np.float64))), "sigmoid"),
    "QLinearLeakyRelu": ({"alpha": 0.125}, lambda x: np.where(x < 0, x * 0.125, x), "leaky_relu"),
    "QLinearReduceMean": ({"axes": [2]}, lambda x: x.mean(2, np.float64, keepdims=True), ""),
    "QLinearGlobalAveragePool": ({}, lambda x: x.mean((2, 3), np.float64, keepdims=True), ""),
    "QLinearAveragePool": (
        {"kernel_shape": [2, 3], "strides": [2, 3]},
        lambda x: x.astype(np.float64).reshape(1, 4, 3, 2, 2, 3).mean((3, 5)),
        "",
    ),
    "QLinearSoftmax": (
        {"axis": 1, "opset": 13},
        lambda x: (e := np.exp(x.astype(np.float64))) / e.sum(1, keepdims=True),
        "",
    ),
}


@pytest.mark.parametrize("op", OF_ONE)
def test_functions_of_one_tensor(op: str) -> None:
    attributes, function, kind = OF_ONE[op]
    x = eight(1, 4, 6, 6)
    graph = imported(op, ["x", "xs", "xz", "ys", "yz"], {"x": [1, 4, 6, 6]}, **attributes)
    assert (both(graph, {"x": x}) == whole(function(real(x, *X)), *Y)).all()
    if kind:
        assert [n.op.kind for n in simplify(graph).nodes] == [kind]


def test_concatenation_brings_its_inputs_to_one_scale() -> None:
    a, b = eight(1, 2, 4), eight(1, 3, 4)
    names = ["ys", "yz", "a", "xs", "xz", "b", "ys", "yz"]
    graph = imported("QLinearConcat", names, {"a": [1, 2, 4], "b": [1, 3, 4]}, axis=1)
    want = np.concatenate([whole(real(a, *X), *Y), b], axis=1)
    assert (both(graph, {"a": a, "b": b}) == want).all()
    assert sorted(n.op.kind for n in simplify(graph).nodes) == ["concat", "requantize"]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("scales", [1, 3])
def test_matrix_products(turned: bool, scales: int) -> None:
    a, b = eight(2, 5), RNG.integers(-127, 128, (5, 3)).astype(np.int8)
    bias = RNG.integers(-900, 900, 3).astype(np.int32)
    each = np.linspace(0.01, 0.02, scales, dtype=np.float32)
    held = {
        "b": b.T if turned else b, "c": bias, "bz": np.zeros(scales, np.int8), "bs": each,
        "ls": np.float32(0.4),
    }  # fmt: skip
    names = ["a", "xs", "xz", "b", "bs", "bz", "c", "ls", "yz"]
    graph = imported("QGemm", names, {"a": [2, 5]}, held=held, transB=int(turned))
    sums = (a.astype(np.int64) - X[1]) @ b.astype(np.int64) + bias
    want = whole(sums * (np.float32(X[0]) * each), 0.4, Y[1])
    assert (both(graph, {"a": a}) == want).all()
    assert [n.op.kind for n in simplify(graph).nodes] == ["dense"]


def test_a_choice_of_two() -> None:
    a, b, c = eight(2, 3), eight(2, 3), RNG.integers(0, 2, (2, 3)).astype(bool)
    names = ["c", "a", "xs", "xz", "b", "ys", "yz", "xs", "xz"]
    graph = imported("QLinearWhere", names, {"a": [2, 3], "b": [2, 3]}, held={"c": c})
    want = np.where(c, a, whole(real(b, *Y), *X))
    assert (both(graph, {"a": a, "b": b}) == want).all()


def test_what_is_not_taken_is_named() -> None:
    names = ["x", "xs", "xz", "ys", "yz"]
    with pytest.raises(ModelError, match="channels_last is not taken"):
        imported("QLinearGlobalAveragePool", names, {"x": [1, 4, 6, 6]}, channels_last=1)
    with pytest.raises(ModelError, match=r"custom operator, of the domain com\.microsoft"):
        imported("QAttention", names, {"x": [1, 4, 6, 6]})


@pytest.mark.parametrize("activations", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_network_gives_the_values_of_onnx_runtime(
    tmp_path: Path, activations: str, per_channel: bool
) -> None:
    """Within a step of the last scale: what ONNX Runtime computes in float32 it rounds its way."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is what it is held to")
    content = quantised(tmp_path, activations, per_channel, "QOperator")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    graph = graph_of(content, "ONNX")
    small = simplify(graph)
    assert sum(n.op.kind in ("conv", "dense") for n in small.nodes) == 3
    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal((1, 4, 10, 10)).astype(np.float32)
        (wanted,) = session.run(None, {"x": x})
        for one in (graph, small):
            (found,) = outputs(one, {"x": x})
            assert np.abs(found - wanted).max() < 1.01 / 256

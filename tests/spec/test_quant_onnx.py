"""8-bit layers against ONNX: the node cases, the reference evaluator, ONNX Runtime."""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quant_layers import Filled, filled, random_layer, saturates

from convgen.oracle.integers import reference
from convgen.spec.model import Activation, ConvSpec, DType, Layout, Padding, WeightLayout
from convgen.spec.quant import Affine, Quant, Rounding

onnx = pytest.importorskip("onnx", reason="the onnx package has the cases")

CASES = {"QLinearConv": 1, "ConvInteger": 2}  # in onnx 1.23; a later one may have more
LAYERS = 80
Array = np.ndarray[Any, Any]


def shifted(w: Array, zero: Array) -> tuple[Array, tuple[int, ...]]:
    """uint8 weights as int8 ones: both they and their zero point move by 128."""
    by = 128 if w.dtype == np.uint8 else 0
    moved = (w.astype(np.int16) - by).astype(np.int8)
    return moved, tuple(int(z) - by for z in zero.reshape(-1).tolist())


def node_cases(operator: str) -> list[Any]:
    module = {"QLinearConv": "qlinearconv", "ConvInteger": "convinteger"}[operator]
    importlib.import_module(f"onnx.backend.test.case.node.{module}")
    found = importlib.import_module("onnx.backend.test.case.node")._NodeTestCases
    return [c for c in found if [n.op_type for n in c.model.graph.node] == [operator]]


@pytest.mark.parametrize("operator", CASES)
def test_node_cases(operator: str) -> None:
    cases = node_cases(operator)
    assert len(cases) >= CASES[operator]
    for case in cases:
        (node,) = case.model.graph.node
        given, (expected,) = case.data_sets[0]
        named = dict(zip([v.name for v in case.model.graph.input], given, strict=True))
        inputs = [named[key] for key in node.input]
        y = reference(*arguments(operator, node, inputs))
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y, expected, case.name)


def arguments(operator: str, node: Any, inputs: list[Array]) -> tuple[Any, ...]:
    """Spec, x, w and bias of a node; every input of the cases is there."""
    a = {n.name: onnx.helper.get_attribute_value(n) for n in node.attribute}
    if operator == "QLinearConv":
        x, xs, xz, w, ws, wz, ys, yz = inputs[:8]
        output = Affine((float(ys),), (int(yz),))
    else:
        x, w, xz, wz = (*inputs, np.array(0, np.uint8))[:4]
        xs, ws, output = np.empty(0), np.empty(0), None
    weights, zeros = shifted(w, wz)
    top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
    n, c, h, width = x.shape
    spec = ConvSpec(
        "node", h, width, c, w.shape[0], w.shape[2], w.shape[3], batch=n, bias=False,
        padding=Padding(top, left, bottom, right), dtype=DType(str(x.dtype)),
        layout=Layout.NCHW, weight_layout=WeightLayout.OIHW,
        quant=Quant(
            Affine(tuple(map(float, xs.reshape(-1))), (int(xz),)),
            Affine(tuple(map(float, ws.reshape(-1))), zeros), output, None, Rounding.ONNX,
        ),
    )  # fmt: skip
    return spec, x, weights


def as_onnx(layer: Filled) -> Any:
    """The layer as a model of one QLinearConv or ConvInteger node (and Add of the bias)."""
    s, q = layer.spec, layer.spec.quant
    assert q is not None
    kind = onnx.TensorProto.INT8 if s.dtype is DType.INT8 else onnx.TensorProto.UINT8
    p = s.padding
    attributes = {
        "group": s.groups, "strides": [s.sh, s.sw], "dilations": [s.dh, s.dw],
        "pads": [p.top, p.left, p.bottom, p.right], "kernel_shape": [s.kh, s.kw],
    }  # fmt: skip
    held = {
        "xz": np.array(q.input.zero_point[0], str(s.dtype)),
        "w": layer.w,
        "wz": np.array(q.weight.zero_point, np.int8).reshape(-1)[:1].reshape(()),
    }
    out = onnx.TensorProto.INT32
    if q.output is None:
        node = onnx.helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], **attributes)
    else:
        out = kind
        scale = np.array(q.weight.scale, np.float32)
        held["wz"] = np.resize(np.array(q.weight.zero_point, np.int8), scale.shape)
        if len(scale) == 1:
            scale, held["wz"] = scale.reshape(()), held["wz"].reshape(())
        held |= {
            "xs": np.float32(q.input.scale[0]), "ws": scale, "ys": np.float32(q.output.scale[0]),
            "yz": np.array(q.output.zero_point[0], str(s.dtype)),
        }  # fmt: skip
        names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
        if layer.b is not None:
            held["b"] = layer.b
            names.append("b")
        node = onnx.helper.make_node("QLinearConv", names, ["y"], **attributes)
    graph = onnx.helper.make_graph(
        [node], "layer",
        [onnx.helper.make_tensor_value_info("x", kind, s.x_shape)],
        [onnx.helper.make_tensor_value_info("y", out, s.y_shape)],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 13)]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=8)


def layers(*, sums: bool, zeros: bool) -> list[Filled]:
    found = []
    for seed in range(LAYERS):
        dtype = DType.UINT8 if seed % 2 else DType.INT8
        made = random_layer(
            seed, Rounding.ONNX, dtype=dtype, w_zero=zeros, tables=False, activation=Activation(),
            layout=Layout.NCHW, weight_layout=WeightLayout.OIHW,
        )  # fmt: skip
        spec, quant = made.spec, made.spec.quant
        assert quant is not None
        weight = quant.weight
        if len(weight.scale) == 1 or sums:  # ONNX has a zero point for each scale
            weight = replace(weight, zero_point=weight.zero_point[:1])
        if sums:
            spec = replace(
                spec, bias=False,
                quant=Quant(replace(quant.input, scale=()), replace(weight, scale=()), None),
            )  # fmt: skip
        else:
            spec = replace(spec, quant=replace(quant, weight=weight))
        found.append(filled(spec, seed))
    return found


@pytest.mark.parametrize("sums", [False, True], ids=["QLinearConv", "ConvInteger"])
def test_reference_evaluator(sums: bool) -> None:
    """It scales in float64 and rounds after the zero point is added: the same to within a tie."""
    from onnx.reference import ReferenceEvaluator

    total = differing = 0
    for layer in layers(sums=sums, zeros=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (want,) = ReferenceEvaluator(as_onnx(layer)).run(None, {"x": layer.x})
        y = reference(layer.spec, layer.x, layer.w, layer.b)
        off = np.abs(y.astype(np.int64) - want.astype(np.int64))
        assert y.dtype == want.dtype and off.max() <= (0 if sums else 1)
        total, differing = total + y.size, differing + int((off > 0).sum())
    assert differing <= 1e-3 * total


@pytest.mark.parametrize("sums", [False, True], ids=["QLinearConv", "ConvInteger"])
def test_onnxruntime(sums: bool) -> None:
    """To the bit, on whatever kernels it has for this CPU.

    Where pairs of products saturate, weights of 7 bits: 2 * 255 * 64 is below 2^15.
    """
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    refused = 0
    for layer in layers(sums=sums, zeros=True):
        if saturates():
            layer = replace(layer, w=layer.w.clip(-64, 64))
        content = as_onnx(layer).SerializeToString()
        try:
            session = runtime.InferenceSession(content, options, ["CPUExecutionProvider"])
            (want,) = session.run(None, {"x": layer.x})
        except Exception as error:  # what its kernels do not take, it says
            assert "NOT_IMPLEMENTED" in str(error) or "zero point" in str(error), error
            refused += 1
            continue
        y = reference(layer.spec, layer.x, layer.w, layer.b)
        np.testing.assert_array_equal(y, want, str(layer.spec))
    assert refused <= LAYERS // 2

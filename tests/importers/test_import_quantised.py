"""A network that ONNX Runtime quantised (QDQ), imported and simplified, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

from in_process import graph_of, outputs  # noqa: E402
from onnx_models import model, node, random  # noqa: E402

from convgen.network.fuse import simplify  # noqa: E402


def network() -> Any:
    """Convolutions, a residual sum, pools, a dense layer."""
    held = {
        "w": random(8, 4, 3, 3),
        "b": random(8),
        "dw": random(8, 1, 3, 3, seed=3),
        "db": random(8, seed=5),
        "fc": random(8, 5, seed=2),
        "fb": random(5, seed=7),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "dw", "db"], ["d"], pads=[1, 1, 1, 1], group=8),
        node("Add", ["d", "r"], ["s"]),
        node("Relu", ["s"], ["t"]),
        node("MaxPool", ["t"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["m"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "fc", "fb"], ["l"]),
        node("Softmax", ["l"], ["y"]),
    ]
    return model(nodes, {"x": [1, 4, 10, 10]}, ["y"], held, opset=13)


def quantised(folder: Path, activations: str, per_channel: bool, form: str = "QDQ") -> bytes:
    """The network as onnxruntime.quantization makes it of eight samples."""
    tools = pytest.importorskip("onnxruntime.quantization", reason="ONNX Runtime quantises")

    class Samples(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.left = iter({"x": random(1, 4, 10, 10, seed=k)} for k in range(8))

        def get_next(self) -> Any:
            return next(self.left, None)

    onnx.save(network(), folder / "float.onnx")
    tools.quantize_static(
        folder / "float.onnx",
        folder / "quantised.onnx",
        Samples(),
        quant_format=getattr(tools.QuantFormat, form),
        activation_type=getattr(tools.QuantType, activations),
        weight_type=tools.QuantType.QInt8,
        per_channel=per_channel,
    )
    return (folder / "quantised.onnx").read_bytes()


def ways() -> Iterator[tuple[str, bool]]:
    for activations in ("QUInt8", "QInt8"):
        for per_channel in (False, True):
            yield activations, per_channel


@pytest.mark.parametrize("activations,per_channel", list(ways()))
def test_qdq_gives_the_values_of_onnx_runtime(
    tmp_path: Path, activations: str, per_channel: bool
) -> None:
    """As imported, and once integer layers have been made of it."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is what it is held to")
    content = quantised(tmp_path, activations, per_channel)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    x = random(1, 4, 10, 10, seed=99)
    (wanted,) = runtime.InferenceSession(content, options).run(None, {"x": x})
    graph = graph_of(content, "ONNX")
    for made in (graph, simplify(graph)):
        (found,) = outputs(made, {"x": x})
        assert np.abs(found - wanted).max() < 1e-6
    integer = [n for n in simplify(graph).nodes if n.op.kind in ("conv", "dense")]
    types = {made.values[n.inputs[0]].dtype.eight_bit for n in integer}
    assert len(integer) == 3 and types == {True}

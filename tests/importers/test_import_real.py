"""Whole networks of the onnx wheel, with random weights, against ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package ships the models")

from in_process import graph_of, outputs  # noqa: E402
from light_models import LIGHT, with_random_weights  # noqa: E402

from convgen.network.fuse import simplify  # noqa: E402

FEW = ("squeezenet",)
MORE = (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet",
    "zfnet512",
)  # fmt: skip


@pytest.mark.parametrize(
    "name", [*FEW, *(pytest.param(name, marks=pytest.mark.deep) for name in MORE)]
)
def test_light_models(name: str) -> None:
    """As the file has it, and after folding and fusing."""
    runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is what it is held to")
    path = LIGHT / f"light_{name}.onnx"
    if not path.is_file():
        pytest.skip("this onnx wheel has no light models")
    content = with_random_weights(path).SerializeToString()
    graph = graph_of(content, "ONNX")
    (x,) = graph.inputs
    array = np.random.default_rng(1).standard_normal(graph.values[x].shape).astype(np.float32)
    (wanted,) = runtime.InferenceSession(content).run(None, {x: array})
    for made in (graph, simplify(graph)):
        (found,) = outputs(made, {x: array})
        assert np.abs(found - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())
        assert wanted.std() > 0

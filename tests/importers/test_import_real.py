"""Whole networks of the onnx wheel, with random weights, against ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package ships the models")

from in_process import graph_of, outputs  # noqa: E402

from convgen.network.fuse import simplify  # noqa: E402

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
FEW = ("squeezenet",)
MORE = (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet",
    "zfnet512",
)  # fmt: skip


def with_random_weights(path: Path) -> Any:
    """The model with a seeded array where it fills a constant with one number.

    Scaled by the inputs of each filter, so that values neither vanish nor explode.
    """
    model = onnx.load(path)
    graph = model.graph
    shapes = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    rng = np.random.default_rng(0)
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(n) for n in shapes[node.input[0]])
        spread = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        values = (rng.standard_normal(shape) * spread).astype(np.float32)
        if len(shape) == 1:
            values = np.abs(values) + 0.5  # scales and variances of normalisations
        graph.initializer.append(onnx.numpy_helper.from_array(values, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return model


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

"""From a model file to a module that computes it, by the Python interface."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

from onnx_models import model, node, random, reference  # noqa: E402

import convgen  # noqa: E402
from convgen.errors import ConvgenError  # noqa: E402

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler on this machine"
)

YAML = """\
network: small
inputs: {x: 6x5x3}
weights: {init: truncated_normal, stddev: 0.3, seed: 1}
layers:
  - conv: {k: 4, f: 3, p: 1, act: relu}
  - maxpool: {f: 2, s: 1}
"""


def test_a_model_file_becomes_a_module(tmp_path: Path) -> None:
    held = {"w": random(4, 3, 3, 3), "b": random(4)}
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["y"]),
    ]
    proto = model(nodes, {"x": ["N", 3, 6, 5]}, ["y"], held)
    path = tmp_path / "tiny_net.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ConvgenError, match="M010"):
        convgen.build(path, tmp_path)
    net = convgen.load(path, tmp_path, shapes={"x": (1, 3, 6, 5)})
    x = random(1, 3, 6, 5, seed=3)
    (wanted,) = reference(proto, {"x": x})
    np.testing.assert_allclose(net.run(x), wanted, rtol=1e-4, atol=1e-5)
    assert convgen.load(path, tmp_path, shapes={"x": (1, 3, 6, 5)}) is net


def test_a_network_in_yaml_becomes_a_module(tmp_path: Path) -> None:
    net = convgen.build(YAML, tmp_path)
    (tmp_path / "small.yaml").write_text(YAML)
    again = convgen.build(tmp_path / "small.yaml", tmp_path)
    x = random(1, 6, 5, 3)
    assert net.run(x).shape == (1, 5, 4, 4)
    assert np.array_equal(net.run(x), again.run(x))

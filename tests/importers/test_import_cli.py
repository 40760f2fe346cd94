"""``convgen import``: the two files, the table, what is refused, and what the options do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

from cli_runner import Ran, run  # noqa: E402
from in_process import graph_of, outputs  # noqa: E402
from onnx_models import model, node, random  # noqa: E402

from convgen.network.text import parse_network_file  # noqa: E402

X = {"x": ["N", 4, 9, 8]}


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A network with a batch of any size, something to fold, to fuse and to leave alone."""
    held = {
        "w": random(6, 4, 3, 3),
        "b": random(6, seed=1),
        **{k: abs(random(6, seed=i)) + 0.5 for i, k in enumerate("sgmv")},
        "fc": random(6, 5, seed=2),
        "shape": np.array([0, -1], np.int64),
    }
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], name="first/conv"),
        node("BatchNormalization", ["c", *"sgmv"], ["n"], name="first/norm"),
        node("Relu", ["n"], ["r"], name="first/relu"),
        node("Dropout", ["r"], ["d"], name="drop"),
        node("GlobalAveragePool", ["d"], ["p"], name="pool"),
        node("Reshape", ["p", "shape"], ["f"], name="flat"),
        node("MatMul", ["f", "fc"], ["l"], name="dense"),
        node("Softmax", ["l"], ["y"], name="out"),
    ]
    path = tmp_path / "net.onnx"
    path.write_bytes(model(nodes, X, ["y"], held).SerializeToString())
    return path


def imported(net: Path, *options: str) -> Ran:
    return run("import", str(net), "-o", str(net.parent), *options)


def test_an_open_dimension_is_asked_for(net: Path) -> None:
    ran = imported(net)
    assert ran.code == 1 and "M010" in ran.err and "'x' Nx4x9x8" in ran.err
    assert not (net.parent / "net.yaml").exists()


def test_two_files_that_mean_the_same(net: Path) -> None:
    ran = imported(net, "--shape", "x=2x4x9x8")
    assert ran.code == 0, ran.err
    assert "first/conv" in ran.out and "drop" in ran.out and "fused" in ran.out
    assert f"wrote {net.parent / 'net.yaml'} and {net.parent / 'net.npz'}" in ran.out
    with np.load(net.parent / "net.npz", allow_pickle=False) as arrays:
        assert len(arrays.files) >= 5
    read = parse_network_file(net.parent / "net.yaml").load()
    want = graph_of(net.read_bytes(), "ONNX", x=(2, 4, 9, 8))
    x = random(2, 4, 9, 8, seed=9)
    (found,), (wanted,) = outputs(read, {read.inputs[0]: x}), outputs(want, {"x": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_same_file_gives_the_same_bytes(net: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        assert (
            run("import", str(net), "-o", str(tmp_path / folder), "--shape", "x=1x4x9x8").code == 0
        )
    for name in ("net.yaml", "net.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_is_overwritten_unasked(net: Path) -> None:
    shape = ("--shape", "x=1x4x9x8")
    assert imported(net, *shape).code == 0
    again = imported(net, *shape)
    assert again.code == 2 and "--force" in again.err
    assert imported(net, *shape, "--force").code == 0


def test_json_has_every_node(net: Path) -> None:
    said: Any = imported(net, "--shape", "x=1x4x9x8", "--json").json
    assert [n["outcome"] for n in said["nodes"]] == ["taken"] * 3 + ["folded"] + ["taken"] * 4
    assert said["format"] == "ONNX" and said["name"] == "net" and said["macs"] > 0
    assert any("first/relu" in row["what"] for row in said["fused"])


def test_steps_without_a_kernel_are_told(tmp_path: Path) -> None:
    """float64 networks can be read, kept and computed by the reference, but not built."""
    nodes = [node("Relu", ["x"], ["r"]), node("Sin", ["r"], ["y"], name="wave")]
    path = tmp_path / "net.onnx"
    double = model(nodes, {"x": [1, 2, 3]}, ["y"], dtype=onnx.TensorProto.DOUBLE)
    path.write_bytes(double.SerializeToString())
    ran = run("import", str(path), "-o", str(tmp_path), "--json")
    said = ran.json["without_kernel"]
    assert ran.code == 0 and [row["kind"] for row in said] == ["relu", "sin"]


def test_name_and_cut(net: Path) -> None:
    ran = imported(net, "--shape", "x=1x4x9x8", "--cut", ":r", "--name", "stem")
    assert ran.code == 0, ran.err
    graph = parse_network_file(net.parent / "stem.yaml").graph
    assert graph.name == "stem" and graph.nodes[0].op.kind == "conv"
    assert graph.values[graph.outputs[0]].shape == (1, 6, 9, 8)
    assert imported(net, "--shape", "x=1x4x9x8", "--cut", "nobody:y").code == 1
    assert imported(net, "--shape", "nonsense").code == 2


def test_every_node_that_cannot_be_taken_is_in_the_table(tmp_path: Path) -> None:
    nodes = [
        node("LSTM", ["x", "x", "x"], ["a"], name="rec"),
        node("FancyOp", ["a"], ["y"], name="fancy"),
    ]
    path = tmp_path / "bad.onnx"
    path.write_bytes(model(nodes, {"x": [1, 2, 3]}, ["y"]).SerializeToString())
    ran = run("import", str(path), "-o", str(tmp_path))
    assert ran.code == 1 and "2 nodes cannot be taken" in ran.err
    for word in ("rec", "LSTM", "fancy", "FancyOp", "reason", "advice", "--cut"):
        assert word in ran.out
    said = run("import", str(path), "-o", str(tmp_path), "--json")
    assert [(r["node"], r["op"]) for r in said.json["refused"]] == [
        ("rec", "LSTM"),
        ("fancy", "FancyOp"),
    ]
    assert [e["code"] for e in json.loads(said.out)["errors"]] == ["M020", "M020"]
    assert not list(tmp_path.glob("*.yaml"))


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "layer.yaml"
    path.write_text("input: 8x8x1\n")
    ran = run("import", str(path))
    assert ran.code == 1 and "M002" in ran.err

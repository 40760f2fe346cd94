"""Hostile model files: typed errors, bounded time and memory, nothing opened outside the folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

import damaged  # noqa: E402
from in_process import graph_of  # noqa: E402
from onnx_models import model, node, random, small  # noqa: E402

from convgen.importers import import_model, model_format  # noqa: E402
from convgen.importers.refusal import ModelError  # noqa: E402

HERE = Path(__file__).resolve().parent
X = {"x": [1, 4, 9, 8]}


def refused(content: Any, code: str, form: str = "ONNX", **how: Any) -> ModelError:
    """The one error of this code."""
    content = content if isinstance(content, bytes) else content.SerializeToString()
    with pytest.raises(ModelError) as caught:
        graph_of(content, form, **how)
    assert code in {d.code for d in caught.value.diagnostics}, str(caught.value)
    return caught.value


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file(share: float) -> None:
    content = small().SerializeToString()
    refused(content[: int(len(content) * share)], "M003")


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    for name, content in {
        "text.onnx": b"input: 32x32x3\n",
        "empty.tflite": b"",
        "pickle.onnx": b"\x80\x04\x95\x10\x00",
        "zip.onnx": b"PK\x03\x04" + bytes(60),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert model_format(tmp_path / name) is None
        with pytest.raises(ModelError, match="M002"):
            import_model(tmp_path / name)
    with pytest.raises(ModelError, match="M001"):
        import_model(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match="M001"):
        import_model(tmp_path)


def test_the_format_is_told_by_the_content(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(small().SerializeToString())
    assert model_format(path) == "ONNX"
    done = import_model(path)
    assert done.graph.name == "model" and done.format == "ONNX"
    assert [(row.op, row.outcome, row.detail) for row in done.rows] == [("Conv", "taken", "conv")]


def test_nodes_in_a_circle() -> None:
    nodes = [node("Add", ["x", "b"], ["a"], name="first"), node("Relu", ["a"], ["b"], name="next")]
    error = refused(model(nodes, X, ["b"]), "M008")
    assert "'first'" in str(error) and "'next'" in str(error)


def test_tensors_that_nobody_makes_or_two_make() -> None:
    refused(model([node("Relu", ["ghost"], ["y"])], X, ["y"]), "M008")
    refused(model([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], X, ["y"]), "M008")
    refused(model([node("Relu", ["x"], ["x"])], X, ["x"]), "M008")
    refused(model([node("Relu", ["x"], ["c"])], X, ["c"], {"c": random(2)}), "M008")


def test_absurd_sizes() -> None:
    held = {"s": np.array([2**40], np.int64)}
    refused(model([node("Expand", ["x", "s"], ["y"])], {"x": [1]}, ["y"], held), "M026")
    pads = {"p": np.array([0, 2**33, 0, 0], np.int64)}
    refused(model([node("Pad", ["x", "p"], ["y"])], {"x": [1, 1]}, ["y"], pads), "M026")
    zeros = node("ConstantOfShape", ["s"], ["z"])
    many = {"s": np.array([2**36], np.int64)}
    error = refused(model([zeros, node("Add", ["x", "z"], ["y"])], {"x": [1]}, ["y"], many), "M026")
    assert "ConstantOfShape" in str(error)
    proto = small()
    proto.graph.initializer[0].dims[0] = 2**40
    refused(proto, "M003")
    proto = small()
    proto.graph.initializer[0].dims[0] = 7
    refused(proto, "M003")


def test_wrong_types() -> None:
    proto = small()
    proto.graph.initializer[0].data_type = onnx.TensorProto.INT64
    refused(proto, "M003")
    refused(model([node("Relu", ["x"], ["y"])], X, ["y"], dtype=onnx.TensorProto.STRING), "M022")
    proto = model([node("Relu", ["x"], ["y"])], X, ["y"])
    proto.graph.input[0].type.tensor_type.elem_type = 99
    refused(proto, "M022")
    del proto.graph.input[0].type.tensor_type.shape.dim[:]
    proto.graph.input[0].type.Clear()
    refused(proto, "M010")


def test_constants_of_types_that_no_graph_has() -> None:
    for kind in ("BFLOAT16", "FLOAT8E4M3FN", "INT4", "STRING"):
        proto = model([node("Add", ["x", "c"], ["y"])], {"x": [2]}, ["y"])
        number = getattr(onnx.TensorProto, kind)
        proto.graph.initializer.add(name="c", data_type=number, dims=[2])
        assert kind.lower() in str(refused(proto, "M022"))


def test_attributes_of_the_wrong_kind() -> None:
    refused(model([node("Softmax", ["x"], ["y"], axis="one")], X, ["y"]), "M023")
    refused(model([node("Softmax", ["x"], ["y"], axis=9)], X, ["y"]), "M023")
    refused(model([node("MaxPool", ["x"], ["y"], kernel_shape=[3, -1])], X, ["y"]), "M023")
    refused(model([node("MaxPool", ["x"], ["y"], kernel_shape=[99, 99])], X, ["y"]), "M023")
    refused(model([node("Transpose", ["x"], ["y"], perm=[0, 0, 1, 2])], X, ["y"]), "M023")
    refused(model([node("DepthToSpace", ["x"], ["y"], blocksize=0)], X, ["y"]), "M023")


def test_unknown_operators_and_operator_sets() -> None:
    nodes = [
        node("FancyOp", ["x"], ["a"], name="first one"),
        onnx.helper.make_node("Relu", ["a"], ["b"], domain="com.example"),
        node("Conv", ["b", "x"], ["c"]),
        node("LSTM", ["x", "x", "x"], ["d"]),
        node("Add", ["c", "d"], ["y"]),
    ]
    proto = model(nodes, X, ["y"])
    with pytest.raises(ModelError) as caught:
        graph_of(proto.SerializeToString(), "ONNX")
    said = [(r.node, r.op, r.code) for r in caught.value.refused]
    assert said == [
        ("first one", "FancyOp", "M020"),
        ("b", "Relu", "M020"),
        ("d", "LSTM", "M020"),
    ]
    assert all(r.reason and "--cut" in r.advice for r in caught.value.refused)
    for opset in (5, 999):
        refused(model([node("Relu", ["x"], ["y"])], X, ["y"], opset=opset), "M006")
    proto = model([node("Relu", ["x"], ["y"])], X, ["y"])
    del proto.opset_import[:]
    refused(proto, "M006")


def external(folder: Path, location: str, **entries: Any) -> bytes:
    """The small model with its weights in another file."""
    proto = small()
    tensor = proto.graph.initializer[0]
    values = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    (folder / "weights.bin").write_bytes(b"\0" * 16 + values)
    return bytes(proto.SerializeToString())


def test_weights_beside_the_model(tmp_path: Path) -> None:
    content = external(tmp_path, "weights.bin", offset=16, length=6 * 4 * 9 * 4)
    (tmp_path / "net.onnx").write_bytes(content)
    graph = import_model(tmp_path / "net.onnx").graph
    (w,) = (v for k, v in graph.constants.items() if k.startswith("w"))
    assert np.array_equal(w, random(6, 4, 3, 3).transpose(2, 3, 1, 0))


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/passwd", "in/../../weights.bin", "link", "pipe", "", "missing", "\0"],
)
def test_weights_outside_the_folder_are_not_opened(tmp_path: Path, location: str) -> None:
    here = tmp_path / "here"
    (here / "in").mkdir(parents=True)
    content = external(tmp_path, location)
    (here / "link").symlink_to(tmp_path / "weights.bin")
    os.mkfifo(here / "pipe")
    (here / "net.onnx").write_bytes(content)
    script = (
        "import sys\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, args: event == 'open' and opened.append(str(args[0])))\n"
        "from in_process import graph_of\n"
        "from convgen.importers.refusal import ModelError\n"
        "path = sys.argv[1]\n"
        "content = open(path, 'rb').read()\n"
        "try:\n"
        "    graph_of(content, 'ONNX', path=path)\n"
        "except ModelError as error:\n"
        "    print(error.diagnostics[0].code)\n"
        "print([p for p in opened if p.endswith(('weights.bin', 'passwd', 'pipe', 'link'))])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(here / "net.onnx")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(damaged.ROOT), str(HERE)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["M007", "[]"]


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": 17},
        {"offset": -1},
        {"offset": 2**62},
        {"offset": "x"},
        {"length": 7},
        {"length": 2**40},
    ],
    ids=str,
)
def test_weights_at_the_wrong_place(tmp_path: Path, entries: dict[str, Any]) -> None:
    content = external(tmp_path, "weights.bin", **entries)
    refused(content, "M007", path=str(tmp_path / "net.onnx"))


def test_open_dimensions_are_named_and_fixed() -> None:
    relu = model([node("Add", ["a", "b"], ["y"])], {"a": ["N", 3], "b": [None, 3]}, ["y"])
    error = refused(relu, "M010")
    assert "'a' Nx3" in str(error) and "'b' ?x3" in str(error) and "--shape" in str(error)
    relu.graph.node.append(node("FancyOp", ["y"], ["z"]))
    relu.graph.output[0].name = "z"
    assert "FancyOp" in str(refused(relu, "M020")) and "M010" in str(refused(relu, "M010"))
    relu.graph.node[1].op_type = "Neg"
    content = relu.SerializeToString()
    assert graph_of(content, "ONNX", a=(2, 3), b=(2, 3)).values["y"].shape == (2, 3)
    refused(relu, "M011", a=(2, 4), b=(2, 3))
    refused(relu, "M011", a=(2, 3), nobody=(2, 3))
    square = model([node("Relu", ["x"], ["y"])], {"x": ["N", "N"]}, ["y"])
    refused(square, "M011", x=(2, 3))


def chain() -> bytes:
    nodes = [
        node("Relu", ["x"], ["a:0"]),
        node("FancyOp", ["a:0"], ["b,0"]),
        node("Sigmoid", ["b,0"], ["c"]),
        node("Neg", ["c"], ["y"]),
    ]
    proto = model(nodes, X, ["y"])
    value = onnx.helper.make_tensor_value_info("b,0", onnx.TensorProto.FLOAT, [1, 5])
    proto.graph.value_info.append(value)
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    "cut,kinds,inputs,ends",
    [
        (":a:0", ["relu"], ("x",), ("a:0",)),
        ("x:a:0", ["relu"], ("x",), ("a:0",)),
        ("b,0:", ["sigmoid", "neg"], ("b,0",), ("y",)),
        ("b,0:c,y", ["sigmoid", "neg"], ("b,0",), ("c", "y")),
        ("b,0:c", ["sigmoid"], ("b,0",), ("c",)),
    ],
)
def test_a_cut_builds_the_part_between(
    cut: str, kinds: Sequence[str], inputs: Sequence[str], ends: Sequence[str]
) -> None:
    graph = graph_of(chain(), "ONNX", cut=cut)
    assert [n.op.kind for n in graph.nodes] == kinds
    assert (graph.inputs, graph.outputs) == (inputs, ends)


def test_cuts_that_do_not_fit() -> None:
    for cut in ("nobody:y", "x", "y:x", "c:", "y:b,0"):
        with pytest.raises(ModelError) as caught:
            graph_of(chain(), "ONNX", cut=cut)
        assert {d.code for d in caught.value.diagnostics} <= {"M012", "M008", "M010", "M020"}
    with pytest.raises(ModelError, match="similar ones are 'b,0'"):
        graph_of(chain(), "ONNX", cut="b.0:y")


def test_names_are_shown_escaped_and_cut() -> None:
    name = "\x1b[31m\n" + "x" * 9000
    error = refused(model([node("FancyOp", ["x"], ["y"], name=name)], X, ["y"]), "M020")
    assert "\x1b" not in str(error) and "\n" not in str(error) and len(str(error)) < 1000


def test_thousands_of_damaged_files() -> None:
    """2,000 of every push; ``make hostile`` has 50,000."""
    ends = 0
    for first in (0, 1000):
        found = damaged.chunk(first, 1000)
        assert not found.failures, found.failures[0]
        ends += sum(found.ends.values())
    assert ends == 2000

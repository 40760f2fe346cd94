"""The process that reads a model file: what ends it, what bounds it, and what it hands back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

import damaged  # noqa: E402
from in_process import graph_of, translated  # noqa: E402
from onnx_models import model, node, small  # noqa: E402

from convgen.importers import import_model, isolate  # noqa: E402
from convgen.importers.refusal import ModelError  # noqa: E402
from convgen.network.graph import Graph  # noqa: E402
from convgen.spec.names import refuse_name  # noqa: E402

HERE = Path(__file__).resolve().parent


def test_a_reader_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old protobuf beside onnx, for one: no bug of convgen's, and said so."""
    broken = tmp_path / "libraries" / "onnx"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('gencode\\nis newer')\n")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    path = tmp_path / "model.onnx"
    path.write_bytes(small().SerializeToString())
    with pytest.raises(ModelError, match=r"M005.*onnx is installed but.*'gencode is newer'.*pip"):
        import_model(path)


def test_a_crash_of_the_reader_is_an_error_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Native code may crash over a file: here the reader is a module that does so."""
    import signal

    from convgen.toolchain.command import Finished

    path = tmp_path / "net.onnx"
    path.write_bytes(small().SerializeToString())
    ends = {
        -signal.SIGSEGV: "M009",
        -signal.SIGABRT: "M009",
        -signal.SIGXCPU: "M004",
        -signal.SIGKILL: "M004",
    }
    for code, expected in ends.items():
        finished = Finished((), code, "", "", 1.0, timed_out=False)
        monkeypatch.setattr("convgen.toolchain.Processes.run", lambda *_, f=finished, **__: f)
        with pytest.raises(ModelError, match=expected):
            import_model(path)


def test_time_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolate, "SECONDS", 0.05)
    monkeypatch.setattr(isolate, "SECONDS_PER_BYTE", 0.0)
    (tmp_path / "net.onnx").write_bytes(small().SerializeToString())
    with pytest.raises(ModelError, match="M004"):
        import_model(tmp_path / "net.onnx")


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small file that computes large constants: each stays below the bound, all do not."""
    monkeypatch.setattr(isolate, "MEMORY", 1 << 30)
    held = {"s": np.array([1 << 26], np.int64)}
    nodes = [node("ConstantOfShape", ["s"], [f"z{i}"]) for i in range(8)]
    sums = [node("Sum", ["x", *(f"z{i}" for i in range(8))], ["y"])]
    (tmp_path / "net.onnx").write_bytes(
        model([*nodes, *sums], {"x": [1]}, ["y"], held).SerializeToString()
    )
    with pytest.raises(ModelError) as caught:
        import_model(tmp_path / "net.onnx")
    assert {d.code for d in caught.value.diagnostics} <= {"M004", "M025", "M026"}


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").write_bytes(small().SerializeToString())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"convgen\[onnx\]"):
        import_model(tmp_path / "net.onnx")


def test_names_of_networks(tmp_path: Path) -> None:
    content = small().SerializeToString()
    for stem in ("My-Net.v2", "int", "0"):
        (tmp_path / f"{stem}.onnx").write_bytes(content)
        name = import_model(tmp_path / f"{stem}.onnx").graph.name
        assert refuse_name(name) is None and (stem != "My-Net.v2" or name == "my_net_v2")
    with pytest.raises(ModelError, match="M013"):
        import_model(tmp_path / "0.onnx", name="Not A Name")
    assert import_model(tmp_path / "0.onnx", name="good").graph.name == "good"


def test_what_comes_back_is_the_graph(tmp_path: Path) -> None:
    from convgen.importers.wire import read_graph, write_graph

    for form, content in damaged.corpus():
        done = translated(content, form)
        assert done.graph is not None
        write_graph(done.graph, tmp_path)
        assert same(read_graph(tmp_path), done.graph)


def same(a: Graph, b: Graph) -> bool:
    fields = ("name", "inputs", "outputs", "nodes", "rounding", "notes")
    arrays = all(np.array_equal(a.constants[k], v) for k, v in b.constants.items())
    maps = dict(a.values) == dict(b.values) and set(a.constants) == set(b.constants)
    return arrays and maps and all(getattr(a, f) == getattr(b, f) for f in fields)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["nodes"][0].__setitem__(1, "Popen"),
        lambda d: d["nodes"][0][2].__setitem__("strides", "rm"),
        lambda d: d["nodes"][0][2].__setitem__("more", 1),
        lambda d: next(iter(d["constants"].values())).__setitem__(2, 10**9),
        lambda d: next(iter(d["constants"].values())).__setitem__(0, "object"),
        lambda d: d.pop("rounding"),
    ],
)
def test_an_answer_that_is_none_is_not_taken(tmp_path: Path, change: Any) -> None:
    from convgen.importers.wire import JSON, read_graph, write_graph

    graph = graph_of(small().SerializeToString(), "ONNX")
    write_graph(graph, tmp_path)
    document = json.loads((tmp_path / JSON).read_text())
    change(document)
    (tmp_path / JSON).write_text(json.dumps(document))
    with pytest.raises((ValueError, TypeError, KeyError)):
        read_graph(tmp_path)

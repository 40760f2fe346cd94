"""``convgen bench``: real builds, faked peers and a faked machine; never a word about times."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_reports import MACHINE, FakeRival
from cli_runner import ROOT, TINY, needs_compiler, run

from convgen.bench import machine as machine_module
from convgen.bench import run as run_module
from convgen.bench.machine import Machine
from convgen.bench.report import PeerInfo, Report, read_report
from convgen.bench.run import c_flags, check_target, shape_text
from convgen.cli.bench import peer_pythons
from convgen.errors import UsageError
from convgen.numbers.settle import settled
from convgen.spec import parse_file
from convgen.spec.model import DType, Layout, WeightLayout
from convgen.target import TARGETS, Target
from convgen.target.host import cpu_name

pytestmark = needs_compiler
QUICK = ("--rounds", "2")


def faked_machine(target: Target, threads: int, cc: str | None) -> Machine:
    return replace(MACHINE, cpu=cpu_name(), threads=threads)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("a.yaml").write_text(TINY)
    monkeypatch.setattr(machine_module, "measure_machine", faked_machine)


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> list[FakeRival]:
    """Peers that stand in for real ones, in whatever state the test gives them."""
    fakes: list[FakeRival] = []

    def start(
        names: Sequence[str], pythons: dict[str, str], threads: int
    ) -> tuple[list[FakeRival], list[PeerInfo]]:
        here = [fake for fake in fakes if fake.name in names]
        known = {fake.name for fake in here}
        absent = [PeerInfo(name, None, "not installed") for name in names if name not in known]
        return here, [*(PeerInfo(fake.name, fake.version) for fake in here), *absent]

    monkeypatch.setattr(run_module, "start_rivals", start)
    return fakes


def test_a_layer_alone() -> None:
    ran = run("bench", "a.yaml", *QUICK)
    assert ran.code == 0, ran.err
    assert cpu_name() in ran.out and "5x5x1 k2 f3 p1" in ran.out
    assert not Path("build").exists()


def test_json_is_what_save_keeps(rivals: list[FakeRival]) -> None:
    rivals.append(FakeRival("ncnn"))
    ran = run("bench", "a.yaml", *QUICK, "--against", "ncnn,mnn", "--json", "--save", "kept.json")
    assert ran.code == 0, ran.err
    said = ran.json
    kept = json.loads(Path("kept.json").read_text())
    assert {key: said[key] for key in kept} == kept
    assert set(said) - set(kept) == {
        "convgen", "verb", "ok", "exit_code", "errors", "comparison",
    }  # fmt: skip
    (layer,) = said["layers"]
    assert layer["best_peer"] == "ncnn" and layer["peers"][0]["variant"] == "oracle"
    assert layer["timing"]["rounds"] == 2 and layer["bound_ratio"] <= 1
    assert [(p["name"], p["version"]) for p in said["peers"]] == [("ncnn", "1.2.3"), ("mnn", None)]
    assert "without mnn: not installed" in ran.err
    assert rivals[0].closed and rivals[0].specs[0].x_shape == (1, 5, 5, 1)
    Path("said.json").write_text(ran.out)
    assert read_report("said.json") == Report.from_mapping(kept)


def test_wrong_results_are_shown_not_counted(rivals: list[FakeRival]) -> None:
    rivals += [FakeRival("ncnn", wrong=0.01), FakeRival("litert")]
    ran = run("bench", "a.yaml", *QUICK, "--against", "litert,ncnn", "--json")
    (layer,) = ran.json["layers"]
    good = {p["name"]: (p["counted"], p["timing"] is not None) for p in layer["peers"]}
    assert good == {"ncnn": (False, True), "litert": (True, True)}
    assert layer["best_peer"] == "litert"
    assert "a: ncnn: its results are outside the error bound" in ran.err


def test_integers_one_beside_are_counted_and_told(rivals: list[FakeRival]) -> None:
    rivals += [FakeRival("ncnn", wrong=1), FakeRival("litert"), FakeRival("mnn", wrong=2)]
    quant = "{input: {scale: 0.02}, weight: {scale: 0.01}, output: {scale: 0.1}, rounding: onnx}"
    Path("b.yaml").write_text(
        f"name: b\ninput: 6x5x4\nfilters: 4\nkernel: 3\ndtype: int8\nquant: {quant}\n"
    )
    ran = run("bench", "b.yaml", *QUICK, "--against", "litert,mnn,ncnn", "--json")
    assert ran.code == 0, ran.err
    (layer,) = ran.json["layers"]
    assert (layer["dtype"], layer["error"]) == ("int8", 0.0)
    found = {p["name"]: (p["counted"], p["error"]) for p in layer["peers"]}
    assert found == {"litert": (True, 0.0), "ncnn": (True, 1.0), "mnn": (False, 2.0)}
    differs = {p["name"]: p["differs"] for p in layer["peers"]}
    assert differs["litert"] == 0.0 and differs["ncnn"] > 0.5
    assert "b: mnn: its results are up to 2 beside the layer's integers" in ran.err


def test_a_peer_that_breaks_costs_itself_alone(rivals: list[FakeRival]) -> None:
    rivals += [FakeRival("ncnn", dies=3), FakeRival("litert"), FakeRival("torch", refuses="never")]
    ran = run("bench", "a.yaml", *QUICK, "--against", "all", "--json")
    assert ran.code == 0
    (layer,) = ran.json["layers"]
    found = {p["name"]: (p["timing"] is None, p["reason"]) for p in layer["peers"]}
    assert found == {
        "ncnn": (True, "its process ended"), "litert": (False, ""), "torch": (True, "never"),
    }  # fmt: skip


def test_layouts_and_baked_weights_and_threads(rivals: list[FakeRival]) -> None:
    rivals.append(FakeRival("ncnn"))
    spec = "name: b\ninput: 6x5x4\nfilters: 4\nkernel: 3\nlayout: NCHW\nweight_layout: OIHW\n"
    Path("b.yaml").write_text(f"{spec}weights: {{init: truncated_normal, stddev: 0.1}}\n")
    ran = run("bench", "b.yaml", *QUICK, "--against", "ncnn", "--threads", "2", "--json")
    assert ran.code == 0, ran.err
    (layer,) = ran.json["layers"]
    assert layer["peers"][0]["counted"], layer


def test_only_some_layers() -> None:
    rows = [f"  - {{name: {name}, input: 4x4x1, k: 1, f: 3}}\n" for name in "pq"]
    Path("two.yaml").write_text("layers:\n" + "".join(rows))
    ran = run("bench", "two.yaml", *QUICK, "--layers", "q", "--json")
    assert [layer["name"] for layer in ran.json["layers"]] == ["q"]
    assert run("bench", "two.yaml", "--layers", "r").code == 2


# -- comparison ------------------------------------------------------------------------------------


def kept(factor: float, **machine: Any) -> None:
    """A result like this run's, with times multiplied, as ``old.json``."""
    assert run("bench", "a.yaml", *QUICK, "--save", "old.json").code == 0
    data = json.loads(Path("old.json").read_text())
    for layer in data["layers"]:
        layer["timing"]["best"] *= factor
        layer["timing"]["median"] *= factor
        layer["timing"]["spread"] = 0.0
    data["machine"] |= machine
    Path("old.json").write_text(json.dumps(data))


def test_a_regression_is_5() -> None:
    kept(1e-6)
    ran = run("bench", "a.yaml", "--rounds", "1", "--compare", "old.json", "--json")
    assert ran.code == 5
    said = ran.json
    assert (said["ok"], said["exit_code"]) == (False, 5)
    assert said["comparison"][0]["verdict"] == "slower"
    assert [(e["kind"], e["layer"]) for e in said["errors"]] == [("regression", "a")]
    assert "layer a:" in ran.err and "beyond the noise of" in ran.err


def test_no_regression_is_0_and_the_old_file_may_be_replaced() -> None:
    kept(1e6)
    ran = run("bench", "a.yaml", "--rounds", "1", "--compare", "old.json", "--save", "old.json")
    assert ran.code == 0, ran.err
    assert "faster" in ran.out
    assert read_report("old.json").layers[0].timing.rounds == 1


def test_another_machines_result_is_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    kept(1.0, cpu="Another CPU")
    monkeypatch.setattr("convgen.cli.benched.build_subjects", lambda *_: pytest.fail("built"))
    ran = run("bench", "a.yaml", "--rounds", "1", "--compare", "old.json")
    assert ran.code == 2 and "another processor" in ran.err


# -- wrong calls -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--against", "nope"), "no peer 'nope'"),
        (("--peer-python", "ncnn"), "write NAME=PATH"),
        (("--peer-python", "nope=x"), "no peer 'nope'"),
        (("--compare", "a.yaml"), "no benchmark"),
        (("--compare", "none.json"), "none.json"),
        (("--isa", "nope"), "unknown"),
        (("--threads", "0"), "--threads"),
    ],
)
def test_a_wrong_call_is_found_before_anything_is_built(
    options: tuple[str, ...], word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convgen.cli.benched.build_subjects", lambda *_: pytest.fail("built"))
    ran = run("bench", "a.yaml", *options)
    assert ran.code == 2 and word in ran.err


def test_a_bad_spec_is_1_and_the_others_are_measured() -> None:
    Path("bad.yaml").write_text("input: 3\n")
    ran = run("bench", "bad.yaml", "a.yaml", *QUICK, "--json")
    assert ran.code == 1
    assert [layer["name"] for layer in ran.json["layers"]] == ["a"]
    assert run("bench", "bad.yaml", "--json").json["layers"] == []


def test_peer_pythons() -> None:
    assert peer_pythons(["torch=/x/python", "ncnn=py"]) == {"torch": "/x/python", "ncnn": "py"}


def test_instructions_that_this_cpu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.target.cpu_features", lambda: frozenset({"sse2"}))
    with pytest.raises(UsageError, match="lacks avx2, fma"):
        check_target(TARGETS["x86-64-avx2"])
    check_target(TARGETS["x86-64-sse2"])


def test_plain_loops_get_the_instructions_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "host_target", lambda: TARGETS["x86-64-avx512"])
    assert c_flags(TARGETS["x86-64-avx512"]) == ("-march=native",)
    assert c_flags(TARGETS["x86-64-avx2"]) == ("-mavx2", "-mfma")
    assert c_flags(TARGETS["generic"]) == ()


# -- the repository's own benchmark ----------------------------------------------------------------


def test_shapes_tell_the_benchmarks_layers_apart() -> None:
    layers = parse_file(ROOT / "benchmarks" / "layers.yaml")
    shapes = [shape_text(layer.spec) for layer in layers]
    assert len(set(shapes)) == len(shapes) == 23
    assert shapes[4] == "224x224x3 k64 f7 s2 p3"
    assert "14x14x512 k512 f3 p1 g512" in shapes and "28x28x256 k256 f3 p2 d2" in shapes


def test_the_8_bit_layers_are_those_of_the_floats() -> None:
    names: dict[str, Any] = {"__file__": str(ROOT / "benchmarks" / "int8_layers.py")}
    exec((ROOT / "benchmarks" / "int8_layers.py").read_text(), names)
    assert names["LAYERS"].read_text() == names["layers_text"](), "run benchmarks/int8_layers.py"
    floats, bytes_ = (parse_file(names[key]) for key in ("FLOATS", "LAYERS"))
    assert [shape_text(x.spec) for x in floats] == [shape_text(x.spec) for x in bytes_]
    for layer in bytes_:
        quant = settled(layer).layer.spec.quant
        assert quant is not None and len(quant.weight.scale) == layer.spec.oc
        made = names["scales"](layer.spec.oc)
        np.testing.assert_allclose(quant.weight.scale, made, rtol=1e-6)


def published() -> dict[str, Any]:
    """The names of benchmarks/publish.py."""
    names: dict[str, Any] = {"__file__": str(ROOT / "benchmarks" / "publish.py")}
    exec((ROOT / "benchmarks" / "publish.py").read_text(), names)
    return names


def test_the_readme_shows_what_the_committed_benchmark_found() -> None:
    names, readme = published(), (ROOT / "README.md").read_text()
    if not names["RESULTS"].exists():
        pytest.skip("no benchmark is committed: make bench writes one")
    report = read_report(str(names["RESULTS"]))
    assert names["with_table"](readme, report) == readme, "run benchmarks/publish.py"
    assert names["PAGE"].read_text() == names["page"](report), "run benchmarks/publish.py"


def test_the_readme_shows_the_committed_benchmark_of_8_bit_layers() -> None:
    names, readme = published(), (ROOT / "README.md").read_text()
    if not names["INT8_RESULTS"].exists():
        assert f"{names['INT8_BEGIN']}\n{names['INT8_END']}" in readme
        pytest.skip("no benchmark of 8-bit layers is committed: make bench8 writes one")
    report = read_report(str(names["INT8_RESULTS"]))
    assert names["with_int8_table"](readme, report) == readme, "run benchmarks/publish.py"
    assert names["INT8_PAGE"].read_text() == names["int8_page"](report), "run benchmarks/publish.py"


def test_the_committed_benchmark_of_bfloat16_layers_is_shown() -> None:
    names = published()
    report = read_report(str(names["BF16_RESULTS"]))
    assert names["BF16_PAGE"].read_text() == names["bf16_page"](report), "run benchmarks/publish.py"


def test_the_bfloat16_layers_are_those_of_float32() -> None:
    floats, brains = (
        parse_file(str(ROOT / "benchmarks" / name)) for name in ("layers.yaml", "layers_bf16.yaml")
    )
    assert len(floats) == 23 and {layer.spec.dtype for layer in brains} == {DType.BFLOAT16}
    assert [layer.spec for layer in floats] == [
        replace(layer.spec, dtype=DType.FLOAT32) for layer in brains
    ]


def test_the_layers_in_planes_are_those_in_pixels() -> None:
    pixels, planes = (
        parse_file(str(ROOT / "benchmarks" / name)) for name in ("layers.yaml", "layers_nchw.yaml")
    )
    assert {layer.spec.layout for layer in planes} == {Layout.NCHW}
    assert [layer.spec for layer in pixels] == [
        replace(layer.spec, layout=Layout.NHWC, weight_layout=WeightLayout.HWIO) for layer in planes
    ]


def test_publishing_replaces_what_is_between_the_marks() -> None:
    from bench_reports import layer, peer, report

    names, found = published(), report(layer("a", 10.0, peer("ncnn", 20.0)))
    readme = (ROOT / "README.md").read_text()
    both = names["with_int8_table"](readme, found)
    assert re.search(r"<!-- benchmark of int8 -->\n.*\| ncnn \|.*<!-- end of", both, re.S)
    assert names["with_int8_table"](both, found) == both
    once = names["with_table"](readme, found)
    assert re.search(r"<!-- benchmark -->\n.*\| ncnn \|.*<!-- end of benchmark -->", once, re.S)
    assert names["with_table"](once, found) == once
    assert "Some CPU" in names["page"](found)

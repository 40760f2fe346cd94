"""Networks before the prover: nothing leaves the arrays, and a bug seeded into the C shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runner import needs_compiler, run
from places import ROOT
from slices import one_in
from small_networks import eight_bits, floats

from convgen.cli.networks import read_network, reading
from convgen.network.graph import Graph
from convgen.package.disk.manifest import CERTIFICATE
from convgen.package.network.program import program_of
from convgen.package.network.proof import network_certificate, proven
from convgen.target import TARGETS
from convgen.verify.eva import Proof, Reading
from convgen.verify.network.prove import Proven, network_driver, prove_network

DIGITS = str(ROOT / "specs" / "networks" / "digits.yaml")
NOTHING = reading(None, None, None)
AVX2 = TARGETS["x86-64-avx2"]
needs_frama_c = pytest.mark.needs("frama-c")
YAML = """
network: tiny
input: 6x6x2
weights: {init: truncated_normal, stddev: 0.1}
layers:
  - conv: {k: 3, f: 3, p: 1, act: relu}
  - maxpool: {f: 2, s: 2}
  - dense: {k: 4}
"""


def open_alarms(proof: Proof) -> list[str]:
    return [alarm for alarm in proof.alarms if alarm not in proof.sums]


def of(graph: Graph, target: str = AVX2.name) -> Proven:
    return proven(program_of(graph, TARGETS[target]))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Proven:
    path = tmp_path_factory.mktemp("tiny") / "tiny.yaml"
    path.write_text(YAML)
    return of(read_network(str(path), NOTHING))


@needs_frama_c
def test_a_tiny_network_is_proved(tiny: Proven) -> None:
    for kind in tiny.readings:
        found = prove_network(tiny, kind)
        assert found.proved, found.alarms
        assert found.functions > 15


OTHERS = ["cortex-m4", "cortex-m55", "generic", "x86-64", "x86-64-avx512"]
CASES = [(graph, kind) for graph in (floats, eight_bits) for kind in Reading]


@needs_frama_c
@pytest.mark.parametrize("case", one_in(4, CASES, lambda case: f"{case[0].__name__}-{case[1]}"))
def test_a_small_network_is_proved(case: tuple[Callable[[], Graph], Reading]) -> None:
    graph, kind = case
    found = prove_network(of(graph()), kind)
    assert not open_alarms(found), found.alarms
    assert found.functions > 40


@needs_frama_c
@pytest.mark.deep
@pytest.mark.parametrize("target", OTHERS)
@pytest.mark.parametrize("graph", [floats, eight_bits])
def test_a_small_network_is_proved_for_other_targets(
    graph: Callable[[], Graph], target: str
) -> None:
    network = of(graph(), target)
    for kind in network.readings:
        found = prove_network(network, kind)
        assert not open_alarms(found), found.alarms


@needs_frama_c
@pytest.mark.deep
@pytest.mark.parametrize("kind", Reading)
def test_the_network_of_the_gallery_is_proved(kind: Reading) -> None:
    found = prove_network(of(read_network(DIGITS, NOTHING)), kind)
    assert not open_alarms(found), found.alarms


@needs_frama_c
@pytest.mark.deep
@pytest.mark.parametrize("kind", Reading)
@pytest.mark.parametrize("name", ["pretrainedResnet", "pretrainedResnet_quant"])
def test_resnet8_is_proved(name: str, kind: Reading) -> None:
    pytest.importorskip("tflite", reason="the extra tflite reads the models")
    found = [p for p in Path(__file__).resolve().parents if (p / "shared" / "models").is_dir()]
    if not found:
        pytest.skip("no folder shared/models beside the checkout")
    model = found[0] / "shared" / "models" / f"{name}.tflite"
    network = of(read_network(str(model), NOTHING))
    assert not open_alarms(prove_network(network, kind, timeout=1800))


BUGS = {
    # A step's result lies a little further in the arena than the plan has it.
    "arena": ("(float *)(a)", "(float *)(a + TINY_ARENA_BYTES - 64)"),
    "part": ("if (part < 0 || part >= parts) return;\n", ""),
    "window": ("kh < 2; ++kh", "kh < 200; ++kh"),
}


@needs_frama_c
@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_reported(bug: str, tiny: Proven) -> None:
    good, bad = BUGS[bug]
    text = tiny.files["tiny.c"]
    assert good in text
    broken = replace(tiny, files={**tiny.files, "tiny.c": text.replace(good, bad)})
    assert open_alarms(prove_network(broken, Reading.PLAIN))


def test_the_driver_takes_weights_that_may_be_anything_where_no_step_has_8_bits() -> None:
    assert "small_weights" not in network_driver(of(floats()))
    assert "small8_run(small8_weights, in0, out0, arena)" in network_driver(of(eight_bits()))


def test_a_certificate_names_the_sums_as_an_assumption() -> None:
    program = program_of(eight_bits(), AVX2)
    alarm = "small8.c:1: signed overflow. assert acc_0_0 + (int32_t)(a * w_0) <= 2147483647;"
    proofs = {Reading.PLAIN: Proof((alarm,), 3, 1.0, "frama-c", "")}
    assert proofs[Reading.PLAIN].sums == (alarm,)
    window = "small8.c:1: signed overflow. assert m[i_0] + (int32_t)*(p + i_0) <= 2147483647;"
    of_step = Proof((window,), 3, 1.0, "frama-c", "", network=True)
    assert of_step.sums == (window,), "a network's window has as many elements as the build allows"
    assert not replace(of_step, network=False).sums, "a layer has no such sum: it stays an alarm"
    stated = json.loads(network_certificate(program, proven(program), proofs, "29"))
    assert stated["bodies"][0]["by_assumption"] == 1
    assert any("sums over windows" in words for words in stated["assumptions"])


@needs_frama_c
@needs_compiler
def test_the_command_files_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(YAML)
    first = run("prove", "--isa", "plain", "tiny.yaml")
    assert first.code == 0 and "no package" in first.err, first.err
    assert run("build", "-q", "--isa", "plain", "tiny.yaml").code == 0
    ran = run("prove", "--json", "tiny.yaml")
    assert ran.code == 0, ran.err
    (told,) = ran.json["layers"]
    assert told["proved"] and told["target"] == "generic" and told["package"] == "written"
    path = Path("build/tiny") / CERTIFICATE
    assert told["certificate"] == str(path)
    stated = json.loads(path.read_text())
    assert sorted(stated["files"]) == ["tiny.c", "tiny.h"] and stated["alarms"] == 0
    assert str(tmp_path) not in path.read_text()
    text = Path("build/tiny/tiny.c")
    text.write_text(text.read_text() + "\n")
    again = run("prove", "tiny.yaml")
    assert again.code == 0 and "is another" in again.err

"""``convgen explain`` on what binds a layer, predicted and measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import TINY, needs_compiler, run

from convgen.bench.machine import Machine
from convgen.bench.measure import Timing
from convgen.choose.roofline import ALIASING, FMA, LATENCY, LEVELS, LOADS, Limit
from convgen.cli.bounds import Measured, bound_lines
from convgen.package.emit.files import decide
from convgen.spec import parse_text
from convgen.target import TARGETS

NAMES = {FMA, LOADS, LATENCY, ALIASING, *LEVELS}


def test_explain_names_the_bound(tmp_path: Path) -> None:
    spec = tmp_path / "a.yaml"
    spec.write_text("input: 14x14x64\nk: 64\nf: 1\n")
    ran = run("explain", "--isa", "avx512", str(spec))
    assert ran.code == 0
    _, _, section = ran.out.partition("Bound of one call on one core\n")
    first, head, *_ = section.splitlines()
    assert first.startswith("  FMA: 25,088 cycles at least; the chooser's model counts ")
    assert head.split() == ["limit", "cycles"]
    (layer,) = run("explain", "--isa", "avx512", "--json", str(spec)).json["layers"]
    bound = layer["roofline"]
    assert (layer["bound"], bound["cycles"], bound["measured"]) == ("FMA", 25_088, None)
    assert set(bound["limits"]) <= NAMES
    assert max(bound["limits"].values()) == bound["cycles"] <= bound["expected_cycles"]


def test_a_measured_layer_in_words() -> None:
    (layer,) = parse_text("input: 14x14x64\nk: 64\nf: 1\n", "a.yaml")
    plan = decide(layer, TARGETS["x86-64-avx512"]).plan
    machine = Machine("Some CPU", "avx512", 1, 256.0, ())
    found = Measured(machine, Timing(10.0, 11.0), (Limit(LOADS, 8.0), Limit(FMA, 6.0)))
    lines = bound_lines(plan, 26_000.0, found)
    assert "on Some CPU, one thread: loads, 8.00 us at least" in lines[1]
    assert lines[1].endswith("took 10.00 us at best, 11.00 in the median: 80% of the bound reached")
    assert lines[2].split() == ["limit", "cycles", "us", "here"]
    assert lines[4].split()[::2] == ["FMA", "6.00"]


@needs_compiler
def test_measure_says_what_share_was_reached(tmp_path: Path) -> None:
    spec = tmp_path / "a.yaml"
    spec.write_text(TINY)
    ran = run("explain", "--measure", "--json", str(spec))
    assert ran.code == 0, ran.err
    found = ran.json["layers"][0]["roofline"]["measured"]
    assert found["name"] in NAMES and found["best"] <= found["median"]
    share = found["limits"][found["name"]] / found["best"]
    assert found["reached"] == pytest.approx(share, abs=0.02)


def test_measure_of_instructions_that_are_not_here_is_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convgen.target.cpu_features", frozenset)
    spec = tmp_path / "a.yaml"
    spec.write_text(TINY)
    ran = run("explain", "--measure", "--isa", "avx2", str(spec))
    assert ran.code == 2 and "lacks avx2" in ran.err

"""benchmarks/chooser.py: the layers it draws, its figures, a run that is cut off and goes on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from built import needs_cc
from cli_runner import ROOT, environment

SCRIPT = ROOT / "benchmarks" / "chooser.py"


@pytest.fixture
def chooser(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import chooser

    return chooser


def test_layers_are_drawn_the_same_for_a_seed_and_cover_the_kinds(chooser) -> None:  # type: ignore[no-untyped-def]
    layers = [chooser.draw(i, 1) for i in range(60)]
    assert (
        layers == [chooser.draw(i, 1) for i in range(60)] != [chooser.draw(i, 2) for i in range(60)]
    )
    assert len({s.name for s in layers}) == 60
    for spec in layers:
        kind = spec.name.split("_")[0]
        assert chooser.LEAST_MACS <= spec.macs <= chooser.MOST_MACS
        assert {
            "dense": spec.sh == spec.dh == spec.groups == 1 and spec.kh > 1,
            "pointwise": spec.kh == spec.kw == 1,
            "strided": spec.sh > 1,
            "dilated": spec.dh > 1,
            "depthwise": spec.groups == spec.c == spec.oc,
            "grouped": spec.groups > 1,
            "odd": spec.groups == 1,
        }[kind], spec


def test_drawn_layers_are_what_a_spec_file_would_give(chooser) -> None:  # type: ignore[no-untyped-def]
    """The padding is trimmed as the parser trims it: the drawn layer parses to itself."""
    from convgen.spec import parse_mapping
    from convgen.spec.model import Layer
    from convgen.spec.resolved import resolved_mapping

    for spec in (chooser.draw(i, 5) for i in range(42)):
        (layer,) = parse_mapping(resolved_mapping(Layer(spec, "<drawn>")))
        assert layer.spec == spec


def test_median_and_worst_by_kind(chooser) -> None:  # type: ignore[no-untyped-def]
    lines = chooser.closing({"dense_0": 1.0, "odd_6": 1.5, "dense_7": 1.2})
    assert "median 1.200, worst 1.500 (odd_6)" in lines[1]
    assert "- dense: median 1.100, worst 1.200" in lines
    assert chooser.closing({}) == [""]


@needs_cc
@pytest.mark.deep  # two layers are tuned
def test_a_run_is_cut_off_and_goes_on(tmp_path: Path) -> None:
    """A budget of a second: one layer, in part; the second run finds what the first measured."""
    command = [
        sys.executable, str(SCRIPT), "--layers", "2", "--seed", "4", "--budget", "1", "--limit",
        "0.5", "--isa", "plain", "--store", str(tmp_path / "s.sqlite"), "--markdown",
        str(tmp_path / "t.md"),
    ]  # fmt: skip
    outs = []
    for _ in range(2):
        done = subprocess.run(
            command, env=environment(tmp_path), capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        outs.append(done.stdout)
        assert "1 layers left" in done.stdout
    table = (tmp_path / "t.md").read_text()
    assert re.search(r"^\| dense_0 \| .* \(cut off\) \|", table, re.MULTILINE)
    assert "layers of seed 4" in table
    counts = [int(re.findall(r"\| (\d+) \(cut off\) \|", out)[0]) for out in outs]
    assert counts[0] <= counts[1]

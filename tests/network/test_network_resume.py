"""A network's build goes on where an earlier one was: no step is judged twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from small_networks import floats

from convgen.network.graph import Graph
from convgen.package.disk.result import BuildEvent, BuildOptions, BuildResult, Stage
from convgen.package.network.build import build_network
from convgen.target import host_target
from convgen.verify.network.record import known_steps, remember_step

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")


def build(graph: Graph, out: Path, events: list[BuildEvent] | None = None) -> BuildResult:
    options = BuildOptions(out, host_target(), cache_root=out / "cache")
    return build_network(graph, options, None if events is None else events.append)


def judged(result: BuildResult) -> Iterator[str]:
    """The steps that this very build judged."""
    assert result.report is not None
    for check in result.report.checks:
        if check.name.startswith("step ") and "an earlier build" not in check.detail:
            yield check.name


def record_of(out: Path) -> Path:
    (path,) = (out / "cache").glob("builds/*/*.steps.entry")
    return path


def forget_report(out: Path) -> None:
    """As if the build had been killed while it verified: no package, no report in the cache."""
    shutil.rmtree(out / "small")
    for entry in (out / "cache").glob("builds/*/*.entry"):
        if b'"report"' in entry.read_bytes()[:4096]:
            entry.unlink()


def test_an_interrupted_build_goes_on(tmp_path: Path) -> None:
    first = build(floats(), tmp_path)
    steps = list(judged(first))
    record = record_of(tmp_path)
    lines = [f"{line}\n" for line in record.read_text().split("\n") if line]
    assert len(lines) == len(steps) + 1 > 6  # the last: the code splits into parts
    record.write_text("".join(lines[:3]) + lines[3][:-9])  # killed while it wrote the fourth
    forget_report(tmp_path)
    again = build(floats(), tmp_path)
    assert again.state == "cached" and list(judged(again)) == steps[3:]
    assert again.report is not None and first.report is not None and again.report.passed
    assert again.report.bound_ratio == first.report.bound_ratio
    forget_report(tmp_path)
    assert not list(judged(build(floats(), tmp_path)))


def test_weights_of_one_layer_are_judged_alone(tmp_path: Path) -> None:
    graph = floats()
    steps = list(judged(build(graph, tmp_path)))
    constants = {**graph.constants, "w2": graph.constants["w2"] * np.float32(1.5)}
    changed = replace(graph, constants=MappingProxyType(constants))
    result = build(changed, tmp_path)
    assert result.state == "cached"
    (one,) = judged(result)
    assert one in steps and "c2" in one
    assert result.report is not None and result.report.passed
    (parts,) = (check for check in result.report.checks if check.name == "parts")
    assert parts.detail == "judged by an earlier build, with other weights"


def test_every_step_is_told(tmp_path: Path) -> None:
    """While kernels are chosen, and again while outputs are judged."""
    events: list[BuildEvent] = []
    result = build(floats(), tmp_path, events)
    assert result.report is not None
    count = sum(check.name.startswith("step ") for check in result.report.checks)
    for stage, numbers in ((Stage.GENERATE, range(count)), (Stage.VERIFY, range(1, count + 1))):
        told = [event.done for event in events if event.stage is stage and event.steps]
        assert told == list(numbers), stage


def test_damaged_lines_count_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "steps"
    good = "a" * 64
    remember_step(str(path), good, 0.25, 0.5)
    with path.open("a") as file:
        for ratio in ("nan", "2.0", "-1", "x", "0.5 0.5"):
            file.write(f"{'b' * 64} 0.0 {ratio}\n")
        file.write(f"{'b' * 64} 0.0 0.5")
    assert known_steps(str(path)) == {good: (0.25, 0.5)}
    path.write_bytes(b"\xff\x00" * 100)
    assert known_steps(str(path)) == {} == known_steps("") == known_steps(str(tmp_path / "none"))


def test_a_record_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    remember_step(str(tmp_path / "no" / "folder"), "a" * 64, 0.0, 0.0)
    remember_step("", "a" * 64, 0.0, 0.0)
    assert list(tmp_path.iterdir()) == []

"""The campaign of random layers: its share of a push, and that it finds, shrinks and resumes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from campaign.grid import Case, bare_case, case
from campaign.session import Order, start
from campaign.trial import try_all
from kernels import COMPILERS
from places import SUPPORT

import convgen
from convgen.package.disk.inputs import own_digest
from convgen.spec import parse_mapping
from convgen.spec.model import ConvSpec, DType, Layer, Layout, Padding
from convgen.spec.resolved import resolved_mapping
from convgen.spec.schedule import Family, Schedule
from convgen.verify.isolate import child_environment

SEED, SLICES, SLICE = 2026, 2, 24  # layers of a push; which of the grid's, its sources decide
FIRST = int(own_digest()[:8], 16) % 100 * SLICES * SLICE

posix = pytest.mark.skipif(os.name != "posix", reason="campaigns fork")
pytestmark = [
    posix,
    pytest.mark.needs(*COMPILERS),
]


def finished(order: Order) -> None:
    (worker,) = start(order, 1)
    assert worker.wait(timeout=900) == 0


@pytest.mark.parametrize("part", range(SLICES))
def test_the_sample_of_a_push(part: int, tmp_path: Path) -> None:
    """The first slice is killed on its way and resumed: nothing is tried twice."""
    order = Order(tmp_path, SEED, SLICE, first=FIRST + part * SLICE)
    store, before = order.open(), set[int]()
    if part == 0:
        (worker,) = start(order, 1)
        while worker.poll() is None and not store.tried():
            time.sleep(0.05)
        worker.kill()
        worker.wait()
        before, rows = store.tried(), store.times()
        assert 0 < len(before) < SLICE
    finished(order)
    assert store.tried() == set(order.numbers)
    if part == 0:
        assert {number: store.times()[number] for number in before} == rows
    specs = [file.read_text() for file in sorted(tmp_path.glob("failures/*/*"))]
    assert not store.failures(), "\n".join([f"seed {SEED}", *map(str, store.failures()), *specs])


def test_a_case_is_its_number_and_a_spec_file_can_say_it() -> None:
    cases = [case(SEED, number) for number in range(1000, 1120)]
    assert cases[7] == case(SEED, 1007) and bare_case(SEED, 1007).spec == cases[7].spec
    assert {c.spec.dtype for c in cases} == set(DType)
    assert {c.schedule.family for c in cases} == set(Family)
    assert len({c.target for c in cases}) == 6
    for one in cases:
        (layer,) = parse_mapping(resolved_mapping(one.layer))
        said = (one.spec, one.schedule, one.layer.weights)
        assert (layer.spec, layer.schedule, layer.weights) == said


# A mistake in a template, and the least layer that has it: a second group's bias.
RIGHT = '"b[%s + oc]" % times("g", plan.packing.oc)'
WRONG = '"b[oc]"'


@pytest.mark.deep
def test_a_seeded_bug_is_found_and_shrunk_to_a_spec_that_build_refuses(tmp_path: Path) -> None:
    broken, state = tmp_path / "broken", tmp_path / "state"
    root = Path(convgen.__file__).resolve().parent.parent
    for folder in ("convgen", "templates"):
        shutil.copytree(root / folder, broken / folder)
    template = broken / "templates" / "kernels" / "tiled" / "tiled.j2"
    text = template.read_text()
    assert text.count(RIGHT) == 1
    template.write_text(text.replace(RIGHT, WRONG))
    environment = child_environment() | {"PYTHONPATH": f"{broken}{os.pathsep}{SUPPORT}"}
    command = [sys.executable, "-m", "campaign", "--state", str(state), "--jobs", "1"]
    run = subprocess.run(
        [*command, "--count", "96", "--fail-fast"],
        env=environment, capture_output=True, text=True, check=False, cwd=broken,
    )  # fmt: skip
    assert run.returncode == 1 and "failed: --seed 1 --only" in run.stdout, run.stdout + run.stderr
    file = next(state.glob("failures/*/*.yaml"))
    least = file.read_text()
    for line in ("input: [1, 1, 2]", "kernel: [1, 1]", "groups: 2"):
        assert line in least, least
    assert "exit code 4" in (file.parent / "report.txt").read_text()
    again = subprocess.run(
        [*command, "--status"],
        env=environment, capture_output=True, text=True, check=False, cwd=broken,
    )  # fmt: skip
    assert again.returncode == 1 and run.stdout.splitlines()[0].split(":")[1] in again.stdout


# -- what campaigns have found ---------------------------------------------------------------------

FOUND = {
    # Rows that a stride skips hold no zeros for the row after them.
    "planar_gap": (
        ConvSpec("found", 2, 1, 1, 1, 1, 2, sh=2, sw=3, padding=Padding(1, 4, 0, 0), bias=False),
        Schedule(Family.PLANAR, 4, 1, 1, 1), "x86-64-avx512",
    ),
    "planar_gap_plain": (
        ConvSpec("found", 1, 1, 1, 1, 1, 1, sh=2, padding=Padding(1, 1, 1, 0), bias=False),
        Schedule(Family.PLANAR, 1, 1, 1, 1), "x86-64-sse2",
    ),
    # No window of planes lies inside the image: clang saw a comparison that never holds.
    "planes_outside": (
        ConvSpec(
            "found", 1, 1, 1, 1, 2, 1, padding=Padding(0, 0, 1, 0), bias=False, layout=Layout.NCHW
        ),
        Schedule(Family.PLANES, 1, 1, 1, 1), "generic",
    ),
    # Images smaller than a tile: clang saw a comparison that never holds.
    "winograd_small": (
        ConvSpec("found", 2, 9, 16, 16, 3, 3, padding=Padding(1, 1, 1, 1)),
        Schedule(Family.WINOGRAD, 16, 6, 6, 1, 2, 1), "x86-64-avx512",
    ),
    "planar_small": (
        ConvSpec("found", 3, 15, 2, 3, 5, 1, padding=Padding(4, 0, 4, 0)),
        Schedule(Family.PLANAR, 16, 1, 2, 3), "x86-64-avx512",
    ),
}  # fmt: skip


def test_what_was_found_stays_mended(tmp_path: Path) -> None:
    cases = []
    for number, (spec, schedule, target) in enumerate(FOUND.values()):
        one = Case(number, Layer(spec, "found", schedule), target, "", "clang", "-O1")
        cases += [replace(one, part=part) for part in ("PLAIN", "MODEL")]
    for outcome in try_all(cases, tmp_path):
        assert outcome.passed, f"{outcome.case}\n{outcome.check}: {outcome.detail}"

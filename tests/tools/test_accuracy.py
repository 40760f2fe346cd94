"""Winograd's error beside direct summation's, and what a build does when its bound is not held."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from built import LAYERS, arrays, build, needs_cc, works
from cli_runner import run

from convgen.cli.verify import verify_layer
from convgen.errors import MismatchError
from convgen.kernels.winograd.matrices import matrices
from convgen.package.disk.manifest import read_manifest
from convgen.spec.model import Layer
from convgen.spec.schedule import Family, Schedule
from convgen.target import host_target

pytestmark = [
    needs_cc,
    pytest.mark.skipif(host_target().isa.lanes == 1, reason="no vectors here, so no Winograd"),
]
ROOMY = LAYERS["roomy"]
CRUDE = tuple(Fraction(p) for p in (0, 9, -9, 27, -27, 81, 243))
YAML = "input: 14x14x32\nk: 32\nf: 3\np: 1\n"


@pytest.fixture(autouse=True)
def points_forgotten() -> Iterator[None]:
    """Matrices of other points must not outlive a test."""
    yield
    matrices.cache_clear()


def crudely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.kernels.winograd.matrices.POINTS", CRUDE)
    matrices.cache_clear()


def family(schedule: str) -> Family:
    return Schedule.from_text(schedule).family


def test_both_errors_are_reported_for_winograd_alone(tmp_path: Path) -> None:
    made = build(tmp_path, ROOMY)
    assert family(made.schedule) is Family.WINOGRAD and made.notes == ()
    report = made.report
    assert report is not None and report.direct_error is not None
    assert 1e-8 < report.direct_error < 1e-5
    manifest = read_manifest(made.path)
    assert manifest is not None and manifest.report == report
    direct = build(tmp_path, LAYERS["layer"]).report
    assert direct is not None and direct.direct_error is None


def test_both_errors_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spec = tmp_path / "roomy.yaml"
    spec.write_text(YAML)
    ran = run("build", str(spec), "-o", str(tmp_path / "out"))
    assert "by direct summation of the same data" in ran.out
    (layer,) = run("build", str(spec), "-o", str(tmp_path / "out"), "--json").json["layers"]
    assert f"{layer['direct_error']:.2e} by direct" in ran.out
    assert f"{layer['max_error']:.2e} against" in ran.out


def test_a_kernel_that_misses_its_bound_gives_way_to_direct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crude points make Winograd's sums far worse than its bound."""
    crudely(monkeypatch)
    made = build(tmp_path, ROOMY)
    assert family(made.schedule) is Family.DIRECT
    (note,) = made.notes
    assert "family: winograd" in note and "does not hold its error bound" in note
    assert made.report is not None and made.report.passed
    manifest = read_manifest(made.path)
    assert manifest is not None and manifest.notes == made.notes
    assert works(tmp_path, ROOMY) and not (tmp_path / "roomy.failed").exists()
    again = build(tmp_path, ROOMY)
    assert (again.state, again.notes) == ("unchanged", made.notes)
    assert verify_layer(ROOMY, made.path).passed
    assert arrays(ROOMY.spec)[0].shape == ROOMY.spec.x_shape


def test_the_note_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    crudely(monkeypatch)
    spec = tmp_path / "roomy.yaml"
    spec.write_text(YAML)
    ran = run("build", str(spec), "-o", str(tmp_path / "out"))
    assert ran.code == 0 and "roomy: note: the kernel of {family: winograd" in ran.err


def test_a_pinned_schedule_that_misses_its_bound_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = Schedule.from_text(build(tmp_path, ROOMY).schedule)
    crudely(monkeypatch)
    layer: Layer = replace(ROOMY, schedule=pinned)
    with pytest.raises(MismatchError, match="failed its verification"):
        build(tmp_path, layer, use_cache=False)
    assert (tmp_path / "roomy.failed" / "report.txt").exists()


def test_other_faults_are_never_papered_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel that writes where it may not is a bug, whatever else it gets wrong."""
    crudely(monkeypatch)
    monkeypatch.setattr("convgen.package.disk.library.VALUES", ("exact fill",))
    with pytest.raises(MismatchError, match="bounded fill"):
        build(tmp_path, ROOMY)

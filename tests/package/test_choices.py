"""Choices made before are remembered, and forgotten when anything they rest on changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from convgen.choose import fit
from convgen.choose.limits import SizeLimits
from convgen.package.disk.choices import Memory
from convgen.package.emit import files
from convgen.package.emit.files import decide
from convgen.spec.model import ConvSpec, Layer
from convgen.target import TARGETS

LAYER = Layer(ConvSpec("layer", 8, 8, 4, 8, 3, 3), "<t>")
AVX2 = TARGETS["x86-64-avx2"]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that the chooser was run."""
    found: list[int] = []
    real = fit.fitting

    def counted(*known: object) -> object:
        found.append(1)
        return real(*known)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "fitting", counted)
    return found


def test_the_same_question_is_asked_once(tmp_path: Path, made: list[int]) -> None:
    memory = Memory(tmp_path / "choices", "own")
    fresh = decide(LAYER, AVX2)
    first = decide(LAYER, AVX2, memory=memory)
    again = decide(LAYER, AVX2, memory=Memory(tmp_path / "choices", "own"))
    assert len(made) == 2
    assert {d.plan.schedule for d in (fresh, first, again)} == {fresh.plan.schedule}
    assert fresh.reason == first.reason == again.reason
    renamed = replace(LAYER, spec=replace(LAYER.spec, name="other"))
    decide(renamed, AVX2, memory=memory)
    assert len(made) == 2, "a name has no part in the choice"


def test_another_question_is_another_choice(tmp_path: Path, made: list[int]) -> None:
    folder = tmp_path / "choices"
    memory = Memory(folder, "own")
    decide(LAYER, AVX2, memory=memory)
    decide(LAYER, AVX2, memory=Memory(folder, "changed code"))
    decide(LAYER, TARGETS["x86-64-sse2"], memory=memory)
    decide(LAYER, AVX2, limits=SizeLimits(code_bytes=4000), memory=memory)
    decide(replace(LAYER, spec=replace(LAYER.spec, oc=9)), AVX2, memory=memory)
    assert len(made) == 5


def test_damage_costs_time_alone(tmp_path: Path, made: list[int]) -> None:
    memory = Memory(tmp_path / "choices", "own")
    want = decide(LAYER, AVX2, memory=memory)
    (kept,) = (tmp_path / "choices").iterdir()
    for damage in (b"", b"{}", b"no json", kept.read_bytes()[:-20]):
        kept.write_bytes(damage)
        assert decide(LAYER, AVX2, memory=memory).plan.schedule == want.plan.schedule
    assert len(made) == 5

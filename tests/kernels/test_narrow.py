"""benchmarks/narrow.py: one small layer measured, and the words of a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from built import needs_cc
from cli_runner import ROOT
from kernels import target_of

from convgen.spec.model import Act, Activation, ConvSpec, Padding

SPEC = ConvSpec(
    "tiny", 8, 8, 8, 16, 3, 3, padding=Padding(1, 1, 1, 1), activation=Activation(Act.RELU)
)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import narrow

    return narrow


@needs_cc
def test_a_layer_is_measured(narrow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(narrow, "ROUNDS", 2)
    row = narrow.measured(SPEC, target_of("plain"), tmp_path)
    assert row.spec == SPEC and min(row.direct, row.chosen, row.loops) > 0.01
    assert row.tile.endswith("x4") and row.family in ("direct", "winograd")


def test_the_table(narrow) -> None:  # type: ignore[no-untyped-def]
    rows = [
        narrow.Row(SPEC, "1x2 x 6x4", 40.0, 40.0, "direct", 20.0),
        narrow.Row(SPEC, "1x2 x 6x4", 30.0, 60.0, "winograd", 30.0),
    ]
    text = narrow.section("plain", target_of("plain"), [49.0, 50.0], rows)
    assert text.startswith("## plain: 50.0 GFLOP/s at most\n")
    assert "| 8x8x8 k16 f3 p1 | 1x2 x 6x4 | 40.0 | 80 | 40.0 (direct) | 20.0 | 2.00 |" in text
    assert "70% of the peak in the median, 60% at least; 1.41 times the loops" in text

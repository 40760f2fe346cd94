"""docs/promises.md names tests and commands that there are, and no figure is left open."""

from __future__ import annotations

import re
import subprocess

import pytest
from built import ROOT
from threats_page import found_in

PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")


def test_every_test_is_there() -> None:
    named = re.findall(r"`tests/((?:\w+/)*test_\w+)\.py(?:::(\w+))?`", PAGE)
    assert len(named) > 20
    for module, test in named:
        path = ROOT / "tests" / f"{module}.py"
        assert path.exists(), path
        assert not test or f"{path.stem}::{test}" in set(found_in(path)), test


@pytest.mark.needs("make")
def test_every_command_is_there() -> None:
    goals = set(re.findall(r"`make (\w+)`", PAGE))
    assert {"deep", "prove", "mutants", "campaign", "hostile"} <= goals
    for goal in goals:
        subprocess.run(["make", "-n", goal], cwd=ROOT, check=True, capture_output=True)


def test_no_figure_is_open() -> None:
    assert "@" not in PAGE
    for claim in ("0 alarms", "0 failures", "killed"):
        assert claim in PAGE

"""Limits on size where networks are given: held or refused, by every verb that takes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import needs_compiler, run

NETWORK = """\
network: limited
input: 12x12x3
layers:
  - conv: {k: 8, f: 3, weights: {init: truncated_normal, stddev: 0.1}}
  - maxpool: {f: 2, s: 2}
"""
VERBS = ("build", "emit", "explain", "size")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("limited.yaml").write_text(NETWORK)


@needs_compiler
@pytest.mark.parametrize("verb", VERBS)
def test_an_arena_over_the_limit_is_refused(verb: str) -> None:
    ran = run(verb, "limited.yaml", "--max-workspace-bytes", "100")
    assert ran.code == 2, ran.err
    assert "--max-workspace-bytes 100: " in ran.err and "arena" in ran.err
    assert not Path("build/limited").exists()


@needs_compiler
@pytest.mark.parametrize("option", ["--max-code-bytes", "--max-ram-bytes"])
@pytest.mark.parametrize("verb", ["build", "emit", "size"])
def test_code_and_ram_are_measured(verb: str, option: str) -> None:
    ran = run(verb, "limited.yaml", option, "50")
    assert ran.code == 2, ran.err
    assert f"{option} 50: " in ran.err and "raise the limit" in ran.err


@needs_compiler
def test_what_keeps_to_them_is_built_and_said(tmp_path: Path) -> None:
    limits = ("--max-code-bytes", "500000", "--max-workspace-bytes", "500000")
    assert run("build", "limited.yaml").code == 0
    again = run("build", "limited.yaml", *limits)  # another question: not what is there already
    assert again.code == 0 and "unchanged" not in again.out
    made = json.loads(Path("build/limited/manifest.json").read_text())
    assert made["limits"]["code_bytes"] == 500000
    assert "unchanged" in run("build", "limited.yaml", *limits).out
    assert "measured" in run("emit", "limited.yaml", *limits).err
    told = run("explain", "limited.yaml", *limits)
    assert told.code == 0 and "build, emit and size" in told.err

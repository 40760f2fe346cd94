"""``convgen cross`` as a user types it: the table, exit codes, the page, and zig alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_runner import run
from foreign import BY_NAME, compiler, emulator
from places import ROOT

import convgen
from convgen.cross.page import HEAD, targets_page
from convgen.errors import Exit
from convgen.target.rigs import RIGS

PAGE = ROOT / "docs" / "targets.md"
SPEC = "name: tiny\ninput: 4x4x3\nfilters: 5\nkernel: 3\npadding: 1\nactivation: relu\n"


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(SPEC)
    return str(path)


@pytest.mark.tools
def test_the_table_and_what_is_kept(spec: str, tmp_path: Path) -> None:
    for name in ("aarch64-neon", "armv7-neon"):
        compiler(BY_NAME[name])
        emulator(BY_NAME[name])
    kept = tmp_path / "kept"
    ran = run("cross", spec, "--target", "armv7-neon,aarch64-neon", "-o", str(kept))
    lines = ran.out.splitlines()
    assert lines[0].split("  ")[0] == "layer" and all(word in lines[0] for word in HEAD)
    assert [line.split("  ")[1].strip() for line in lines[1:3]] == ["aarch64-neon", "armv7-neon"]
    assert re.search(r"yes: neon +ok +\d+ +0$", lines[1])
    files = {path.name for path in (kept / "aarch64-neon" / "tiny").iterdir()}
    assert {"tiny.c", "tiny.h", "tiny.o", "selftest.c", "selftest"} <= files


@pytest.mark.tools
def test_facts_as_json(spec: str) -> None:
    compiler(BY_NAME["generic"])
    ran = run("cross", spec, "--target", "generic", "--cc", "cc", "--json")
    trials = json.loads(ran.out)["trials"]
    assert ran.code == 0 and len(trials) == 1
    assert trials[0]["outcome"] == "ok" and trials[0]["isa"] == "plain"
    assert trials[0]["text"] > 500 and trials[0]["error"] == 0 and len(trials[0]["bits"]) == 16


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--target", "z80"), "--target z80: unknown; there are all, x86-64-avx512"),
        (("--cc", "gcc"), "--cc is a compiler for one target"),
        (("--target", "generic,riscv64", "--cc", "gcc"), "--cc is a compiler for one target"),
    ],
)
def test_usage(spec: str, args: tuple[str, ...], words: str) -> None:
    ran = run("cross", spec, *args)
    assert ran.code == Exit.USAGE and words in ran.err


def test_a_compiler_that_fails_and_one_that_is_missing(spec: str, tmp_path: Path) -> None:
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\ntest $# = 1\n")
    failing.chmod(0o755)
    ran = run("cross", spec, "--target", "cortex-m4", "--cc", str(failing))
    assert ran.code == Exit.TOOLCHAIN
    assert "on cortex-m4: not compiled: the compiler failed" in ran.err
    ran = run("cross", spec, "--target", "cortex-m4", "--cc", "no-such-compiler")
    assert ran.code == Exit.TOOLCHAIN and "no program 'no-such-compiler'" in ran.err


def test_absent_tools_are_errors_only_where_asked_for(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convgen.cross.tools.shutil.which", lambda name: None)
    monkeypatch.setattr("convgen.cross.tools.importlib.util.find_spec", lambda name: None)
    ran = run("cross", spec, "--target", "cortex-m7")
    assert ran.code == Exit.TOOLCHAIN and "no compiler: needs arm-none-eabi-gcc" in ran.err
    everything = run("cross", spec)
    assert everything.code == 0
    assert "cortex-m7: no compiler: needs arm-none-eabi-gcc" in everything.err


def test_build_sends_foreign_targets_here(spec: str, tmp_path: Path) -> None:
    ran = run("build", spec, "--target", "cortex-m4", "-o", str(tmp_path / "b"), "--no-cache")
    assert ran.code == Exit.USAGE
    assert "cortex-m4 is another kind of machine" in ran.err and "convgen cross" in ran.err


@pytest.mark.tools
@pytest.mark.deep
def test_every_shipped_spec_on_every_target(tmp_path: Path) -> None:
    ran = run("cross", str(ROOT / "specs"), "--json")
    trials = json.loads(ran.out)["trials"]
    assert ran.code == 0, ran.err
    assert len(trials) >= 20 * len(RIGS)
    assert {trial["outcome"] for trial in trials} <= {
        "ok", "no compiler", "no emulator", "no such CPU",
    }  # fmt: skip


# -- docs/targets.md -------------------------------------------------------------------------------


def test_the_page_is_current_and_complete() -> None:
    """Whatever does not depend on compilers is as convgen would write it today; and all is well."""
    text = PAGE.read_text(encoding="utf-8")
    fixed, _, tried = text.partition("## Tried")
    command = re.search(r"`(convgen cross [^`]+)`", fixed)
    assert command is not None
    assert targets_page([], command[1]).partition("## Tried")[0] == fixed, f"run {command[1]}"
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in tried.splitlines()
            if line.startswith("| ")]  # fmt: skip
    assert rows[0] == list(HEAD)
    results = rows[2:]
    layers = dict.fromkeys(row[0] for row in results)
    assert len(layers) >= 3
    assert [row[:2] for row in results] == [[la, rig.name] for la in layers for rig in RIGS]
    for row in results:
        assert row[2].startswith("yes: "), row
        if row[1].startswith("x86-64-avx") and row[4] == "no such CPU":
            continue  # the page was made on a machine without the instructions
        assert row[3].startswith("yes: ") and row[4] == "ok", row
        assert int(row[5]) > 0 and float(row[6]) >= 0, row


# -- a machine without any compiler but PyPI's zig ------------------------------------------------


def test_zig_builds_where_there_is_no_compiler(spec: str, tmp_path: Path) -> None:
    """An empty PATH: find_compiler falls back on the package ziglang, which does it all."""
    pytest.importorskip("ziglang", reason="PyPI's ziglang is not installed (convgen[zig])")
    (tmp_path / "empty").mkdir()
    home = Path(convgen.__file__).resolve().parents[1]
    kept = ("HOME", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR", "TMPDIR")
    env = {k: v for k, v in os.environ.items() if k in kept}
    env |= {"PATH": str(tmp_path / "empty"), "PYTHONPATH": str(home)}
    done = subprocess.run(
        [sys.executable, "-m", "convgen", "build", spec, "-o", str(tmp_path / "out"), "--no-cache"],
        env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((tmp_path / "out" / "tiny" / "manifest.json").read_text())
    assert "ziglang" in manifest["commands"][0] and manifest["compiler"].startswith("clang")

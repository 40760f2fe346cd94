"""Run the command line for a test: in this process, or as a real one with its own streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from places import ROOT

from convgen.cli.app import make_app

TINY = "input: [5, 5, 1]\nfilters: 2\nkernel: 3\npadding: 1\nactivation: relu\n"

needs_compiler = pytest.mark.needs("cc")


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(*args: str, stdin: str | bytes = "") -> Ran:
    """In this process; an exception that escapes the command line fails the test."""
    result = CliRunner().invoke(make_app(), list(args), input=stdin, prog_name="convgen")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output or "-v" in args
    return Ran(result.exit_code, result.stdout, result.stderr)


def process(
    *args: str, cwd: Path, env: dict[str, str] | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """As a process of its own, started the way ``python -m convgen`` is."""
    return subprocess.run(
        [sys.executable, "-m", "convgen", *args],
        cwd=cwd,
        env=environment(cwd) | (env or {}),
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )


def environment(home: Path) -> dict[str, str]:
    """This process's variables with convgen importable, caches under ``home``, no colour wishes."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    caches = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    return {**kept, "PYTHONPATH": str(ROOT), **caches}

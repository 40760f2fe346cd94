"""Which tools this machine has. Each is tried once per process: a name on PATH proves nothing, for
a compiler may lack the library, the linker or the instructions of what it is asked for.

``@pytest.mark.needs("cc", "cmake")`` skips a test with the reason where one of them does not work
(conftest.py asks ``lacking``). A test that runs a tool beyond ``BASE`` without having asked for it
fails: it would fail on a machine without the tool. The mark ``tools``, which conftest.py adds to
those that name one in a mark or a parameter, is for machines with few tools (.ci/run).
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from convgen.toolchain import Processes
from convgen.verify.eva import find_frama_c

# What README's second command takes for granted: Python, a C compiler with its binutils, and the
# commands of a base system.
BASE = frozenset({"cc", "gcc", "nm", "size", "sh", "env", "unshare", "setsid", "mount"})
COMPILER = re.compile(r"(.*-)?(cc|gcc|g\+\+|c\+\+|clang|clang\+\+|tcc)(-\d+)?")
EMPTY = "int main(void)\n{\n  return 0;\n}\n"
SECONDS = 300  # zig builds its C library at first use
asked: set[str] = set()  # by the running test


def lacking(tool: str) -> str:
    """Why a test that needs ``tool`` must be skipped; empty where it works.

    ``tool``: "cc" for any C compiler, a compiler's name, or a program's that answers ``--version``.
    """
    asked.add(tool)
    if tool == "cc":
        return "" if c_compiler() else "no C compiler here"
    if tool == "frama-c":
        return "" if find_frama_c() and _answers((tool, "-version")) else "frama-c is not here"
    if COMPILER.fullmatch(tool):
        return cannot_compile((tool,), "-c")
    return "" if _answers((tool, "--version")) else f"{tool} is not on this machine"


def need(*tools: str) -> None:
    """Skip the running test where one of the tools does not work."""
    for tool in tools:
        if reason := lacking(tool):
            pytest.skip(reason)


@cache
def c_compiler() -> str:
    """The first of the usual names whose programs link, or an empty string."""
    return next((cc for cc in ("cc", "gcc", "clang") if not cannot_compile((cc,))), "")


def cannot_compile(command: tuple[str, ...], *flags: str, text: str = EMPTY) -> str:
    """Why ``command`` makes no program (with ``-c`` no object file) of the C text; empty where it
    does. The compiler's first error is part of the reason."""
    asked.add(command[0])
    return _tried(command, flags, text)


def not_asked_for(programs: Iterable[str]) -> list[str]:
    """Of the programs that a test ran, those beyond ``BASE`` that it took for granted.

    Who asked for a compiler has its binutils and, of a C++ one, the C compiler; cmake has ctest.
    """
    known = BASE | asked | {name.replace("++", "") for name in asked}
    known |= {"ctest"} if "cmake" in asked else set()
    prefixes = tuple(name.removesuffix("gcc") for name in asked if name.endswith("-gcc"))
    return sorted(
        name
        for name in set(programs) - known
        if not name.startswith(("python", *prefixes)) and shutil.which(name)
    )


@cache
def _tried(command: tuple[str, ...], flags: tuple[str, ...], text: str) -> str:
    if shutil.which(command[0]) is None:
        return f"{command[0]} is not on this machine"
    with tempfile.TemporaryDirectory(prefix="convgen-tools-") as folder:
        source = Path(folder) / ("probe.cpp" if "++" in command[0] else "probe.c")
        source.write_text(text, encoding="utf-8")
        made = str(Path(folder) / "probe")
        run = Processes().run((*command, str(source), *flags, "-o", made), timeout=SECONDS)
    if run.code == 0 and not run.timed_out:
        return ""
    lines = run.stderr.strip().splitlines() or [f"exit code {run.code}, {run.seconds:.0f} s"]
    first = next((line for line in lines if "error" in line), lines[0])
    return f"{' '.join(command)} does not compile for this here: {first.strip()}"


@cache
def _answers(command: tuple[str, ...]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return Processes().run(command, timeout=SECONDS).code == 0

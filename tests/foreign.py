"""Programs for machines of other kinds, compiled and run as ``convgen cross`` does it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from convgen.cross.tools import compiler_of, emulator_of, wanted
from convgen.cross.trial import board_files
from convgen.target import TARGETS
from convgen.target.rigs import RIGS, Rig
from convgen.toolchain import Compiler, Processes

STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror")
BY_NAME = {rig.name: rig for rig in RIGS}
FOREIGN = tuple(rig for rig in RIGS if not rig.name.startswith("x86"))


def compiler(rig: Rig) -> Compiler:
    """The rig's compiler, or skip."""
    found = compiler_of(rig, None, Processes())
    if found is None:
        pytest.skip(f"no {wanted(rig.compilers)} here")
    return found


def emulator(rig: Rig) -> tuple[str, ...]:
    """What runs the rig's programs, or skip."""
    found = emulator_of(rig)
    if found is None:
        pytest.skip(f"no {wanted(rig.emulators)} here")
    return found


def run_program(
    rig: Rig, folder: Path, files: dict[str, str], *flags: str, timeout: float = 60
) -> tuple[int, str]:
    """Exit code and words of the program made of all C files; warnings are errors."""
    command, before = compiler(rig).command, emulator(rig)
    if rig.board is not None:
        files = {**files, **board_files(rig.board)}
        flags = (*flags, "-nostartfiles", "-T", "memory.ld")
    for name, text in files.items():
        (folder / name).write_text(text)
    sources = [name for name in files if name.endswith(".c")]
    target = TARGETS[rig.target]
    full = [*command, *STRICT, *target.flags, *flags, *sources, *rig.link, "-o", "program"]
    made = subprocess.run(full, cwd=folder, capture_output=True, text=True, timeout=timeout)
    assert made.returncode == 0, f"{' '.join(full)}\n{made.stderr}"
    run = subprocess.run(
        [*before, str(folder / "program")], capture_output=True, text=True, timeout=timeout
    )
    return run.returncode, run.stdout + run.stderr

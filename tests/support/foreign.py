"""Programs for machines of other kinds, compiled and run as ``convgen cross`` does it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from tools import asked, cannot_compile

from convgen.cross.tools import at_home, compiler_of, emulator_of, wanted
from convgen.cross.trial import board_files
from convgen.target import TARGETS
from convgen.target.rigs import RIGS, Rig
from convgen.toolchain import Compiler, Processes

STRICT = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Werror")
BY_NAME = {rig.name: rig for rig in RIGS}
FOREIGN = tuple(rig for rig in RIGS if not rig.name.startswith("x86"))


def compiler(rig: Rig) -> Compiler:
    """The first of the rig's compilers that makes programs of the rig's kind, or skip."""
    found = _compiler(rig)
    if isinstance(found, str):
        pytest.skip(found)
    asked.add(found.command[0])
    return found


@cache
def _compiler(rig: Rig) -> Compiler | str:
    """A compiler that was tried, or why there is none."""
    own = at_home(rig)
    reason = f"no {wanted(rig.compilers)} here"
    for one in (rig,) if own else (replace(rig, compilers=(c,)) for c in rig.compilers):
        found = compiler_of(one, None, Processes())
        if found is None:
            continue
        failed = cannot_compile(tuple(found.command), *_flags(rig), text=_probe(rig))
        if not failed:
            return found
        reason = failed
    return reason


def _flags(rig: Rig) -> tuple[str, ...]:
    # Without a board's start and memory map a program for bare metal does not link.
    return (*TARGETS[rig.target].flags, *(("-c",) if rig.board else rig.link))


def _probe(rig: Rig) -> str:
    """C that only a compiler with the rig's C library and the target's vectors takes."""
    target = TARGETS[rig.target]
    # On a target for any machine vectors are taken where the compiler has them.
    lines = ["#include <stdint.h>", "#include <stdio.h>", "#include <string.h>"]
    if target.machines != () and target.isa.condition:
        lines += [f"#if {target.isa.condition}", f"#include <{target.isa.header}>", "#else",
                  "#error without these vectors", "#endif"]  # fmt: skip
    return "\n".join((*lines, 'int main(void) { return puts("here") < 0; }', ""))


def emulator(rig: Rig) -> tuple[str, ...]:
    """What runs the rig's programs, or skip."""
    found = emulator_of(rig)
    if found is None:
        pytest.skip(f"no {wanted(rig.emulators)} here")
    asked.update(found[:1])
    return found


def run_program(
    rig: Rig, folder: Path, files: dict[str, str], *flags: str, timeout: float = 60
) -> tuple[int, str]:
    """Exit code and words of the program made of all C files; warnings are errors."""
    before, command = emulator(rig), compiler(rig).command
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

"""Which of a rig's commands are on this machine."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from convgen.target import TARGETS, Target, is_foreign, missing_features
from convgen.target.rigs import Command, Rig, rigs_of
from convgen.toolchain import Compiler, Processes, find_compiler, shell_line

_WASI = str(Path(__file__).with_name("wasi.py"))
_HOST = (("cc",), ("gcc",), ("clang",), ("zig", "cc"), ("@ziglang", "cc"))
_OF_MODULE = {"@ziglang": ("-m", "ziglang"), "@wasmtime": (_WASI,)}


def compiler_of(rig: Rig, cc: str | None, processes: Processes) -> Compiler | None:
    """The compiler of ``--cc``, this machine's own where that serves, else the rig's first.

    None: there is none here. Raises ``ToolchainError`` for one that does not answer.
    """
    if cc is not None:
        return find_compiler(cc, processes)
    command = _first(_HOST if at_home(rig) else rig.compilers)
    return None if command is None else find_compiler(shell_line(command), processes)


def emulator_of(rig: Rig) -> Command | None:
    """What to put before the program's name; () where it runs by itself, None: nothing is here."""
    if not rig.emulators:
        return ()
    if at_home(rig) and not missing_features(TARGETS[rig.target]):
        return ()
    return _first(rig.emulators)


def called(command: Command) -> str:
    """The name of a command's program, or of the Python package that is run in its place."""
    program = Path(command[0]).name
    return command[2] if command[1:2] == ("-m",) and program.startswith("python") else program


def wanted(commands: Sequence[Command]) -> str:
    """The programs that would do, for a message."""
    words = (
        f"PyPI's {command[0][1:]}" if command[0].startswith("@") else command[0]
        for command in commands
    )
    return " or ".join(dict.fromkeys(words))


def at_home(rig: Rig) -> bool:
    """Whether this machine is of the rig's kind, so that its own compiler serves."""
    return rig.host and not is_foreign(TARGETS[rig.target])


def _first(commands: Sequence[Command]) -> Command | None:
    return next((found for command in commands if (found := _resolved(command))), None)


def _resolved(command: Command) -> Command | None:
    program, *arguments = command
    if program.startswith("@"):
        if importlib.util.find_spec(program[1:]) is None:
            return None
        return sys.executable, *_OF_MODULE[program], *arguments
    return command if shutil.which(program) else None


def measured_compiler(target: Target, cc: str | None = None) -> Compiler | None:
    """The compiler by which limits are held against real sizes: ``cc``, else the first one here
    for the target, None where there is none. Raises ``ToolchainError`` for a ``cc`` that fails."""
    if cc is not None:
        return find_compiler(cc)
    return compiler_of(rigs_of([target.name])[0], None, Processes())

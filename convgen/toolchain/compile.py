"""Compile C files to one shared library: units side by side, then the link."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convgen.errors import ToolchainError
from convgen.toolchain.command import Finished, Processes, awaited, shell_line
from convgen.toolchain.compiler import Compiler
from convgen.toolchain.sections import code_size

TIMEOUT = 120.0  # seconds for one compiler call
FEW_UNITS = 4  # those of one layer: compiled side by side whatever the machine
LARGE = 4 << 20  # bytes of C, which only baked weights come to
WARN_FLAGS = ("-Wall", "-Wextra")
_PIC = () if sys.platform == "win32" else ("-fPIC",)

# No -march: a kernel carries its own target attributes, and runs as fast under these flags.
COMPILE_FLAGS = ("-O2", "-std=c11", *_PIC, *WARN_FLAGS)


def link_flags() -> tuple[str, ...]:
    """What makes a shared library of objects on this platform.

    ELF: a library that is loaded stays (its threads may still run in it), and a symbol that it
    defines is its own, whatever else the process has loaded.
    """
    match sys.platform:
        case "darwin":
            return ("-shared", "-undefined", "dynamic_lookup")
        case "win32":
            return ("-shared",)
        case _:
            return ("-shared", "-pthread", "-Wl,-Bsymbolic", "-Wl,-z,nodelete")


@dataclass(frozen=True)
class Unit:
    """One translation unit: a file name inside the work folder, and flags of its own."""

    source: str
    flags: tuple[str, ...] = ()

    @property
    def object(self) -> str:
        return f"{Path(self.source).stem}.o"


@dataclass(frozen=True)
class Compiled:
    """``commands``: as run, to paste into a shell in the work folder. ``warnings``: what the
    compiler said, one text per command that said anything. ``code_bytes``: machine code of the
    units that are counted, None where the object format is not ELF."""

    library: Path
    commands: tuple[str, ...]
    warnings: tuple[str, ...]
    code_bytes: int | None


def compile_shared(
    compiler: Compiler,
    folder: Path,
    units: Sequence[Unit],
    library: str,
    *,
    counted: int = 1,
    flags: Sequence[str] = COMPILE_FLAGS,
    link: Sequence[str] = (),
    timeout: float = TIMEOUT,
    processes: Processes | None = None,
) -> Compiled:
    """Compile ``units`` (files in ``folder``) and link them to ``folder/library``.

    File names are relative to ``folder``, so commands and library do not depend on where it is.
    ``link``: flags beyond ``link_flags()``. ``counted``: how many units, from the first, the
    machine code in ``code_bytes`` is that of. Raises ``ToolchainError`` with the exact command and
    what the compiler said.
    """
    run = _Runner(processes or Processes(), folder, timeout)

    def compile_unit(unit: Unit) -> Finished:
        command = (*compiler.command, *flags, *unit.flags, "-c", unit.source, "-o", unit.object)
        return run(command, unit.source, unit.object)

    with _scratch(folder) as run.env:
        side_by_side = min(len(units), max(FEW_UNITS, os.cpu_count() or 1))
        with ThreadPoolExecutor(max_workers=max(1, side_by_side)) as pool:
            try:
                done = [awaited(f) for f in [pool.submit(compile_unit, unit) for unit in units]]
            except KeyboardInterrupt:
                run.processes.stop()  # else leaving the pool would wait for the compilers
                raise
        objects = [unit.object for unit in units]
        command = (*compiler.command, *objects, "-o", library, *link_flags(), *link)
        done.append(run(command, library, library))
    return Compiled(
        folder / library,
        tuple(shell_line(one.command) for one in done),
        tuple(one.stderr.strip() for one in done if one.stderr.strip()),
        _code_size([folder / unit.object for unit in units[:counted]]),
    )


def _code_size(objects: Sequence[Path]) -> int | None:
    sizes = [size for path in objects if (size := code_size(path)) is not None]
    return sum(sizes) if len(sizes) == len(objects) else None


def compile_object(
    compiler: Compiler,
    folder: Path,
    unit: Unit,
    timeout: float = TIMEOUT,
    processes: Processes | None = None,
) -> Finished:
    """Compile one file of ``folder`` to its object there, with its own flags and no others.

    Raises ``ToolchainError`` as ``compile_shared`` does.
    """
    run = _Runner(processes or Processes(), folder, timeout)
    command = (*compiler.command, *unit.flags, "-c", unit.source, "-o", unit.object)
    with _scratch(folder) as run.env:
        return run(command, unit.source, unit.object)


@contextmanager
def _scratch(folder: Path) -> Iterator[Mapping[str, str]]:
    """This process's environment, but temporary files go below ``folder`` and with it: a compiler
    that is killed removes none of its own."""
    try:
        made = tempfile.mkdtemp(prefix=".cc-", dir=folder.absolute())
    except OSError as error:
        reason = error.strerror or error
        raise ToolchainError(f"{folder}: no room for the compiler to work in ({reason})") from None
    try:
        yield {**os.environ, **dict.fromkeys(("TMPDIR", "TMP", "TEMP"), made)}
    finally:
        shutil.rmtree(made, ignore_errors=True)


@dataclass
class _Runner:
    """How the commands of one library are run."""

    processes: Processes
    folder: Path
    timeout: float
    env: Mapping[str, str] | None = None

    def __call__(self, command: tuple[str, ...], what: str, made: str) -> Finished:
        """Run a command on ``what`` that writes ``made``. Raises ``ToolchainError``."""
        line = shell_line(command)
        try:
            run = self.processes.run(command, timeout=self.timeout, cwd=self.folder, env=self.env)
        except OSError as error:
            reason = f"the compiler cannot be started: {error.strerror}"
            raise ToolchainError(reason, line) from None
        if run.timed_out:
            reason = f"the compiler did not finish {what} within {self.timeout:g} s: killed"
            reason += f"; {_more_time(self.folder)}"
            raise ToolchainError(reason, line, run.stderr)
        if run.code == 0:
            if (self.folder / made).is_file():
                return run
            reason = f"the compiler says it compiled {what}, but {made} is not there"
            raise ToolchainError(reason, line, run.stderr)
        reason = f"exit code {run.code}" if run.code > 0 else f"killed by signal {-run.code}"
        if "No space left on device" in run.stderr:
            reason = "the disk is full"
        raise ToolchainError(f"the compiler failed on {what} ({reason})", line, run.stderr)


def _more_time(folder: Path) -> str:
    """What to do about a compiler that takes too long: baked weights are what most often does."""
    large = sum(path.stat().st_size for path in folder.glob("*.c")) > LARGE
    other = ", or leave `weights` out of the spec and pass them at run time" if large else ""
    return f"give it longer with --timeout{other}"

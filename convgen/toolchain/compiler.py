"""Find a C compiler and say exactly which one it is."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from convgen.errors import ToolchainError
from convgen.toolchain.command import Finished, Processes, shell_line

_ZIG = (sys.executable, "-m", "ziglang")
ASK_TIMEOUT = 20.0  # seconds for a compiler to say its version


class CompilerKind(StrEnum):
    GCC = "gcc"
    CLANG = "clang"
    OTHER = "other"


@dataclass(frozen=True)
class Compiler:
    """A compiler that answered. ``command``: how to call it; ``machine``: what it compiles for.

    ``id`` changes whenever the compiler does: cached builds hang on it.
    """

    command: tuple[str, ...]
    kind: CompilerKind
    version: str
    machine: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind} {self.version} ({self.machine})"


def find_compiler(cc: str | None = None, processes: Processes | None = None) -> Compiler:
    """The compiler of ``--cc`` (a command line such as ``ccache gcc``), or the first one here.

    ``zig cc`` is that of the Python package ziglang where no ``zig`` is on PATH.
    Raises ``ToolchainError`` when there is none, or when it does not answer.
    """
    processes = processes or Processes()
    if cc is not None:
        return _ask(_resolved(cc), processes)
    failure: ToolchainError | None = None
    for command in _candidates():
        try:
            return _ask(command, processes)
        except ToolchainError as error:  # e.g. the stub that macOS has without its tools
            failure = failure or error
    if failure is not None:
        raise failure
    raise ToolchainError(
        f"no C compiler found: looked for {', '.join(_names())} on PATH, and for the Python "
        f"package ziglang. {_advice()}"
    )


def _names() -> tuple[str, ...]:
    return ("clang", "gcc") if os.name == "nt" else ("cc", "gcc", "clang")


def _candidates() -> list[tuple[str, ...]]:
    found = [(name,) for name in _names() if shutil.which(name)]
    return [*found, (*_ZIG, "cc")] if _has_ziglang() else [*found]


def _has_ziglang() -> bool:
    """Is PyPI's ziglang here? It brings the whole compiler, but puts no ``zig`` on PATH."""
    return importlib.util.find_spec("ziglang") is not None


def slow_start(cc: str | None) -> str:
    """What to tell before the first build with ``--cc``'s compiler, or "": zig compiles its
    linker's start files and libraries once, into a cache of its own."""
    try:
        command = _resolved(cc) if cc is not None else next(iter(_candidates()), ())
    except ToolchainError:
        return ""  # the build will say it
    is_zig = bool(command) and (Path(command[0]).stem == "zig" or command[1:3] == _ZIG[1:])
    if not is_zig:
        return ""
    cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR") or Path.home() / ".cache" / "zig"
    if Path(cache).is_dir():
        return ""
    return "zig compiles its own libraries first, once: this build takes about a minute longer"


def _advice() -> str:
    match sys.platform:
        case "darwin":
            how = "xcode-select --install"
        case "win32":
            how = "winget install LLVM.LLVM"
        case _:
            how = "apt install gcc (Debian, Ubuntu), dnf install gcc (Fedora), apk add build-base"
    return f"Install one ({how}; or anywhere: pip install ziglang), or name one with --cc"


def _resolved(cc: str) -> tuple[str, ...]:
    try:
        command = tuple(shlex.split(cc, posix=os.name == "posix"))
    except ValueError as error:
        raise ToolchainError(f"--cc {cc}: not a command line ({error})") from None
    if not command:
        raise ToolchainError("--cc is empty: name a C compiler")
    found = shutil.which(command[0])
    if found is None and command[0] == "zig" and _has_ziglang():
        return (*_ZIG, *command[1:])
    if found is None:
        raise ToolchainError(f"--cc {cc}: no program {command[0]!r} found. {_advice()}")
    if Path(command[0]).name != command[0]:  # a path: compilers run in another folder
        return str(Path(found).absolute()), *command[1:]
    return command


_known: dict[object, Compiler] = {}  # by command and the state of every program in it


def _ask(command: tuple[str, ...], processes: Processes) -> Compiler:
    """The compiler, asked once per process for as long as its programs stay the same files."""
    key = (command, tuple(map(_state, command)), os.environ.get("PATH"))
    if key not in _known:
        _known[key] = _asked(command, processes)
    return _known[key]


def _state(word: str) -> tuple[int, int, int] | None:
    """Of the program that a word of a command names, if it names one."""
    found = shutil.which(word)
    if found is None:
        return None
    status = Path(found).stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _asked(command: tuple[str, ...], processes: Processes) -> Compiler:
    """``-v`` alone: gcc, clang and zig say version and target on stderr, in one process."""
    asked = (*command, "-v")
    try:
        answer = processes.run(asked, timeout=ASK_TIMEOUT)
    except OSError as error:
        raise ToolchainError(
            f"the compiler cannot be started: {error.strerror}", shell_line(asked)
        ) from None
    if answer.timed_out:
        raise ToolchainError(
            f"the compiler did not say its version within {ASK_TIMEOUT:g} s: killed",
            shell_line(asked),
            answer.stderr,
        )
    if not answer.ok:
        raise ToolchainError(
            f"the compiler failed to say its version (exit code {answer.code})",
            shell_line(asked),
            answer.stderr,
        )
    return _described(command, answer)


def _described(command: tuple[str, ...], answer: Finished) -> Compiler:
    text = answer.stdout + answer.stderr
    version = re.search(r"\b(gcc|clang|\w+) version (\d[\w.]*)", text)
    machine = re.search(r"^Target: (\S+)", text, re.MULTILINE)
    named = version is not None and version[1] in ("gcc", "clang")
    kind = CompilerKind(version[1]) if version and named else CompilerKind.OTHER
    identity = hashlib.sha256("\0".join((*command, text)).encode()).hexdigest()
    return Compiler(
        command,
        kind,
        version[2] if version else "unknown",
        machine[1] if machine else "unknown",
        identity,
    )

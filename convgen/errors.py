"""What can go wrong, as types: one class per exit code; messages name the place and the fix."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of the command line."""

    OK = 0
    SPEC = 1
    USAGE = 2
    TOOLCHAIN = 3
    MISMATCH = 4
    REGRESSION = 5
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends a verb as Ctrl-C does, everything cleaned up, with an exit code of its own."""


@dataclass(frozen=True)
class Diagnostic:
    """One mistake in a file: where, which rule (``E###``), what, why and the fix.

    ``line`` and ``col`` count from 1; 0 means the mistake has no place in the text.
    ``snippet`` is the source line with a caret under the place, or "".
    """

    source: str
    line: int
    col: int
    code: str
    message: str
    snippet: str = ""

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.col}" if self.line else self.source
        head = f"{place}: error[{self.code}]: {self.message}"
        return f"{head}\n{self.snippet}" if self.snippet else head


class ConvgenError(Exception):
    """A mistake that the user can mend. ``exit_code`` is what the command line returns."""

    exit_code = Exit.SPEC


class SpecError(ConvgenError):
    """A spec or its weights broke one or more rules; ``diagnostics`` holds every one found."""

    def __init__(self, diagnostics: list[Diagnostic] | tuple[Diagnostic, ...]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


class ScheduleError(ConvgenError):
    """A schedule cannot be carried out for this layer on this target."""


class UsageError(ConvgenError):
    """The command line, or a call of the Python interface, was used wrongly."""

    exit_code = Exit.USAGE


class LimitError(UsageError):
    """No schedule of a layer keeps to the limits that were asked for; says what comes closest."""


class ToolchainError(ConvgenError):
    """The compiler is missing, failed, or took too long. ``command`` and ``stderr`` are exact."""

    exit_code = Exit.TOOLCHAIN

    def __init__(self, message: str, command: str = "", stderr: str = "") -> None:
        self.command = command
        self.stderr = stderr
        parts = [message]
        if command:
            parts.append(f"command: {command}")
        if stderr:
            parts.append(stderr.rstrip())
        super().__init__("\n".join(parts))


class MismatchError(ConvgenError):
    """A built kernel failed its verification: convgen's fault or the compiler's, never used."""

    exit_code = Exit.MISMATCH


class RegressionError(ConvgenError):
    """A layer became slower than in the benchmark it is compared with, beyond noise."""

    exit_code = Exit.REGRESSION

"""Run a command with a time limit; nothing that it started outlives it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OUTPUT_LIMIT = 256 * 1024  # characters kept of what a command prints
GRACE = 5.0  # seconds for a killed group's pipes to close


class Stopped(Exception):
    """The build was interrupted: no further command is started."""


@dataclass(frozen=True)
class Finished:
    """A command that ended, or was killed at its time limit (``timed_out``)."""

    command: tuple[str, ...]
    code: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool

    @property
    def ok(self) -> bool:
        return self.code == 0 and not self.timed_out


class Processes:
    """The running commands of one build. ``stop`` ends them all; safe to call from any thread.

    Each command leads a process group of its own, so that a compiler driver's children
    (cc1, as, ld) die with it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, command: Sequence[str], *, timeout: float, cwd: Path | None = None) -> Finished:
        """Run to the end, at most ``timeout`` seconds.

        Raises ``OSError`` when the command cannot be started, ``Stopped`` after ``stop``.
        """
        start = time.monotonic()
        process = self._start(command, cwd)
        timed_out = False
        try:
            try:
                stdout, stderr = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                timed_out = True
                stdout, stderr = _end(process)
        except BaseException:
            _end(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)
                stopped = self._stopped
        if stopped:
            raise Stopped
        seconds = time.monotonic() - start
        texts = stdout[:OUTPUT_LIMIT], stderr[:OUTPUT_LIMIT]
        return Finished(tuple(command), process.returncode, *texts, seconds, timed_out)

    def stop(self) -> None:
        """Kill every running command, and refuse new ones from now on."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _kill_group(process)

    def _start(self, command: Sequence[str], cwd: Path | None) -> subprocess.Popen[str]:
        # Under the lock: stop() must not slip in between the look and the start.
        with self._lock:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=os.name == "posix",
            )
            self._running.add(process)
            return process


def shell_line(command: Sequence[str]) -> str:
    """The command as one line to paste into a shell."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Kill the group and collect what it had printed."""
    _kill_group(process)
    try:
        return process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        # Something left the group and still holds the pipes: let go of them.
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        return "", ""


def _kill_group(process: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False
        )
    else:
        # A leader that has been waited for frees its number, which may be someone else's by now.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

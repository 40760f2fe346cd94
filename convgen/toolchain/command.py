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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

OUTPUT_LIMIT = 256 * 1024  # bytes kept of what a command prints; the rest is read and dropped
TICK = 0.2  # seconds between two looks at whether a signal came
GRACE = 5.0  # seconds for a killed group's pipes to close

T = TypeVar("T")
OnLine = Callable[[str], None]


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
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        task: bytes | None = None,
        on_line: OnLine | None = None,
    ) -> Finished:
        """Run to the end, at most ``timeout`` seconds; ``task`` is what it reads on stdin.

        ``on_line`` hears each line of its standard output at once, in a thread of its own.
        Raises ``OSError`` when the command cannot be started, ``Stopped`` after ``stop``.
        """
        start = time.monotonic()
        process = self._start(command, cwd, env, task)
        try:
            said, timed_out = _watched(process, start + timeout, on_line)
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
        code = -9 if process.returncode is None else process.returncode
        return Finished(tuple(command), code, *said, seconds, timed_out)

    def stop(self) -> None:
        """Kill every running command, and refuse new ones from now on."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _kill_group(process)

    def _start(
        self,
        command: Sequence[str],
        cwd: Path | None,
        env: Mapping[str, str] | None,
        task: bytes | None,
    ) -> subprocess.Popen[bytes]:
        # Under the lock: stop() must not slip in between the look and the start.
        with self._lock:
            if self._stopped:
                raise Stopped
            process = subprocess.Popen(
                list(command),
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL if task is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=os.name == "posix",
            )
            self._running.add(process)
        if task is not None:
            threading.Thread(target=_tell, args=(process.stdin, task), daemon=True).start()
        return process


def awaited(future: Future[T]) -> T:
    """The future's result, as ``result()``; but Ctrl-C is always heard.

    Python's signal handlers run in the main thread, and a lock that it waits for without a limit
    wakes up only for a signal that the system happens to give to this very thread.
    """
    while True:
        try:
            return future.result(TICK)
        except TimeoutError:
            if future.done():  # or its own
                return future.result()


def shell_line(command: Sequence[str]) -> str:
    """The command as one line to paste into a shell."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


class _Listener(threading.Thread):
    """Reads a pipe to its end, so that nobody waits for room in it; keeps ``OUTPUT_LIMIT`` bytes.

    A thread, since Windows cannot wait for pipes otherwise. Should something that left the group
    hold the pipe open for ever, the thread is left behind with it.
    """

    def __init__(self, pipe: IO[bytes] | None, on_line: OnLine | None = None) -> None:
        super().__init__(daemon=True)
        assert pipe is not None
        self._pipe, self._kept, self._on_line = pipe, bytearray(), on_line
        self.start()

    def run(self) -> None:
        rest = b""
        with self._pipe:
            while chunk := os.read(self._pipe.fileno(), 1 << 16):
                self._kept += chunk[: OUTPUT_LIMIT - len(self._kept)]
                if self._on_line is not None:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self._on_line(line.decode(errors="replace"))

    @property
    def text(self) -> str:
        return self._kept.decode(errors="replace").replace("\r\n", "\n")


def _tell(pipe: IO[bytes], task: bytes) -> None:
    with contextlib.suppress(OSError), pipe:  # one that ends early does not read it all
        pipe.write(task)


def _watched(
    process: subprocess.Popen[bytes], deadline: float, on_line: OnLine | None
) -> tuple[tuple[str, str], bool]:
    """stdout and stderr once the process has ended; whether it had to be killed for that."""
    out, err = listeners = _Listener(process.stdout, on_line), _Listener(process.stderr)
    for listener in listeners:
        while listener.is_alive() and (left := deadline - time.monotonic()) > 0:
            listener.join(min(TICK, left))  # as ``awaited`` does
    late = out.is_alive() or err.is_alive()
    if not late:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            late = True
    if late:
        _end(process)
        for listener in listeners:
            listener.join(GRACE)
    return (out.text, err.text), late


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the group; what is stuck in the system, and cannot end, is left to it."""
    _kill_group(process)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        subprocess.run(
            ["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False
        )
    else:
        # A leader that has been waited for frees its number, which may be someone else's by now.
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)

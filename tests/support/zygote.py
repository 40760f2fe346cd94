"""The verification ladder in forked children of one warm process.

A build starts a Python for every ladder (convgen/verify/isolate.py), and so does test_verify_child.
For the thousands of ladders of the kernel tests, most of that time would go into importing NumPy.
``Zygote.run`` has the face of ``Processes.run`` and does what ``convgen.verify.child`` does, in a
child of a process that has imported everything and never loads a library itself.
"""

from __future__ import annotations

import io
import os
import pickle
import selectors
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from convgen.toolchain import Processes
from convgen.toolchain.command import Finished
from convgen.verify import child
from convgen.verify.isolate import child_environment

_SIZE = struct.Struct("<q")


class Zygote(Processes):
    """Starts the warm process at the first call; it ends with this one."""

    def __init__(self) -> None:
        super().__init__()
        self._warm: subprocess.Popen[bytes] | None = None

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        task: bytes | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Finished:
        """``command`` must be the ladder's; only its ``task`` and ``timeout`` are passed on."""
        assert task is not None and child.__name__ in command, command
        assert on_line is None
        if self._warm is None:
            self._warm = subprocess.Popen(
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment(),
            )  # fmt: skip
        assert self._warm.stdin is not None and self._warm.stdout is not None
        begun = time.monotonic()
        _send(self._warm.stdin, (timeout, task))
        code, out, err, timed_out = _receive(self._warm.stdout)
        return Finished(tuple(command), code, out, err, time.monotonic() - begun, timed_out)


def serve() -> None:
    """Read tasks until the other end is closed."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    while (request := _receive(requests)) is not None:
        _send(answers, _forked(*request))


def _forked(timeout: float, task: bytes) -> tuple[int, str, str, bool]:
    """Exit code (minus the signal that ended it), what it printed, whether it ran out of time."""
    pipes = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_the_child(timeout, task, pipes[0][1], pipes[1][1])
    for _, writing in pipes:
        os.close(writing)
    texts, timed_out = _read_all([reading for reading, _ in pipes], pid, timeout)
    _, status = os.waitpid(pid, 0)
    out, err = (text.decode(errors="replace") for text in texts)
    return os.waitstatus_to_exitcode(status), out, err, timed_out


def _be_the_child(timeout: float, task: bytes, out: int, err: int) -> None:
    code = 1
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdin = io.TextIOWrapper(io.BytesIO(task))
        sys.stdout, sys.stderr = (os.fdopen(f, "w", closefd=False) for f in (1, 2))
        sys.argv = [child.__name__, str(timeout)]
        child.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _read_all(readings: list[int], pid: int, timeout: float) -> tuple[list[bytes], bool]:
    """What comes out of the pipes; the child is killed when the time is over."""
    texts = dict.fromkeys(readings, b"")
    end, timed_out = time.monotonic() + timeout, False
    with selectors.DefaultSelector() as selector:
        for reading in readings:
            selector.register(reading, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, end - time.monotonic()) if not timed_out else None)
            if not ready:
                timed_out = True
                os.kill(pid, signal.SIGKILL)
            for key, _ in ready:
                chunk = os.read(key.fd, 1 << 16)
                texts[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return list(texts.values()), timed_out


def _send(pipe: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value)
    pipe.write(_SIZE.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> Any:
    """The next value, None where the pipe is at its end."""
    head = pipe.read(_SIZE.size)
    return pickle.loads(pipe.read(_SIZE.unpack(head)[0])) if head else None


if __name__ == "__main__":
    serve()

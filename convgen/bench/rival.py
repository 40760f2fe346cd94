"""A peer as seen from the measuring process: started once, prepared for layer after layer."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from convgen.spec.model import ConvSpec

PREPARE_LIMIT = 300.0  # seconds for a peer to import itself and to prepare a layer
RUN_LIMIT = 300.0
SAID = 2000  # characters of a dead peer's last words that are looked at
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class RivalError(Exception):
    """The peer cannot take part; the message says why."""


class Rival(Protocol):
    """A contender that can be prepared for a layer. ``version``: of what is measured."""

    name: str
    version: str

    def prepare(self, spec: ConvSpec, folder: Path, threads: int, c_flags: Sequence[str]) -> str:
        """Make ready for the layer whose arrays lie in ``folder`` (see ``wire``); the output is
        there then. The variant chosen. Raises ``RivalError``."""
        ...

    def run(self, count: int) -> float:
        """The seconds that so many calls took. Raises ``RivalError``."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class ProcessRival:
    """A peer in a process of its own: a crash costs one layer, and it may have its own Python."""

    def __init__(self, name: str, python: str = sys.executable, threads: int = 1) -> None:
        """Start it and ask for its version. Raises ``RivalError`` when it is not installed."""
        self.name, self.python, self.threads = name, python, threads
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._left = b""
        try:
            self.version = str(self._ask({"do": "describe"}, PREPARE_LIMIT)["version"])
        except RivalError:
            self.close()
            raise

    def prepare(self, spec: ConvSpec, folder: Path, threads: int, c_flags: Sequence[str]) -> str:
        from convgen.bench.wire import spec_to_mapping

        request = {
            "do": "prepare",
            "spec": spec_to_mapping(spec),
            "folder": str(folder),
            "threads": threads,
            "c_flags": list(c_flags),
        }
        return str(self._ask(request, PREPARE_LIMIT)["variant"])

    def run(self, count: int) -> float:
        return float(self._ask({"do": "run", "count": count}, RUN_LIMIT)["seconds"])

    def close(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        if self._said is not None:
            self._said.close()
            self._said = None

    def _ask(self, request: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """One request and its answer; a dead process is started anew for the next one."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            line = self._line(limit)
        except (BrokenPipeError, TimeoutError) as error:
            reason = self._ended(error)
            self.close()
            raise RivalError(reason) from None
        except BaseException:  # an interrupt: what is half asked would answer the next question
            self.close()
            raise
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RivalError(str(answer["error"]))
        return answer

    def _start(self) -> None:
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        self._said, self._left = tempfile.TemporaryFile(), b""  # noqa: SIM115 - close() does
        try:
            self._process = subprocess.Popen(
                # -P keeps the working folder out of sys.path; see convgen.verify.isolate
                [self.python, "-P", "-m", "convgen.bench.child", self.name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env={**os.environ, "PYTHONPATH": path, **threads},
                bufsize=0,
            )
        except OSError as error:
            raise RivalError(f"{self.python}: {error.strerror}") from None

    def _line(self, limit: float) -> bytes:
        """The next line of the process. Raises ``TimeoutError``, ``BrokenPipeError`` at its end."""
        assert self._process is not None and self._process.stdout is not None
        pipe, end = self._process.stdout, time.monotonic() + limit
        with selectors.DefaultSelector() as ready:
            ready.register(pipe, selectors.EVENT_READ)
            while b"\n" not in self._left:
                if not ready.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                more = os.read(pipe.fileno(), 1 << 16)
                if not more:
                    raise BrokenPipeError
                self._left += more
        line, _, self._left = self._left.partition(b"\n")
        return line

    def _ended(self, error: OSError) -> str:
        if isinstance(error, TimeoutError):
            return "no answer within the time limit"
        assert self._process is not None and self._said is not None
        status = self._process.wait()
        self._said.seek(0)
        said = self._said.read()[-SAID:].decode(errors="replace").strip()
        last = f": {said.splitlines()[-1].strip()}" if said else ""
        how = f"exit code {status}" if status >= 0 else f"killed by signal {-status}"
        return f"its process ended ({how}){last}"

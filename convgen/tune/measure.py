"""Candidates made real: compiled side by side, timed alone in child processes, verified."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from convgen.errors import ToolchainError
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.schedule import Schedule
from convgen.toolchain import (
    COMPILE_FLAGS,
    TIMEOUT,
    Compiler,
    Processes,
    Unit,
    awaited,
    compile_shared,
    link_flags,
)
from convgen.toolchain.leftover import own_temporary_folder, write_whole
from convgen.tune.shortlist import Candidate
from convgen.tune.task import NAME, Entrant, Task
from convgen.verify import Report, verify_plan_in_child
from convgen.verify.isolate import child_environment

CHILD_GRACE = 60.0  # seconds beyond its own limit after which a child is stuck
LEAST_WALL = 64 << 20  # bytes walked for cold weights where the last cache's size is unknown
REPEAT = f"""\
#include "{NAME}.h"
void {NAME}_repeat(const float *x, const void *packed, float *y, void *workspace, long calls);
void {NAME}_repeat(const float *x, const void *packed, float *y, void *workspace, long calls)
{{
  for (; calls > 0; --calls) {NAME}_run(x, packed, y, workspace);
}}
"""

Round = dict[Schedule, float]  # microseconds per call


class KernelCrashed(Exception):
    """A kernel took the measuring process down; ``reason`` says how."""

    def __init__(self, schedule: Schedule, reason: str) -> None:
        super().__init__(reason)
        self.schedule, self.reason = schedule, reason


class Bench(Protocol):
    """Where candidates are compiled and timed: this machine, or a test's stand-in."""

    def code(self, candidate: Candidate) -> str:
        """A digest of the candidate's C: equal digests, equal kernels."""
        ...

    def compile(
        self, candidates: Sequence[Candidate], seconds: float, on_each: Callable[[], None]
    ) -> Mapping[Schedule, str]:
        """Compile what is not compiled yet; none is started after ``seconds``, but the first is.

        What the compiler refused, with its words. ``on_each`` is called as each one is done.
        """
        ...

    def ready(self, schedule: Schedule) -> bool:
        """Whether this candidate is compiled."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep other tuners of this machine from measuring meanwhile."""
        ...

    def race(
        self, schedules: Sequence[Schedule], rounds: int, seconds: float, number: int
    ) -> Iterator[Round]:
        """Time compiled candidates in a process of their own, pass ``number``, round by round.

        Raises ``KernelCrashed``.
        """
        ...

    def verify(self, schedule: Schedule) -> Report:
        """The verification ladder on a compiled candidate."""
        ...


@dataclass(frozen=True)
class _Built:
    plan: KernelPlan
    library: Path


class Machine:
    """The ``Bench`` of this machine: a temporary folder of libraries, gone with ``close``.

    ``keep``: a folder where compiled libraries stay, so that a later run has them.
    """

    def __init__(
        self,
        compiler: Compiler,
        cold: bool,
        lock: Path,
        timeout: float = TIMEOUT,
        keep: Path | None = None,
    ):
        self._keep = keep
        self._compiler, self._timeout, self._lock = compiler, timeout, lock
        self._cold_bytes = 2 * last_cache_bytes() if cold else 0
        self._folder = own_temporary_folder("tune")
        self._built: dict[Schedule, _Built] = {}
        self._processes = Processes()

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def code(self, candidate: Candidate) -> str:
        return hashlib.sha256(render_c(candidate.plan)[f"{NAME}.c"].encode()).hexdigest()[:32]

    def ready(self, schedule: Schedule) -> bool:
        return schedule in self._built

    def compile(
        self, candidates: Sequence[Candidate], seconds: float, on_each: Callable[[], None]
    ) -> Mapping[Schedule, str]:
        deadline = time.monotonic() + seconds
        todo = [c for c in candidates if not self.ready(c.schedule)]

        def attempt(candidate: Candidate) -> str | None:
            try:
                if candidate is todo[0] or time.monotonic() < deadline:
                    self._built[candidate.schedule] = self._compiled(candidate)
                return None
            except ToolchainError as error:
                return str(error)
            finally:
                on_each()

        pool = ThreadPoolExecutor(max(1, os.cpu_count() or 1), "convgen-tune")
        futures = {c.schedule: pool.submit(attempt, c) for c in todo}
        try:
            said = {schedule: awaited(future) for schedule, future in futures.items()}
        finally:
            if not all(future.done() for future in futures.values()):
                self._processes.stop()
            pool.shutdown(wait=True, cancel_futures=True)
        return {schedule: reason for schedule, reason in said.items() if reason is not None}

    def _compiled(self, candidate: Candidate) -> _Built:
        texts = {**render_c(candidate.plan), "repeat.c": REPEAT}
        flags = (*COMPILE_FLAGS, *candidate.plan.target.flags)
        kept = self._kept(texts, flags)
        if kept is not None and kept.is_file():
            return _Built(candidate.plan, kept)
        work = Path(tempfile.mkdtemp(dir=self._folder))
        for name, text in texts.items():
            (work / name).write_text(text, encoding="utf-8", newline="\n")
        done = compile_shared(
            self._compiler,
            work,
            (Unit(f"{NAME}.c"), Unit("repeat.c")),
            f"lib{NAME}.so",
            flags=flags,
            timeout=self._timeout,
            processes=self._processes,
        )
        if kept is not None:
            with contextlib.suppress(OSError):  # a full or read-only disk costs time alone
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_whole(kept, done.library.read_bytes())
        return _Built(candidate.plan, done.library)

    def _kept(self, texts: Mapping[str, str], flags: Sequence[str]) -> Path | None:
        """Where a library of these texts stays, named by all that it depends on."""
        if self._keep is None:
            return None
        made_of = repr((sorted(texts.items()), flags, link_flags(), self._compiler.id))
        return self._keep / f"{hashlib.sha256(made_of.encode()).hexdigest()[:40]}.so"

    @contextmanager
    def alone(self) -> Iterator[None]:
        import filelock

        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self._lock):
            yield

    def race(
        self, schedules: Sequence[Schedule], rounds: int, seconds: float, number: int
    ) -> Iterator[Round]:
        plans = [self._built[schedule].plan for schedule in schedules]
        packings = list(dict.fromkeys(plan.packing for plan in plans))
        entrants = tuple(
            Entrant(
                str(self._built[schedule].library),
                plan.packed_bytes,
                plan.workspace_bytes,
                plan.align,
                packings.index(plan.packing),
            )
            for schedule, plan in zip(schedules, plans, strict=True)
        )
        task = Task(plans[0].spec, entrants, rounds, seconds, number, self._cold_bytes)
        begun = 0
        try:
            for kind, found in _events(task, seconds + CHILD_GRACE):
                if kind == "begin":
                    begun = found
                else:
                    yield {schedules[i]: microseconds for i, microseconds in found}
        except _ChildDied as error:
            raise KernelCrashed(schedules[begun], str(error)) from None

    def verify(self, schedule: Schedule) -> Report:
        built = self._built[schedule]
        return verify_plan_in_child(built.library, built.plan, processes=self._processes)


@contextmanager
def machine(
    compiler: Compiler,
    cold: bool,
    lock: Path,
    timeout: float = TIMEOUT,
    keep: Path | None = None,
) -> Iterator[Machine]:
    """A ``Machine`` whose folder is gone afterwards. ``lock``: a file that measuring tuners hold;
    ``timeout``: seconds for one compiler call; ``keep``: where libraries stay for later runs."""
    made = Machine(compiler, cold, lock, timeout, keep)
    try:
        yield made
    finally:
        made.close()


class _ChildDied(Exception):
    """The message says how."""


def _events(task: Task, seconds: float) -> Iterator[tuple[str, Any]]:
    """What a measuring process says, line by line; it is ended with this generator.

    Raises ``_ChildDied`` when a kernel ends the process or keeps it longer than ``seconds``,
    ``RuntimeError`` when the measuring itself broke, which is convgen's own fault.
    """
    command = [sys.executable, "-P", "-m", "convgen.tune.child"]
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=child_environment(),
        )
        stuck = threading.Timer(seconds, child.kill)
        stuck.start()
        try:
            assert child.stdin is not None and child.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(pickle.dumps(task))
                child.stdin.close()
            for line in child.stdout:
                with contextlib.suppress(ValueError):  # a line that a crash cut off
                    kind, found = json.loads(line)
                    yield kind, found
            status = child.wait()
        finally:
            overdue = not stuck.is_alive()
            stuck.cancel()
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if status == -signal.SIGINT:
            raise KeyboardInterrupt  # Ctrl-C in a terminal reaches the child too
        if status < 0:
            how = "did not come to an end" if overdue else f"ended by {_name(-status)}"
            raise _ChildDied(f"the measuring process {how}")
        if status > 0:
            said.seek(0)
            raise RuntimeError(f"measuring broke ({status}):\n{said.read().decode()}")


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_cache_bytes() -> int:
    """Size of the largest cache that Linux tells of; half of ``LEAST_WALL`` at least."""
    sizes = [LEAST_WALL // 2]
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        with contextlib.suppress(OSError, ValueError):
            text = path.read_text().strip()
            sizes.append(int(text.rstrip("KM")) << {"K": 10, "M": 20}.get(text[-1], 0))
    return max(sizes)

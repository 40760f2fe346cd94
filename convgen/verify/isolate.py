"""The verification in a process of its own, so that a kernel's crash becomes a failed check."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from convgen.verify.report import Begin, Check, Event, Measure, Report, assemble
from convgen.verify.tiling import NO_LEEWAY, Leeway, leeway_of

if TYPE_CHECKING:
    from convgen.plan.kernel import KernelPlan
    from convgen.spec.model import ConvSpec
    from convgen.toolchain import Processes

SECONDS = 120.0
EVENTS = {kind.__name__: kind for kind in (Begin, Check, Measure)}
MEANING = {
    "SIGSEGV": "it read or wrote outside its arrays, or jumped astray",
    "SIGBUS": "it read or wrote outside its arrays, or at a misaligned address",
    "SIGILL": "it used an instruction that this CPU lacks",
    "SIGFPE": "an integer division failed",
    "SIGABRT": "a library or sanitizer stopped it",
    "SIGKILL": "it was killed, perhaps for want of memory",
}
WINDOWS_STATUS = {
    0xC0000005: "SIGSEGV",
    0xC000001D: "SIGILL",
    0xC0000094: "SIGFPE",
    0xC000013A: "SIGINT",
}


class HasWeights(Protocol):
    """Baked weights, as ``convgen.spec.load_weights`` gives them: in the layer's layouts."""

    @property
    def w(self) -> Any: ...
    @property
    def b(self) -> Any: ...


def verify_plan_in_child(
    library: Path,
    plan: KernelPlan,
    weights: HasWeights | None = None,
    *,
    processes: Processes | None = None,
) -> Report:
    """``verify_in_child`` for the compiled ``library`` of a plan; ``weights``: baked ones."""
    return verify_in_child(
        library,
        plan.spec,
        packed_bytes=plan.packed_bytes,
        workspace_bytes=plan.workspace_bytes,
        align=plan.align,
        weights=weights,
        leeway=leeway_of(plan),
        processes=processes,
    )


def verify_in_child(
    library: Path,
    spec: ConvSpec,
    *,
    packed_bytes: int,
    workspace_bytes: int,
    align: int,
    weights: HasWeights | None = None,
    leeway: Leeway = NO_LEEWAY,
    seed: int = 0,
    timeout: float = SECONDS,
    processes: Processes | None = None,
) -> Report:
    """``verify_library`` in a child process; a crash or ``timeout`` (seconds) is a failed check.

    ``processes``: those of a build, which end together. Raises ``Stopped`` when they do,
    ``RuntimeError`` when the verification itself broke, which is convgen's own fault, and
    ``KeyboardInterrupt`` when the child was interrupted.
    """
    task = {
        "library": str(Path(library).resolve()),
        "spec": spec,
        "packed_bytes": packed_bytes,
        "workspace_bytes": workspace_bytes,
        "align": align,
        "weights": None if weights is None else (weights.w, weights.b),
        "leeway": leeway,
        "seed": seed,
    }
    return report_of("convgen.verify.child", pickle.dumps(task), timeout, processes)


def report_of(
    module: str,
    task: bytes,
    timeout: float,
    processes: Processes | None,
    on_event: Callable[[Event], None] | None = None,
) -> Report:
    """Runs a module of ours with a task on its standard input; what it found, or that it crashed.

    ``on_event`` hears of each check as it ends. Raises as ``verify_in_child``.
    """
    status, out, err = _run_child(module, task, timeout, processes, on_event)
    events = list(_read(out))
    if status == 0:
        return assemble(events)
    signalled = _signal(status)
    if signalled == "SIGINT":
        raise KeyboardInterrupt  # Ctrl-C in a terminal reaches the child too
    begun = next((e.name for e in reversed(events) if isinstance(e, Begin)), "load")
    if signalled is not None:
        meaning = f": {MEANING[signalled]}" if signalled in MEANING else ""
        cause = f"the kernel crashed with {signalled}{meaning}"
    elif status is None:
        cause = f"no end within {timeout:g} s"
    else:
        raise RuntimeError(f"the verification broke during {begun!r} ({status}):\n{err}")
    return assemble([*events, Check(begun, False, cause)])


def _run_child(
    module: str,
    task: bytes,
    timeout: float,
    processes: Processes | None,
    on_event: Callable[[Event], None] | None,
) -> tuple[int | None, str, str]:
    """Exit status (None: out of time), stdout and stderr."""
    from convgen.toolchain import Processes

    def heard(line: str) -> None:
        assert on_event is not None
        for event in _read(line):
            on_event(event)

    # -P keeps the working folder, where a file may bear any module's name, out of sys.path.
    command = [sys.executable, "-P", "-m", module, str(timeout)]
    run = (processes or Processes()).run(
        command,
        timeout=timeout,
        env=child_environment(),
        task=task,
        on_line=None if on_event is None else heard,
    )
    return None if run.timed_out else run.code, run.stdout, run.stderr


def child_environment() -> dict[str, str]:
    """This process's, with this very convgen found first, and one thread for the oracle.

    Builds run side by side: the oracle's matrix products must not each take every core.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    threads = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, "PYTHONPATH": path, **dict.fromkeys(threads, "1")}


def _read(text: str) -> Iterator[Event]:
    """The child's lines, up to one that a crash cut off."""
    for line in text.splitlines():
        try:
            kind, data = json.loads(line)
            yield EVENTS[kind](**data)
        except (ValueError, KeyError, TypeError):
            return


def _signal(status: int | None) -> str | None:
    """The name of the signal that ended the child, or None."""
    if status is None or status >= 0:
        return WINDOWS_STATUS.get(status or 0)
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"

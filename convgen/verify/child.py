"""The child process: one task pickled on stdin, one event as JSON per line on stdout.

Its argument is the seconds that its parent gives it.

Started once per build, so it imports NumPy, ctypes and the layer's model, nothing else.
"""

from __future__ import annotations

import json
import pickle
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.verify.kernel import load_kernel
from convgen.verify.ladder import climb
from convgen.verify.report import Begin, Check, Event
from convgen.verify.tiling import Leeway

if TYPE_CHECKING:
    from convgen.spec.model import ConvSpec

LATER = 1.0  # seconds after the parent's own limit


def events(
    *,
    library: str,
    spec: ConvSpec,
    packed_bytes: int,
    workspace_bytes: int,
    align: int,
    weights: tuple[Any, Any] | None,
    leeway: Leeway,
    seed: int,
) -> Iterator[Event]:
    """Load the library and climb the ladder; see ``verify_library``."""
    yield Begin("load")
    try:
        kernel = load_kernel(
            Path(library), spec, packed_bytes, workspace_bytes, align, weights is not None
        )
    except (OSError, AttributeError) as error:
        yield Check("load", False, str(error))
        return
    yield Check("load", True)
    begun = "load"
    try:
        for event in climb(kernel, weights, leeway, seed):
            begun = event.name if isinstance(event, Begin) else begun
            yield event
    except MemoryError:
        yield Check(begun, False, "not enough memory to verify this layer")


def main() -> None:
    # Python's own handler would wait for the kernel to return, which it may never do.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    no_core_file()
    end_in_time(float(sys.argv[1]))
    task = pickle.load(sys.stdin.buffer)
    for event in events(**task):
        print(json.dumps([type(event).__name__, asdict(event)]), flush=True)


def no_core_file() -> None:
    """A crash is an expected outcome here; it leaves no core file behind."""
    try:
        import resource
    except ImportError:  # Windows has neither
        return
    limit = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (0, limit))


def end_in_time(seconds: float) -> None:
    """A parent that was killed cannot end a kernel that goes on for ever: the system does it."""
    if hasattr(signal, "setitimer"):  # Windows has none
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds + LATER)


if __name__ == "__main__":
    main()

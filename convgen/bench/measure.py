"""Timing that can be compared: all contenders in turn, round after round, the best of each kept.

A machine's speed drifts by more than kernels differ. Contenders therefore run interleaved, and a
contender's figure is the least of its rounds: noise only ever adds time.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]


@dataclass(frozen=True)
class Timing:
    """Microseconds per call: least and median over the rounds."""

    best: float
    median: float


def measure(calls: Sequence[Call], rounds: int = 15, slice_seconds: float = 0.01) -> list[Timing]:
    """One Timing per call, in order. Each round gives every call a slice of about equal time."""
    counts = [_repeats(call, slice_seconds) for call in calls]
    samples: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, count, kept in zip(calls, counts, samples, strict=True):
            start = time.perf_counter()
            for _ in range(count):
                call()
            kept.append((time.perf_counter() - start) / count * 1e6)
    return [Timing(min(kept), statistics.median(kept)) for kept in samples]


def pin_to_one_core() -> int | None:
    """Keep this process on the last of its cores, away from interrupts; the core, or None."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def _repeats(call: Call, seconds: float) -> int:
    call()
    start = time.perf_counter()
    call()
    once = time.perf_counter() - start
    return max(1, int(seconds / max(once, 1e-7)))

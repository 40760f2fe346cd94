"""Timing that can be compared: all contenders in turn, round after round.

A machine's speed drifts by more than kernels differ. Contenders therefore run interleaved, a slice
of about equal time each, so that whatever slows the machine meets all of them. Noise only ever adds
time: the least of the rounds is what ratios are made of, median and spread say how quiet it was.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Call = Callable[[], Any]
Run = Callable[[int], float]  # so many calls; the seconds that they took

ROUNDS = 15
SLICE = 0.01  # seconds of one contender's turn, or one call where that takes longer


@dataclass(frozen=True)
class Timing:
    """Microseconds per call over the rounds: least, median, and how far apart the rounds are.

    ``spread``: the distance between the quartiles, as a fraction of the median.
    """

    best: float
    median: float
    spread: float = 0.0
    rounds: int = 1


def measure(
    calls: Sequence[Call], rounds: int = ROUNDS, slice_seconds: float = SLICE
) -> list[Timing]:
    """One Timing per call, in order."""
    return measure_runs([timed(call) for call in calls], rounds, slice_seconds)


def measure_runs(
    runs: Sequence[Run],
    rounds: int = ROUNDS,
    slice_seconds: float = SLICE,
    pause: float = 0.0,
    on_round: Callable[[], None] | None = None,
) -> list[Timing]:
    """One Timing per contender, in order. ``pause``: seconds of rest before each turn, in which
    the former contender's worker threads stop spinning; ``on_round`` is told of each round."""
    counts = [repeats(run, slice_seconds) for run in runs]
    samples: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, count, kept in zip(runs, counts, samples, strict=True):
            if pause:
                time.sleep(pause)
                run(1)  # awake again
            kept.append(run(count) / count * 1e6)
        if on_round is not None:
            on_round()
    return [summary(kept) for kept in samples]


def summary(samples: Sequence[float]) -> Timing:
    """The Timing of some rounds' microseconds per call; one at least."""
    middle = statistics.median(samples)
    if len(samples) < 2:
        return Timing(min(samples), middle)
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(min(samples), middle, (high - low) / middle if middle else 0.0, len(samples))


def timed(call: Call) -> Run:
    """A Python function as a contender."""

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - start

    return run


def repeats(run: Run, seconds: float) -> int:
    """How many calls fill a turn of ``seconds``; the first calls, which warm up, do not count."""
    run(1)
    once = run(1)
    if once < seconds / 10:
        once = run(5) / 5
    return max(1, int(seconds / max(once, 1e-8)))


@contextmanager
def pinned(count: int) -> Iterator[tuple[int, ...]]:
    """Keep this process, and those it starts, on the last ``count`` of its cores; yields which.

    The last, since interrupts are served by the first. Empty where the system cannot pin.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield ()
        return
    before = os.sched_getaffinity(0)
    cores = tuple(sorted(before)[-count:])
    os.sched_setaffinity(0, cores)
    try:
        yield cores
    finally:
        os.sched_setaffinity(0, before)

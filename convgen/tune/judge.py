"""From times to a winner: pure rules over what was measured.

A *pass* is one process that times its field in turn, round after round. Within a pass only noise
adds to a time, so the least counts; between passes memory lies elsewhere, for better or worse, so
the median counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from convgen.spec.schedule import Family, Schedule

PASSES = 3
ROUNDS = 5  # of a pass
TIE = 1.04  # less than this apart is the same speed
KEEP = 1.25  # later passes leave out what took longer than this many times the best

# Microseconds per call: of each schedule, by pass, as many as were measured.
Samples = Mapping[Schedule, Mapping[int, Sequence[float]]]


def figure(passes: Mapping[int, Sequence[float]]) -> float:
    """Microseconds of one schedule: the median over the passes of the least of each."""
    return statistics.median(min(times) for times in passes.values() if times)


def figures(samples: Samples) -> dict[Schedule, float]:
    """The figure of each schedule that was measured at all, the quickest first."""
    found = {how: figure(passes) for how, passes in samples.items() if any(passes.values())}
    return dict(sorted(found.items(), key=lambda item: item[1]))


def spread(passes: Mapping[int, Sequence[float]]) -> float:
    """How far the passes lie apart: the greatest of their least times over the least, less 1."""
    least = [min(times) for times in passes.values() if times]
    return max(least) / min(least) - 1


def contenders(
    order: Sequence[Schedule], samples: Samples, number: int, pick: Schedule
) -> list[Schedule]:
    """Who takes part in pass ``number``: all in the first; then the quick ones and the pick."""
    times = figures({how: samples.get(how, {}) for how in order})
    if number == 0 or not times:
        return list(order)
    limit = KEEP * min(times.values())
    return [how for how in order if how in times and (how == pick or times[how] <= limit)]


def rounds_left(field: Sequence[Schedule], samples: Samples, number: int) -> int:
    """Rounds that pass ``number`` still needs: none once every quick schedule had ``ROUNDS``.

    A slow one (beyond ``KEEP`` times the best of the pass) needs no more than one.
    """
    counts = {how: samples.get(how, {}).get(number, ()) for how in field}
    if not all(counts.values()):
        return ROUNDS
    limit = KEEP * min(min(times) for times in counts.values())
    return max(ROUNDS - len(times) for times in counts.values() if min(times) <= limit)


def lacking(field: Sequence[Schedule], samples: Samples, number: int) -> list[Schedule]:
    """Those of ``field`` that still need rounds in pass ``number``, in their order."""
    counts = {how: samples.get(how, {}).get(number, ()) for how in field}
    least = [min(times) for times in counts.values() if times]
    limit = KEEP * min(least) if least else 0.0
    return [
        how
        for how, times in counts.items()
        if not times or (min(times) <= limit and len(times) < ROUNDS)
    ]


def preferred(times: Mapping[Schedule, float], pick: Schedule) -> list[Schedule]:
    """All schedules, the winner first.

    Among those that tie with the quickest, the chooser's own pick comes first (nothing needs to be
    pinned then), then the simpler; behind them the others, the quicker first.
    """
    best = min(times.values())
    tied = sorted(
        (how for how in times if times[how] <= TIE * best),
        key=lambda how: (how != pick, simplicity(how)),
    )
    return tied + sorted((how for how in times if how not in tied), key=lambda how: times[how])


def simplicity(schedule: Schedule) -> tuple[bool, int, int, str]:
    """Orders schedules, the simplest first: direct sums, then fewer sums unrolled at a time."""
    winograd = schedule.family is Family.WINOGRAD
    # A planar strip's rows are not unrolled.
    height = 1 if schedule.family is Family.PLANAR else schedule.tile_h
    outputs = height * schedule.tile_w
    unrolled = schedule.vectors * (schedule.rows if winograd else outputs)
    return winograd, outputs if winograd else 0, unrolled, str(schedule)

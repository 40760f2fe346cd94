"""Which schedules are worth measuring: the model's best, and for an evaluation many more."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from convgen.choose.chooser import costed
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target

DEFAULT = 10  # candidates: the model's top few hold the winner nearly always
REACH = 2.0  # another kind of kernel is looked at when predicted to take at most this many times


@dataclass(frozen=True)
class Candidate:
    """One schedule, what the model expects of it (cycles of a call), and its plan."""

    schedule: Schedule
    cycles: float
    plan: KernelPlan


def ranked(spec: ConvSpec, target: Target) -> tuple[Candidate, ...]:
    """Every schedule that gives a kernel of its own, the least predicted cost first.

    The first is the chooser's pick. Of several schedules that come to the same tiles and loops
    (on a map smaller than the tile, say) the first one stands for all.
    """
    found: dict[object, Candidate] = {}
    for plan, cost in costed(spec, target):
        kernel = (plan.body, plan.packing)
        if kernel not in found or cost.cycles < found[kernel].cycles:
            found[kernel] = Candidate(plan.schedule, cost.cycles, plan)
    return tuple(sorted(found.values(), key=lambda c: c.cycles))


def shortlist(candidates: Sequence[Candidate], count: int = DEFAULT) -> tuple[Candidate, ...]:
    """``count`` of the ranked candidates: the chooser's pick, and the best of what is left.

    A model errs most between kinds of kernels (families, sizes of Winograd's tile), so the best of
    each kind within ``REACH`` is taken too, as long as that fills at most half of the list.
    """
    assert candidates and count >= 1
    kinds: dict[object, Candidate] = {}
    for candidate in candidates:
        if candidate.cycles <= REACH * candidates[0].cycles:
            kinds.setdefault(_kind(candidate.schedule), candidate)
    first = list(kinds.values())[: max(1, count // 2)]
    rest = [c for c in candidates if c not in first]
    return tuple(sorted([*first, *rest[: count - len(first)]], key=lambda c: c.cycles))


def wider(
    candidates: Sequence[Candidate], short: Sequence[Candidate], count: int, seed: int
) -> tuple[Candidate, ...]:
    """``count`` candidates beyond the short list (all there are, if fewer), to judge a chooser.

    Half are the next best, half are drawn at random from everything else with ``seed``.
    """
    taken = {c.schedule for c in short}
    rest = [c for c in candidates if c.schedule not in taken]
    near, far = rest[: count // 2], rest[count // 2 :]
    drawn = random.Random(seed).sample(far, min(len(far), count - len(near)))
    return (*near, *sorted(drawn, key=lambda c: c.cycles))


def _kind(schedule: Schedule) -> tuple[Family, int, int]:
    m = max(schedule.tile_h, schedule.tile_w) if schedule.family is Family.WINOGRAD else 0
    return schedule.family, schedule.lanes, m

"""The candidates of one family, lowered and costed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convgen.errors import ScheduleError
from convgen.kernels.face import AlgorithmFamily, Cost
from convgen.plan.kernel import KernelPlan
from convgen.plan.problem import peel
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Schedule
from convgen.target import Target

_MOST_REGIONS = 40_000  # costed in all: about a second
_LEAST_CANDIDATES = 8


def costed(
    family: AlgorithmFamily, spec: ConvSpec, target: Target
) -> Iterator[tuple[KernelPlan, Cost]]:
    """Plans of the candidates that can be carried out, with their predicted costs.

    In the order of ``schedules``.
    """
    for schedule in schedules(family, spec, target):
        found = tried(family, spec, schedule, target)
        if found is not None:
            yield found


def schedules(family: AlgorithmFamily, spec: ConvSpec, target: Target) -> Sequence[Schedule]:
    """The family's candidates, the simplest first.

    All of them, unless padding as wide as the filter cuts the output into very many regions: each
    takes its time in every candidate, so then every n-th stands for its neighbours.
    """
    most = max(_LEAST_CANDIDATES, _MOST_REGIONS // len(peel(spec)))
    found = list(family.candidates(spec, target))
    return found[:: -(-len(found) // most)] if found else ()


def tried(
    family: AlgorithmFamily, spec: ConvSpec, schedule: Schedule, target: Target
) -> tuple[KernelPlan, Cost] | None:
    """The schedule's plan and predicted cost; None where it cannot be carried out."""
    try:
        plan = family.lower(spec, schedule, target)
        return plan, family.cost(plan)
    except ScheduleError:
        return None

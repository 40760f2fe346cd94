"""The candidates of one family, lowered and costed."""

from __future__ import annotations

from collections.abc import Iterator

from convgen.errors import ScheduleError
from convgen.kernels.face import AlgorithmFamily, Cost
from convgen.plan.kernel import KernelPlan
from convgen.plan.problem import peel
from convgen.spec.model import ConvSpec
from convgen.target import Target

_MOST_REGIONS = 40_000  # costed in all: about a second
_LEAST_CANDIDATES = 8


def costed(
    family: AlgorithmFamily, spec: ConvSpec, target: Target
) -> Iterator[tuple[KernelPlan, Cost]]:
    """Plans of the candidates that can be carried out, with their predicted costs.

    All of them, unless padding as wide as the filter cuts the output into very many regions: each
    takes its time in every candidate, so then every n-th stands for its neighbours.
    """
    most = max(_LEAST_CANDIDATES, _MOST_REGIONS // len(peel(spec)))
    schedules = list(family.candidates(spec, target))
    for schedule in schedules[:: -(-len(schedules) // most)] if schedules else ():
        try:
            plan = family.lower(spec, schedule, target)
            yield plan, family.cost(plan)
        except ScheduleError:
            continue

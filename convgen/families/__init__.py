"""The registry of algorithm families: one line each."""

from __future__ import annotations

from convgen.families import direct, planar, winograd
from convgen.families.base import AlgorithmFamily, Cost
from convgen.families.fat import lower_fat
from convgen.families.lanewise import Lanewise
from convgen.plan import KernelPlan
from convgen.schedule import Family, Schedule
from convgen.spec.model import ConvSpec
from convgen.target import Target

__all__ = ["FAMILIES", "Cost", "cost", "lower"]

FAMILIES: dict[Family, AlgorithmFamily] = {
    Family.DEPTHWISE: Lanewise(Family.DEPTHWISE, (1,)),
    Family.GROUPED: Lanewise(Family.GROUPED, (2, 4, 8)),
    Family.DIRECT: direct,
    Family.PLANAR: planar,
    Family.WINOGRAD: winograd,
}


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """The plan of a layer under a schedule. Raises ScheduleError where it cannot be carried out."""
    family = FAMILIES[schedule.family]
    if target.parts:
        return lower_fat(family, spec, schedule, target)
    return family.lower(spec, schedule, target)


def cost(plan: KernelPlan) -> Cost:
    """Predicted cycles of a plan and what binds them."""
    return FAMILIES[plan.schedule.family].cost(plan)

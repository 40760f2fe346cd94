"""Fat targets: bodies for several instruction sets in one file, over one packed layout.

The schedule is that of the widest; it fixes the packing. Each narrower instruction set takes the
schedule of the same family that the cost model likes best among those that read this packing, and
is left out where there is none: the next narrower one, in the end plain C, then serves its CPUs.
"""

from __future__ import annotations

from dataclasses import replace

from convgen.errors import ScheduleError
from convgen.kernels.face import AlgorithmFamily
from convgen.kernels.search import costed
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS, Target

# Families whose bodies of any width read the blocks of a wider one.
SHARING = frozenset(set(Family) - {Family.PLANAR})


def widest(target: Target) -> Target:
    """The target of the body that a fat target's schedule is for; any other target itself."""
    return TARGETS[target.parts[0]] if target.parts else target


def serves(family: AlgorithmFamily, target: Target) -> bool:
    """Whether it has kernels for this target: for a fat one, bodies that share a packing."""
    return not target.parts or family.name in SHARING


def lower_fat(
    family: AlgorithmFamily, spec: ConvSpec, schedule: Schedule, target: Target
) -> KernelPlan:
    """The widest body's plan with those of the others in ``narrower``. Raises ScheduleError."""
    if not serves(family, target):
        raise ScheduleError(
            f"schedule: family {family.name} has one packed layout per instruction set, so "
            f"{target.name} cannot have it; use another family, or a target of one instruction set"
        )
    plan = family.lower(spec, schedule, widest(target))
    narrower = []
    if plan.body.isa.lanes > 1:
        for name in target.parts[1:]:
            other = TARGETS[name]
            if other.isa.name != plan.body.isa.name:
                narrower += _sharing(family, spec, plan, other)
    room = max(p.workspace_bytes for p in (plan, *narrower))
    return replace(plan, target=target, narrower=tuple(narrower), workspace_bytes=room)


def _sharing(
    family: AlgorithmFamily, spec: ConvSpec, wide: KernelPlan, target: Target
) -> list[KernelPlan]:
    """The cheapest vector plan for ``target`` that reads the packing of ``wide``, or nothing."""
    block = replace(target, block=wide.packing.lanes)
    found = [
        (cost.cycles, plan)
        for plan, cost in costed(family, spec, block)
        if plan.packing == wide.packing and plan.body.isa.lanes > 1
    ]
    return [min(found, key=lambda pair: pair[0])[1]] if found else []

"""The analytic chooser: cost every candidate schedule of every family that fits, take the least."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from convgen.kernels import FAMILIES, Cost, refuse_dtype, search
from convgen.kernels.face import isas_of
from convgen.kernels.fat import serves, widest
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa


@dataclass(frozen=True)
class Choice:
    """A schedule, why it was taken, and the bound the model expects it to run into.

    ``cycles``: predicted for one call on one core; ``rivals``: how many schedules were costed.
    """

    schedule: Schedule
    reason: str
    bound: str
    cycles: float
    rivals: int


def costed(spec: ConvSpec, target: Target) -> Iterator[tuple[KernelPlan, Cost]]:
    """The candidates of every family that fits, lowered, with their predicted costs.

    For a fat target those of its widest instruction set: the others follow from the choice.
    """
    for family in FAMILIES.values():
        if family.fits(spec) and serves(family, target):
            machine = target if spec.quantized else widest(target)
            yield from search.costed(family, spec, machine)


@dataclass(frozen=True)
class Ranked:
    """A candidate: its plan and predicted cost."""

    plan: KernelPlan
    cost: Cost


def ranking(spec: ConvSpec, target: Target) -> list[Ranked]:
    """Every candidate, the least predicted cost first; ties keep the simplest in front."""
    found = [Ranked(plan, predicted) for plan, predicted in costed(spec, target)]
    return sorted(found, key=lambda entry: entry.cost.cycles)


def choose(spec: ConvSpec, target: Target) -> Choice:
    """The schedule of least predicted cost; ties go to the one named first (the simplest)."""
    refuse_dtype(spec)
    ranked = ranking(spec, target)
    assert ranked, "the direct family takes every layer"
    return choice_of(ranked[0], len(ranked))


def choice_of(entry: Ranked, rivals: int) -> Choice:
    """What is said of a candidate that was taken from among ``rivals``."""
    plan = entry.plan
    reason = _reason(plan.spec, plan.target, plan.schedule, plan.body.isa, rivals)
    return Choice(plan.schedule, reason, entry.cost.bound, entry.cost.cycles, rivals)


def _reason(spec: ConvSpec, target: Target, schedule: Schedule, isa: VectorIsa, rivals: int) -> str:
    rows, channels = schedule.tile_h * schedule.tile_w, schedule.vectors * schedule.lanes
    tile = f"{rows} pixels x {channels} channels"
    if schedule.family is Family.WINOGRAD:
        rows = schedule.rows
        size = f"F({schedule.tile_h}x{schedule.tile_w}, {spec.kh}x{spec.kw})"
        tile = f"{size} in products of {rows} tiles x {channels} channels"
    if schedule.family in (Family.PLANAR, Family.PLANES):
        rows = schedule.tile_w * (schedule.tile_h if schedule.family is Family.PLANES else 1)
        pixels, many = rows * schedule.lanes, "s" * (schedule.vectors > 1)
        tile = f"{pixels} pixels x {schedule.vectors} channel{many}"
    in_flight = f", {rows * schedule.vectors} accumulators of {isa.registers} registers"
    if rows * schedule.vectors > isa.registers:  # windows unrolled: an accumulator's life is short
        in_flight = ", each accumulator alive only while its window is under way"
    width = f"{schedule.lanes} lanes ({isa.name})"
    wide = isas_of(spec, target)[0]
    if schedule.lanes < wide.lanes and isa in isas_of(spec, target):
        outputs = "1 output channel" if spec.ocg == 1 else f"{spec.ocg} output channels"
        width += f", narrower than {wide.name}'s {wide.lanes}: a group has {outputs}"
    return f"least predicted cost of {rivals} schedules: {width}; {tile}{in_flight}"

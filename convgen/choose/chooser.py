"""The analytic chooser: cost every candidate schedule of every family that fits, take the least."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from convgen.kernels import FAMILIES, Cost, refuse_dtype, search
from convgen.kernels.face import AlgorithmFamily, isas_of
from convgen.kernels.fat import serves, widest
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa

ROUNDING = 1e-9  # of a floor: it is summed in another order than the cost


@dataclass(frozen=True)
class Choice:
    """A schedule, why it was taken, and the bound the model expects it to run into.

    ``cycles``: predicted for one call on one core; ``rivals``: how many schedules there were.
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


class Ranking:
    """Candidates as an iterator, the least predicted cost first; ties keep the simplest in front.

    A candidate is lowered only when its floor (``AlgorithmFamily.floor``) is the least that is
    left: whoever takes the first one pays for few. ``len``: how many candidates there are, of
    which some cannot be carried out.
    """

    def __init__(
        self, spec: ConvSpec, target: Target, families: Iterable[Family] = tuple(FAMILIES)
    ) -> None:
        self.spec = spec
        self._waiting: list[tuple[float, int, AlgorithmFamily, Schedule, Target]] = []
        self._ready: list[tuple[float, int, Ranked]] = []
        for name in families:
            family = FAMILIES[name]
            if family.fits(spec) and serves(family, target):
                machine = target if spec.quantized else widest(target)
                for schedule in search.schedules(family, spec, machine):
                    least = family.floor(spec, schedule, machine) * (1 - ROUNDING)
                    entry = (least, len(self._waiting), family, schedule, machine)
                    self._waiting.append(entry)
        self._count = len(self._waiting)
        heapq.heapify(self._waiting)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Ranked]:
        return self

    def __next__(self) -> Ranked:
        while self._waiting:
            if self._ready and self._ready[0][:2] < self._waiting[0][:2]:
                break
            _, index, family, schedule, machine = heapq.heappop(self._waiting)
            found = search.tried(family, self.spec, schedule, machine)
            if found is not None:
                plan, predicted = found
                entry = (predicted.cycles, index, Ranked(plan, predicted))
                heapq.heappush(self._ready, entry)
        if not self._ready:
            raise StopIteration
        return heapq.heappop(self._ready)[2]


def ranking(spec: ConvSpec, target: Target) -> list[Ranked]:
    """Every candidate that can be carried out, the least predicted cost first."""
    return list(Ranking(spec, target))


def choose(spec: ConvSpec, target: Target) -> Choice:
    """The schedule of least predicted cost; ties go to the one named first (the simplest)."""
    refuse_dtype(spec)
    ranked = Ranking(spec, target)
    return choice_of(next(ranked), len(ranked))  # the direct family takes every layer


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

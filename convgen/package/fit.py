"""The quickest schedule that keeps to the limits on a kernel's size, and what to say if none does.

A workspace is known from the plan. Machine code is only known once it is compiled: schedules are
taken by an estimate, and a build, which compiles, holds the real size against the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from convgen.choose import Choice, Ranked, choice_of, ranking
from convgen.errors import LimitError
from convgen.families import lower
from convgen.package.limits import DEFAULT_CODE, GIVEN_FIX, SizeLimits
from convgen.plan import KernelPlan, Tile
from convgen.planar import PlanarTile
from convgen.render.size import code_estimate
from convgen.schedule import Family, Schedule
from convgen.spec.model import ConvSpec
from convgen.target import Target

LEAST_BYTES = 4  # of code for one accumulator of a tile: to pass over what cannot be small enough
CLOSEST = 12  # of the smallest tiles that are estimated to name the closest possible


@dataclass(frozen=True)
class Excluded:
    """What a build has found out not to take: families whose kernel was not accurate enough, and
    schedules whose code was too large, with its bytes."""

    families: frozenset[Family] = frozenset()
    compiled: Mapping[Schedule, int] = field(default_factory=dict)

    def without_family(self, family: Family) -> Excluded:
        return replace(self, families=self.families | {family})

    def without_schedule(self, schedule: Schedule, size: int) -> Excluded:
        return replace(self, compiled={**self.compiled, schedule: size})


NOTHING_OUT = Excluded()


def check_given(plan: KernelPlan, limits: SizeLimits, whose: str, compiles: bool) -> None:
    """Raises ``LimitError`` where a schedule that was given, not chosen, is over a limit.

    Code is judged by its estimate only where nothing will be compiled (``compiles``).
    """
    most = limits.workspace_bytes
    if most is not None and plan.workspace_bytes > most:
        raise LimitError(
            f"--max-workspace-bytes {most}: the schedule {plan.schedule} ({whose}) needs "
            f"{plan.workspace_bytes} bytes; {GIVEN_FIX}"
        )
    most = limits.code_bytes
    if most is not None and not compiles and code_estimate(plan) > most:
        raise LimitError(
            f"--max-code-bytes {most}: the schedule {plan.schedule} ({whose}) needs about "
            f"{code_estimate(plan)} bytes (estimated; build judges by the compiled size); "
            f"{GIVEN_FIX}"
        )


def fitting(
    spec: ConvSpec, target: Target, limits: SizeLimits, out: Excluded, compiles: bool
) -> Choice:
    """The choice of least predicted cost that keeps to the limits.

    ``compiles``: the real size will be known, so that the smallest is worth a try even where its
    estimate is over the limit. Raises ``LimitError`` with the closest possible where none fits.
    """
    ranked = [entry for entry in ranking(spec, target) if entry.plan.schedule not in out.compiled]
    ranked = [entry for entry in ranked if entry.plan.schedule.family not in out.families]
    most_work = limits.workspace_bytes
    roomy = [x for x in ranked if most_work is None or x.plan.workspace_bytes <= most_work]
    most_code = DEFAULT_CODE if limits.code_bytes is None else limits.code_bytes
    # A compiled kernel over the limit shows how far off the estimate is.
    known = [(code_estimate(lower(spec, s, target)), size) for s, size in out.compiled.items()]
    allowed = min([most_code, *(most_code * estimate / size for estimate, size in known)])
    for entry in roomy:
        if _least(entry.plan) <= allowed and code_estimate(entry.plan) <= allowed:
            return _said(choice_of(entry, len(ranked)), limits)
    smallest = _smallest(roomy)
    if smallest is not None and (limits.code_bytes is None or (compiles and not known)):
        return _said(choice_of(smallest, len(ranked)), limits)
    raise LimitError(_refusal(spec, limits, ranked, smallest, out))


def _said(choice: Choice, limits: SizeLimits) -> Choice:
    """The choice, its reason naming the limits that had a part in it."""
    words = [
        f"{size} bytes of {what}"
        for what, size in (("code", limits.code_bytes), ("workspace", limits.workspace_bytes))
        if size is not None
    ]
    if not words:
        return choice
    return replace(choice, reason=f"{choice.reason}; of those within {' and '.join(words)}")


def _least(plan: KernelPlan) -> int:
    """Far fewer bytes than any compiler needs, from the tiles alone."""
    return LEAST_BYTES * sum(map(_unrolled, plan.body.tiles))


def _unrolled(tile: Tile | PlanarTile) -> int:
    """Multiply-adds in the C of this tile."""
    if isinstance(tile, PlanarTile):
        return len(tile.vectors) * tile.channels
    return max(1, tile.taps) * max(1, tile.tap_rows) * tile.pixels * tile.vectors


def _smallest(entries: Sequence[Ranked]) -> Ranked | None:
    """The one of least estimated code, among those of the smallest tiles."""
    short = sorted(entries, key=lambda entry: _least(entry.plan))[:CLOSEST]
    return min(short, key=lambda entry: code_estimate(entry.plan), default=None)


def _refusal(
    spec: ConvSpec, limits: SizeLimits, ranked: Sequence[Ranked], smallest: Ranked | None,
    out: Excluded,
) -> str:  # fmt: skip
    """Why nothing fits, and the closest possible."""
    if smallest is None:
        least = min(ranked, key=lambda entry: entry.plan.workspace_bytes).plan
        return (
            f"--max-workspace-bytes {limits.workspace_bytes}: no schedule of layer {spec.name} "
            f"keeps to it; smallest found: {least.schedule} needs {least.workspace_bytes} bytes"
        )
    found = f"{smallest.plan.schedule} needs about {code_estimate(smallest.plan)} bytes (estimated)"
    if out.compiled:
        schedule, size = min(out.compiled.items(), key=lambda item: item[1])
        found = f"{schedule} needs {size} bytes"
    return (
        f"--max-code-bytes {limits.code_bytes}: no schedule of layer {spec.name} keeps to it; "
        f"smallest found: {found}"
    )

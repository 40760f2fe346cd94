"""The quickest schedule that keeps to the limits on a kernel's size, and what to say if none does.

A workspace is known from the plan. Machine code and stack are only known once it is compiled:
schedules are taken by estimates, and a build, which compiles, holds the real sizes against the
limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from convgen.choose.chooser import Choice, Ranked, Ranking, choice_of
from convgen.choose.limits import DEFAULT_CODE, GIVEN_FIX, SizeLimits
from convgen.choose.ram import Ram, ram_of, stack_allowance
from convgen.errors import LimitError
from convgen.kernels import lower
from convgen.plan.kernel import KernelPlan
from convgen.render.size import code_estimate
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target

LEAST_BYTES = 4  # of code for one accumulator of a tile: to pass over what cannot be small enough
TRIES = 4  # kernels compiled to find that their stacks are too deep, at most
CLOSEST = 12  # of the smallest tiles that are estimated to name the closest possible


@dataclass(frozen=True)
class Excluded:
    """What a build has found out not to take: families whose kernel was not accurate enough, and
    schedules whose code or stack was too large, with its bytes."""

    families: frozenset[Family] = frozenset()
    compiled: Mapping[Schedule, int] = field(default_factory=dict)
    stacks: Mapping[Schedule, int] = field(default_factory=dict)

    def takes(self, schedule: Schedule) -> bool:
        tried = schedule in self.compiled or schedule in self.stacks
        return not tried and schedule.family not in self.families

    def without_family(self, family: Family) -> Excluded:
        return replace(self, families=self.families | {family})

    def without_schedule(self, schedule: Schedule, size: int) -> Excluded:
        return replace(self, compiled={**self.compiled, schedule: size})

    def without_stack(self, schedule: Schedule, stack: int) -> Excluded:
        return replace(self, stacks={**self.stacks, schedule: stack})


NOTHING_OUT = Excluded()


def check_given(
    plan: KernelPlan, limits: SizeLimits, whose: str, compiles: bool, baked: bool = False
) -> None:
    """Raises ``LimitError`` where a schedule that was given, not chosen, is over a limit.

    Code and stack are judged by estimates only where nothing will be compiled (``compiles``).
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
    needs = ram_of(plan, baked, 0 if compiles else stack_allowance(plan))
    if limits.ram_bytes is not None and needs.total > limits.ram_bytes:
        raise given_over_ram(plan, limits.ram_bytes, whose, needs, "at least" if compiles else "")


def given_over_ram(
    plan: KernelPlan, most: int, whose: str, needs: Ram, how: str = ""
) -> LimitError:
    """What to say of a given schedule whose kernel needs more RAM than it may."""
    much = f"{how} {needs.total}".strip()
    return LimitError(
        f"--max-ram-bytes {most}: the schedule {plan.schedule} ({whose}) needs {much} bytes "
        f"({needs}); {GIVEN_FIX}"
    )


def fitting(
    spec: ConvSpec,
    target: Target,
    limits: SizeLimits,
    out: Excluded,
    compiles: bool,
    baked: bool = False,
) -> Choice:
    """The choice of least predicted cost that keeps to the limits.

    ``compiles``: the real sizes will be known, so that the smallest is worth a try even where its
    estimate is over the limit. ``baked``: weights are constants, so no RAM. Raises ``LimitError``
    with the closest possible where none fits.
    """
    everything, most_work = Ranking(spec, target), limits.workspace_bytes
    ranked: list[Ranked] = []  # as far as they were looked at

    def small_enough() -> Iterator[Ranked]:
        for entry in everything:
            if out.takes(entry.plan.schedule):
                ranked.append(entry)
                if most_work is None or entry.plan.workspace_bytes <= most_work:
                    yield entry

    roomy: Iterable[Ranked] = small_enough()
    if limits.ram_bytes is not None:
        roomy = _within_ram(spec, target, limits.ram_bytes, list(roomy), out, compiles, baked)
    most_code = DEFAULT_CODE if limits.code_bytes is None else limits.code_bytes
    # A compiled kernel over the limit shows how far off the estimate is.
    known = [(code_estimate(lower(spec, s, target)), size) for s, size in out.compiled.items()]
    allowed = min([most_code, *(most_code * estimate / size for estimate, size in known)])
    large = []
    for entry in roomy:
        if _least(entry.plan) <= allowed and code_estimate(entry.plan) <= allowed:
            return _said(choice_of(entry, len(everything)), limits)
        large.append(entry)
    smallest = _smallest(large)
    if smallest is not None and (limits.code_bytes is None or (compiles and not known)):
        return _said(choice_of(smallest, len(everything)), limits)
    raise LimitError(_refusal(spec, limits, ranked, smallest, out))


def _within_ram(
    spec: ConvSpec, target: Target, most: int, entries: Sequence[Ranked], out: Excluded,
    compiles: bool, baked: bool,
) -> Sequence[Ranked]:  # fmt: skip
    """Those whose RAM keeps to the limit, or may once it is compiled. Raises ``LimitError``.

    A build takes a stack to be as deep as the deepest it has seen: each try that fails leaves
    fewer, and after ``TRIES`` of them what is set aside without a compiler is the least.
    """
    if not entries and not out.stacks:
        return entries  # another limit's doing
    compiled = out.stacks.values()
    seen, trying = max(compiled, default=0), compiles and len(out.stacks) < TRIES
    depth = [seen if trying else max(seen, stack_allowance(x.plan)) for x in entries]
    needs = [ram_of(x.plan, baked, d) for x, d in zip(entries, depth, strict=True)]
    within = [x for x, ram in zip(entries, needs, strict=True) if ram.total <= most]
    if within:
        return within
    found = []
    if entries:
        ram, least = min(zip(needs, entries, strict=True), key=lambda pair: pair[0].total)
        shallow = replace(ram, stack=min(compiled, default=0))
        if trying and shallow.total <= most:
            return [least]  # its stack may be less deep than the deepest seen
        ram = replace(ram, stack=stack_allowance(least.plan))
        found.append((ram.total, f"{least.plan.schedule} needs about {ram.total} bytes ({ram})"))
    for schedule, stack in out.stacks.items():
        ram = ram_of(lower(spec, schedule, target), baked, stack)
        found.append((ram.total, f"{schedule} needs {ram.total} bytes ({ram})"))
    raise LimitError(
        f"--max-ram-bytes {most}: no schedule of layer {spec.name} keeps to it; "
        f"smallest found: {min(found)[1]}"
    )


def _said(choice: Choice, limits: SizeLimits) -> Choice:
    """The choice, its reason naming the limits that had a part in it."""
    words = [
        f"{size} bytes of {what}"
        for what, size in (
            ("code", limits.code_bytes),
            ("workspace", limits.workspace_bytes),
            ("RAM", limits.ram_bytes),
        )
        if size is not None
    ]
    if not words:
        return choice
    return replace(choice, reason=f"{choice.reason}; of those within {' and '.join(words)}")


def _least(plan: KernelPlan) -> int:
    """Far fewer bytes than any compiler needs, from the tiles alone."""
    return LEAST_BYTES * sum(tile.multiply_adds for tile in plan.body.tiles)


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

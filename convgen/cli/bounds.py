"""What binds a kernel, for ``explain``: predicted from the target's data, or measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.cli.output import Output, plain_table

if TYPE_CHECKING:
    from convgen.bench.machine import Machine
    from convgen.bench.measure import Timing
    from convgen.choose.roofline import Limit
    from convgen.package.emit.files import Decided
    from convgen.plan.kernel import KernelPlan
    from convgen.target import Target

NEGLIGIBLE = 0.02  # of the limit that binds: below it a line says nothing


@dataclass(frozen=True)
class Measured:
    """A kernel timed on this machine, one thread; limits in microseconds of this machine."""

    machine: Machine
    timing: Timing
    limits: tuple[Limit, ...]

    @property
    def reached(self) -> float:
        """The share of its bound that the kernel reached, 1 for all of it."""
        return self.limits[0].time / self.timing.best


def predicted(plan: KernelPlan) -> tuple[Limit, ...]:
    """The limits in cycles of the target's model, the one that binds first."""
    from convgen.choose.roofline import limits, target_rates

    return limits(plan, target_rates(plan.target))


def measure(
    decided: Sequence[Decided], target: Target, cc: str | None, out: Output
) -> dict[str, Measured]:
    """Build and time the layers on this machine, by name; what cannot be built goes to ``out``.

    Raises ``UsageError`` where this CPU cannot run them.
    """
    import tempfile

    from convgen.bench.machine import measure_machine, measured_rates
    from convgen.bench.measure import measure as timings
    from convgen.bench.measure import pinned
    from convgen.bench.run import SEED, check_target
    from convgen.choose.roofline import limits
    from convgen.cli.benched import build_subjects
    from convgen.verify.fills import bounded_fill

    check_target(target)
    plans = {each.plan.spec.name: each.plan for each in decided}
    found = {}
    with tempfile.TemporaryDirectory(prefix="convgen-explain-") as folder:
        layers = [each.layer for each in decided]
        subjects = build_subjects(layers, Path(folder), target, cc, out)
        with pinned(1):
            machine = measure_machine(target, 1, cc)
            rates = measured_rates(machine, target)
            for subject in subjects:
                call, _ = subject.start(bounded_fill(subject.spec, SEED), 1)
                (timing,) = timings([call])
                name = subject.spec.name
                found[name] = Measured(machine, timing, limits(plans[name], rates))
    return found


def bound_lines(plan: KernelPlan, cycles: float, measured: Measured | None) -> list[str]:
    """The limits of a layer, what it is expected to take, and what it took if that was measured."""
    found = predicted(plan)
    share = found[0].time / cycles
    lines = [
        f"{found[0].name}: {found[0].time:,.0f} cycles at least; the chooser's model counts "
        f"{cycles:,.0f}" + (f" ({share:.0%} of the bound reached)" if share <= 1 else ""),
    ]
    times = {limit.name: f"{limit.time:,.0f}" for limit in _telling(found)}
    if measured is None:
        rows = list(times.items())
        return [*lines, *plain_table(("limit", "cycles"), rows, "lr").splitlines()]
    here = {limit.name: f"{limit.time:.2f}" for limit in _telling(measured.limits)}
    rows3 = [(name, times.get(name, ""), here.get(name, "")) for name in {**here, **times}]
    bound, timing = measured.limits[0], measured.timing
    return [
        *lines,
        f"on {measured.machine.cpu}, one thread: {bound.name}, {bound.time:.2f} us at least; "
        f"took {timing.best:.2f} us at best, {timing.median:.2f} in the median: "
        f"{measured.reached:.0%} of the bound reached",
        *plain_table(("limit", "cycles", "us here"), rows3, "lrr").splitlines(),
    ]


def _telling(found: Sequence[Limit]) -> list[Limit]:
    return [limit for limit in found if limit.time >= NEGLIGIBLE * found[0].time]


def bound_facts(plan: KernelPlan, cycles: float, measured: Measured | None) -> dict[str, Any]:
    """The same as plain data for --json."""
    found = predicted(plan)
    facts: dict[str, Any] = {
        "cycles": round(found[0].time),
        "expected_cycles": round(cycles),
        "limits": {limit.name: round(limit.time) for limit in found},
        "measured": None,
    }
    if measured is not None:
        facts["measured"] = {
            "cpu": measured.machine.cpu,
            "peak_gflops": round(measured.machine.peak, 1),
            "name": measured.limits[0].name,
            "limits": {limit.name: round(limit.time, 3) for limit in measured.limits},
            "best": round(measured.timing.best, 3),
            "median": round(measured.timing.median, 3),
            "reached": round(measured.reached, 4),
        }
    return facts

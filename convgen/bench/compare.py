"""Two benchmarks of one machine: which layers became slower, beyond what noise explains."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from convgen.bench.report import TIE, LayerResult, Report
from convgen.errors import UsageError


class Verdict(StrEnum):
    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"


@dataclass(frozen=True)
class Change:
    """One layer then and now: microseconds of the best round, and now / then, by the best rounds
    and by the medians. ``noise``: how far both must be from 1 to mean something."""

    name: str
    before: float
    after: float
    best: float
    median: float
    noise: float

    @property
    def verdict(self) -> Verdict:
        if min(self.best, self.median) > 1 + self.noise:
            return Verdict.SLOWER
        if max(self.best, self.median) < 1 / (1 + self.noise):
            return Verdict.FASTER
        return Verdict.SAME

    def to_mapping(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "before": self.before,
            "after": self.after,
            "best": round(self.best, 4),
            "median": round(self.median, 4),
            "noise": round(self.noise, 4),
            "verdict": str(self.verdict),
        }


def compare(old: Report, new: Report) -> tuple[Change, ...]:
    """The layers that both have, in the order of ``new``.

    A layer counts as slower when the best round and the median both are, by more than 4% and the
    larger of the two runs' spreads. Where the machine's peak has fallen between the runs, times
    may grow as much. Raises ``UsageError`` when the runs cannot be compared.
    """
    machine = new.machine
    check_comparable(old, machine.cpu, new.conditions.target, machine.threads)
    allowed = max(1.0, old.machine.peak / machine.peak)
    known = {_identity(layer): layer for layer in old.layers}
    pairs = [(known.get(_identity(layer)), layer) for layer in new.layers]
    changes = tuple(_change(then, now, allowed) for then, now in pairs if then is not None)
    if new.layers and not changes:
        raise UsageError("--compare: the old run has none of these layers")
    return changes


def _change(then: LayerResult, now: LayerResult, allowed: float) -> Change:
    noise = TIE + max(then.timing.spread, now.timing.spread)
    best = now.timing.best / then.timing.best
    median = now.timing.median / then.timing.median
    if best > 1:  # what a slower machine explains is no change
        best, median = max(1.0, best / allowed), max(1.0, median / allowed)
    return Change(now.name, then.timing.best, now.timing.best, best, median, noise)


def _identity(layer: LayerResult) -> tuple[str, str, int]:
    return layer.name, layer.shape, layer.macs


def check_comparable(old: Report, cpu: str, target: str, threads: int) -> None:
    """Raises ``UsageError`` where a run under these conditions cannot be held against ``old``."""
    pairs = {
        "processor": (old.machine.cpu, cpu),
        "target": (old.conditions.target, target),
        "number of threads": (old.machine.threads, threads),
    }
    for name, (then, now) in pairs.items():
        if then != now:
            raise UsageError(
                f"--compare: another {name} ({then} then, {now} now): times of different "
                "conditions say nothing about convgen"
            )

"""Tune one layer within a budget; every measurement is stored as it is made, so it can go on later.

What an earlier run measured of a kernel (known by the digest of its C) is not measured again.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from convgen.errors import MismatchError, ToolchainError
from convgen.spec.model import ConvSpec, Layer
from convgen.spec.schedule import Schedule
from convgen.target import Target
from convgen.tune.judge import PASSES, contenders, figures, lacking, preferred, rounds_left, spread
from convgen.tune.measure import Bench, KernelCrashed, Round
from convgen.tune.shortlist import Candidate
from convgen.tune.store import Key, Sample, Store, Winner
from convgen.tune.task import NAME

BUDGET = 30.0  # seconds of measuring for a layer
State = Literal["measured", "remembered"]


@dataclass(frozen=True)
class Setting:
    """``mode``: ``warm`` or ``cold`` weights. ``budget``: seconds of measuring for a layer, 0
    measures one round.
    ``again``: forget what was measured before."""

    target: Target
    mode: Literal["warm", "cold"] = "warm"
    budget: float = BUDGET
    again: bool = False


@dataclass(frozen=True)
class Timed:
    """A candidate. ``cycles``: predicted; ``microseconds``: None when it was not measured;
    ``spread``: how far its passes lie apart; ``samples``: rounds it took part in; ``fault``: why
    it cannot win."""

    schedule: Schedule
    cycles: float
    microseconds: float | None
    spread: float | None
    samples: int
    fault: str | None


@dataclass(frozen=True)
class Tuned:
    """A layer's outcome. ``chosen``: the chooser's pick. ``complete``: nothing is left to measure,
    in this run or a later one. ``state``: ``remembered`` when there was nothing to measure."""

    name: str
    state: State
    mode: str
    chosen: Timed
    winner: Timed
    candidates: tuple[Timed, ...]
    complete: bool
    seconds: float

    @property
    def ratio(self) -> float:
        """The pick's time over the winner's; 1.0 where the pick stands, NaN if it was not timed."""
        mine, best = self.chosen.microseconds, self.winner.microseconds
        return math.nan if mine is None or not best else mine / best


@dataclass(frozen=True)
class Progress:
    """``done`` of ``total`` steps of one layer; ``step`` says which is under way."""

    name: str
    step: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]


def anonymous(spec: ConvSpec) -> ConvSpec:
    """The layer under the one name that every candidate bears."""
    return replace(spec, name=NAME)


def tune_layer(
    layer: Layer,
    candidates: Sequence[Candidate],
    bench: Bench,
    store: Store,
    key: Key,
    setting: Setting,
    on_progress: OnProgress | None = None,
) -> Tuned:
    """Measure ``candidates`` (of the ``anonymous`` layer, the chooser's pick first) and settle.

    The winner is stored once its kernel has passed the verification; one that fails it, crashes or
    is refused by the compiler cannot win. Raises ``ToolchainError`` when none can be compiled,
    ``MismatchError`` when none is right.
    """
    start = time.monotonic()
    if setting.again:
        store.forget(key, setting.mode)
    run = _Run(layer.spec.name, candidates, bench, store, key, setting, on_progress)
    for number in range(PASSES):
        run.do_pass(number)
    winner = run.settle()
    return run.outcome(winner, time.monotonic() - start)


@dataclass
class _Run:
    """One layer under way. ``samples``: by schedule and pass; ``faults``: why some cannot win."""

    name: str
    candidates: Sequence[Candidate]
    bench: Bench
    store: Store
    key: Key
    setting: Setting
    on_progress: OnProgress | None
    samples: dict[Schedule, dict[int, list[float]]] = field(default_factory=dict)
    faults: dict[Schedule, str] = field(default_factory=dict)
    measured: bool = False

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.setting.budget
        self.pick = self.candidates[0].schedule
        self.codes = {c.schedule: self.bench.code(c) for c in self.candidates}
        found = self.store.samples(self.key, self.setting.mode)
        for schedule, code in self.codes.items():
            self.samples[schedule] = found.get(code, {})

    def do_pass(self, number: int) -> None:
        """Bring pass ``number`` to its end, or as far as the time goes."""
        while True:
            entrants = self._lacking(number)
            late = time.monotonic() >= self.deadline
            if not entrants or (late and self.measured):  # a run measures a round at least
                return
            self._compile(entrants, math.inf if self.setting.budget else 0.0)
            entrants = [how for how in self._lacking(number) if self.bench.ready(how)]
            if not entrants:
                return  # all of them have faults by now
            rounds = rounds_left(entrants, self.samples, number)
            try:
                self._race(entrants, rounds, number)
                return
            except KernelCrashed as crash:
                self.faults[crash.schedule] = crash.reason

    def _lacking(self, number: int) -> list[Schedule]:
        """Who still needs rounds: nobody else is compiled, or timed again."""
        return lacking(self._field(number), self.samples, number)

    def _field(self, number: int) -> list[Schedule]:
        order = [c.schedule for c in self.candidates if c.schedule not in self.faults]
        return contenders(order, self.samples, number, self.pick)

    def _compile(self, entrants: Sequence[Schedule], seconds: float) -> None:
        """Compile what is not; the budget is for measuring, so the clock stands still meanwhile."""
        wanted = set(entrants)
        todo = [
            c for c in self.candidates if c.schedule in wanted and not self.bench.ready(c.schedule)
        ]
        if not todo:
            return
        done = 0

        def on_each() -> None:
            nonlocal done
            done += 1
            self._say("compile", done, len(todo))

        self._say("compile", 0, len(todo))
        start = time.monotonic()
        self.faults |= self.bench.compile(todo, seconds, on_each)
        self.deadline += time.monotonic() - start

    def _race(self, entrants: Sequence[Schedule], rounds: int, number: int) -> None:
        waiting = time.monotonic()
        with self.bench.alone():
            self.deadline += time.monotonic() - waiting  # another tuner's turn is not our time
            left = max(0.0, self.deadline - time.monotonic()) / (PASSES - number)
            for n, times in enumerate(self.bench.race(entrants, rounds, left, number), 1):
                self._keep(times, number)
                self._say(f"measure, pass {number + 1} of {PASSES}", n, rounds)

    def _keep(self, times: Round, number: int) -> None:
        self.measured = True
        kept = [Sample(self.codes[how], number, us) for how, us in times.items()]
        self.store.add(self.key, self.setting.mode, kept)
        for how, microseconds in times.items():
            self.samples[how].setdefault(number, []).append(microseconds)

    def settle(self) -> Schedule:
        """The best candidate that passes the verification, now the stored winner."""
        before = self.store.winner(self.key)
        while True:
            times = {h: us for h, us in figures(self.samples).items() if h not in self.faults}
            if not times:
                raise self._nothing_works()
            best = preferred(times, self.pick)[0]
            known = before is not None and (before.schedule, before.mode) == (
                best,
                self.setting.mode,
            )
            if known and not self.measured:
                return best  # verified when it was settled
            fault = self._verification_fault(best)
            if fault is None:
                self.store.settle(self.key, self._winner(best, times))
                return best
            self.faults[best] = fault

    def _verification_fault(self, schedule: Schedule) -> str | None:
        self._compile([schedule], 0.0)
        if schedule in self.faults:
            return self.faults[schedule]
        self._say("verify", 0, 1)
        report = self.bench.verify(schedule)
        if report.passed:
            return None
        return "; ".join(f"{c.name}: {c.detail or 'failed'}" for c in report.failures) or "no check"

    def _nothing_works(self) -> ToolchainError | MismatchError:
        reason = self.faults.get(self.pick) or next(iter(self.faults.values()), "no time")
        text = f"no candidate of {self.name} can be used; of the chooser's pick: {reason}"
        refused = not any(self.bench.ready(c.schedule) for c in self.candidates)
        return ToolchainError(text) if refused else MismatchError(text)

    def _winner(self, best: Schedule, times: dict[Schedule, float]) -> Winner:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
        return Winner(
            name=self.name,
            schedule=best,
            microseconds=times[best],
            chosen=self.pick,
            chosen_microseconds=times.get(self.pick),
            mode=self.setting.mode,
            candidates=len(times),
            at=now,
        )

    def outcome(self, winner: Schedule, seconds: float) -> Tuned:
        timed = {c.schedule: self._timed(c) for c in self.candidates}
        complete = not any(self._lacking(number) for number in range(PASSES))
        state: State = "measured" if self.measured else "remembered"
        everyone = tuple(timed.values())
        chosen, best = timed[self.pick], timed[winner]
        mode = self.setting.mode
        return Tuned(self.name, state, mode, chosen, best, everyone, complete, seconds)

    def _timed(self, candidate: Candidate) -> Timed:
        how = candidate.schedule
        passes = self.samples[how]
        times = figures({how: passes})
        return Timed(
            schedule=how,
            cycles=candidate.cycles,
            microseconds=times.get(how),
            spread=spread(passes) if times else None,
            samples=sum(map(len, passes.values())),
            fault=self.faults.get(how),
        )

    def _say(self, step: str, done: int, total: int) -> None:
        if self.on_progress is not None:
            self.on_progress(Progress(self.name, step, done, total))

"""Tuning one layer: with a stand-in for the machine, and a tiny layer for real."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from built import TINY, needs_cc

from convgen.errors import MismatchError, ToolchainError
from convgen.spec.model import ConvSpec, Layer, Padding
from convgen.spec.schedule import Schedule
from convgen.target import TARGETS, host_target
from convgen.toolchain import find_compiler
from convgen.tune import Key, Progress, Setting, Store, Tuned, key_of, tune_layer
from convgen.tune.judge import PASSES, ROUNDS
from convgen.tune.measure import Bench, KernelCrashed, Round, last_cache_bytes, machine
from convgen.tune.session import anonymous
from convgen.tune.shortlist import Candidate, ranked, shortlist
from convgen.verify.report import Check, Report

AVX2 = TARGETS["x86-64-avx2"]
LAYER = Layer(ConvSpec("layer", 14, 14, 16, 16, 3, 3, padding=Padding(1, 1, 1, 1)), "<t>")
FIELD = shortlist(ranked(anonymous(LAYER.spec), AVX2), 5)
HOW = [candidate.schedule for candidate in FIELD]
KEY = Key("spec", "cpu", "cc", AVX2.name, "0.1.0")


@dataclass
class Fake:
    """A bench whose kernels take ``times`` microseconds; what it was asked for is written down."""

    times: Sequence[float]
    wrong: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()
    crashing: frozenset[int] = frozenset()
    interrupt_after: int = 1_000_000  # rounds
    compiled: list[int] = field(default_factory=list)
    verified: list[int] = field(default_factory=list)
    races: list[tuple[int, list[int]]] = field(default_factory=list)
    rounds: int = 0

    def code(self, candidate: Candidate) -> str:
        return f"code {HOW.index(candidate.schedule)}"

    def ready(self, schedule: Schedule) -> bool:
        return HOW.index(schedule) in self.compiled

    def compile(
        self, candidates: Sequence[Candidate], seconds: float, on_each: Callable[[], None]
    ) -> Mapping[Schedule, str]:
        said = {}
        for n, candidate in enumerate(candidates):
            i = HOW.index(candidate.schedule)
            if i in self.refused:
                said[candidate.schedule] = "the compiler failed"
            elif n == 0 or seconds > 0:
                self.compiled.append(i)
            on_each()
        return said

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def race(
        self, schedules: Sequence[Schedule], rounds: int, seconds: float, number: int
    ) -> Iterator[Round]:
        indices = [HOW.index(how) for how in schedules]
        self.races.append((number, indices))
        for i in indices:
            if i in self.crashing:
                raise KernelCrashed(HOW[i], "ended by SIGSEGV")
        for _ in range(rounds if seconds > 0 else 1):
            if self.rounds == self.interrupt_after:
                raise KeyboardInterrupt
            self.rounds += 1
            yield {how: self.times[i] for how, i in zip(schedules, indices, strict=True)}

    def verify(self, schedule: Schedule) -> Report:
        i = HOW.index(schedule)
        self.verified.append(i)
        nan = float("nan")
        return Report((Check("exact", i not in self.wrong, "off by one"),), nan, nan, nan)


def tune(bench: Bench, store: Store, **setting: object) -> Tuned:
    return tune_layer(LAYER, FIELD, bench, store, KEY, Setting(AVX2, **setting))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "tuned.sqlite") as opened:
        yield opened


def test_the_quickest_wins_and_is_stored(store: Store) -> None:
    bench = Fake([10.0, 9.0, 8.0, 20.0, 30.0])
    tuned = tune(bench, store)
    assert (tuned.winner.schedule, tuned.chosen.schedule) == (HOW[2], HOW[0])
    assert tuned.ratio == pytest.approx(1.25) and tuned.complete and tuned.state == "measured"
    winner = store.winner(KEY)
    assert winner is not None and winner.schedule == HOW[2] and winner.name == "layer"
    assert (winner.chosen, winner.chosen_microseconds) == (HOW[0], 10.0)
    assert bench.verified == [2]


def test_every_candidate_is_timed_once_and_the_good_ones_in_every_pass(store: Store) -> None:
    bench = Fake([10.0, 9.0, 8.0, 20.0, 30.0])
    tuned = tune(bench, store)
    assert bench.races == [(0, [0, 1, 2, 3, 4]), *((n, [0, 1, 2]) for n in range(1, PASSES))]
    assert [timed.samples for timed in tuned.candidates[:3]] == [PASSES * ROUNDS] * 3
    assert sorted(bench.compiled) == [0, 1, 2, 3, 4]


def test_the_pick_stands_within_four_percent(store: Store) -> None:
    tuned = tune(Fake([10.0, 9.7, 12.0, 12.0, 12.0]), store)
    assert tuned.winner.schedule == HOW[0] and tuned.ratio == 1.0


def test_a_kernel_that_computes_something_else_cannot_win(store: Store) -> None:
    bench = Fake([10.0, 9.0, 5.0, 20.0, 30.0], wrong=frozenset({2}))
    tuned = tune(bench, store)
    assert tuned.winner.schedule == HOW[1] and bench.verified == [2, 1]
    assert tuned.candidates[2].fault == "exact: off by one"
    with pytest.raises(MismatchError, match="off by one"):
        tune(Fake([1.0] * 5, wrong=frozenset(range(5))), store, again=True)


def test_a_kernel_that_crashes_takes_nobody_along(store: Store) -> None:
    tuned = tune(Fake([10.0, 5.0, 8.0, 20.0, 30.0], crashing=frozenset({1})), store)
    assert tuned.winner.schedule == HOW[2]
    assert tuned.candidates[1].fault == "ended by SIGSEGV"


def test_what_the_compiler_refuses_is_left_out(store: Store) -> None:
    tuned = tune(Fake([10.0, 5.0, 8.0, 20.0, 30.0], refused=frozenset({0, 1})), store)
    assert tuned.winner.schedule == HOW[2] and tuned.chosen.microseconds is None
    assert tuned.ratio != tuned.ratio
    with pytest.raises(ToolchainError, match="the compiler failed"):
        tune(Fake([1.0] * 5, refused=frozenset(range(5))), store, again=True)


def test_nothing_is_measured_twice(store: Store) -> None:
    tune(Fake([10.0, 9.0, 8.0, 20.0, 30.0]), store)
    bench = Fake([1.0] * 5)
    tuned = tune(bench, store)
    assert (bench.races, bench.compiled, bench.verified) == ([], [], [])
    assert tuned.state == "remembered" and tuned.winner.schedule == HOW[2]
    assert tune(Fake([5.0, 9.0, 8.0, 20.0, 30.0]), store, again=True).winner.schedule == HOW[0]


def test_cold_weights_are_measured_apart(store: Store) -> None:
    tune(Fake([10.0, 9.0, 8.0, 20.0, 30.0]), store)
    tuned = tune(Fake([5.0, 9.0, 8.0, 20.0, 30.0]), store, mode="cold")
    assert (tuned.mode, tuned.winner.schedule) == ("cold", HOW[0])
    winner = store.winner(KEY)
    assert winner is not None and (winner.mode, winner.schedule) == ("cold", HOW[0])


@pytest.mark.parametrize("rounds", [0, 1, ROUNDS, ROUNDS + 2])
def test_an_interrupted_run_goes_on_where_it_was(store: Store, rounds: int) -> None:
    times = [10.0, 9.0, 8.0, 20.0, 30.0]
    with pytest.raises(KeyboardInterrupt):
        tune(Fake(times, interrupt_after=rounds), store)
    kept = store.samples(KEY, "warm")
    assert sum(len(found) for found in kept.get("code 2", {}).values()) == rounds
    bench = Fake(times)
    tuned = tune(bench, store)
    assert tuned.winner.schedule == HOW[2] and tuned.complete
    assert bench.rounds == PASSES * ROUNDS - rounds


def test_without_a_budget_the_pick_is_measured_and_more_the_next_time(store: Store) -> None:
    bench = Fake([10.0, 9.0, 8.0, 20.0, 30.0])
    tuned = tune(bench, store, budget=0.0)
    assert bench.races == [(0, [0])] and not tuned.complete
    assert tuned.winner.schedule == HOW[0]
    tuned = tune(Fake([10.0, 9.0, 8.0, 20.0, 30.0]), store)
    assert tuned.winner.schedule == HOW[2] and tuned.complete


@pytest.mark.parametrize("budget", [0.0, 1e-9])
def test_every_run_progresses_however_short(store: Store, budget: float) -> None:
    """A round a run at least, of those that lack one, and nothing else is compiled."""
    times, runs = [10.0, 9.0, 8.0, 20.0, 30.0], 0
    while True:
        lacking = {
            i for i in range(5) if not store.samples(KEY, "warm").get(f"code {i}", {}).get(0)
        }
        bench = Fake(times)
        tuned = tune(bench, store, budget=budget)
        runs += 1
        if tuned.state == "remembered":
            break
        assert bench.rounds >= 1 and runs < 5 * PASSES * ROUNDS + 2
        raced = {i for _, field in bench.races for i in field}
        assert set(bench.compiled) <= raced | set(bench.verified)
        assert not lacking or raced <= lacking | {0, 1, 2}
    assert tuned.complete and tuned.winner.schedule == HOW[2]
    assert [timed.samples for timed in tuned.candidates[:3]] == [PASSES * ROUNDS] * 3


def test_compiling_is_not_charged_to_the_budget(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("convgen.tune.session.time.monotonic", lambda: clock[0])

    class Slow(Fake):
        def compile(
            self, candidates: Sequence[Candidate], seconds: float, on_each: Callable[[], None]
        ) -> Mapping[Schedule, str]:
            clock[0] += 1000.0
            return super().compile(candidates, seconds, on_each)

    tuned = tune(Slow([10.0, 9.0, 8.0, 20.0, 30.0]), store, budget=5.0)
    assert tuned.complete and tuned.winner.schedule == HOW[2]


@needs_cc
def test_compiled_candidates_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    field = shortlist(ranked(anonymous(TINY.spec), host_target()), 2)
    compiler, keep = find_compiler(), tmp_path / "keep"
    with machine(compiler, False, tmp_path / "lock", keep=keep) as bench:
        assert not bench.compile(field, 60.0, lambda: None)
    assert len(list(keep.glob("*.so"))) == len(field)
    monkeypatch.setattr("convgen.tune.measure.compile_shared", None)  # nobody may call it
    with machine(compiler, False, tmp_path / "lock", keep=keep) as bench:
        assert not bench.compile(field, 60.0, lambda: None)
        assert all(bench.ready(c.schedule) for c in field)
        assert bench.verify(field[0].schedule).passed


@needs_cc
def test_a_marketing_name_is_not_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from convgen.target import host

    host.cpu_identity.cache_clear()
    assert host.cpu_identity().startswith(host.cpu_name())
    listing = Path("/proc/cpuinfo")
    if listing.exists() and "stepping" in listing.read_text():
        assert "cpu family" in host.cpu_identity() and "stepping" in host.cpu_identity()
    assert key_of(TINY.spec, AVX2, find_compiler()).cpu == host.cpu_identity()


def test_the_store_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convgen.tune import default_store_path

    monkeypatch.setenv("CONVGEN_STORE", str(tmp_path / "mine.sqlite"))
    assert default_store_path() == tmp_path / "mine.sqlite"


def test_progress_names_layer_and_step(store: Store) -> None:
    seen: list[Progress] = []
    tune_layer(LAYER, FIELD, Fake([10.0] * 5), store, KEY, Setting(AVX2), seen.append)
    assert {p.name for p in seen} == {"layer"}
    assert [p.done for p in seen if p.step == "compile"] == [0, 1, 2, 3, 4, 5]
    assert f"measure, pass {PASSES} of {PASSES}" in {p.step for p in seen}
    assert all(p.done <= p.total for p in seen)


@needs_cc
@pytest.mark.parametrize("mode", ["warm", "cold"])
def test_a_tiny_layer_for_real(tmp_path: Path, mode: str) -> None:
    target, compiler = host_target(), find_compiler()
    field = shortlist(ranked(anonymous(TINY.spec), target), 3)
    key = key_of(TINY.spec, target, compiler)
    setting = Setting(target, mode, 5.0)  # type: ignore[arg-type]
    with (
        Store(tmp_path / "s.sqlite") as store,
        machine(compiler, mode == "cold", tmp_path / "lock") as bench,
    ):
        tuned = tune_layer(TINY, field, bench, store, key, setting)
        assert [timed.fault for timed in tuned.candidates] == [None] * len(field)
        assert all(timed.microseconds and timed.samples for timed in tuned.candidates)
        winner = store.winner(key)
        assert winner is not None and winner.schedule in [c.schedule for c in field]


@needs_cc
def test_the_first_compiler_error_is_the_layers(tmp_path: Path) -> None:
    field = shortlist(ranked(anonymous(TINY.spec), host_target()), 2)
    with machine(find_compiler(), False, tmp_path / "lock", timeout=0.001) as bench:
        said = bench.compile(field, 10.0, lambda: None)
        assert set(said) == {c.schedule for c in field}
        assert all("did not finish" in reason for reason in said.values())


@needs_cc
def test_tuners_measure_in_turn(tmp_path: Path) -> None:
    """While one holds the machine another one waits."""
    entered = threading.Event()
    with (
        machine(find_compiler(), False, tmp_path / "lock") as one,
        machine(find_compiler(), False, tmp_path / "lock") as two,
    ):

        def other() -> None:
            with two.alone():
                entered.set()

        with one.alone():
            waiting = threading.Thread(target=other)
            waiting.start()
            assert not entered.wait(0.3)
        assert entered.wait(20)
        waiting.join()


def test_the_walk_for_cold_weights_is_larger_than_a_cache() -> None:
    assert last_cache_bytes() >= 32 << 20

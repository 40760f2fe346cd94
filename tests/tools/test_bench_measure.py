"""Timing: turns are interleaved, figures follow from the rounds, cores are given back."""

from __future__ import annotations

import os

import pytest

from convgen.bench.measure import Timing, measure, measure_runs, pinned, repeats, summary, timed


def test_summary_of_known_rounds() -> None:
    timing = summary([4.0, 2.0, 3.0, 5.0, 6.0])
    assert timing == Timing(best=2.0, median=4.0, spread=0.5, rounds=5)


def test_one_round_has_no_spread() -> None:
    assert summary([3.0]) == Timing(3.0, 3.0, 0.0, 1)


def test_contenders_take_turns_and_each_turn_fills_its_slice() -> None:
    turns: list[tuple[str, int]] = []

    def contender(name: str, seconds: float):  # type: ignore[no-untyped-def]
        def run(count: int) -> float:
            turns.append((name, count))
            return count * seconds

        return run

    rounds = 0

    def on_round() -> None:
        nonlocal rounds
        rounds += 1

    runs = [contender("a", 0.001), contender("b", 0.1)]
    first, second = measure_runs(runs, rounds=3, slice_seconds=0.01, on_round=on_round)
    assert turns[-6:] == [("a", 10), ("b", 1)] * 3
    assert rounds == 3
    assert first.best == pytest.approx(1e3) and second.median == pytest.approx(1e5)


def test_quick_calls_are_repeated_until_a_turn_is_full() -> None:
    assert repeats(lambda count: count * 1e-6, 0.01) == 10_000
    assert repeats(lambda count: count * 5.0, 0.01) == 1


def test_timed_calls_that_often() -> None:
    calls: list[int] = []
    assert timed(lambda: calls.append(1))(7) >= 0
    assert len(calls) == 7


def test_measure_takes_plain_functions() -> None:
    (timing,) = measure([lambda: None], rounds=2, slice_seconds=1e-5)
    assert 0 < timing.best <= timing.median and timing.rounds == 2


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot pin")
def test_cores_are_given_back() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(ZeroDivisionError), pinned(1) as cores:
        assert os.sched_getaffinity(0) == set(cores) == {max(before)}
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before

"""The rules of tuning: which candidates are measured, what a time is, who wins."""

from __future__ import annotations

import pytest
from edge_layers import LAYER

from convgen.choose.chooser import choose
from convgen.spec.model import ConvSpec, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS
from convgen.tune.judge import (
    KEEP,
    ROUNDS,
    contenders,
    figure,
    figures,
    preferred,
    rounds_left,
    simplicity,
    spread,
)
from convgen.tune.shortlist import ranked, shortlist, wider

AVX512 = TARGETS["x86-64-avx512"]
DENSE = ConvSpec("dense", 28, 28, 64, 64, 3, 3, padding=Padding(1, 1, 1, 1))
SMALL = Schedule(Family.DIRECT, 8, 1, 4, 1)
LARGE = Schedule(Family.DIRECT, 8, 2, 6, 1)
TRICKY = Schedule(Family.WINOGRAD, 8, 2, 2, 1, 4, 4)


@pytest.mark.parametrize("spec", [LAYER, DENSE])
def test_the_first_ranked_is_the_choosers_pick(spec: ConvSpec) -> None:
    candidates = ranked(spec, AVX512)
    assert candidates[0].schedule == choose(spec, AVX512).schedule
    assert [c.cycles for c in candidates] == sorted(c.cycles for c in candidates)


def test_ranked_kernels_are_distinct() -> None:
    """On a 2x2 map many tiles come to the same kernel; one of them is enough."""
    spec = ConvSpec("tiny", 4, 4, 8, 8, 3, 3)
    candidates = ranked(spec, AVX512)
    kernels = {(c.plan.body, c.plan.packing) for c in candidates}
    assert len(kernels) == len(candidates) < choose(spec, AVX512).rivals


def test_short_list_has_the_pick_and_other_kinds() -> None:
    candidates = ranked(DENSE, AVX512)
    short = shortlist(candidates, 10)
    assert len(short) == 10 and short[0] == candidates[0]
    assert len({c.schedule for c in short}) == 10
    near = [c for c in candidates if c.cycles <= 2 * candidates[0].cycles]
    sizes = {c.schedule.tile_h for c in near if c.schedule.family is Family.WINOGRAD}
    assert len(sizes) > 1
    assert {c.schedule.tile_h for c in short if c.schedule.family is Family.WINOGRAD} == sizes
    assert shortlist(candidates, 1) == candidates[:1]
    assert len(shortlist(candidates, 10_000)) == len(candidates)


def test_wider_draw_is_repeatable_and_beyond_the_short_list() -> None:
    candidates = ranked(DENSE, AVX512)
    short = shortlist(candidates)
    drawn = wider(candidates, short, 50, seed=3)
    assert len(drawn) == 50 and not set(drawn) & set(short)
    assert drawn == wider(candidates, short, 50, seed=3) != wider(candidates, short, 50, seed=4)
    assert len(wider(candidates, short, 10_000, seed=3)) == len(candidates) - len(short)


def test_a_figure_is_the_median_over_passes_of_the_least_of_each() -> None:
    assert figure({0: [9.0, 5.0], 1: [7.0], 2: [50.0, 6.0]}) == 6.0
    assert spread({0: [9.0, 5.0], 1: [7.5]}) == 0.5
    assert list(figures({SMALL: {0: [3.0]}, LARGE: {0: [2.0]}, TRICKY: {}})) == [LARGE, SMALL]


def test_ties_go_to_the_pick_then_to_the_simpler() -> None:
    assert preferred({LARGE: 100.0, SMALL: 103.9}, pick=LARGE) == [LARGE, SMALL]
    assert preferred({LARGE: 100.0, SMALL: 103.9}, pick=TRICKY) == [SMALL, LARGE]
    assert preferred({LARGE: 100.0, SMALL: 104.1}, pick=SMALL) == [LARGE, SMALL]
    assert preferred({TRICKY: 100.0, LARGE: 103.0, SMALL: 103.5}, pick=TRICKY)[0] == TRICKY
    assert preferred({TRICKY: 100.0, LARGE: 103.0, SMALL: 110.0}, pick=SMALL)[0] == LARGE


def test_direct_sums_are_simpler_than_winograd_and_small_tiles_than_large_ones() -> None:
    assert sorted([TRICKY, LARGE, SMALL], key=simplicity) == [SMALL, LARGE, TRICKY]


def test_later_passes_keep_the_quick_and_the_pick() -> None:
    samples = {SMALL: {0: [1.0]}, LARGE: {0: [KEEP - 0.01]}, TRICKY: {0: [KEEP + 0.01]}}
    order = [TRICKY, LARGE, SMALL]
    assert contenders(order, samples, 0, pick=SMALL) == order
    assert contenders(order, samples, 1, pick=SMALL) == [LARGE, SMALL]
    assert contenders(order, samples, 1, pick=TRICKY) == order
    assert contenders(order, {}, 0, pick=SMALL) == order


def test_a_pass_is_over_when_every_quick_one_had_its_rounds() -> None:
    full, some = [1.0] * ROUNDS, [1.0] * (ROUNDS - 2)
    assert rounds_left([SMALL, LARGE], {}, 0) == ROUNDS
    assert rounds_left([SMALL, LARGE], {SMALL: {0: full}}, 0) == ROUNDS
    assert rounds_left([SMALL, LARGE], {SMALL: {0: full}, LARGE: {0: some}}, 0) == 2
    assert rounds_left([SMALL, LARGE], {SMALL: {0: full}, LARGE: {0: [9.0]}}, 0) == 0
    assert rounds_left([SMALL, LARGE], {SMALL: {0: full}, LARGE: {0: full}}, 1) == ROUNDS

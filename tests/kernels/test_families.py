"""Families: which layers they take, candidates that can all be lowered, refusals that say why."""

from __future__ import annotations

import random

import pytest
from edge_layers import EDGES, LAYER, depthwise, layer
from hypothesis import given, settings
from kernels import ISAS, target_of
from spec_strategies import specs

from convgen.errors import ScheduleError
from convgen.kernels import FAMILIES, cost, lower
from convgen.kernels.tiled.lowering import channel_runs
from convgen.spec.model import Accuracy, ConvSpec, Layout
from convgen.spec.schedule import Family, Schedule


def test_every_family_is_registered_under_its_name() -> None:
    assert list(FAMILIES) and set(FAMILIES) == set(Family)
    assert all(family.name is name for name, family in FAMILIES.items())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("label", EDGES)
def test_candidates_are_distinct_and_can_be_lowered(label: str, isa: str) -> None:
    """A sample: a candidate that the registers cannot hold would waste the tuner's time."""
    spec, target = EDGES[label], target_of(isa)
    for name, family in FAMILIES.items():
        if not family.fits(spec):
            continue
        candidates = list(family.candidates(spec, target))
        assert len(set(candidates)) == len(candidates)
        for schedule in random.Random(1).sample(candidates, min(6, len(candidates))):
            plan = lower(spec, schedule, target)
            assert plan.schedule == schedule and schedule.family is name
            assert schedule.lanes in {i.lanes for i in target.isas}
            predicted = cost(plan)
            assert predicted.cycles > 0 and predicted.bound


@settings(derandomize=True, deadline=None, database=None, max_examples=100)
@given(spec=specs(largest=9))
def test_direct_takes_every_layer(spec: ConvSpec) -> None:
    for isa in ISAS:
        assert FAMILIES[Family.DIRECT].fits(spec)
        assert next(iter(FAMILIES[Family.DIRECT].candidates(spec, target_of(isa))))


FITS = [
    (Family.DEPTHWISE, depthwise("8x8x16", "3x3"), True),
    (Family.DEPTHWISE, depthwise("8x8x16", "3x3", layout=Layout.NCHW), False),
    (Family.DEPTHWISE, layer("8x8x16", 32, "3x3", groups=16), False),
    (Family.DEPTHWISE, layer("8x8x1", 1, "3x3"), False),
    (Family.GROUPED, layer("8x8x16", 16, "3x3", groups=4), True),
    (Family.GROUPED, layer("8x8x16", 16, "3x3", groups=1), False),
    (Family.GROUPED, layer("8x8x18", 18, "3x3", groups=6), False),
    (Family.GROUPED, layer("8x8x16", 32, "3x3", groups=4), False),
    (Family.WINOGRAD, layer("8x8x16", 16, "3x3"), False),
    (Family.PLANAR, layer("8x8x3", 10, "3x3", "1 1 1 1", sh=2, sw=2), True),
    (Family.PLANAR, layer("8x8x16", 33, "3x3"), False),
    (Family.PLANAR, layer("9x9x64", 3, "9x9"), False),
]


@pytest.mark.parametrize(("name", "spec", "fits"), FITS)
def test_which_layers_a_family_takes(name: Family, spec: ConvSpec, fits: bool) -> None:
    assert FAMILIES[name].fits(spec) is fits
    schedule = Schedule(name, 8, 1, 2, 1)
    if fits:
        lower(spec, schedule, target_of("avx2"))
    else:
        with pytest.raises(ScheduleError, match="use family direct"):
            lower(spec, schedule, target_of("avx2"))


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (Schedule(Family.DIRECT, 16, 1, 4, 1), "x86-64-avx2 has no vectors of 16 lanes, only 8, 4"),
        (Schedule(Family.DIRECT, 8, 3, 5, 1), "a 3x5 tile of 1 vectors .* at most 13 pixels do"),
        (Schedule(Family.DIRECT, 8, 1, 2, 8), "at most 1 pixels? do"),
    ],
)
def test_infeasible_schedules_say_why(schedule: Schedule, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        lower(LAYER, schedule, target_of("avx2"))


def test_a_plan_too_large_for_its_indices_is_refused() -> None:
    huge = layer("64x64x4096", 65536, "3x3")
    with pytest.raises(ScheduleError, match="2\\^31 bytes"):
        lower(huge, Schedule(Family.DIRECT, 8, 1, 4, 1), target_of("avx2"))


@pytest.mark.parametrize("oc", range(1, 40))
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_channel_runs_cover_each_channel_once(oc: int, vectors: int) -> None:
    met = []
    for first, blocks, run_vectors, tail in channel_runs(oc, 4, vectors):
        assert 1 <= run_vectors <= vectors and 1 <= tail <= 4
        stored = (run_vectors - 1) * 4 + tail
        met += [first + block * stored + i for block in range(blocks) for i in range(stored)]
    assert met == list(range(oc))


def test_the_schedule_keeps_the_meaning() -> None:
    """Whatever the schedule, the plan is of the same layer."""
    for schedule in list(FAMILIES[Family.DIRECT].candidates(LAYER, target_of("avx2")))[::17]:
        assert lower(LAYER, schedule, target_of("avx2")).spec is LAYER
    assert LAYER.accuracy is Accuracy.FAST

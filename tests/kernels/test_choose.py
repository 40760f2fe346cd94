"""The chooser: least predicted cost, always the same answer, words that fit it."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from edge_layers import EDGES, LAYER, depthwise, layer
from kernels import ISAS, target_of

from convgen.choose.chooser import ROUNDING, Ranking, choose, costed
from convgen.errors import ScheduleError
from convgen.kernels import FAMILIES, cost, lower, search
from convgen.kernels.fat import widest
from convgen.spec.model import Accuracy, ConvSpec, DType, Layout
from convgen.spec.schedule import Family
from convgen.target import TARGETS


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("label", ["wide", "depthwise", "grouped_by_4", "pointwise", "stem"])
def test_nothing_costs_less_than_the_choice(label: str, isa: str) -> None:
    spec, target = EDGES[label], target_of(isa)
    choice = choose(spec, target)
    costs, count = [], 0
    for family in FAMILIES.values():
        for schedule in family.candidates(spec, target) if family.fits(spec) else ():
            count += 1
            try:
                costs.append(cost(lower(spec, schedule, target)).cycles)
            except ScheduleError:
                continue
    assert choice.cycles == min(costs) and choice.rivals == count
    assert choice.cycles == cost(lower(spec, choice.schedule, target)).cycles
    assert choice.bound == cost(lower(spec, choice.schedule, target)).bound


@pytest.mark.parametrize("name", ["x86-64-avx512bf16", "x86-64-avx2", "x86-64-sse2", "cortex-m4"])
def test_no_cost_is_below_its_floor(name: str) -> None:
    """Else a candidate that was not lowered might have been the quickest."""
    target = widest(TARGETS[name])
    far = []
    kinds = (DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16)
    others = [replace(s, dtype=kind) for kind in kinds for s in random_layers(4)]
    for i, spec in enumerate((*EDGES.values(), *random_layers(12), *others)):
        for family in FAMILIES.values():
            known = search.schedules(family, spec, target) if family.fits(spec) else ()
            for schedule in known[i % 13 :: 13]:
                least = family.floor(spec, schedule, target)
                found = search.tried(family, spec, schedule, target)
                if found is not None:
                    assert least * (1 - ROUNDING) <= found[1].cycles, (spec, schedule)
                    far += [least / found[1].cycles] if family.name is Family.DIRECT else []
    assert sorted(far)[len(far) // 2] > 0.3, "floors so low keep nothing from being lowered"


@pytest.mark.parametrize("label", ["wide", "stem", "pointwise", "depthwise", "planes"])
def test_candidates_come_in_the_order_of_their_costs(label: str) -> None:
    spec, target = EDGES[label], target_of("avx2")
    found = list(costed(spec, target))
    wanted = sorted(found, key=lambda entry: entry[1].cycles)
    assert [(e.plan, e.cost) for e in Ranking(spec, target)] == wanted


def test_few_candidates_are_lowered_for_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    lowered = []
    real = search.tried
    monkeypatch.setattr(search, "tried", lambda *a: lowered.append(a) or real(*a))
    choice = choose(LAYER, target_of("avx2"))
    assert len(lowered) < choice.rivals / 3


def random_layers(count: int) -> list[ConvSpec]:
    rng = random.Random(7)
    found: list[ConvSpec] = []
    while len(found) < count:
        k, groups = rng.choice([1, 2, 3, 5]), rng.choice([1, 1, 1, 2, 8])
        pad, c = rng.choice([0, 0, 1, 2]), groups * rng.randint(1, 20)
        oc = groups * rng.randint(1, 20)
        h, w = rng.randint(k, 40), rng.randint(k, 40)
        form = rng.choice([Layout.NHWC, Layout.NCHW])
        found.append(
            replace(
                layer(f"{h}x{w}x{c}", oc, f"{k}x{k}", f"{pad} {pad} {pad} {pad}", groups=groups),
                layout=form, sh=rng.choice([1, 1, 2]), sw=rng.choice([1, 1, 2]),
                accuracy=rng.choice(list(Accuracy)),
            )
        )  # fmt: skip
    return found


def test_the_choice_is_a_function_of_layer_and_target() -> None:
    assert choose(LAYER, target_of("avx2")) == choose(LAYER, target_of("avx2"))
    renamed = replace(LAYER, name="other")
    assert choose(renamed, target_of("avx2")) == choose(LAYER, target_of("avx2"))


@pytest.mark.parametrize(
    ("spec", "family"),
    [
        (depthwise("28x28x64", "3x3", "1 1 1 1"), Family.DEPTHWISE),
        (depthwise("28x28x64", "3x3", "1 1 1 1", layout=Layout.NCHW), Family.PLANES),
        (layer("28x28x64", 64, "3x3", "1 1 1 1", groups=16), Family.GROUPED),
        (layer("28x28x64", 64, "3x3", "1 1 1 1"), Family.DIRECT),
        (
            replace(layer("28x28x64", 64, "3x3", "1 1 1 1"), accuracy=Accuracy.FAST),
            Family.WINOGRAD,
        ),
        (layer("28x28x64", 64, "1x1"), Family.DIRECT),
    ],
)
def test_families_take_the_layers_they_are_for(spec: ConvSpec, family: Family) -> None:
    assert choose(spec, target_of("avx2")).schedule.family is family


@pytest.mark.parametrize(("oc", "lanes"), [(64, 16), (16, 16), (8, 8), (4, 4)])
def test_few_channels_take_narrower_vectors(oc: int, lanes: int) -> None:
    # Few pixels: planar kernels cannot fill their vectors with them; one would be a reduction.
    choice = choose(layer("4x4x8", oc, "3x3"), target_of("avx512"))
    assert choice.schedule.lanes == lanes
    assert ("narrower" in choice.reason) is (lanes < 16)


def test_strict_layers_never_go_the_winograd_way() -> None:
    spec = layer("28x28x64", 64, "3x3", "1 1 1 1")
    assert spec.accuracy is Accuracy.STRICT
    assert choose(spec, target_of("avx512")).schedule.family is not Family.WINOGRAD


def test_the_reason_names_what_was_taken() -> None:
    choice = choose(LAYER, target_of("avx512"))
    assert re.search(r"least predicted cost of \d+ schedules: 16 lanes \(avx512\)", choice.reason)
    assert choice.cycles > LAYER.macs / 64, "faster than two multiply-adds of 16 lanes a cycle"


def test_the_predicted_cost_grows_with_the_work() -> None:
    small, large = (
        choose(layer(f"{n}x{n}x16", 32, "3x3", "1 1 1 1"), target_of("avx2")).cycles
        for n in (14, 28)
    )
    assert 3 < large / small < 5

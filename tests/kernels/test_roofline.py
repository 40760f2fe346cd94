"""The limits of a kernel: counted from its plan, timed by a machine's rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from quant_layers import quantised

from convgen.bench.machine import Level, Machine, measured_rates
from convgen.choose.chooser import choose
from convgen.choose.roofline import (
    ALIASING,
    FMA,
    LATENCY,
    LEVELS,
    LOADS,
    Rates,
    limits,
    target_rates,
    work_of,
)
from convgen.kernels import lower
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import Act, Activation, ConvSpec, Layout, Padding
from convgen.spec.quant import Rounding
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS

AVX512 = TARGETS["x86-64-avx512"]
RATES = target_rates(AVX512)
ENDLESS = 1 << 40


def layer(size: int, c: int, oc: int, taps: int = 1, **others: object) -> ConvSpec:
    spec = ConvSpec(
        "layer", size, size, c, oc, taps, taps, 1, 1, 1, 1, Padding(), 1,
        activation=Activation(Act.RELU),
    )  # fmt: skip
    return replace(spec, **others)  # type: ignore[arg-type]


def direct(spec: ConvSpec, height: int, width: int, vectors: int) -> KernelPlan:
    return lower(spec, Schedule(Family.DIRECT, 16, height, width, vectors), AVX512)


def times(plan: KernelPlan, rates: Rates = RATES) -> dict[str, float]:
    found = limits(plan, rates)
    assert [x.time for x in found] == sorted((x.time for x in found), reverse=True)
    return {limit.name: limit.time for limit in found}


def test_full_tiles_issue_exactly_the_layers_products() -> None:
    spec = layer(16, 64, 64)
    work = work_of(direct(spec, 1, 8, 2))
    assert work.fmas * 16 == spec.macs
    assert work.loads == spec.macs / 16 * (8 + 2) / 16 + 32 * 2 * 2  # and a bias for each tile


def test_full_tiles_of_8_bits_issue_a_product_for_four_multiply_adds() -> None:
    spec = quantised(layer(16, 64, 64), Rounding.ONNX)
    work = work_of(direct(spec, 1, 8, 2))
    assert work.fmas * 16 * 4 == spec.macs
    assert work.loads == spec.macs / 64 * (8 + 2) / 16 + 32 * 2 * 2  # and sums for each tile


@pytest.mark.parametrize("target", ["x86-64-avx512", "x86-64-avx2", "x86-64-sse2"])
def test_depthwise_8_bits_ask_for_no_less_than_their_products(target: str) -> None:
    spec = replace(layer(20, 64, 64, 3), groups=64)
    layer_of_8_bits = quantised(spec, Rounding.ONNX)
    plan = lower(
        layer_of_8_bits, choose(layer_of_8_bits, TARGETS[target]).schedule, TARGETS[target]
    )
    most = 4 if plan.sections.patterns else 1  # type: ignore[union-attr]
    work = work_of(plan)
    assert spec.macs / most <= work.fmas * plan.body.isa.lanes <= 4 * spec.macs
    assert work.loads > work.fmas / 9


def test_wasted_lanes_count_as_products() -> None:
    assert work_of(direct(layer(16, 64, 10), 1, 8, 1)).fmas * 10 == layer(16, 64, 10).macs


@pytest.mark.parametrize("oc", [8, 10])
def test_pixels_in_lanes_waste_none_of_them(oc: int) -> None:
    """16x16 outputs fill sixteen vectors, whatever the number of channels; zeros are multiplied."""
    spec = layer(16, 3, oc, 3, padding=Padding(1, 1, 1, 1))
    work = work_of(lower(spec, Schedule(Family.PLANAR, 16, 2, 2, 4), AVX512))
    assert work.fmas * 16 == spec.macs
    assert work.loads >= work.fmas * (2 + 4) / (2 * 4)  # two vectors and four weights a step


def test_taps_in_the_padding_do_not_count() -> None:
    spec = layer(8, 16, 16, 3, padding=Padding(1, 1, 1, 1))
    valid = (8 + 7 + 7) ** 2 * 16 * 16  # three taps of a row, two of them at both ends
    assert work_of(direct(spec, 1, 8, 1)).fmas * 16 == valid < spec.macs


@pytest.mark.parametrize(
    ("tile", "bound"), [((1, 1, 1), LATENCY), ((1, 8, 1), LOADS), ((1, 12, 2), FMA)]
)
def test_the_tile_decides_what_binds(tile: tuple[int, int, int], bound: str) -> None:
    assert limits(direct(layer(24, 64, 64), *tile), RATES)[0].name == bound


def test_more_pixels_4_kib_apart_than_a_set_has_lines_are_aliasing() -> None:
    assert ALIASING in times(direct(layer(14, 1024, 64), 1, 14, 1))
    assert ALIASING not in times(direct(layer(14, 1024, 64), 1, 7, 1))
    assert ALIASING not in times(direct(layer(14, 1040, 64), 1, 14, 1))


def test_what_a_cache_holds_does_not_come_from_further_away() -> None:
    plan = direct(layer(28, 128, 128, 3), 1, 13, 2)
    arrays = 4 * (28 * 28 * 128 + 26 * 26 * 128) + plan.packed_bytes
    assert LEVELS[2] not in times(plan, replace(RATES, sizes=(32 << 10, arrays, ENDLESS)))
    found = times(plan, replace(RATES, sizes=(32 << 10, arrays // 2, ENDLESS)))
    assert found[LEVELS[2]] < found[LEVELS[1]]
    assert LEVELS[3] not in found
    small = times(plan, replace(RATES, sizes=(1 << 10, 1 << 11, 1 << 12)))
    least = (4 * (28 * 28 + 2 * 26 * 26) * 128 + plan.packed_bytes) / RATES.bandwidth[3]
    assert small[LEVELS[3]] >= least


@pytest.mark.parametrize("family", list(Family))
def test_larger_caches_never_cost_time(family: Family) -> None:
    depthwise, grouped = family is Family.DEPTHWISE, family is Family.GROUPED
    spec = layer(28, 64, 6 if family is Family.PLANAR else 64, 3, padding=Padding(1, 1, 1, 1))
    spec = replace(spec, groups=64 if depthwise else 16 if grouped else 1)
    if family is Family.PLANES:
        spec = replace(spec, layout=Layout.NCHW)
    found = [p for p in _plans(spec) if p.schedule.family is family][:3]
    assert found
    for plan in found:
        steps = [(1 << k, 1 << k + 4, 1 << k + 8) for k in range(10, 24, 2)]
        worst = [limits(plan, replace(RATES, sizes=sizes))[0].time for sizes in steps]
        assert worst == sorted(worst, reverse=True)
        assert times(plan)[FMA] > 0


def _plans(spec: ConvSpec) -> list[KernelPlan]:
    from convgen.choose.chooser import costed

    return [plan for plan, _ in costed(spec, AVX512)]


def test_winograd_multiplies_less_than_direct_summation() -> None:
    spec = layer(56, 64, 64, 3, padding=Padding(1, 1, 1, 1))
    plan = lower(spec, choose(spec, AVX512).schedule, AVX512)
    assert plan.schedule.family is Family.WINOGRAD
    assert times(plan)[FMA] < spec.macs / 16 / 2 / 2


def test_measured_rates_keep_the_proportions_of_the_machine() -> None:
    levels = [Level(f"L{i}", size, 400.0 / i, 100.0) for i, size in enumerate((1, 2, 3, 4), 1)]
    levels = [replace(levels[i], size=8 << 10 << i) for i in range(3)] + [levels[3]]
    machine = Machine("a CPU", "avx512", 1, 256.0, tuple(levels))
    rates = measured_rates(machine, AVX512)
    plan = direct(layer(16, 64, 64), 1, 14, 2)
    # 256 GFLOP/s are 4e9 cycles of two multiply-adds on 16 lanes: 4000 a microsecond.
    assert times(plan, rates)[FMA] == pytest.approx(times(plan)[FMA] / 4000)
    assert rates.bandwidth == pytest.approx((400e3, 200e3, 400e3 / 3, 100e3))
    assert rates.sizes == (8 << 10, 16 << 10, 32 << 10)

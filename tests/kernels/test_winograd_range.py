"""The range that Winograd's kernels state: right, held at its edge, and not stated in vain."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernels import Way, compiled, needs, planned, report_of, target_of

from convgen.kernels.winograd.body import ERROR_FACTORS, FLAT_ERROR_FACTORS, WinogradBody
from convgen.kernels.winograd.matrices import IDENTITY, Filtering, matrices
from convgen.kernels.winograd.range import range_of
from convgen.oracle.floats import Points
from convgen.render.source import render_c
from convgen.spec.model import Accuracy, ConvSpec, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.verify.bound import judge_bounded
from convgen.verify.fills import Fill, edge_fills
from convgen.verify.guard import Placement
from convgen.verify.kernel import call, load_kernel, pack_weights
from convgen.verify.tiling import leeway_of

SPEC = ConvSpec(
    name="wide", h=12, w=12, c=16, oc=16, kh=3, kw=3, padding=Padding(1, 1, 1, 1), bias=True
)
KINDS = [(Filtering(m, r), Filtering(m, r)) for m, r in ERROR_FACTORS]
KINDS += [(IDENTITY, Filtering(m, r)) for m, r in FLAT_ERROR_FACTORS]


@pytest.mark.parametrize(("high", "wide"), KINDS)
def test_no_input_of_the_range_overflows(high: Filtering, wide: Filtering) -> None:
    """The worst signs for every product and every output, in one dimension and in two."""
    found, limits = matrices(wide.m, wide.r), range_of(high, wide)
    at, g, bt = (np.array(m, float) for m in (found.at, found.g, found.bt))
    axes = 1 if high == IDENTITY else 2
    v = np.abs(bt).sum(1)
    u = np.abs(g).max(1)
    y = np.abs(at) @ (v * u)
    top = np.log2(np.finfo(np.float32).max)
    assert limits.x + axes * np.log2(v.max()) < top
    assert limits.w + axes * np.log2(u.max()) < top
    assert limits.product + axes * np.log2((v * u).max()) < top
    assert limits.product + axes * np.log2(y.max()) < top - 0.9, "and room for the bias"
    assert limits.product >= 110, "it is of use"


@pytest.mark.parametrize("m", [2, 4, 6])
def test_fills_lie_at_the_edge(m: int) -> None:
    limits = range_of(Filtering(m, 3), Filtering(m, 3))
    large, heavy = edge_fills(SPEC, 0, limits)
    for fill in (large, heavy):
        x, sums = np.abs(fill.x).max(), np.abs(fill.w.astype(float)).sum((0, 1, 2))
        assert 0.99 < float(x) * sums.max() / 2.0**limits.product <= 1
    assert np.abs(large.x).max() == 2.0**limits.x
    assert 0.99 < np.abs(heavy.w.astype(float)).sum((0, 1, 2)).max() / 2.0**limits.w <= 1
    (baked,) = edge_fills(SPEC, 0, limits, SPEC.kh * np.ones(SPEC.w_shape, np.float32))
    assert np.abs(baked.x).max() <= 2.0**limits.x


def outputs(m: int, fill: Fill) -> tuple[bool, bool]:
    """Are all outputs finite, and within the bound? Of F(m x m, 3 x 3) in plain C."""
    plan = planned(SPEC, target_of("plain"), winograd(m))
    kernel = load_kernel(
        compiled(SPEC.name, render_c(plan), Way()), SPEC, plan.packed_bytes,
        plan.workspace_bytes, plan.align, False,
    )  # fmt: skip
    packed = pack_weights(kernel, fill.w, fill.b, Placement.END)
    y = call(kernel, fill.x, packed.data, Placement.END).y
    verdict = judge_bounded(SPEC, fill, y, Points.every(SPEC, 1), leeway_of(plan))
    return bool(np.isfinite(y).all()), verdict.passed


def winograd(m: int) -> Schedule:
    return Schedule(Family.WINOGRAD, target_of("plain").isa.lanes, m, m, 1)


@pytest.mark.parametrize("m", [2, 3, 4, 6])
def test_at_the_edge_every_output_is_right(m: int) -> None:
    needs("plain")
    for seed in range(3):
        for fill in edge_fills(SPEC, seed, range_of(Filtering(m, 3), Filtering(m, 3))):
            assert outputs(m, fill) == (True, True)


@pytest.mark.parametrize("m", [4, 6])
def test_far_outside_outputs_are_lost_that_direct_summation_has(m: int) -> None:
    """What the range is stated for: |x| of 2^124 and small weights, whose sums all are finite."""
    needs("plain")
    fill, _ = edge_fills(SPEC, 0, range_of(Filtering(m, 3), Filtering(m, 3)))
    scale = np.float32(2.0**124 / np.abs(fill.x).max())
    far = Fill(fill.x * scale, fill.w / (scale * 64), None if fill.b is None else fill.b * 0)
    finite, right = outputs(m, far)
    assert not finite and not right
    strict = replace(SPEC, accuracy=Accuracy.STRICT)
    assert planned(strict, target_of("plain")).schedule.family is not Family.WINOGRAD


def test_builds_check_it_and_files_state_it() -> None:
    needs("plain")
    plan = planned(SPEC, target_of("plain"), winograd(4))
    assert isinstance(plan.body, WinogradBody)
    limits = plan.body.range
    text = " ".join(render_c(plan)["wide.h"].replace("*", "").split())
    for size in (limits.x, limits.w, limits.product, limits.bias):
        assert f"2^{size}" in text
    assert report_of(plan).passed


def test_a_kernel_that_overflows_there_is_refused() -> None:
    """The check of builds is no formality: a range that is stated too wide fails it."""
    needs("plain")
    plan = planned(SPEC, target_of("plain"), winograd(6))
    leeway = leeway_of(plan)
    assert leeway.tiling is not None and leeway.tiling.range is not None
    wider = replace(leeway.tiling.range, x=126, product=126)
    fill, _ = edge_fills(SPEC, 0, wider)
    assert outputs(6, fill)[1] is False

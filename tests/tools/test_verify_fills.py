"""The data that a kernel is verified with, and the judges of what comes out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from verified_layers import GOOD, RICH, some_weights

from convgen.oracle.floats import Points, act_error, error_bound, reference
from convgen.oracle.points import choose_points, oracle_cost
from convgen.spec.model import Act, Activation, ConvSpec, Padding
from convgen.verify.bound import judge_bounded, judge_exact
from convgen.verify.fills import Fill, bounded_fill, exact_fill, impulse_fill, wide_fill
from convgen.verify.kernel import Kernel
from convgen.verify.nonfinite import reach
from convgen.verify.parts import splits

# --- the data and the judges -----------------------------------------------------------------

ACTIVATIONS = [Activation(kind, alpha=0.3, low=-0.3, high=1.7) for kind in Act]
FILL_SPECS = {
    "rich": RICH,
    "one product": ConvSpec(name="one", h=2, w=2, c=1, oc=1, kh=1, kw=1),
    "long sums": ConvSpec(name="long", h=3, w=3, c=2048, oc=2, kh=3, kw=3),
    "more products than integers": ConvSpec(name="vast", h=1, w=1, c=5 << 20, oc=1, kh=1, kw=1),
}


@pytest.mark.parametrize("label", FILL_SPECS)
def test_sums_of_the_exact_fill_are_exact(label: str) -> None:
    """Every partial sum is an integer below 2^24 times one power of two."""
    spec = replace(FILL_SPECS[label], activation=Activation(Act.RELU6))
    fill = exact_fill(spec, 3)
    assert fill.x.dtype == fill.w.dtype == np.float32
    plain = replace(spec, activation=Activation())
    b = None if fill.b is None else np.abs(fill.b)
    largest = reference(plain, np.abs(fill.x), np.abs(fill.w), b).max()
    assert largest / common_step(fill) < 2**24
    assert np.array_equal(fill.x, np.round(fill.x)) and (fill.w != 0).any() and (fill.x != 0).any()


def common_step(fill: Fill) -> float:
    """The largest power of two that w and b are multiples of."""
    arrays = [fill.w] if fill.b is None else [fill.w, fill.b]

    def divides(step: float) -> bool:
        return all(np.array_equal(a / step, np.round(a / step)) for a in arrays)

    return next(step for k in range(60, -60, -1) if divides(step := 2.0**k))


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: str(act.kind))
@pytest.mark.parametrize("bias", [True, False])
def test_the_exact_fill_shows_both_sides_of_the_activation(act: Activation, bias: bool) -> None:
    spec = replace(RICH, activation=act, bias=bias)
    fill = exact_fill(spec, 0)
    v = reference(replace(spec, activation=Activation()), fill.x, fill.w, fill.b)
    low, high = {Act.RELU6: (0, 6), Act.CLIP: (-0.3, 1.7)}.get(act.kind, (0, np.inf))
    assert (v < low).mean() > 0.05
    assert ((v > low) & (v < high)).mean() > 0.2
    assert high == np.inf or (v > high).mean() > 0.02


def test_the_wide_fill_reaches_far_and_below_the_normal_numbers() -> None:
    fill = wide_fill(replace(RICH, oc=32), 0)
    v = np.abs(reference(replace(RICH, oc=32, activation=Activation()), fill.x, fill.w, fill.b))
    assert v.max() > 100
    tiny = math.prod(float(np.abs(a[a != 0]).min()) for a in (fill.x, fill.w))
    assert 0 < tiny < 2.0**-126
    assert np.isfinite(fill.x).all() and np.isfinite(fill.w).all()


@pytest.mark.parametrize("spec", [RICH, GOOD["depthwise"], GOOD["NCHW and OIHW"]])
def test_no_window_holds_two_impulses(spec: ConvSpec) -> None:
    baked = some_weights(spec)
    fill = impulse_fill(spec, baked.w, baked.b, 5)
    count = replace(spec, activation=Activation(), bias=False)
    seen = reference(count, fill.x, np.ones(spec.w_shape, np.float32))
    assert seen.max() == 1


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: str(act.kind))
def test_the_exact_judge_sees_one_unit_in_the_last_place(act: Activation) -> None:
    spec = replace(RICH, activation=act)
    fill, points = exact_fill(spec, 0), Points.every(spec, spec.batch)
    y = reference(spec, fill.x, fill.w, fill.b).astype(np.float32)
    assert judge_exact(spec, fill, y, points).passed
    steps = 1 if act_error(act).rounded else 60
    place = np.unravel_index(np.abs(y).argmax(), y.shape)
    y[place] *= np.float32(1 + steps * 2.0**-23)
    verdict = judge_exact(spec, fill, y, points)
    assert verdict.wrong == 1
    n, oh, ow, oc = (int(i) for i in place)
    assert f"n={n} oh={oh} ow={ow} oc={oc}" in verdict.detail


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: str(act.kind))
@pytest.mark.parametrize("fill_of", [bounded_fill, wide_fill])
def test_the_bounded_judge_draws_the_line_at_the_bound(act: Activation, fill_of: Any) -> None:
    spec = replace(RICH, activation=act)
    fill, points = fill_of(spec, 0), Points.every(spec, spec.batch)
    y, bound = (f(spec, fill.x, fill.w, fill.b) for f in (reference, error_bound))
    assert judge_bounded(spec, fill, y + 0.99 * bound, points).passed
    verdict = judge_bounded(spec, fill, y - 1.01 * bound, points)
    assert verdict.wrong == y.size
    assert verdict.ratio == pytest.approx(1.01, rel=1e-3)
    y[0, 1, 2, 3] = np.nan
    assert judge_bounded(spec, fill, y, points).wrong == 1


@pytest.mark.parametrize("spec", [RICH, GOOD["depthwise"], GOOD["padding beyond the filter"]])
def test_reach_is_what_the_oracle_says(spec: ConvSpec) -> None:
    spec = replace(spec, activation=Activation())
    fill = exact_fill(spec, 0)
    w = np.ones_like(fill.w)
    for row, column in ((0, 0), (spec.h - 1, 0), (spec.h // 2, spec.w - 1)):
        x = np.zeros_like(fill.x)
        x[0, row, column] = 1
        seen = reference(spec, x, w, None if fill.b is None else fill.b * 0)[0].any(axis=-1)
        points = reach(spec, 0, row, column)
        mask = np.zeros_like(seen)
        mask[np.ix_(points.oh, points.ow)] = True
        assert np.array_equal(mask, seen)


LARGE = {
    "wide map": ConvSpec(
        name="v2", h=224, w=224, c=64, oc=64, kh=3, kw=3, padding=Padding(1, 1, 1, 1)
    ),
    "deep": ConvSpec(
        name="deep", h=14, w=14, c=1024, oc=2048, kh=3, kw=3, padding=Padding(1, 1, 1, 1)
    ),
    "dilated": ConvSpec(
        name="far", h=200, w=200, c=32, oc=64, kh=5, kw=5, sh=2, dh=9, dw=3,
        padding=Padding(18, 6, 18, 6), activation=Activation(Act.GELU),
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", LARGE)
def test_of_large_layers_a_telling_part_is_judged(label: str) -> None:
    spec = LARGE[label]
    points = choose_points(spec, 0)
    assert oracle_cost(spec, points) <= 60e6
    assert points.count(spec) < spec.oh * spec.ow * spec.oc
    for places, size in ((points.oh, spec.oh), (points.ow, spec.ow), (points.oc, spec.ocg)):
        assert {0, 1, size - 2, size - 1} <= set(places.tolist())
        assert len(places) >= 8 and (np.diff(places) > 0).all()
    # One output of every set of taps that lie inside the image, row-wise.
    taps = np.arange(spec.kh) * spec.dh - spec.padding.top
    inside = (np.arange(spec.oh)[:, None] * spec.sh + taps) // spec.h == 0
    assert len(np.unique(inside[points.oh], axis=0)) == len(np.unique(inside, axis=0))
    assert not np.array_equal(choose_points(spec, 1).oh, points.oh) or len(points.oh) == spec.oh


def test_of_small_layers_everything_is_judged() -> None:
    assert choose_points(GOOD["the source's"], 0).count(GOOD["the source's"]) == 32 * 32 * 10


def test_splits_reach_every_count_of_the_contract() -> None:
    kernel = Kernel(RICH, 64, 64, 64, *[None] * 5)  # type: ignore[arg-type]
    counts = {parts for parts, _ in splits(kernel)}
    assert {1, 2, 3, 7} < counts and max(counts) > 2 * RICH.oh * RICH.ow
    assert {back for _, back in splits(kernel)} == {True, False}
    huge = replace(kernel, spec=LARGE["wide map"])
    assert len(splits(huge)) == 2

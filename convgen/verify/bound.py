"""Is an output right? To the bit where nothing may round, within the stated bound elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle.floats import (
    LEAST,
    ROUNDING,
    STORING,
    Indices,
    Points,
    accumulate,
    act_error,
    activation,
    flush_bound,
    gamma_tiny,
    held,
    sum_bound,
    through_activation,
    values,
    wide,
)
from convgen.oracle.integers import outputs_at, sums_at
from convgen.spec.layouts import image_nhwc, weights_hwio
from convgen.spec.model import ConvSpec
from convgen.verify.fills import Fill
from convgen.verify.tiling import NO_LEEWAY, Leeway, Tiling

Array = NDArray[Any]


@dataclass(frozen=True)
class Verdict:
    """``wrong``: how many of ``looked_at`` outputs miss. ``ratio``: largest error / bound."""

    looked_at: int
    wrong: int
    max_error: float
    ratio: float
    detail: str

    @property
    def passed(self) -> bool:
        return self.looked_at > 0 and self.wrong == 0


def judge_exact(
    spec: ConvSpec, fill: Fill, y: Array, points: Points, leeway: Leeway = NO_LEEWAY
) -> Verdict:
    """For fills whose sums are exact: only the activation may round, as its table row says.

    Where it is one correctly rounded operation the output must be that value, -0 being 0. In tiles
    the transforms round, so there the tile's bound is all that can be asked.
    """
    if spec.quantized:
        return judge_integers(spec, fill, y, points)
    if leeway.tiling is not None:
        return judge_bounded(spec, fill, y, points, leeway)
    v, want = _expected(spec, fill, points)
    if _rounded(spec):
        want = held(spec, want)
        return _judge(spec, points, y, want, np.zeros_like(want))
    return _judge(spec, points, y, want, through_activation(spec, v, want, 0.0))


def judge_single(
    spec: ConvSpec, fill: Fill, y: Array, points: Points, leeway: Leeway = NO_LEEWAY
) -> Verdict:
    """For impulses: the sum is one rounding of b + w; in tiles within their bound."""
    if spec.quantized:
        return judge_integers(spec, fill, y, points)
    if leeway.tiling is not None:
        return judge_bounded(spec, fill, y, points, leeway)
    v, want = _expected(spec, fill, points)
    rounding = ROUNDING[spec.dtype]
    error = np.abs(v) * rounding.unit + rounding.tiny
    return _judge(spec, points, y, want, _allowed(spec, fill, points, leeway, v, want, error))


def judge_bounded(
    spec: ConvSpec, fill: Fill, y: Array, points: Points, leeway: Leeway = NO_LEEWAY
) -> Verdict:
    """For real data: within ``oracle.error_bound`` everywhere, or within the tiles' bound."""
    if spec.quantized:
        return judge_integers(spec, fill, y, points)
    v, want = _expected(spec, fill, points)
    if leeway.tiling is None:
        error = sum_bound(spec, fill.x, fill.w, fill.b, points)
    else:
        error = tiled_bound(spec, fill, points, leeway.tiling)
    return _judge(spec, points, y, want, _allowed(spec, fill, points, leeway, v, want, error))


def _allowed(
    spec: ConvSpec, fill: Fill, points: Points, leeway: Leeway, v: Array, want: Array, error: Array
) -> Array:
    """How far outputs may be off where sums may be by ``error``."""
    if not leeway.flushes:
        return through_activation(spec, v, want, error)
    error = error + flush_bound(spec, fill.x, fill.w, points)
    return through_activation(spec, v, want, error) + LEAST


def judge_integers(spec: ConvSpec, fill: Fill, y: Array, points: Points) -> Verdict:
    """8-bit layers: the very integers of the oracle, saturation and ties included."""
    want = outputs_at(spec, sums_at(spec, fill.x, fill.w, fill.b, points), points)
    return _judge(spec, points, y, want.astype(np.float64), np.zeros(want.shape))


def judge_special(
    spec: ConvSpec, fill: Fill, y: Array, points: Points, tiling: Tiling | None = None
) -> Verdict:
    """For fills with NaN and Inf in them, exact otherwise.

    NaN must come out as NaN whatever the activation. An infinite sum is compared where the
    activation is piecewise linear; elsewhere its limit is not promised and passes. Under
    ``tiling`` only this is asked: what must be NaN without the infinities is NaN.
    """
    if tiling is not None:
        fill = Fill(_without_infinity(fill.x), _without_infinity(fill.w), fill.b)
    v, want = _expected(spec, fill, points)
    got, free = points.take(spec, values(spec, y)).astype(np.float64), np.isinf(v)
    if tiling is not None:
        good = free = ~np.isnan(v)
    elif _rounded(spec):
        good = got == held(spec, want)
        free &= np.isnan(want)  # leaky_relu with a slope of 0
    else:
        with np.errstate(invalid="ignore"):
            good = np.abs(got - want) <= through_activation(spec, v, want, 0.0)
    good = np.where(np.isnan(v), np.isnan(got), good | free)
    return _verdict(spec, points, got, want, ~good, 0.0, 0.0)


def _rounded(spec: ConvSpec) -> bool:
    """Is the output of an exact sum known to the bit? Not where it is rounded, then stored."""
    rule = act_error(spec.activation)
    return rule.rounded and not (rule.relative and spec.dtype in STORING)


def tiled_bound(spec: ConvSpec, fill: Fill, points: Points, tiling: Tiling) -> Array:
    """The error bound of sums made in tiles (see ``Tiling``), [n, oh, ow, oc] of ``points``."""
    assert (spec.groups, spec.sh, spec.sw) == (1, 1, 1), spec
    image = np.abs(image_nhwc(spec, fill.x))[points.n]
    p = spec.padding
    rows = _tile_maxima(image, 1, points.oh, p.top, spec.kh, spec.dh, tiling.rows)
    tiles = _tile_maxima(rows, 2, points.ow, p.left, spec.kw, spec.dw, tiling.cols)
    weights = np.abs(weights_hwio(spec, fill.w)).sum((0, 1), np.float64)[:, points.oc]
    size = tiles.astype(np.float64) @ weights
    if fill.b is not None:
        size += np.abs(fill.b[points.oc])
    gamma, tiny = gamma_tiny(spec)
    bound: Array = tiling.factor * gamma * size + 64 * tiny
    return bound


def _tile_maxima(
    image: Array, axis: int, places: Indices, before: int, taps: int, dilation: int, size: int
) -> Array:
    """For each output place the largest value among what its tile reads along one axis."""
    corners = places - (places // dilation % size) * dilation  # each place's first in its tile
    firsts, which = np.unique(corners, return_inverse=True)
    found = []
    for corner in firsts.tolist():
        first = corner - before
        stop = first + dilation * (size + taps - 1)
        reads = slice(first if first >= 0 else first % dilation, max(0, stop), dilation)
        found.append(image[(slice(None),) * axis + (reads,)].max(axis, keepdims=True, initial=0))
    maxima: Array = np.take(np.concatenate(found, axis), which, axis)
    return maxima


def _without_infinity(values: Array) -> Array:
    return np.where(np.isinf(values), np.zeros_like(values), values)


def _expected(spec: ConvSpec, fill: Fill, points: Points) -> tuple[Array, Array]:
    """The sums before the activation, and the outputs, in float64."""
    v = accumulate(spec, fill.x, fill.w, fill.b, points, wide(spec))
    return v, activation(spec.activation, v, spec.dtype)


def _judge(spec: ConvSpec, points: Points, y: Array, want: Array, bound: Array) -> Verdict:
    got = points.take(spec, y if spec.quantized else values(spec, y)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.abs(got - want)
        if spec.dtype in STORING:  # beyond the range of 16 bits lies infinity
            far = held(spec, want + np.sign(want) * bound)
            error = np.where(np.isinf(got) & (got == far), 0.0, error)
        wrong = ~(error <= bound)  # NaN is wrong
        ratio = np.where(error > 0, error / bound, 0.0)
    return _verdict(spec, points, got, want, wrong, _top(error), _top(ratio))


def _top(values: Array) -> float:
    """The largest, NaN if there is one."""
    return float(values.max()) if values.size else 0.0


def _verdict(
    spec: ConvSpec,
    points: Points,
    got: Array,
    want: Array,
    wrong: NDArray[np.bool_],
    error: float,
    ratio: float,
) -> Verdict:
    count, total = int(wrong.sum()), spec.batch * spec.od * spec.oh * spec.ow * spec.oc
    share = f"{wrong.size} outputs" if wrong.size == total else f"{wrong.size} of {total} outputs"
    if not count:
        return Verdict(wrong.size, 0, error, ratio, share)
    n, oh, ow, oc = (int(i[0]) for i in np.nonzero(wrong))
    deep, high = divmod(int(points.rows(spec)[oh]), spec.oh)
    plane = f"od={deep} " if spec.rank == 3 else ""
    columns, channels = points.ow, points.channels(spec)
    place = f"n={points.n[n]} {plane}oh={high} ow={columns[ow]} oc={channels[oc]}"
    first = f"got {got[n, oh, ow, oc]:.9g}, expected {want[n, oh, ow, oc]:.9g}"
    detail = f"{count} of {share} wrong, the first at {place}: {first}"
    return Verdict(wrong.size, count, error, ratio, detail)

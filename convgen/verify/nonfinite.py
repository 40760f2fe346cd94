"""NaN and Inf go where the layer's formula takes them, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle.floats import Indices, Points
from convgen.oracle.points import oracle_cost
from convgen.spec.elements import ELEMENTS, stored
from convgen.spec.layouts import image_nhwc, weights_hwio, weights_in_layout
from convgen.spec.model import ConvSpec
from convgen.spec.window import Axis
from convgen.verify.bound import Verdict, judge_special
from convgen.verify.fills import Fill
from convgen.verify.tiling import Tiling, tiles_over

Array = NDArray[Any]
BUDGET = 5e6  # element operations of the oracle for one spoiled element


@dataclass(frozen=True)
class Spoiled:
    """A fill with a few elements replaced, and what they reach: a mask in y's
    [n, od*oh, ow, oc]."""

    fill: Fill
    reached: NDArray[np.bool_]
    regions: tuple[Points, ...]


def spoil_input(spec: ConvSpec, fill: Fill, seed: int, tiling: Tiling | None = None) -> Spoiled:
    """NaN, Inf and -Inf at a corner, an edge and anywhere, each in another channel."""
    rng = np.random.default_rng([seed, 6])
    x = fill.x.copy()
    image = image_nhwc(spec, x)
    rows_in = spec.d * spec.h  # of all planes
    any_row, any_column = int(rng.integers(rows_in)), int(rng.integers(spec.w))
    places = (
        (np.nan, 0, 0, 0),
        (np.inf, rows_in - 1, any_column, spec.c - 1),
        (-np.inf, any_row, spec.w - 1, int(rng.integers(spec.c))),
    )
    reached = _nothing(spec)
    regions = []
    for value, row, column, channel in places:
        n = int(rng.integers(spec.batch))
        image[n, row, column, channel] = _held(spec, value)
        region = reach(spec, n, row, column)
        group = channel // spec.icg
        channels = slice(group * spec.ocg, (group + 1) * spec.ocg)
        rows, columns = region.rows(spec)[:, None], region.ow
        if tiling is not None:
            rows, columns = _tiles_over(spec, row, column, tiling)
        reached[n, rows, columns, channels] = True
        regions.append(region)
    return Spoiled(replace(fill, x=x), reached, tuple(regions))


def spoil_weights(spec: ConvSpec, fill: Fill, seed: int, tiling: Tiling | None = None) -> Spoiled:
    """Inf in the first tap of one filter and NaN in the last of another.

    They must not be multiplied with the zeros of the padding: an output whose tap lies outside the
    image keeps its value.
    """
    rng = np.random.default_rng([seed, 7])
    w = fill.w.copy()
    filters = weights_hwio(spec, w)
    reached = _nothing(spec)
    for value, last in ((np.inf, False), (np.nan, True)):
        channel = int(rng.integers(spec.oc))
        tap = tuple(axis.taps - 1 if last else 0 for axis in spec.axes)
        at = (tap[0] * spec.kh + tap[1], tap[2], int(rng.integers(spec.icg)), channel)
        filters[at] = _held(spec, value)
        if tiling is None:
            depths, rows, columns = map(_live, spec.axes, tap)
            rows = (depths[:, None] * spec.oh + rows).reshape(-1)
            reached[:, rows[:, None], columns, channel] = True
        else:
            reached[..., channel] = True  # the transformed filter holds nothing else
    return Spoiled(replace(fill, w=weights_in_layout(spec, filters)), reached, ())


def _nothing(spec: ConvSpec) -> NDArray[np.bool_]:
    """A mask of outputs, [n, od*oh, ow, oc], none of them set."""
    return np.zeros((spec.batch, spec.od * spec.oh, spec.ow, spec.oc), np.bool_)


def _held(spec: ConvSpec, value: float) -> Any:
    """NaN or an infinity as the layer's elements hold it."""
    return stored(np.array([value], np.float32), ELEMENTS[spec.dtype])[0]


def reach(spec: ConvSpec, n: int, row: int, column: int) -> Points:
    """The output positions whose window has a tap on one input pixel, all channels; ``row`` counts
    through all planes."""
    places = (*divmod(row, spec.h), column)
    od, oh, ow = map(_users, spec.axes, places)
    return Points(np.array([n]), oh, ow, np.arange(spec.ocg), od)


def judge_spoiled(
    spec: ConvSpec,
    spoiled: Spoiled,
    clean: Array,
    y: Array,
    points: Points,
    tiling: Tiling | None = None,
) -> Iterator[str]:
    """What is wrong with ``y``, nothing if all is well; ``clean``: y of the fill as it was.

    Reached outputs are judged by the oracle at the regions and at ``points``; all others must be
    ``clean``'s to the bit.
    """
    kept = ~spoiled.reached
    bits = f"u{y.itemsize}"
    differs = (image_nhwc(spec, y.view(bits)) != image_nhwc(spec, clean.view(bits))) & kept
    if differs.any():
        place = " ".join(
            f"{axis}={int(i[0])}"
            for axis, i in zip(("n", "oh", "ow", "oc"), np.nonzero(differs), strict=True)
        )
        yield f"{int(differs.sum())} outputs changed that no spoiled element reaches, as {place}"
    for region in (*spoiled.regions, points):
        verdict = _judge_region(spec, spoiled.fill, y, region, tiling)
        if verdict is not None and verdict.wrong:
            yield verdict.detail


def _judge_region(
    spec: ConvSpec, fill: Fill, y: Array, region: Points, tiling: Tiling | None
) -> Verdict | None:
    if min(map(len, (region.od, region.oh, region.ow))) == 0:
        return None
    while oracle_cost(spec, region) > BUDGET and max(map(len, (region.oc, region.oh))) > 1:
        longest = "oc" if len(region.oc) >= len(region.oh) else "oh"
        region = replace(region, **{longest: getattr(region, longest)[::2]})
    return judge_special(spec, fill, y, region, tiling)


def _tiles_over(spec: ConvSpec, row: int, column: int, tiling: Tiling) -> tuple[Indices, Indices]:
    """All outputs of the tiles that read one input pixel, as an index for rows and columns."""
    p = spec.padding
    rows = tiles_over(tiling.rows, row, p.top, spec.kh, spec.oh, spec.dh)
    columns = tiles_over(tiling.cols, column, p.left, spec.kw, spec.ow, spec.dw)
    return np.array(rows, dtype=np.intp)[:, None], np.array(columns, dtype=np.intp)


def _users(axis: Axis, place: int) -> Indices:
    """Which outputs have a tap on this input."""
    taps = np.arange(axis.taps) * axis.dilation
    if axis.transposed:
        outputs = place * axis.stride - axis.before + taps
    else:
        starts = place + axis.before - taps
        outputs = starts[starts % axis.stride == 0] // axis.stride
    return np.unique(outputs[(outputs >= 0) & (outputs < axis.out)])


def _live(axis: Axis, tap: int) -> Indices:
    """Which outputs have this tap inside the image."""
    shift = tap * axis.dilation - axis.before
    if axis.transposed:
        outputs = np.arange(axis.size) * axis.stride + shift
        return outputs[(outputs >= 0) & (outputs < axis.out)]
    places = np.arange(axis.out) * axis.stride + shift
    return np.flatnonzero((places >= 0) & (places < axis.size))

"""Layers of every rank, plain and transposed, drawn from a seed: small enough for brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle.floats import image_nhwc, in_layout, weights_hwio
from convgen.spec.model import ConvSpec, Layout, Padding, WeightLayout

Array = NDArray[Any]


def operator_layers(count: int, seed: int = 0, **fixed: Any) -> Iterator[ConvSpec]:
    """Of each rank and both operators in turn; draws that give no output are left out."""
    rng = np.random.default_rng(seed)
    kinds = itertools.cycle(itertools.product((1, 2, 3), (False, True)))
    found = 0
    while found < count:
        rank, transposed = next(kinds)
        layer = _layer(rng, rank, transposed, fixed)
        if layer is not None:
            found += 1
            yield layer


def _layer(
    rng: np.random.Generator, rank: int, transposed: bool, fixed: dict[str, Any]
) -> ConvSpec | None:
    def each(low: int, high: int, absent: int) -> list[int]:
        return [absent] * (3 - rank) + [int(v) for v in rng.integers(low, high + 1, rank)]

    (d, h, w), (kd, kh, kw) = each(1, 6, 1), each(1, 3, 1)
    (sd, sh, sw), (dd, dh, dw) = each(1, 3, 1), each(1, 3, 1)
    (front, top, left), (back, bottom, right) = each(0, 2, 0), each(0, 2, 0)
    extra = each(0, 2, 0)
    limits = [max(s, d) - 1 for s, d in ((sd, dd), (sh, dh), (sw, dw))]
    groups = int(rng.choice([1, 1, 2, 3]))
    facts: dict[str, Any] = {
        "name": "grid", "h": h, "w": w, "c": groups * int(rng.integers(1, 4)),
        "oc": groups * int(rng.integers(1, 6)), "kh": kh, "kw": kw, "sh": sh, "sw": sw,
        "dh": dh, "dw": dw, "padding": Padding(top, left, bottom, right, front, back),
        "groups": groups, "batch": int(rng.integers(1, 3)), "bias": bool(rng.integers(2)),
        "layout": list(Layout)[rng.integers(2)],
        "weight_layout": list(WeightLayout)[rng.integers(5)],
        "rank": rank, "d": d, "kd": kd, "sd": sd, "dd": dd, "transposed": transposed,
        "extra": tuple(map(min, extra, limits)) if transposed else (0, 0, 0),
    }  # fmt: skip
    try:
        return ConvSpec(**facts | fixed)
    except AssertionError:  # no output
        return None


def brute_force(spec: ConvSpec, x: Array, w: Array, b: Array | None) -> Array:
    """The sum output by output and tap by tap, before the activation."""
    image = image_nhwc(spec, x).reshape(len(x), spec.d, spec.h, spec.w, spec.groups, spec.icg)
    taps = weights_hwio(spec, w)
    taps = taps.reshape(spec.kd, spec.kh, spec.kw, spec.icg, spec.groups, spec.ocg)
    y = np.zeros((len(x), spec.od, spec.oh, spec.ow, spec.groups, spec.ocg))
    axes = spec.axes
    for out in itertools.product(*(range(axis.out) for axis in axes)):
        for tap in itertools.product(*(range(axis.taps) for axis in axes)):
            places = [_place(*three) for three in zip(axes, out, tap, strict=True)]
            if None not in places:
                seen = image[(slice(None), *places)]
                y[(slice(None), *out)] += np.einsum("ngi,igo->ngo", seen, taps[tap])
    y = y.reshape(len(x), spec.od * spec.oh, spec.ow, spec.oc)
    return in_layout(spec, y if b is None else y + b)


def _place(axis: Any, out: int, tap: int) -> int | None:
    """The input that this output sees by this tap, None in the padding or between inputs."""
    if not axis.transposed:
        place = out * axis.stride - axis.before + tap * axis.dilation
    else:
        place, rest = divmod(out + axis.before - tap * axis.dilation, axis.stride)
        if rest:
            return None
    return place if 0 <= place < axis.size else None

"""Integers to judge 8-bit layers with: spread over every output, or extreme, never overflowing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle.integers import largest_sums
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.layouts import weights_hwio, weights_in_layout
from convgen.spec.model import ConvSpec
from convgen.spec.quant import SUM_LIMIT, ratios
from convgen.spec.requantize import single_product, weight_room

Array = NDArray[Any]
DEVIATION = 74.0  # of uniform 8-bit integers


def random_integers(spec: ConvSpec, rng: np.random.Generator) -> tuple[Array, Array, Array | None]:
    """x, w, b: sums as large as spread their outputs over the type, where int8 weights can."""
    x_type = arrays_of(spec).x
    low, high = x_type.limits
    x = rng.integers(low, high + 1, spec.x_shape).astype(numpy_dtype(x_type))
    wanted = _wanted_sum(spec)
    taps = spec.taps * spec.icg
    reach = np.clip(3**0.5 * wanted / (DEVIATION * taps**0.5), 1, 127)
    zeros = _zeros(spec)
    shape = (spec.kd * spec.kh, spec.kw, spec.icg, spec.oc)
    spread = np.rint(rng.uniform(-reach, reach, shape)) + zeros
    filters = np.clip(spread, -128, 127).astype(np.int8)
    w = weights_in_layout(spec, _thin(spec, filters, rng))
    return x, w, _bias(spec, w, rng, wanted)


def extreme_weights(spec: ConvSpec, rng: np.random.Generator) -> tuple[Array, Array | None]:
    """w of -128 and 127, in two filters of five one of them alone; a bias of any size that fits."""
    w = rng.choice([-128, 127], spec.w_shape).astype(np.int8)
    filters = weights_hwio(spec, w)
    filters[..., ::5], filters[..., 1::5] = -128, 127
    w = weights_in_layout(spec, _thin(spec, filters, rng))
    return w, _bias(spec, w, rng, np.full(spec.oc, float(SUM_LIMIT)))


def _wanted_sum(spec: ConvSpec) -> Array:
    """Per channel the deviation of a sum that reaches most outputs."""
    quant = spec.quant
    assert quant is not None
    target = quant.sum or quant.output
    if target is None:
        return np.full(spec.oc, 2.0**31)
    single = single_product(quant, spec.dtype)
    return 60 / np.array(ratios(quant, target, spec.oc, single_product=single))


def _zeros(spec: ConvSpec) -> Array:
    assert spec.quant is not None
    return np.array(spec.quant.w_zeros(spec.oc), np.int64)


def _thin(spec: ConvSpec, filters: Array, rng: np.random.Generator) -> Array:
    """Weights [kd*kh, kw, c/g, oc] put at their zero point until no channel's sums can leave half
    of int32."""
    zeros = _zeros(spec)
    sizes = np.abs(filters.astype(np.int64) - zeros).sum(axis=(0, 1, 2))
    share = (weight_room(spec) // 2) / max(1, int(sizes.max()))
    if share < 1:
        gone = rng.random(filters.shape) >= 0.9 * share
        return np.where(gone, zeros, filters).astype(np.int8)
    return filters


def _bias(
    spec: ConvSpec, w: Array, rng: np.random.Generator, wanted: Array
) -> NDArray[np.int32] | None:
    if not spec.bias:
        return None
    room = SUM_LIMIT - largest_sums(spec, w, None)
    size = np.minimum(room, wanted)
    return np.rint(rng.uniform(-1, 1, spec.oc) * size).astype(np.int64).astype(np.int32)

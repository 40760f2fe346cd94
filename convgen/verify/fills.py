"""What is put into a layer to judge it: integers that leave no rounding, reals, extreme scales."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.oracle.floats import values
from convgen.plan.range import Range
from convgen.spec.elements import ELEMENTS, arrays_of, numpy_dtype, stored
from convgen.spec.layouts import image_nhwc, weights_hwio, weights_in_layout
from convgen.spec.model import Act, ConvSpec, DType
from convgen.verify.integers import extreme_weights, random_integers

Array = NDArray[Any]
MANTISSA = {DType.FLOAT32: 24, DType.FLOAT64: 53, DType.FLOAT16: 24, DType.BFLOAT16: 24}


@dataclass(frozen=True)
class Fill:
    """Arrays in the layer's layouts and dtype; ``b`` is None without bias."""

    x: Array
    w: Array
    b: Array | None


def exact_fill(spec: ConvSpec, seed: int) -> Fill:
    """Integers times one power of two: every partial sum, in any order, is exact.

    With |x| <= a and |w| <= a, K*a*a + |b| stays below 2^24 for float32, so no sum rounds and two
    kernels that differ in order still agree to the bit. The power of two scales the sums into the
    range where the activation bends, else relu6 would show nothing but 0 and 6.
    """
    if spec.quantized:
        return integer_fill(spec, seed)
    rng = np.random.default_rng([seed, 1])
    taps = spec.taps * spec.icg
    room = 2 ** (min(MANTISSA[spec.dtype], 24) - 2)
    top = max(1, min(31, math.isqrt(room // taps)))
    x = rng.integers(-top, top + 1, spec.x_shape, np.int8)
    w = rng.integers(-top, top + 1, spec.w_shape, np.int8)
    if taps > room:
        # More products than the mantissa has integers: only so many weights may be nonzero.
        w *= rng.random(spec.w_shape, np.float32) < 0.5 * room / taps
    spread = math.sqrt(min(taps, room)) * top * (top + 1) / 3
    reach, middle = _interesting(spec)
    scale = 2.0 ** round(math.log2(reach / spread)) if reach else 1.0
    bias = rng.integers(-math.ceil(spread), math.ceil(spread) + 1, spec.oc) * scale
    bias += np.clip(round(middle / scale), -room, room) * scale
    return _fill(spec, x, w.astype(np.float64) * scale, bias)


def _interesting(spec: ConvSpec) -> tuple[float, float]:
    """Typical size of a sum that shows the activation's shape, and its middle; 0 for any size."""
    act = spec.activation
    match act.kind:
        case Act.NONE | Act.RELU | Act.LEAKY_RELU:
            return 0.0, 0.0
        case Act.RELU6:
            return 6.0, 0.0
        case Act.CLIP:
            ends = [x for x in (act.low, act.high) if x is not None]
            middle = sum(ends) / len(ends) if spec.bias else 0.0
            reach = (max(ends) - min(ends)) / 2 if spec.bias else max(map(abs, ends))
            far = 7 if spec.dtype is DType.FLOAT16 else 60
            usable = 2.0**-far < reach < 2.0**far
            return (reach, middle) if usable else (max(1.0, abs(middle)), middle)
        case _:
            return 3.0, 0.0


def bounded_fill(spec: ConvSpec, seed: int) -> Fill:
    """Normal x and b, and weights scaled to give sums near 1: what a trained layer looks like."""
    if spec.quantized:
        return integer_fill(spec, seed + 1)
    rng = np.random.default_rng([seed, 2])
    taps = spec.taps * spec.icg
    x = rng.standard_normal(spec.x_shape, np.float32)
    w = rng.standard_normal(spec.w_shape, np.float32) / math.sqrt(taps)
    return _fill(spec, x, w, rng.standard_normal(spec.oc))


def wide_fill(spec: ConvSpec, seed: int) -> Fill:
    """Scales that differ by powers of two from row to row and channel to channel.

    Sums up to 2^16, to both ends of every activation, where an exponential overflows or a
    polynomial leaves its range; and down to subnormal products, which a kernel may only flush to
    zero where it says so.
    """
    if spec.quantized:
        return extreme_fill(spec, seed)
    rng = np.random.default_rng([seed, 3])
    base = bounded_fill(spec, seed + 1)
    kind = ELEMENTS[spec.dtype].compute
    small = -6 if spec.dtype is DType.FLOAT16 else -60
    rows = _scales(rng, (spec.batch, spec.d * spec.h, 1, 1), small).astype(kind)
    channels = _scales(rng, (spec.oc,), small).astype(kind)
    x = values(spec, base.x).copy()
    image_nhwc(spec, x)[...] *= rows
    w = weights_hwio(spec, values(spec, base.w).astype(kind)) * channels
    w = weights_in_layout(spec, w)
    return _fill(spec, x, w, rng.standard_normal(spec.oc) * channels)


def edge_fills(spec: ConvSpec, seed: int, limits: Range, w: Array | None = None) -> Iterator[Fill]:
    """Fills at the edge of the range that a Winograd kernel states: inputs of one size and every
    pattern of signs, which is what its transforms add up; large inputs, then large filters.

    ``w``: baked weights, which leave only the inputs to choose.
    """
    rng = np.random.default_rng([seed, 10])
    signs = rng.choice([-1.0, 1.0], spec.x_shape)
    image = image_nhwc(spec, signs)
    n, h, width, c = np.ogrid[tuple(map(slice, image.shape))]
    waves = (-1.0) ** (h * (c % 2) + width * (c % 3) + n)
    image[...] = np.where(c % 3 == 2, image, waves)
    edge = 1 - 2.0**-12  # rounded to the layer's type, weights may add up to a little more
    if w is not None:
        size = float(np.abs(weights_hwio(spec, w).astype(np.float64)).sum((0, 1, 2)).max())
        top = min(2.0**limits.x, 2.0**limits.product / max(size, 2.0**-126)) * edge
        if size <= 2.0**limits.w:
            yield _fill(spec, signs * top, w, rng.standard_normal(spec.oc))
        return
    drawn = rng.standard_normal(spec.w_shape)
    sums = np.abs(weights_hwio(spec, drawn)).sum((0, 1, 2))
    b = rng.uniform(-1, 1, spec.oc) * 2.0**limits.bias
    x, product = limits.x, limits.product
    for most, size in ((x, product - x), (product - limits.w, limits.w)):
        filters = drawn.copy()
        weights_hwio(spec, filters)[...] *= 2.0**size * edge / sums
        yield _fill(spec, signs * 2.0**most, filters, b)


def integer_fill(spec: ConvSpec, seed: int) -> Fill:
    """Integers whose outputs reach every part of their type, and whose sums fit int32."""
    x, w, b = random_integers(spec, np.random.default_rng([seed, 8]))
    return Fill(x, w, b)


def extreme_fill(spec: ConvSpec, seed: int) -> Fill:
    """The least and largest integers alone, image rows and filters all of one or mixed."""
    rng = np.random.default_rng([seed, 9])
    low, high = arrays_of(spec).x.limits
    x = rng.choice([low, high], spec.x_shape).astype(numpy_dtype(arrays_of(spec).x))
    image = image_nhwc(spec, x)
    image[:, ::3], image[:, 1::3] = low, high
    w, b = extreme_weights(spec, rng)
    return Fill(x, w, b)


def _scales(rng: np.random.Generator, shape: tuple[int, ...], small: int) -> Array:
    rare = rng.random(shape) < 0.2
    return np.asarray(
        2.0 ** np.where(rare, rng.uniform(small - 15, small, shape), rng.uniform(-12, 8, shape))
    )


def impulse_fill(spec: ConvSpec, w: Array, b: Array | None, seed: int) -> Fill:
    """Given weights, and ones so far apart that no window holds two of one group: y = act(b + w).

    Nothing accumulates, so the sum has a single rounding whatever the weights are.
    """
    rng = np.random.default_rng([seed, 4])
    x = np.zeros(spec.x_shape, numpy_dtype(arrays_of(spec).x))
    image = image_nhwc(spec, x)
    depth, height, width = spec.axes
    planes = np.arange(0, spec.d, depth.reach) if spec.rank == 3 else np.arange(1)
    rows, columns = (
        np.arange(rng.integers(min(axis.reach, axis.size)), axis.size, axis.reach)
        for axis in (height, width)
    )
    rows = (planes[:, None] * spec.h + rows).reshape(-1)
    for group in range(spec.groups):
        channel = rng.integers(spec.icg, size=(spec.batch, len(rows), len(columns)))
        at = np.ix_(np.arange(spec.batch), rows, columns)
        image[(*at, group * spec.icg + channel)] = _one(spec)
    return Fill(x, w, b)


def _one(spec: ConvSpec) -> int:
    """1 as the layer's elements hold it."""
    return 0x3F80 if spec.dtype is DType.BFLOAT16 else 1


def with_weights(fill: Fill, w: Array, b: Array | None) -> Fill:
    """The same input under other weights: what a library with baked weights can be given."""
    return Fill(fill.x, w, b)


def _fill(spec: ConvSpec, x: Array, w: Array, b: Array) -> Fill:
    element = ELEMENTS[spec.dtype]
    return Fill(stored(x, element), stored(w, element), stored(b, element) if spec.bias else None)

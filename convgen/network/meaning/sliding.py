"""Convolution, its transpose, pooling and matrix products in float64 (or any NumPy type).

One matrix product per tap over the output positions where that tap lies inside the image: taps in
the padding contribute nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.ops import AvgPool, Conv, ConvTransposed, Dense, MatMul, MaxPool
from convgen.network.ops.windows import Window
from convgen.oracle.floats import activation

Array = NDArray[Any]
Slices = tuple[slice, ...]


def nhwc(op: Window, x: Array) -> Array:
    """A view with the channels last."""
    return x if op.channels_last else np.moveaxis(x, 1, -1)


def in_order(op: Window, y: Array) -> Array:
    """Back to the operator's order of axes."""
    return np.ascontiguousarray(y if op.channels_last else np.moveaxis(y, -1, 1))


def taps(op: Window, sizes: tuple[int, ...], outs: tuple[int, ...]) -> Iterator[Any]:
    """(tap, output slices, input slices) of every tap that meets the image somewhere."""
    for tap in product(*map(range, op.kernel)):
        ins, places = [], []
        for at, k in enumerate(tap):
            stride, offset = op.strides[at], k * op.dilations[at] - op.pads[at][0]
            first = max(0, -(offset // stride))
            last = min(outs[at] - 1, (sizes[at] - 1 - offset) // stride)
            if first > last:
                break
            places.append(slice(first, last + 1))
            start = first * stride + offset
            ins.append(slice(start, start + (last - first) * stride + 1, stride))
        else:
            yield tap, tuple(places), tuple(ins)


def convolution(op: Conv, x: Array, w: Array, b: Array | None = None) -> Array:
    """act(b + sum over taps and channels), exact up to the type's rounding."""
    v = conv_sums(op, x, w)
    v = v if b is None else v + b
    return in_order(op, activation(op.activation, v))


def conv_sums(op: Conv, x: Array, w: Array) -> Array:
    """The sums alone, [N, *out, OC]."""
    x, g = nhwc(op, x), op.groups
    n, sizes, icg, ocg = x.shape[0], x.shape[1:-1], w.shape[-2], w.shape[-1] // g
    outs = _outs(op, sizes)
    total = np.zeros((n, *outs, g, ocg), np.result_type(x, w))
    filters = w.reshape(*w.shape[:-2], icg, g, ocg)
    for tap, places, ins in taps(op, sizes, outs):
        patch = x[(slice(None), *ins)]
        lines = patch.reshape(-1, g, icg).transpose(1, 0, 2)
        part = lines @ filters[tap].transpose(1, 0, 2)
        shape = (*patch.shape[:-1], g, ocg)
        total[(slice(None), *places)] += part.transpose(1, 0, 2).reshape(shape)
    return total.reshape(n, *outs, g * ocg)


def _outs(op: Window, sizes: tuple[int, ...], *, ceil: bool = False) -> tuple[int, ...]:
    found = []
    for at, size in enumerate(sizes):
        before, after = op.pads[at]
        room = size + before + after - ((op.kernel[at] - 1) * op.dilations[at] + 1)
        out = room // op.strides[at] + 1
        if ceil and room % op.strides[at] and out * op.strides[at] < size + before:
            out += 1
        found.append(out)
    return tuple(found)


def transposed(op: ConvTransposed, x: Array, w: Array, b: Array | None = None) -> Array:
    """Every input element adds its multiple of the kernel."""
    v = transposed_sums(op, x, w)
    v = v if b is None else v + b
    return in_order(op, activation(op.activation, v))


def transposed_sums(op: ConvTransposed, x: Array, w: Array) -> Array:
    """The sums alone, [N, *out, OC]: made without pads, then cut to the output."""
    x, g = nhwc(op, x), op.groups
    n, sizes, icg, ocg = x.shape[0], x.shape[1:-1], w.shape[-2], w.shape[-1] // g
    whole = [
        (size - 1) * op.strides[at] + (op.kernel[at] - 1) * op.dilations[at] + 1
        for at, size in enumerate(sizes)
    ]
    total = np.zeros((n, *whole, g, ocg), np.result_type(x, w))
    filters = w.reshape(*w.shape[:-2], icg, g, ocg)
    lines = x.reshape(-1, g, icg).transpose(1, 0, 2)
    for tap in product(*map(range, op.kernel)):
        part = (lines @ filters[tap].transpose(1, 0, 2)).transpose(1, 0, 2)
        spots = [
            slice(k * d, k * d + (size - 1) * s + 1, s)
            for k, d, s, size in zip(tap, op.dilations, op.strides, sizes, strict=True)
        ]
        total[(slice(None), *spots)] += part.reshape(n, *sizes, g, ocg)
    total = total.reshape(n, *whole, g * ocg)
    for at, (before, after) in enumerate(op.pads):
        end = whole[at] - after + op.output_padding[at]
        total = _window(total, at + 1, before, end)
    return total


def _window(array: Array, axis: int, start: int, stop: int) -> Array:
    """Elements start..stop-1 of an axis; places outside the array are 0."""
    pads = [(0, 0)] * array.ndim
    pads[axis] = (max(0, -start), max(0, stop - array.shape[axis]))
    padded = np.pad(array, pads)
    index = [slice(None)] * array.ndim
    index[axis] = slice(start + pads[axis][0], stop + pads[axis][0])
    return padded[tuple(index)]


def max_pool(op: MaxPool, x: Array) -> Array:
    """The largest element inside the image; -inf where a window has none. NaN spreads."""
    x = nhwc(op, x)
    outs = _outs(op, x.shape[1:-1], ceil=op.ceil)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    y = np.full((x.shape[0], *outs, x.shape[-1]), least, x.dtype)
    for _, places, ins in taps(op, x.shape[1:-1], outs):
        spot = (slice(None), *places)
        y[spot] = np.maximum(y[spot], x[(slice(None), *ins)])
    return in_order(op, activation(op.activation, y) if x.dtype.kind == "f" else y)


def pool_sums(op: AvgPool, x: Array) -> tuple[Array, Array]:
    """The sum of each window [N, *out, C], and how many elements it is divided by [*out, 1]."""
    x = nhwc(op, x)
    sizes = x.shape[1:-1]
    outs = _outs(op, sizes, ceil=op.ceil)
    total = np.zeros((x.shape[0], *outs, x.shape[-1]), x.dtype)
    count = np.zeros((*outs, 1), np.int64)
    for _, places, ins in taps(op, sizes, outs):
        total[(slice(None), *places)] += x[(slice(None), *ins)]
        count[places] += 1
    if op.include_pad:
        count = _padded_count(op, sizes, outs)
    return total, count


def _padded_count(op: AvgPool, sizes: tuple[int, ...], outs: tuple[int, ...]) -> Array:
    """Taps of each window inside the padded image."""
    count = np.ones((*outs, 1), np.int64)
    for at, out in enumerate(outs):
        before, after = op.pads[at]
        starts = np.arange(out)[:, None] * op.strides[at]
        places = starts + np.arange(op.kernel[at]) * op.dilations[at]
        inside = (places < sizes[at] + before + after).sum(axis=1)
        count = count * inside.reshape([-1 if axis == at else 1 for axis in range(len(outs) + 1)])
    return count


def average_pool(op: AvgPool, x: Array) -> Array:
    total, count = pool_sums(op, x)
    return in_order(op, activation(op.activation, total / count))


def dense(op: Dense, x: Array, w: Array, b: Array | None = None) -> Array:
    v = x @ w
    return activation(op.activation, v if b is None else v + b)


def matmul(op: MatMul, a: Array, b: Array) -> Array:
    return np.asarray(a @ b)

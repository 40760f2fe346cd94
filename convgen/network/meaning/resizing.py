"""Resize in float64, axis by axis: interpolation is a product of one-dimensional ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.ops import Coordinates, Nearest, Resize, ResizeMode

Array = NDArray[Any]


def resize(op: Resize, x: Array) -> Array:
    """Nearest for any type; linear and cubic for real numbers."""
    for axis, size in enumerate(x.shape):
        if op.sizes[axis] == size and op.scale(axis, size) == 1:
            continue
        if op.mode is ResizeMode.NEAREST:
            x = np.take(x, nearest_index(op, axis, size), axis=axis)
        else:
            matrix = weights(op, axis, size)
            x = np.moveaxis(np.tensordot(matrix, x, axes=(1, axis)), 0, axis)
    return x


def places(op: Resize, axis: int, size: int) -> Array:
    """Where each output element of the axis lies in the input, float64."""
    out, r = op.sizes[axis], op.scale(axis, size)
    i = np.arange(out, dtype=np.float64)
    match op.coordinates:
        case Coordinates.HALF_PIXEL:
            return (i + 0.5) / r - 0.5
        case Coordinates.HALF_PIXEL_SYMMETRIC:
            adjustment = out / (r * size)
            centre = size / 2
            return centre * (1 - adjustment) + (i + 0.5) / r - 0.5
        case Coordinates.PYTORCH_HALF_PIXEL:
            return (i + 0.5) / r - 0.5 if out > 1 else np.zeros(1)
        case Coordinates.ASYMMETRIC:
            return i / r
        case Coordinates.ALIGN_CORNERS:
            return i * ((size - 1) / (out - 1)) if out > 1 else np.zeros(1)


def nearest_index(op: Resize, axis: int, size: int) -> Array:
    """The input index of each output element."""
    at = places(op, axis, size)
    match op.nearest:
        case Nearest.ROUND_PREFER_FLOOR:
            index = np.ceil(at - 0.5)
        case Nearest.ROUND_PREFER_CEIL:
            index = np.floor(at + 0.5)
        case Nearest.FLOOR:
            index = np.floor(at)
        case Nearest.CEIL:
            index = np.ceil(at)
    return np.clip(index, 0, size - 1).astype(np.intp)


def weights(op: Resize, axis: int, size: int) -> Array:
    """The interpolation as a matrix [out, in]."""
    at = places(op, axis, size)
    low = np.floor(at)
    t = at - low
    if op.mode is ResizeMode.LINEAR:
        parts = {0: 1 - t, 1: t}
    else:
        a = float(op.cubic)
        parts = {k: _cubic(np.abs(t - k), a) for k in (-1, 0, 1, 2)}
    matrix = np.zeros((len(at), size))
    for k, part in parts.items():
        index = low.astype(np.intp) + k
        if op.exclude_outside:
            part = np.where((index < 0) | (index >= size), 0.0, part)
        np.add.at(matrix, (np.arange(len(at)), np.clip(index, 0, size - 1)), part)
    if op.exclude_outside:
        matrix /= matrix.sum(axis=1, keepdims=True)
    return matrix


def _cubic(d: Array, a: float) -> Array:
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def bilinear_integers(op: Resize, a: Array) -> Array:
    """TFLite's integer bilinear resizing of an NHWC image: places in 1/1024, products in int64,
    halves away from 0.
    """
    assert a.ndim == 4 and op.mode is ResizeMode.LINEAR, op
    rows, low_h, high_h = _fixed_places(op, 1, a.shape[1])
    cols, low_w, high_w = _fixed_places(op, 2, a.shape[2])
    x = a.astype(np.int64)
    dy = (rows - low_h * 1024)[None, :, None, None]
    dx = (cols - low_w * 1024)[None, None, :, None]
    top, bottom = x[:, low_h], x[:, high_h]
    v = (
        top[:, :, low_w] * (1024 - dy) * (1024 - dx)
        + bottom[:, :, low_w] * dy * (1024 - dx)
        + top[:, :, high_w] * (1024 - dy) * dx
        + bottom[:, :, high_w] * dy * dx
    )
    half = 1 << 19
    nudged = v + np.where(v > 0, half, -half)
    return np.asarray((np.sign(nudged) * (np.abs(nudged) >> 20)).astype(a.dtype))


def _fixed_places(op: Resize, axis: int, size: int) -> tuple[Array, Array, Array]:
    """Places of the axis in 1/1024, and the two elements around each."""
    out = op.sizes[axis]
    corners = op.coordinates is Coordinates.ALIGN_CORNERS and out > 1
    over, under = (size - 1, out - 1) if corners else (size, out)
    step = (1024 * over + under // 2) // under
    at = np.arange(out) * step
    if op.coordinates in (Coordinates.HALF_PIXEL, Coordinates.PYTORCH_HALF_PIXEL):
        at = at + step // 2 - 512
    low = np.maximum(np.sign(at) * (np.abs(at) // 1024), 0)
    high = np.minimum(np.where(at > 0, -(-at // 1024), 0), size - 1)
    return at, low, high

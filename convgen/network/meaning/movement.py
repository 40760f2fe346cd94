"""Operators that move elements, for arrays of any type."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.ops import (
    Broadcast,
    Concat,
    DepthToSpace,
    Gather,
    Identity,
    Pad,
    Reshape,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
)

Array = NDArray[Any]


def identity(op: Identity, x: Array) -> Array:
    return x


def reshape(op: Reshape, x: Array) -> Array:
    return x.reshape(op.shape)


def transpose(op: Transpose, x: Array) -> Array:
    return x.transpose(op.perm)


def concat(op: Concat, *parts: Array) -> Array:
    return np.concatenate(parts, axis=op.axis)


def split(op: Split, x: Array | None) -> list[Array]:
    assert x is not None
    return np.split(x, np.cumsum(op.sizes)[:-1], axis=op.axis)


def slice_(op: Slice, x: Array) -> Array:
    for axis, (start, size, step) in enumerate(zip(op.starts, op.sizes, op.steps, strict=True)):
        x = np.take(x, start + step * np.arange(size), axis=axis)
    return x


def pad(op: Pad, x: Array, fill: float | None = None) -> Array:
    """``fill``: a stored value in place of the operator's real one."""
    cut = tuple(
        slice(max(0, -a), size - max(0, -b)) for size, (a, b) in zip(x.shape, op.pads, strict=True)
    )
    pads = [(max(0, a), max(0, b)) for a, b in op.pads]
    if op.mode == "constant":
        value = op.value if fill is None else fill
        return np.pad(x[cut], pads, constant_values=np.asarray(value).astype(x.dtype))
    return np.pad(x[cut], pads, mode=str(op.mode))  # type: ignore[call-overload,no-any-return]


def depth_to_space(op: DepthToSpace, x: Array) -> Array:
    x = x if op.channels_last else x.transpose(0, 2, 3, 1)
    (n, h, w, c), b = x.shape, op.block
    if op.columns_first:
        y = x.reshape(n, h, w, c // (b * b), b, b).transpose(0, 1, 4, 2, 5, 3)
    else:
        y = x.reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(n, h * b, w * b, c // (b * b))
    return y if op.channels_last else y.transpose(0, 3, 1, 2)


def space_to_depth(op: SpaceToDepth, x: Array) -> Array:
    x = x if op.channels_last else x.transpose(0, 2, 3, 1)
    (n, h, w, c), b = x.shape, op.block
    y = x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    y = y.reshape(n, h // b, w // b, c * b * b)
    return y if op.channels_last else y.transpose(0, 3, 1, 2)


def broadcast(op: Broadcast, x: Array) -> Array:
    return np.array(np.broadcast_to(x, op.shape))


def tile(op: Tile, x: Array) -> Array:
    return np.tile(x, op.repeats)


def gather(op: Gather, x: Array, indices: Array) -> Array:
    return np.take(x, indices, axis=op.axis)

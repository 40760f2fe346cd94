"""Operators that look along an axis, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.ops import (
    BatchNorm,
    LayerNorm,
    LocalResponseNorm,
    Reduce,
    ReduceFn,
    Softmax,
)

Array = NDArray[Any]


def reduce(op: Reduce, x: Array) -> Array:
    axes = tuple(axis % x.ndim for axis in op.axes)
    y = _reduce(op.fn, x, axes)
    if x.dtype.kind != "f":
        y = y.astype(x.dtype)
    return y if op.keepdims else y.reshape([s for at, s in enumerate(y.shape) if at not in axes])


def _reduce(fn: ReduceFn, x: Array, axes: tuple[int, ...]) -> Array:
    match fn:
        case ReduceFn.MEAN:
            return np.asarray(x.mean(axis=axes, keepdims=True))
        case ReduceFn.SUM:
            return np.asarray(x.sum(axis=axes, keepdims=True))
        case ReduceFn.MAX:
            return np.asarray(x.max(axis=axes, keepdims=True))
        case ReduceFn.MIN:
            return np.asarray(x.min(axis=axes, keepdims=True))
        case ReduceFn.PROD:
            return np.asarray(x.prod(axis=axes, keepdims=True))
        case ReduceFn.L1:
            return np.asarray(np.abs(x).sum(axis=axes, keepdims=True))
        case ReduceFn.L2:
            return np.asarray(np.sqrt(np.square(x).sum(axis=axes, keepdims=True)))
        case ReduceFn.SUM_SQUARE:
            return np.asarray(np.square(x).sum(axis=axes, keepdims=True))
        case ReduceFn.LOG_SUM:
            return np.asarray(np.log(x.sum(axis=axes, keepdims=True)))
        case ReduceFn.LOG_SUM_EXP:
            top = x.max(axis=axes, keepdims=True)
            top = np.where(np.isfinite(top), top, 0.0)
            return np.asarray(np.log(np.exp(x - top).sum(axis=axes, keepdims=True)) + top)


def softmax(op: Softmax, x: Array) -> Array:
    z = float(np.float32(op.beta)) * (x - x.max(axis=op.axis, keepdims=True))
    total = np.exp(z).sum(axis=op.axis, keepdims=True)
    return np.asarray(z - np.log(total) if op.log else np.exp(z) / total)


def batch_norm(op: BatchNorm, x: Array, scale: Array, b: Array, mean: Array, var: Array) -> Array:
    shape = [-1 if at == op.axis % x.ndim else 1 for at in range(x.ndim)]
    scale, b, mean, var = (row.reshape(shape) for row in (scale, b, mean, var))
    return np.asarray(scale * (x - mean) / np.sqrt(var + float(np.float32(op.epsilon))) + b)


def layer_norm(
    op: LayerNorm, x: Array, scale: Array | None = None, bias: Array | None = None
) -> Array:
    axes = tuple(range(op.axis % x.ndim, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    spread = np.square(centred).mean(axis=axes, keepdims=True)
    y = centred / np.sqrt(spread + float(np.float32(op.epsilon)))
    y = y if scale is None else y * scale
    return np.asarray(y if bias is None else y + bias)


def local_response_norm(op: LocalResponseNorm, x: Array) -> Array:
    moved = np.moveaxis(x, op.axis, 0)
    squares, total = np.square(moved), np.zeros_like(moved)
    depth = moved.shape[0]
    for c in range(depth):
        first, last = max(0, c - (op.size - 1) // 2), min(depth - 1, c + op.size // 2)
        total[c] = squares[first : last + 1].sum(axis=0)
    alpha, beta, bias = (float(np.float32(v)) for v in (op.alpha, op.beta, op.bias))
    y = moved / np.power(bias + alpha / op.size * total, beta)
    return np.moveaxis(y, 0, op.axis)

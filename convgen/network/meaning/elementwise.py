"""Element-wise operators in float64, and in the integers' own arithmetic where inputs are some."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network.ops import Activate, Binary, BinaryFn, Cast, PRelu, Unary, UnaryFn, Where
from convgen.oracle.floats import activation

Array = NDArray[Any]


def activate(op: Activate, x: Array) -> Array:
    return activation(op.activation, x)


def binary(op: Binary, a: Array, b: Array) -> Array:
    v = _binary(op.fn, a, b)
    return activation(op.activation, v) if v.dtype.kind == "f" else v


def _binary(fn: BinaryFn, a: Array, b: Array) -> Array:
    match fn:
        case BinaryFn.ADD:
            return np.add(a, b)
        case BinaryFn.SUB:
            return np.subtract(a, b)
        case BinaryFn.MUL:
            return np.multiply(a, b)
        case BinaryFn.DIV if a.dtype.kind == "f":
            return np.divide(a, b)
        case BinaryFn.DIV:  # C's division of integers: towards 0
            quotient = np.abs(a) // np.maximum(np.abs(b), 1)
            return np.asarray((np.sign(a) * np.sign(b) * quotient).astype(a.dtype))
        case BinaryFn.MAX:
            return np.maximum(a, b)
        case BinaryFn.MIN:
            return np.minimum(a, b)
        case BinaryFn.POW:
            return np.power(a, b)
        case BinaryFn.EQUAL:
            return np.equal(a, b)
        case BinaryFn.LESS:
            return np.less(a, b)
        case BinaryFn.LESS_EQUAL:
            return np.less_equal(a, b)
        case BinaryFn.GREATER:
            return np.greater(a, b)
        case BinaryFn.GREATER_EQUAL:
            return np.greater_equal(a, b)
        case BinaryFn.AND:
            return np.logical_and(a, b)
        case BinaryFn.OR:
            return np.logical_or(a, b)
        case BinaryFn.XOR:
            return np.logical_xor(a, b)


def unary(op: Unary, x: Array) -> Array:
    y = _unary(op, x)
    return y if x.dtype.kind == "f" else y.astype(x.dtype)


def _unary(op: Unary, x: Array) -> Array:
    match op.fn:
        case UnaryFn.ABS:
            return np.abs(x)
        case UnaryFn.NEG:
            return np.negative(x)
        case UnaryFn.EXP:
            return np.exp(x)
        case UnaryFn.LOG:
            return np.log(x)
        case UnaryFn.SQRT:
            return np.sqrt(x)
        case UnaryFn.RSQRT:
            return np.asarray(1 / np.sqrt(x))
        case UnaryFn.SQUARE:
            return np.square(x)
        case UnaryFn.RECIPROCAL:
            return np.asarray(1 / x)
        case UnaryFn.ERF:
            return np.asarray(np.vectorize(math.erf, otypes=[np.float64])(x))
        case UnaryFn.SIN:
            return np.sin(x)
        case UnaryFn.COS:
            return np.cos(x)
        case UnaryFn.FLOOR:
            return np.floor(x)
        case UnaryFn.CEIL:
            return np.ceil(x)
        case UnaryFn.ROUND:
            return np.rint(x)
        case UnaryFn.SIGN:
            return np.sign(x)
        case UnaryFn.NOT:
            return np.logical_not(x)
        case _:
            return _with_constants(op, x)


def _with_constants(op: Unary, x: Array) -> Array:
    """Constants count as float32, as a kernel holds them."""
    alpha, beta, gamma = (float(np.float32(c)) for c in (op.alpha, op.beta, op.gamma))
    match op.fn:
        case UnaryFn.ELU:
            return np.where(x < 0, alpha * np.expm1(x), x)
        case UnaryFn.SELU:
            return np.asarray(gamma * np.where(x <= 0, alpha * np.expm1(x), x))
        case UnaryFn.CELU:
            return np.where(x < 0, alpha * np.expm1(x / alpha), x)
        case UnaryFn.HARD_SIGMOID:
            v = alpha * x + beta
            return np.where(v < 0, 0.0, np.where(v > 1, 1.0, v))
        case UnaryFn.SOFTPLUS:
            return np.logaddexp(0, x)
        case UnaryFn.SOFTSIGN:
            return np.asarray(x / (1 + np.abs(x)))
        case UnaryFn.MISH:
            return np.asarray(x * np.tanh(np.logaddexp(0, x)))
        case UnaryFn.THRESHOLDED_RELU:
            return np.where(x <= alpha, 0.0, x)
        case _:
            raise AssertionError(op)


def prelu(op: PRelu, x: Array, slope: Array) -> Array:
    return np.where(x < 0, slope * x, x)


def where(op: Where, condition: Array, a: Array, b: Array) -> Array:
    return np.where(condition, a, b)


def cast(op: Cast, x: Array) -> Array:
    if op.dtype.is_float:
        # A cast down to a narrower real type rounds; the others are exact or float64's own.
        narrow = {"float16": np.float16, "float32": np.float32}.get(str(op.dtype), np.float64)
        return x.astype(narrow).astype(np.float64)
    return x.astype(str(op.dtype))

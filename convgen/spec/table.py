"""Activations of 8-bit layers: a clamp where that is exact, else a table of all 256 values.

The table's entries are act(real) for every integer, rounded once: exponentials and erf come from
40-digit arithmetic, so that neither libm nor NumPy decides an entry.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from convgen.spec.model import Act, Activation
from convgen.spec.quant import Affine, Rounding, float32, quantized, rounder

CLAMPS = frozenset({Act.NONE, Act.RELU, Act.RELU6, Act.CLIP})
_DIGITS = decimal.Context(prec=40)
_PI = Decimal("3.14159265358979323846264338327950288419717")


def clamp(
    act: Activation, output: Affine, limits: tuple[int, int], rounding: Rounding
) -> tuple[int, int]:
    """The least and largest output, for an activation of ``CLAMPS``."""
    low, high = limits
    ends: dict[Act, tuple[float | None, float | None]] = {
        Act.NONE: (None, None),
        Act.RELU: (0.0, None),
        Act.RELU6: (0.0, 6.0),
        Act.CLIP: (act.low, act.high),
    }
    first, last = ends[act.kind]
    if first is not None:
        low = min(max(low, quantized(first, output, rounding)), limits[1])
    if last is not None:
        high = max(min(high, quantized(last, output, rounding)), limits[0])
    return low, max(low, high)


@lru_cache(maxsize=64)
def table(
    act: Activation, source: Affine, output: Affine, limits: tuple[int, int], rounding: Rounding
) -> tuple[int, ...]:
    """act of every integer of the type, from the least one up, in the output's integers."""
    rounded, real = rounder(rounding), _real(act)
    step, target = Fraction(source.scale[0]), Fraction(output.scale[0])
    found = []
    with decimal.localcontext(_DIGITS):
        for q in range(limits[0], limits[1] + 1):
            value = real(step * (q - source.zero_point[0]))
            places = rounded(value / target) + output.zero_point[0]
            found.append(min(max(places, limits[0]), limits[1]))
    return tuple(found)


def _real(act: Activation) -> Callable[[Fraction], Fraction]:
    """act on exact numbers: exact itself where it is rational, else to 40 digits."""
    match act.kind:
        case Act.LEAKY_RELU:
            alpha = Fraction(float32(act.alpha))
            return lambda v: v if v >= 0 else alpha * v
        case Act.HARDSWISH:
            return lambda v: v * min(max(v + 3, Fraction(0)), Fraction(6)) / 6
        case Act.SIGMOID:
            return lambda v: Fraction(_sigmoid(_decimal(v)))
        case Act.TANH:
            return lambda v: Fraction(2 * _sigmoid(2 * _decimal(v)) - 1)
        case Act.SILU:
            return lambda v: Fraction(_decimal(v) * _sigmoid(_decimal(v)))
        case Act.GELU:
            return lambda v: Fraction(_gelu(_decimal(v)))
        case Act.GELU_TANH:
            return lambda v: Fraction(_gelu_tanh(_decimal(v)))
        case _:
            raise AssertionError(act)


def _decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _sigmoid(v: Decimal) -> Decimal:
    if v < -10000:
        return Decimal(0)
    return 1 / (1 + (-v).exp()) if v < 10000 else Decimal(1)


def _gelu(v: Decimal) -> Decimal:
    """v * (1 + erf(v / sqrt 2)) / 2, erf by its Maclaurin series; beyond 12 it is -1 or 1."""
    if abs(v) > 12:
        return max(v, Decimal(0))
    with decimal.localcontext(decimal.Context(prec=100)):  # terms reach e^72 before they cancel
        z = v / Decimal(2).sqrt()
        total, term, k = Decimal(0), z, 0
        while abs(term) > Decimal(10) ** -60:
            total += term / (2 * k + 1)
            k += 1
            term *= -z * z / k
        whole = v / 2 * (1 + 2 * total / _PI.sqrt())
    return +whole


def _gelu_tanh(v: Decimal) -> Decimal:
    inner = 2 * (2 / _PI).sqrt() * (v + Decimal("0.044715") * v * v * v)
    return v * _sigmoid(inner)

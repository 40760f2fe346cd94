"""Constants of the activations, as C literals for the epilogue's template.

tanh and erf are odd rational functions z*P(z^2)/Q(z^2) on a clamped range, fitted for least
relative error by iteratively reweighted least squares on Chebyshev points in 40-digit arithmetic;
evaluated in float32 they stay within 6 and 7 units of 2^-24 (tests/c/test_activations.py measures
it). e^r is its Taylor polynomial of degree 7 on |r| <= ln(2)/2, whose remainder is below 2^-27.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from convgen.spec.model import Act, Activation

_TANH_P = (1.33562441e-8, 2.06103778e-5, 3.49567388e-3, 0.133810997, 1.0)
_TANH_Q = (7.77725063e-7, 3.28577007e-4, 2.58773156e-2, 0.467144161, 1.0)
_ERF_P = (2.04626531e-6, 2.84809037e-4, 3.7710988e-3, 5.27648442e-2, 0.190560207, 1.12837911)
_ERF_Q = (3.8048427e-5, 1.16350176e-3, 1.49803041e-2, 0.11416883, 0.5022123456, 1.0)
_EXP = tuple(1 / math.factorial(k) for k in range(7, -1, -1))


# In double precision these have no vector formula: each lane takes a function's call.
BY_LANE = frozenset({Act.SIGMOID, Act.SILU, Act.TANH, Act.GELU, Act.GELU_TANH})
# Range reductions and factors whose rounding, or whose range, depends on the order of steps.
_KEPT = frozenset({Act.SIGMOID, Act.SILU, Act.HARDSWISH, Act.GELU, Act.GELU_TANH})


@dataclass(frozen=True)
class DoubleText:
    """What templates/activation_double.j2 prints: C double literals; ``above``, ``below``: the
    limits at the infinities. ``exp``: coefficients from the highest power down."""

    kind: str
    above: str
    below: str
    exp: tuple[str, ...]


@dataclass(frozen=True)
class ActivationText:
    """What the template prints: ``kind`` selects the formula, all numbers are C float literals.

    ``kind`` "lanes": each lane goes through the function of ``double``. ``f``: what ends a literal.
    ``leaky``: the operation that takes the right one of alpha*a and a. ``exp``, ``p``, ``q``:
    coefficients from the highest power down. ``limit``: |z| beyond which tanh or erf is 1.
    """

    kind: str
    f: str = "f"
    double: DoubleText | None = None
    leaky: str = ""
    alpha: str = ""
    low: str = ""
    high: str = ""
    limit: str = ""
    exp_limit: str = ""
    exp: tuple[str, ...] = ()
    p: tuple[str, ...] = ()
    q: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        """Has the formula steps that -ffast-math must not undo?"""
        return self.double is not None or self.kind in _KEPT


def float_literal(value: float) -> str:
    """The shortest decimal that reads back as the same float32, with C's suffix.

    What is no finite number is a quotient, which needs no header.
    """
    import numpy as np

    if not math.isfinite(value):
        return odd_literal(value, "f")
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    if 1e-4 <= abs(value) < 1e6 or value == 0:
        text = np.format_float_positional(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def odd_literal(value: float, suffix: str) -> str:
    """An infinity, or no number, as a quotient of constants."""
    above = "0.0" if math.isnan(value) else "1.0" if value > 0 else "-1.0"
    return f"({above}{suffix} / 0.0{suffix})"


def double_text(act: Activation) -> ActivationText:
    """The words and numbers of one activation in double precision."""
    exp = tuple(repr(1 / math.factorial(k)) for k in range(14, -1, -1))
    match act.kind:
        case Act.SIGMOID:
            limits = ("1.0", "0.0")
        case Act.TANH:
            limits = ("1.0", "-1.0")
        case Act.SILU | Act.GELU | Act.GELU_TANH:
            limits = ("v", "0.0")
        case _:
            return activation_text(act, repr, "")
    return ActivationText("lanes", f="", double=DoubleText(act.kind, *limits, exp))


def activation_text(
    act: Activation, literal: Callable[[float], str] = float_literal, f: str = "f"
) -> ActivationText:
    """The words and numbers of one activation, in float unless ``literal`` and ``f`` say so."""
    match act.kind:
        case Act.NONE | Act.RELU | Act.HARDSWISH:
            return ActivationText(act.kind, f)
        case Act.LEAKY_RELU:
            # alpha*a is the larger one below 0 exactly when alpha <= 1.
            leaky = "max" if act.alpha <= 1 else "min"
            return ActivationText(act.kind, f, leaky=leaky, alpha=literal(act.alpha))
        case Act.RELU6:
            return ActivationText("clip", f, low=literal(0.0), high=literal(6.0))
        case Act.CLIP:
            low = "" if act.low is None else literal(act.low)
            high = "" if act.high is None else literal(act.high)
            return ActivationText("clip", f, low=low, high=high)
        case Act.SIGMOID | Act.SILU:
            return ActivationText(act.kind, exp_limit="87.0f", exp=_literals(_EXP))
        case Act.TANH | Act.GELU_TANH:
            p, q = _literals(_TANH_P), _literals(_TANH_Q)
            return ActivationText(act.kind, limit="9.0f", p=p, q=q)
        case Act.GELU:
            p, q = _literals(_ERF_P), _literals(_ERF_Q)
            return ActivationText(act.kind, limit="3.925f", p=p, q=q)


def _literals(values: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(float_literal(v) for v in values)

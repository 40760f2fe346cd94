"""What the epilogues make of every kind of float, measured through compiled kernels.

A depthwise 1x1 layer with weights of one passes its input to the activation unchanged, so that a
dense grid of arguments can be held against double-precision references from the math module.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from edge_layers import ACTIVATIONS
from kernels import ISAS, Part, Way, compiled, needs, planned, target_of
from numpy.typing import NDArray

from convgen.ctext.activations import activation_text, float_literal
from convgen.kernels.face import activation_operations
from convgen.oracle.floats import act_error
from convgen.render.source import render_c
from convgen.spec.model import Act, Activation, ConvSpec
from convgen.target.isa import OPERATIONS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
UNIT = 2.0**-24
CHANNELS = 16
SMOOTH = ["sigmoid", "tanh", "silu", "hardswish", "gelu", "gelu_tanh"]
# The plain C body of a SIMD file prints the same epilogue as the plain target's only body.
BODIES = [*((isa, Part.OWN) for isa in ISAS), ("avx2", Part.MODEL)]
each_body = pytest.mark.parametrize(
    ("isa", "part"), BODIES, ids=[isa if part is Part.OWN else part for isa, part in BODIES]
)


@cache
def arguments() -> Floats:
    """Dense around 0, every magnitude, and all the special ones; a multiple of the channels."""
    magnitudes = np.logspace(-45, 38.5, 12000).astype(np.float32)
    bits = np.random.default_rng(1).integers(0, 2**32, 8000, np.uint64).astype(np.uint32)
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38], np.float32)
    dense = np.linspace(-12, 12, 100_001).astype(np.float32)
    ends = np.array([3, 9, 3.925, 87, 88, 104, 6, 1, 0.5, 5.5508], np.float32)
    near = np.nextafter(ends, np.float32(np.inf)), ends, np.nextafter(ends, np.float32(0))
    found = np.concatenate(
        [dense, magnitudes, -magnitudes, bits.view(np.float32), special, *near, *(-n for n in near)]
    )
    return np.resize(found, -(-len(found) // CHANNELS) * CHANNELS)


def through_kernel(act: Activation, isa: str, part: Part, x: Floats) -> Floats:
    """act(x) as a generated kernel computes it."""
    way = Way(part=part)
    needs(isa, way)
    spec = ConvSpec(
        name="unit", h=len(x) // CHANNELS, w=1, c=CHANNELS, oc=CHANNELS, kh=1, kw=1,
        groups=CHANNELS, bias=False, activation=act,
    )  # fmt: skip
    plan = planned(spec, target_of(isa))
    library = ctypes.CDLL(str(compiled("unit", render_c(plan), way)))
    w, packed = np.ones(CHANNELS, np.float32), np.zeros(plan.packed_bytes // 4, np.float32)
    y = np.empty_like(x)
    library.unit_pack(_pointer(w), None, _pointer(packed))
    library.unit_run(_pointer(x), _pointer(packed), _pointer(y), None)
    return y


def _pointer(array: Floats) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


def _sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v)) if v > -700 else 0.0


# Written down again, without the oracle: each is accurate to a few units of 2^-53.
REFERENCES: dict[str, Callable[[float], float]] = {
    "none": lambda v: v,
    "relu": lambda v: max(v, 0.0),
    "relu6": lambda v: min(max(v, 0.0), 6.0),
    "leaky_relu": lambda v: v if v > 0 else float(np.float32(0.1)) * v,
    "leaky_relu_steep": lambda v: v if v > 0 else 1.5 * v,
    "leaky_relu_falling": lambda v: v if v > 0 else -0.5 * v,
    "clip": lambda v: min(max(v, -0.75), 1.25),
    "clip_low": lambda v: max(v, -0.5),
    "clip_high": lambda v: min(v, 0.5),
    "sigmoid": _sigmoid,
    "tanh": math.tanh,
    "silu": lambda v: v * _sigmoid(v),
    "hardswish": lambda v: v * min(max(v + 3, 0.0), 6.0) / 6,
    "gelu": lambda v: 0.5 * v * math.erfc(-v * math.sqrt(0.5)),
    "gelu_tanh": lambda v: v * _sigmoid(2 * math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)),
}


@cache
def expected(name: str) -> Doubles:
    finite = np.where(np.isfinite(arguments()), arguments(), 0).astype(np.float64)
    return np.array([REFERENCES[name](v) for v in finite.tolist()])


@each_body
@pytest.mark.parametrize("name", REFERENCES)
def test_error_stays_within_the_stated_table_and_nan_is_nan(
    name: str, isa: str, part: Part
) -> None:
    act, x = ACTIVATIONS[name], arguments()
    y = through_kernel(act, isa, part, x).astype(np.float64)
    rule, want = act_error(act), expected(name)
    judged = np.isfinite(x) & (np.abs(want) <= np.finfo(np.float32).max)
    size = np.abs(np.where(judged, x, 0)).astype(np.float64)
    scale = np.maximum(1.0, size) if rule.grows else 1.0
    allowed = UNIT * (rule.absolute * scale + rule.relative * np.abs(want)) + 2.0**-148
    with np.errstate(invalid="ignore"):
        error = np.where(judged, np.abs(y - want), 0.0)
    worst = int(np.argmax(error / allowed))
    assert error[worst] <= allowed[worst], f"at {x[worst]!r}: {y[worst]} for {want[worst]}"
    # NaN comes through, and no other finite argument gives one.
    assert (np.isnan(y) == np.isnan(x))[~np.isinf(x)].all()


@each_body
@pytest.mark.parametrize(("name", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_range(name: str, low: float, high: float, isa: str, part: Part) -> None:
    """Also at the ends of the clamped range, where the rational functions are at their roughest."""
    x = arguments()[~np.isnan(arguments())]
    x = np.resize(x, len(x) // CHANNELS * CHANNELS)
    y = through_kernel(ACTIVATIONS[name], isa, part, x)
    assert y.min() >= low and y.max() <= high
    assert y[x > 100].min() >= high - 2 * UNIT and y[x < -100].max() <= low + 2 * UNIT


@each_body
def test_hardswish_is_exact_outside_its_bend(isa: str, part: Part) -> None:
    """Its product with the gate must not overflow where the result does not."""
    x = arguments()[np.isfinite(arguments())]
    x = np.resize(x, len(x) // CHANNELS * CHANNELS)
    y = through_kernel(ACTIVATIONS["hardswish"], isa, part, x)
    assert (y[x >= 3] == x[x >= 3]).all() and (y[x <= -3] == 0).all()


LIMITS = {"relu": (0, np.inf), "relu6": (0, 6), "clip": (-0.75, 1.25), "clip_low": (-0.5, np.inf)}


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("isa", ISAS)
def test_infinity(name: str, isa: str) -> None:
    x = np.resize(np.array([-np.inf, np.inf], np.float32), CHANNELS)
    assert (through_kernel(ACTIVATIONS[name], isa, Part.OWN, x)[:2] == LIMITS[name]).all()


@each_body
def test_tanh_is_odd_and_close_to_x_near_zero(isa: str, part: Part) -> None:
    x = np.logspace(-40, -5, 4096).astype(np.float32)
    y = through_kernel(ACTIVATIONS["tanh"], isa, part, x)
    assert (y == -through_kernel(ACTIVATIONS["tanh"], isa, part, -x)).all()
    assert (np.abs(y.astype(np.float64) - x) <= 4 * UNIT * x + 2.0**-149).all()


# -- the rational functions by themselves ----------------------------------------------------------

# As convgen/ctext/activations.py states them: units of 2^-24, relative.
RATIONAL = [(Act.TANH, math.tanh, 6.0), (Act.GELU, math.erf, 7.0)]


@pytest.mark.parametrize(("kind", "function", "units"), RATIONAL)
def test_rational_functions_keep_their_word(
    kind: Act, function: Callable[[float], float], units: float
) -> None:
    """Evaluated in float32 without fused operations, which is the rougher of the two ways."""
    text = activation_text(Activation(kind))
    limit = float(text.limit[:-1])
    z = np.linspace(1e-6, limit, 400_001).astype(np.float32)
    p, q = (_horner(z * z, coefficients) for coefficients in (text.p, text.q))
    got = (z * p / q).astype(np.float64)
    want = np.array([function(v) for v in z.astype(np.float64).tolist()])
    worst = float((np.abs(got / want - 1) / UNIT).max())
    assert units - 3 < worst <= units, f"{worst:.2f} units of 2^-24"
    beyond = function(limit)
    assert 1 - beyond < UNIT, "beyond its limit the function is 1 in float32"


def _horner(x: Floats, coefficients: tuple[str, ...]) -> Floats:
    total = np.full_like(x, np.float32(coefficients[0][:-1]))
    for c in coefficients[1:]:
        total = total * x + np.float32(c[:-1])
    return total


def test_exponential_has_its_taylor_coefficients() -> None:
    text = activation_text(Activation(Act.SIGMOID))
    want = [float_literal(1 / math.factorial(k)) for k in range(7, -1, -1)]
    assert list(text.exp) == want
    remainder = math.exp(math.log(2) / 2) * (math.log(2) / 2) ** 8 / math.factorial(8)
    assert remainder < 2.0**-27


# -- the words of the template ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, 0.1, 1e-8, 3.0e38, 1e-45, 1234567.0, 1 / 3])
def test_float_literals_read_back_as_the_same_float(value: float) -> None:
    text = float_literal(value)
    assert text.endswith("f") and ("." in text or "e" in text)
    assert np.float32(text[:-1]) == np.float32(value)


@pytest.mark.parametrize("act", ACTIVATIONS.values(), ids=list(ACTIVATIONS))
def test_operations_are_named_once_and_exist(act: Activation) -> None:
    """The compilers' -Wunused-function, in every kernel test, shows that none is too many."""
    spec = ConvSpec(name="a", h=1, w=1, c=1, oc=1, kh=1, kw=1, activation=act)
    used = activation_operations(spec)
    assert len(set(used)) == len(used) and set(used) <= set(OPERATIONS)

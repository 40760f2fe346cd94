"""8-bit layers for tests: random ones, and a second model of them in Python's integers alone.

The model shares no line with ``convgen.oracle.integers``: plain loops, exact fractions, and each
rounding from its definition rather than from the instructions that make it.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from convgen.spec.elements import ELEMENTS
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layout, Padding, WeightLayout
from convgen.spec.quant import Affine, Quant, Rounding
from convgen.spec.requantize import requantization
from convgen.target.host import cpu_features, machine_name

Array = np.ndarray[Any, Any]
CLAMPED = (
    Activation(),
    Activation(Act.RELU),
    Activation(Act.RELU6),
    Activation(Act.CLIP, low=-1.5),
    Activation(Act.CLIP, low=-0.3, high=2.0),
)
TABLED = tuple(
    Activation(kind)
    for kind in (
        Act.LEAKY_RELU, Act.SIGMOID, Act.TANH, Act.SILU, Act.HARDSWISH, Act.GELU, Act.GELU_TANH,
    )
)  # fmt: skip


@dataclass(frozen=True)
class Filled:
    """A layer and integers for it; ``b`` is None without a bias."""

    spec: ConvSpec
    x: Array
    w: Array
    b: Array | None


def saturates() -> bool:
    """Does ONNX Runtime sum pairs of 8-bit products in 16 bits here?

    It does where an x86-64 CPU has no VNNI: VPMADDUBSW adds two products with saturation.
    """
    vnni = {"avx512vnni", "avxvnni"}
    return machine_name() in ("x86_64", "AMD64") and not cpu_features() & vnni


def single(value: float) -> float:
    return float(np.float32(value))


def random_layer(
    seed: int,
    rounding: Rounding,
    *,
    dtype: DType = DType.INT8,
    w_zero: bool = True,
    tables: bool = True,
    **more: Any,
) -> Filled:
    """A small layer of any geometry, scaled so that outputs reach every part of their range."""
    rng = np.random.default_rng([seed, 77])

    def some(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    groups = (1, 1, 2, 3)[some(0, 3)]
    icg, ocg = some(1, 4), some(1, 4)
    kh, kw, dh, dw = some(1, 3), some(1, 3), some(1, 2), some(1, 2)
    h, w = (kh - 1) * dh + some(1, 5), (kw - 1) * dw + some(1, 5)
    pads = Padding(*(some(0, 2) for _ in range(4)))
    acts = CLAMPED + (TABLED if tables else ())
    oc = groups * ocg
    taps = kh * kw * icg
    x_zero, y_zero = (some(*ELEMENTS[dtype].limits) for _ in range(2))
    channels = oc if some(0, 1) else 1
    w_scale = tuple(single(s) for s in rng.uniform(0.001, 0.02, channels))
    zeros = tuple(some(-9, 9) if w_zero else 0 for _ in range(channels if some(0, 1) else 1))
    x_scale = single(rng.uniform(0.005, 0.1))
    spread = x_scale * w_scale[0] * 74 * 74 * math.sqrt(taps)  # deviation of a sum, as a real
    step = single(spread / float(rng.choice([2.0, 30.0, 60.0, 120.0])))
    activation = more.pop("activation", acts[some(0, len(acts) - 1)])
    table = Affine((step,), (some(*ELEMENTS[dtype].limits),)) if activation in TABLED else None
    output = Affine((single(rng.uniform(0.005, 0.02)) if table else step,), (y_zero,))
    spec = ConvSpec(
        name="edge", h=h, w=w, c=groups * icg, oc=oc, kh=kh, kw=kw, sh=some(1, 2), sw=some(1, 2),
        dh=dh, dw=dw, padding=pads, groups=groups, batch=some(1, 2), bias=bool(some(0, 3)),
        activation=activation, dtype=dtype, layout=list(Layout)[some(0, 1)],
        weight_layout=list(WeightLayout)[some(0, 2)],
        quant=Quant(Affine((x_scale,), (x_zero,)), Affine(w_scale, zeros), output, table, rounding),
    )  # fmt: skip
    if more:
        spec = replace(spec, **more)
    return filled(spec, seed)


def quantised(
    spec: ConvSpec, rounding: Rounding, dtype: DType = DType.INT8, w_zero: tuple[int, ...] = (0,)
) -> ConvSpec:
    """Scales that spread the outputs over their type; a zero point that is no middle."""
    step = float(np.float32(0.05 * 0.01 * 74 * 74 * (spec.taps * spec.icg) ** 0.5 / 50))
    scales = tuple(float(s) for s in np.linspace(0.009, 0.011, spec.oc, dtype=np.float32))
    x_zero = -9 if dtype is DType.INT8 else 117
    x = Affine((float(np.float32(0.05)),), (x_zero,))
    quant = Quant(x, Affine(scales, w_zero), Affine((step,), (4,)), None, rounding)
    return replace(spec, dtype=dtype, quant=quant)


def filled(spec: ConvSpec, seed: int) -> Filled:
    """Random integers; at every third seed the type's extremes alone."""
    rng = np.random.default_rng([seed, 78])
    low, high = ELEMENTS[spec.dtype].limits
    if seed % 3 == 0:
        x = rng.choice([low, high], spec.x_shape).astype(spec.dtype)
        w = rng.choice([-128, 127], spec.w_shape).astype(np.int8)
    else:
        x = rng.integers(low, high + 1, spec.x_shape).astype(spec.dtype)
        w = rng.integers(-128, 128, spec.w_shape).astype(np.int8)
    b = rng.integers(-20000, 20001, spec.oc).astype(np.int32) if spec.bias else None
    return Filled(spec, x, w, b)


def model(layer: Filled) -> list[int]:
    """Every output in the order [n, oh, ow, oc], from loops over Python's integers."""
    s = layer.spec
    assert s.quant is not None
    nhwc = layer.x if s.layout is Layout.NHWC else layer.x.transpose(0, 2, 3, 1)
    order = {"HWIO": (0, 1, 2, 3), "OIHW": (2, 3, 1, 0), "OHWI": (1, 2, 3, 0)}[s.weight_layout]
    x, w = nhwc.tolist(), layer.w.transpose(order).tolist()
    found = []
    for n in range(s.batch):
        for oh in range(s.oh):
            for ow in range(s.ow):
                for oc in range(s.oc):
                    total = 0 if layer.b is None else int(layer.b[oc])
                    total += _sum(s, x[n], w, oh, ow, oc)
                    found.append(output(s, total, oc))
    return found


def _sum(s: ConvSpec, x: Any, w: Any, oh: int, ow: int, oc: int) -> int:
    assert s.quant is not None
    zeros, total = s.quant.weight.zero_point, 0
    w_zero = zeros[oc if len(zeros) > 1 else 0]
    for kh in range(s.kh):
        for kw in range(s.kw):
            ih = oh * s.sh - s.padding.top + kh * s.dh
            iw = ow * s.sw - s.padding.left + kw * s.dw
            if 0 <= ih < s.h and 0 <= iw < s.w:
                for ic in range(s.icg):
                    pixel = x[ih][iw][oc // s.ocg * s.icg + ic] - s.quant.input.zero_point[0]
                    total += pixel * (w[kh][kw][ic][oc] - w_zero)
    return total


def output(s: ConvSpec, total: int, oc: int) -> int:
    """One output of a sum, from the definitions."""
    q = s.quant
    assert q is not None
    if q.output is None:
        return max(total, 0) if s.activation.kind is Act.RELU else total
    low, high = (0, 255) if s.dtype is DType.UINT8 else (-128, 127)
    scales = q.weight.scale
    w_scale = scales[oc if len(scales) > 1 else 0]
    target = q.sum or q.output
    scaled = _requantized(s, total, q.input.scale[0], w_scale, target.scale[0])
    stored = min(max(scaled + target.zero_point[0], low), high)
    act = s.activation
    if q.sum is not None:
        how = requantization(s)
        assert how is not None
        return how.table[stored - low]  # test_quant_table.py looks into the table itself
    ends: dict[Act, tuple[float | None, float | None]] = {
        Act.NONE: (None, None), Act.RELU: (0.0, None), Act.RELU6: (0.0, 6.0),
        Act.CLIP: (act.low, act.high),
    }  # fmt: skip
    first, last = ends[act.kind]
    if first is not None:
        stored = max(stored, min(_constant(first, q.output, q.rounding), high))
    if last is not None:
        stored = min(stored, max(_constant(last, q.output, q.rounding), low))
    return stored


def _constant(value: float, to: Affine, rounding: Rounding) -> int:
    exact = Fraction(single(single(value) / to.scale[0]))
    near = round(exact) if rounding is Rounding.ONNX else _away(exact)
    return to.zero_point[0] + near


def _requantized(s: ConvSpec, total: int, x: float, w: float, y: float) -> int:
    assert s.quant is not None
    if s.quant.rounding is Rounding.ONNX:
        scale = single(single(x * w) / y)
        product = _float32(Fraction(_float32(Fraction(total))) * Fraction(scale))
        return round(Fraction(product))
    product = x * w
    if s.dtype is DType.UINT8 and len(s.quant.weight.scale) == 1:
        product = single(product)
    mantissa, exponent = math.frexp(product / y)
    factor = _away(Fraction(mantissa) * 2**31)
    if factor == 2**31:
        factor, exponent = 2**30, exponent + 1
    if s.quant.rounding is Rounding.TFLITE_SINGLE:
        return _half_up(Fraction(total * factor) * Fraction(2) ** (exponent - 31))
    first = _half_up(Fraction(total * 2 ** max(exponent, 0) * factor, 2**31))
    return _away(Fraction(first, 2 ** max(-exponent, 0)))


def _half_up(value: Fraction) -> int:
    return math.floor(value + Fraction(1, 2))


def _away(value: Fraction) -> int:
    size = math.floor(abs(value) + Fraction(1, 2))
    return size if value >= 0 else -size


def _float32(value: Fraction) -> float:
    """Rounded once to 24 bits, half to even, by exact arithmetic."""
    if not value:
        return 0.0
    size = abs(value)
    exponent = size.numerator.bit_length() - size.denominator.bit_length() - 24
    while size / Fraction(2) ** exponent >= 2**24:
        exponent += 1
    near = round(size / Fraction(2) ** exponent)
    result = math.ldexp(near, exponent)
    assert struct.unpack("f", struct.pack("f", result))[0] == result
    return math.copysign(result, float(value))

"""What selftest.c checks of an 8-bit layer: integers that C and Python both know, to the bit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convgen import __version__
from convgen.oracle.integers import outputs_at, overflowing, reference, sums_at
from convgen.package.emit.selftest import SEEDS, fill, picked_places, places, points_at
from convgen.plan.kernel import KernelPlan
from convgen.render.environment import environment
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.model import ConvSpec
from convgen.spec.quant import ratios
from convgen.spec.requantize import single_product, weight_room

if TYPE_CHECKING:
    from convgen.spec.weights import Weights

WHOLE = 5e7  # multiply-adds up to which the oracle computes every output
X_TOP = 127
B_TOP = 2**24


@dataclass(frozen=True)
class IntegerSample:
    """One expected output: its index in y, and its value."""

    at: int
    value: int


@dataclass(frozen=True)
class IntegerText:
    """What the template prints. ``whole``: the fingerprint of all outputs, 0 if not computed."""

    name: str
    macro: str
    version: str
    baked: bool
    bias: bool
    x: str
    y: str
    x_count: int
    w_count: int
    y_count: int
    x_middle: int
    w_top: int
    b_top: int
    samples: tuple[IntegerSample, ...]
    whole: int


def integer_selftest(plan: KernelPlan, weights: Weights | None, sources: Sequence[str] = ()) -> str:
    """The text of selftest.c. ``sources``: the C files it checks, ``<name>.c`` without any."""
    spec = plan.spec
    arrays, (w_top, b_top) = arrays_of(spec), _tops(spec)
    middle = sum(arrays.x.limits) // 2 + 1
    x = (fill(math.prod(spec.x_shape), SEEDS["x"], X_TOP) + middle).reshape(spec.x_shape)
    x = x.astype(numpy_dtype(arrays.x))
    if weights is not None:
        w, b = weights.w, weights.b
    else:
        w, b = _weights(spec, w_top, b_top)
    text = IntegerText(
        name=spec.name, macro=spec.name.upper(), version=__version__, baked=weights is not None,
        bias=spec.bias, x=arrays.x.c, y=arrays.y.c, x_count=x.size,
        w_count=math.prod(spec.w_shape), y_count=math.prod(spec.y_shape), x_middle=middle,
        w_top=w_top, b_top=b_top, samples=_samples(spec, x, w, b),
        whole=_fingerprint(reference(spec, x, w, b)) if spec.macs <= WHOLE else 0,
    )  # fmt: skip
    return (
        environment()
        .get_template("selftest/selftest_int.c.j2")
        .render(t=text, sources=" ".join(sources or (f"{spec.name}.c",)))
    )


def _weights(spec: ConvSpec, w_top: int, b_top: int) -> tuple[Any, Any]:
    w = fill(math.prod(spec.w_shape), SEEDS["w"], w_top).astype(np.int8).reshape(spec.w_shape)
    return w, fill(spec.oc, SEEDS["b"], b_top).astype(np.int32) if spec.bias else None


def _tops(spec: ConvSpec) -> tuple[int, int]:
    """The largest |w| and |b|: outputs spread over their type, no sum beyond int32."""
    quant = spec.quant
    assert quant is not None
    taps = spec.taps * spec.icg
    target = quant.sum or quant.output
    wanted = 2.0**30
    if target is not None:
        single = single_product(quant, spec.dtype)
        wanted = 60 / min(ratios(quant, target, spec.oc, single_product=single))
    top = round(min(127.0, max(1.0, wanted / (43 * taps**0.5))))
    top = max(0, min(top, weight_room(spec) // (2 * taps)))
    bias = max(1, min(B_TOP, round(wanted)))
    while overflowing(spec, *_weights(spec, top, bias)) is not None and (top or bias > 1):
        top, bias = top // 2, max(1, bias // 2)
    return top, bias


def _samples(spec: ConvSpec, x: Any, w: Any, b: Any) -> tuple[IntegerSample, ...]:
    axes = places(spec)
    points = points_at(spec, axes)
    y = outputs_at(spec, sums_at(spec, x, w, b, points), points)
    found = [IntegerSample(at, int(y[where])) for at, where in picked_places(spec, axes, points)]
    return tuple(sorted(found, key=lambda sample: sample.at))


def _fingerprint(y: Any) -> int:
    """FNV-1a over the values as 32-bit numbers, in y's order; selftest.c holds the same lines."""
    value, mask = 14695981039346656037, 2**64 - 1
    for item in y.reshape(-1).astype(np.int64).tolist():
        value = ((value ^ (item & 0xFFFFFFFF)) * 1099511628211) & mask
    return value

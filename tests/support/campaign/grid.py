"""Case ``number`` of campaign ``seed``: any layer, on any target, under any schedule it can have.

A pure function of the two, over the whole grid: shapes that suit each family, every layout,
padding, step, activation, element type and rounding; the chooser's schedule, a random candidate of
a random family, or a tile that nobody proposed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import TypeVar

from convgen.choose.chooser import choose
from convgen.errors import ScheduleError
from convgen.kernels import FAMILIES, lower
from convgen.kernels.fat import serves, widest
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import (
    Accuracy,
    Act,
    Activation,
    ConvSpec,
    DType,
    InitWeights,
    Layer,
    Layout,
    Padding,
    WeightLayout,
)
from convgen.spec.quant import Affine, Quant, Rounding, float32
from convgen.spec.schedule import Family, Schedule
from convgen.spec.table import CLAMPS
from convgen.target import TARGETS, Target
from convgen.target.host import cpu_features

BLOCK = 16  # consecutive cases share a compiler and its flags, and so a call of it
MOST_MACS, MOST_ELEMENTS = 1_500_000, 60_000  # of a layer; of its input or its output

_TARGETS = {
    "x86-64-avx512": 28, "x86-64-avx2": 22, "x86-64-sse2": 18, "generic": 22, "x86-64": 10,
}  # fmt: skip
# Layers of this element type try another target in its place.
_ANOTHER = {("x86-64-avx512", DType.BFLOAT16): "x86-64-avx512bf16"}
_DTYPES = {
    DType.FLOAT32: 60, DType.INT8: 14, DType.UINT8: 6,
    DType.FLOAT64: 6, DType.FLOAT16: 7, DType.BFLOAT16: 7,
}  # fmt: skip
_COMPILERS = {("gcc", "-O1"): 70, ("clang", "-O1"): 15, ("gcc", "-O2"): 8, ("gcc", "-O3"): 7}


T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One way to build one layer. ``part``: the body compiled, as the suffix of a macro:
    "" for the file as it is, PLAIN, MODEL, or ONLY_<ISA> of a fat file."""

    number: int
    layer: Layer
    target: str
    part: str
    cc: str
    flag: str

    @property
    def spec(self) -> ConvSpec:
        return self.layer.spec

    @property
    def schedule(self) -> Schedule:
        assert self.layer.schedule is not None
        return self.layer.schedule

    def __str__(self) -> str:
        s = self.spec
        body = f", body {self.part}" if self.part else ""
        return (
            f"#{self.number}: {s.h}x{s.w}x{s.c} -> {s.oc}, {s.kh}x{s.kw}, {s.dtype}, "
            f"{self.schedule} on {self.target}{body}, {self.cc} {self.flag}"
        )


@lru_cache(maxsize=256)
def plan_of(spec: ConvSpec, schedule: Schedule, target: str) -> KernelPlan:
    """Raises ``ScheduleError``."""
    return lower(spec, schedule, TARGETS[target])


def case(seed: int, number: int) -> Case:
    """Case ``number``; the compiler is that of its block."""
    rng, plain = _begun(seed, number)
    spec = plain.spec
    schedule = _schedule(rng, spec, TARGETS[plain.target])
    weights = _weights(rng, spec) if rng.random() < 0.12 else None
    part = _part(rng, plan_of(spec, schedule, plain.target))
    return replace(plain, layer=Layer(spec, "campaign", schedule, weights), part=part)


def bare_case(seed: int, number: int) -> Case:
    """The case before its schedule is looked for, should that come to grief."""
    return _begun(seed, number)[1]


def _begun(seed: int, number: int) -> tuple[Random, Case]:
    rng = Random(f"{seed} {number}")
    spec = _spec(rng, f"layer_{number}")
    target = _one(rng, _TARGETS)
    target = _ANOTHER.get((target, spec.dtype), target)
    cc, flag = _one(Random(f"{seed} block {number // BLOCK}"), _COMPILERS)
    simplest = Layer(spec, "campaign", Schedule(Family.DIRECT, 1, 1, 1, 1))
    return rng, Case(number, simplest, target, "", cc, flag)


def _one(rng: Random, weights: dict[T, int]) -> T:
    return rng.choices(list(weights), list(weights.values()))[0]


# -- the layer -------------------------------------------------------------------------------------


def _spec(rng: Random, name: str) -> ConvSpec:
    made = _one(rng, _SHAPES)
    shape = made(rng)
    suits = made in _SUITED  # few other layers are its family's
    dtype = DType.FLOAT32 if suits and rng.random() < 0.5 else _one(rng, _DTYPES)
    rows = suits and rng.random() < 0.8
    kh, kw, dh, dw = (shape[key] for key in ("kh", "kw", "dh", "dw"))
    h, top, bottom = _axis(rng, shape.pop("h"), (kh - 1) * dh + 1, shape["sh"], shape.get("dh", 1))
    w, left, right = _axis(rng, shape.pop("w"), (kw - 1) * dw + 1, shape["sw"], shape.get("dw", 1))
    many = rng.random() < 0.05
    spec = ConvSpec(
        name=name, h=h, w=w, padding=Padding(top, left, bottom, right), **shape,
        batch=1 if many else rng.choice((1, 1, 1, 2, 3)), batch_any=many,
        bias=rng.random() < 0.8, activation=_activation(rng), dtype=dtype,
        layout=Layout.NHWC if rows else rng.choice((Layout.NHWC, Layout.NHWC, Layout.NCHW)),
        weight_layout=rng.choice(list(WeightLayout)),
        accuracy=Accuracy.STRICT if rng.random() < 0.15 else Accuracy.FAST,
    )  # fmt: skip
    spec = _small_enough(spec)
    return _quantised(rng, spec) if spec.quantized else spec


def _axis(rng: Random, size: int, window: int, stride: int, dilation: int) -> tuple[int, int, int]:
    """Size and padding of one axis with a window in it; no padding at its end that none reaches."""
    match rng.randrange(4):
        case 0:
            before = after = 0
        case 1:  # as far as the window, and beyond it
            before, after = rng.randint(0, window + 2), rng.randint(0, window + 2)
        case 2:
            before = after = (window - 1) // 2
        case _:  # what keeps the phases of a dilated layer apart
            before, after = dilation * rng.randint(0, 2), rng.randint(0, 3)
    size = max(size, window - before - after)
    rest = (size + before + after - window) % stride
    return size, before, after - min(rest, after)


def _any(rng: Random) -> dict[str, int]:
    groups = rng.choice((1, 1, 1, 2, 3))
    return _windows(rng) | {
        "c": groups * rng.randint(1, 9), "oc": groups * rng.choice((1, 2, 3, 5, 8, 17, 24, 33)),
        "groups": groups,
    }  # fmt: skip


def _windows(rng: Random) -> dict[str, int]:
    """Any filter, step and dilation, over an image of any size."""
    found = {"h": rng.randint(1, 18), "w": rng.randint(1, 26)}
    if rng.random() < 0.5:  # square, as most are
        k, s, d = rng.choice((1, 2, 3, 3, 5, 7)), rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 1, 2))
        return found | {"kh": k, "kw": k, "sh": s, "sw": s, "dh": d, "dw": d}
    for key, most in (("kh", 5), ("kw", 7), ("sh", 4), ("sw", 4), ("dh", 3), ("dw", 3)):
        found[key] = rng.randint(1, most)
    return found


def _wide(rng: Random) -> dict[str, int]:
    return _windows(rng) | {"c": rng.randint(1, 24), "oc": rng.randint(1, 80), "groups": 1}


def _pointwise(rng: Random) -> dict[str, int]:
    groups = rng.choice((1, 1, 1, 2, 4))
    steps = dict.fromkeys(("kh", "kw", "dh", "dw"), 1) | dict.fromkeys(("sh", "sw"), 1)
    if rng.random() < 0.2:
        steps |= {"sh": rng.randint(1, 3), "sw": rng.randint(1, 3)}
    sizes = {"h": rng.randint(1, 16), "w": rng.randint(1, 20), "groups": groups}
    return sizes | steps | {"c": groups * rng.randint(1, 40), "oc": groups * rng.randint(1, 70)}


def _depthwise(rng: Random) -> dict[str, int]:
    groups = rng.randint(2, 70)
    more = rng.choice((1, 1, 1, 1, 1, 1, 2, 3))
    return _windows(rng) | {"c": groups, "oc": groups * more, "groups": groups}


def _grouped(rng: Random) -> dict[str, int]:
    groups, size = rng.randint(2, 14), rng.choice((2, 4, 8))
    return _windows(rng) | {"c": groups * size, "oc": groups * size, "groups": groups}


def _few(rng: Random) -> dict[str, int]:
    """Few output channels over rows that fill vectors of pixels."""
    sizes = {"h": rng.randint(1, 20), "w": rng.randint(8, 70)}
    groups = rng.choice((1, 1, 1, 2))
    channels = {"c": groups * rng.randint(1, 5), "oc": groups * rng.randint(1, 8)}
    return _windows(rng) | sizes | channels | {"groups": groups}


def _minimal(rng: Random) -> dict[str, int]:
    """Filters that Winograd's algorithm takes."""
    filters = ((3, 3), (3, 3), (5, 5), (1, 3), (3, 1), (1, 5), (5, 1), (1, 7), (7, 1))
    kh, kw = rng.choice(filters)
    d = rng.choice((1, 1, 1, 2, 3))
    sizes = {"h": rng.randint(d, 20), "w": rng.randint(d, 20), "c": rng.randint(8, 40)}
    steps = {"kh": kh, "kw": kw, "sh": 1, "sw": 1, "dh": d, "dw": d, "groups": 1}
    return sizes | steps | {"oc": rng.randint(8, 40)}


_SHAPES: dict[Callable[[Random], dict[str, int]], int] = {
    _any: 20, _wide: 14, _pointwise: 8, _depthwise: 16, _grouped: 12, _few: 12, _minimal: 18,
}  # fmt: skip
_SUITED = (_depthwise, _grouped, _minimal)


def _small_enough(spec: ConvSpec) -> ConvSpec:
    """Less of everything until the oracle is quick."""
    while True:
        largest = max(math.prod(spec.x_shape), math.prod(spec.y_shape))
        if spec.macs <= MOST_MACS and largest <= MOST_ELEMENTS:
            return spec
        if spec.batch > 1:
            spec = replace(spec, batch=1)
        elif spec.groups == 1 and spec.oc > 16:
            spec = replace(spec, oc=spec.oc // 2)
        elif spec.groups == 1 and spec.c > 8:
            spec = replace(spec, c=spec.c // 2)
        elif spec.groups > 1 and spec.groups % 2 == 0:
            half = {"groups": spec.groups // 2, "c": spec.c // 2, "oc": spec.oc // 2}
            spec = replace(spec, **half)
        elif spec.groups > 2:
            one = {"groups": 2, "c": 2 * spec.icg, "oc": 2 * spec.ocg}
            spec = replace(spec, **one)
        else:  # rows, by whole steps: what is left over stays what it was
            spec = replace(spec, h=spec.h - spec.sh)


def _activation(rng: Random) -> Activation:
    kind = rng.choice((Act.NONE, Act.RELU, *Act))
    if kind is Act.LEAKY_RELU:
        return Activation(kind, rng.choice((0.01, 0.1, 0.25, 0.0, 1.0, 1.5, -0.5)))
    if kind is Act.CLIP:
        ends = ((0.0, 6.0), (-1.0, 1.0), (None, 0.5), (-0.1, None), (0.1, 0.3))
        low, high = rng.choice(ends)
        return Activation(kind, low=low, high=high)
    return Activation(kind)


def _quantised(rng: Random, spec: ConvSpec) -> ConvSpec:
    """Scales that spread the outputs over a part of their type or beyond it; or int32 sums."""
    low, high = (0, 255) if spec.dtype is DType.UINT8 else (-128, 127)
    each = rng.random() < 0.5
    zeros = rng.choice(((0,), (0,), (rng.randint(-9, 9),)))
    if zeros != (0,) and rng.random() < 0.5:
        zeros = tuple(rng.randint(-9, 9) for _ in range(spec.oc))
    x_zero = (rng.choice((0, low, high, rng.randint(low, high))) if low else rng.randint(0, 255),)
    if rng.random() < 0.1:
        kept = spec.activation.kind in (Act.NONE, Act.RELU)
        quant = Quant(Affine((), x_zero), Affine((), zeros), None)
        return replace(
            spec, quant=quant, activation=spec.activation if kept else Activation(Act.RELU)
        )
    x_scale = float32(rng.uniform(0.005, 0.1))
    scales = tuple(float32(rng.uniform(0.001, 0.02)) for _ in range(spec.oc if each else 1))
    sums = x_scale * scales[0] * 74 * 74 * math.sqrt(spec.kh * spec.kw * spec.icg)
    step = float32(sums / rng.choice((2.0, 30.0, 60.0, 120.0)))
    y_zero = (rng.randint(low, high),)
    table = None if spec.activation.kind in CLAMPS else Affine((step,), (rng.randint(low, high),))
    output = Affine((float32(rng.uniform(0.005, 0.02)) if table else step,), y_zero)
    rounding = rng.choice(list(Rounding))
    quant = Quant(Affine((x_scale,), x_zero), Affine(scales, zeros), output, table, rounding)
    return replace(spec, quant=quant)


def _weights(rng: Random, spec: ConvSpec) -> InitWeights | None:
    """Baked ones, as a spec can ask for; as integers they need a scale."""
    scale = (spec.quant.weight.scale if spec.quant else (1 / 160,)) or None
    return InitWeights(40 * scale[0], rng.randrange(1000)) if scale else None


# -- how it is computed ----------------------------------------------------------------------------


def _schedule(rng: Random, spec: ConvSpec, target: Target) -> Schedule:
    """The chooser's, a candidate of any family that takes the layer, or an unlikely tile."""
    how = rng.random()
    if how < 0.12:
        return choose(spec, target).schedule
    families = [f for f in FAMILIES.values() if f.fits(spec) and serves(f, target)]
    for _ in range(30):
        family = rng.choices(families, [1 if f.name is Family.DIRECT else 3 for f in families])[0]
        if how > 0.92:
            found = _unlikely(rng, family.name, target)
        else:
            listed = list(family.candidates(spec, widest(target)))
            if not listed:
                continue
            widths = sorted({schedule.lanes for schedule in listed})
            lanes = rng.choices(widths, [1 if width == 1 else 4 for width in widths])[0]
            found = rng.choice([schedule for schedule in listed if schedule.lanes == lanes])
        try:
            plan_of(spec, found, target.name)
            return found
        except ScheduleError:
            continue
    return choose(spec, target).schedule


def _unlikely(rng: Random, family: Family, target: Target) -> Schedule:
    """What a person may pin: refused, or right."""
    lanes = rng.choice(target.isas).lanes
    height, width, vectors = rng.randint(1, 6), rng.randint(1, 9), rng.randint(1, 4)
    if family is Family.WINOGRAD:
        m = rng.choice((1, 2, 3, 4, 6))
        n = rng.choice((1, m))
        return Schedule(family, lanes, m, n, vectors, rng.randint(1, 8), rng.randint(1, 5))
    return Schedule(family, lanes, height, width, vectors)


def _part(rng: Random, plan: KernelPlan) -> str:
    """Which body is compiled; of those that this CPU lacks, the scalar model."""
    have = cpu_features()
    if plan.fat and rng.random() < 0.7:
        plans = [p for p in (plan, *plan.narrower) if set(p.body.isa.features) <= have]
        return rng.choice(["PLAIN", *(f"ONLY_{p.body.isa.name.upper()}" for p in plans)])
    part = rng.choices(("", "PLAIN", "MODEL"), (80, 14, 6))[0]
    lacking = not part and not set(plan.body.isa.features) <= have
    return "MODEL" if lacking else part

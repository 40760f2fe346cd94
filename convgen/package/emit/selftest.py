"""What selftest.c checks: a fill that C and Python both know, and outputs the oracle expects.

The fill is integers times one power of two, so small that every partial sum is exact in the
layer's type: a kernel's order of summation cannot show. With weights at run time the C repeats the
layer as a plain loop over all outputs; the sampled outputs come from the oracle, so the two cannot
be wrong together. Baked weights are no integers: there the samples count, within the error bound.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convgen import __version__
from convgen.oracle.floats import (
    ROUNDING,
    STORING,
    Points,
    accumulate,
    act_error,
    activation,
    sum_bound,
    through_activation,
)
from convgen.plan.kernel import KernelPlan
from convgen.render.environment import environment
from convgen.spec.elements import ELEMENTS
from convgen.spec.layouts import weights_hwio
from convgen.spec.model import Act, ConvSpec, DType, Layout
from convgen.spec.strides import WeightStrides, w_strides, x_strides, y_strides
from convgen.verify.tiling import tiling_of

if TYPE_CHECKING:
    from convgen.spec.weights import Weights

MOST_SAMPLES = 48
SEEDS = {"x": 1, "w": 2, "b": 3}
Strides = dict[str, int]


@dataclass(frozen=True)
class Sample:
    """One expected output: its index in y, its value, and how far a correct kernel may be off."""

    at: int
    value: float
    allowed: float


@dataclass(frozen=True)
class Scale:
    """|x| and |w| are integers up to ``top``, |b| up to ``bias``; x and b times ``unit``."""

    top: int
    bias: int
    unit: float


@dataclass(frozen=True)
class HalfText:
    """A 16-bit float: ``digits`` after the point, ``unit`` = 2^digits, exponents 0..``top``."""

    digits: int
    unit: int
    bias: int
    top: int


HALVES = {
    DType.FLOAT16: HalfText(10, 1 << 10, 15, 31),
    DType.BFLOAT16: HalfText(7, 1 << 7, 127, 255),
}
LOWEST = {DType.FLOAT16: "0xfbffu", DType.BFLOAT16: "0xff7fu"}


@dataclass(frozen=True)
class LoopText:
    """An axis of the plain loop: the letter of its macros, the macro of its padding, the names of
    its output, input and tap, and their strides in y, x and w."""

    name: str
    pad: str
    o: str
    i: str
    k: str
    y: int
    x: int
    w: int


@dataclass(frozen=True)
class SelftestText:
    """What the template prints. Strides count elements; ``act_*``: see ``oracle.ActError``."""

    name: str
    macro: str
    version: str
    ctype: str
    baked: bool
    bias: bool
    groups: int
    icg: int
    ocg: int
    scale: Scale
    seeds: dict[str, int]
    samples: tuple[Sample, ...]
    axes: tuple[LoopText, ...]
    transposed: bool
    x: Strides
    w: WeightStrides
    w_channel: str
    y: Strides
    x_count: int
    w_count: int
    y_count: int
    act: str
    act_alpha: float
    act_low: float | None
    act_high: float | None
    act_unit: float
    act_absolute: float
    act_relative: float
    act_grows: bool
    sum_error: float
    storing: str
    hold: str
    real: str
    poison: str
    half: HalfText | None


def float_selftest(plan: KernelPlan, weights: Weights | None, sources: Sequence[str] = ()) -> str:
    """The text of selftest.c of a layer of floats."""
    text = selftest_text(plan, weights)
    files = " ".join(sources or (f"{plan.spec.name}.c",))
    return environment().get_template("selftest/selftest.c.j2").render(t=text, sources=files)


def selftest_text(plan: KernelPlan, weights: Weights | None) -> SelftestText:
    spec = plan.spec
    act, rule = spec.activation, act_error(spec.activation)
    scale = choose_scale(spec)
    half, storing = HALVES.get(spec.dtype), STORING.get(spec.dtype)
    return SelftestText(
        name=spec.name,
        macro=spec.name.upper(),
        version=__version__,
        ctype=ELEMENTS[spec.dtype].c,
        baked=weights is not None,
        bias=spec.bias,
        groups=spec.groups,
        icg=spec.icg,
        ocg=spec.ocg,
        scale=scale,
        seeds=SEEDS,
        samples=samples(plan, scale, weights),
        axes=_loops(spec),
        transposed=spec.transposed,
        x=image_strides(spec.layout, spec.d * spec.h, spec.w, spec.c),
        w=w_strides(spec),
        w_channel=_channel(spec),
        y=image_strides(spec.layout, spec.od * spec.oh, spec.ow, spec.oc),
        x_count=math.prod(spec.x_shape),
        w_count=math.prod(spec.w_shape),
        y_count=math.prod(spec.y_shape),
        act=str(act.kind),
        act_alpha=_held(spec, act.alpha),
        act_low=None if act.low is None else _held(spec, act.low),
        act_high=None if act.high is None else _held(spec, act.high),
        # The test's own exponentials are good to float32.
        act_unit=ROUNDING[spec.dtype if rule.rounded else DType.FLOAT32].unit,
        act_absolute=rule.absolute,
        act_relative=rule.relative,
        act_grows=rule.grows,
        sum_error=act_error(act).lipschitz * tile_error(plan, *fills(spec, scale)),
        storing=f" + {storing.unit!r} * size_of(wanted) + {storing.tiny!r}" if storing else "",
        hold="held" if half else "(element)",
        real="real({})" if half else "(double){}",
        poison=LOWEST.get(spec.dtype, "(element)-123456789.0"),
        half=half,
    )


def tile_error(plan: KernelPlan, x: Any, w: Any, b: Any) -> float:
    """How far any sum of a Winograd kernel may be off on this data; 0 for the other families."""
    tiling = tiling_of(plan)
    if tiling is None:
        return 0.0
    spec = plan.spec
    u = ROUNDING[spec.dtype].unit
    terms = spec.taps * spec.icg + 2
    filters = np.abs(weights_hwio(spec, w)).sum(axis=(0, 1, 2)).max()
    size = np.abs(x).max() * filters + (0.0 if b is None else np.abs(b).max())
    return float(tiling.factor * terms * u / (1 - terms * u) * size)


def _held(spec: ConvSpec, value: float) -> float:
    """What the kernel holds of a number in the spec: the nearest of the type it computes in."""
    return value if spec.dtype is DType.FLOAT64 else float(np.float32(value))


def choose_scale(spec: ConvSpec) -> Scale:
    """Integers as large as exact sums allow, and sums where the activation shows its shape."""
    taps = spec.taps * spec.icg
    room = 2**22  # of the 2^24 that float32 counts without a gap
    top = max(1, min(15, math.isqrt(room // taps) if taps <= room else 0))
    typical = math.sqrt(taps) * top * (top + 1) / 3
    bias = max(1, min(round(typical), room))
    if half := HALVES.get(spec.dtype):  # numbers that it holds exactly, sums inside its range
        top = max(1, min(top, math.isqrt(math.isqrt(2**26 // taps) or 1)))
        bias = min(bias, 2 * half.unit)
        typical = math.sqrt(taps) * top * (top + 1) / 3
    match spec.activation.kind:
        case Act.NONE | Act.RELU | Act.LEAKY_RELU:
            reach = 0.0
        case Act.CLIP:
            ends = [abs(e) for e in (spec.activation.low, spec.activation.high) if e is not None]
            far = 2.0**4 if spec.dtype is DType.FLOAT16 else 2.0**60
            reach = min(max(max(ends, default=1.0), 1 / far), far)
        case Act.RELU6:
            reach = 6.0
        case _:
            reach = 3.0
    unit = 2.0 ** round(math.log2(reach / typical)) if reach else 1.0
    return Scale(top, bias, unit)


def fill(count: int, seed: int, top: int) -> NDArray[np.int64]:
    """``count`` integers in -top..top: one step of a linear congruential generator per index,
    its high bits mixed into the low ones. selftest.c holds the same lines."""
    s = np.arange(count, dtype=np.uint32) * np.uint32(1664525) + np.uint32(seed * 1013904223)
    s ^= s >> np.uint32(16)
    s *= np.uint32(2246822519)
    s ^= s >> np.uint32(13)
    return (s % np.uint32(2 * top + 1)).astype(np.int64) - top


def fills(spec: ConvSpec, scale: Scale) -> tuple[Any, Any, Any]:
    """x, w and b (None without bias) of the self test, float64 in the spec's layouts."""
    x = fill(math.prod(spec.x_shape), SEEDS["x"], scale.top).reshape(spec.x_shape) * scale.unit
    w = fill(math.prod(spec.w_shape), SEEDS["w"], scale.top).reshape(spec.w_shape) * 1.0
    b = fill(spec.oc, SEEDS["b"], scale.bias) * scale.unit if spec.bias else None
    return x, w, b


def samples(plan: KernelPlan, scale: Scale, weights: Weights | None) -> tuple[Sample, ...]:
    """What the oracle expects at the corners of y and at places inside; sorted by index."""
    spec = plan.spec
    x, w, b = fills(spec, scale)
    if weights is not None:
        w, b = weights.w, weights.b
    axes = places(spec)
    points = points_at(spec, axes)
    v = accumulate(spec, x, w, b, points, np.dtype(np.float64))
    value = activation(spec.activation, v, spec.dtype)
    error: Any = 0.0 if weights is None else sum_bound(spec, x, w, b, points)
    error = error + tile_error(plan, x, w, b)
    allowed = np.broadcast_to(np.asarray(through_activation(spec, v, value, error)), v.shape)
    found = [
        Sample(at, float(value[where]), float(allowed[where]))
        for at, where in picked_places(spec, axes, points)
    ]
    return tuple(sorted(found, key=lambda sample: sample.at))


def points_at(spec: ConvSpec, axes: tuple[list[int], ...]) -> Points:
    """Outputs that hold all those of ``places``."""
    n, rows, ow, oc = (np.array(axis) for axis in axes)
    od, oh = np.unique(rows // spec.oh), np.unique(rows % spec.oh)
    return Points(n, oh, ow, np.unique(oc % spec.ocg), od)


def picked_places(
    spec: ConvSpec, axes: tuple[list[int], ...], points: Points
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Picked outputs: their index in y, and their place among ``points``."""
    strides = image_strides(spec.layout, spec.od * spec.oh, spec.ow, spec.oc)
    among = (points.n, points.rows(spec), points.ow, points.channels(spec))
    lookup = [{int(place): i for i, place in enumerate(axis)} for axis in among]
    for place in picked(axes):
        at = sum(p * strides[axis] for axis, p in zip("nhwc", place, strict=True))
        yield at, tuple(known[p] for known, p in zip(lookup, place, strict=True))


def places(spec: ConvSpec) -> tuple[list[int], list[int], list[int], list[int]]:
    """Along each axis of y, rows counted through all planes: both ends, and two places between."""

    def along(size: int) -> list[int]:
        return sorted({0, size // 3, size * 2 // 3, size - 1})

    return along(spec.batch), along(spec.od * spec.oh), along(spec.ow), along(spec.oc)


def picked(axes: tuple[list[int], ...]) -> list[tuple[int, ...]]:
    """Every corner, then every so-manieth place of the whole grid, ``MOST_SAMPLES`` at most."""
    sizes = tuple(len(axis) for axis in axes)
    picked: dict[tuple[int, ...], None] = dict.fromkeys(product(*[(a[0], a[-1]) for a in axes]))
    total = math.prod(sizes)
    # A step without a common factor walks the grid without favouring an axis.
    step = next(s for s in range(max(1, total * 5 // 8), total + 2) if math.gcd(s, total) == 1)
    for i in range(total):
        if len(picked) >= min(MOST_SAMPLES, total):
            break
        where = np.unravel_index(i * step % total, sizes)
        picked[tuple(axis[int(j)] for axis, j in zip(axes, where, strict=True))] = None
    return list(picked)


def image_strides(layout: Layout, h: int, w: int, c: int) -> Strides:
    if layout is Layout.NHWC:
        return {"n": h * w * c, "h": w * c, "w": c, "c": 1}
    return {"n": h * w * c, "h": w, "w": 1, "c": h * w}


def _loops(spec: ConvSpec) -> tuple[LoopText, ...]:
    """Rows and columns, and planes of a 3-D layer."""
    x, y, w = x_strides(spec), y_strides(spec), w_strides(spec)
    loops = (
        LoopText("D", "PF", "od", "id", "kd", y.plane, x.plane, spec.kh * w.kh),
        LoopText("H", "PT", "oh", "ih", "kh", y.row, x.row, w.kh),
        LoopText("W", "PL", "ow", "iw", "kw", y.pixel, x.pixel, w.kw),
    )
    return loops if spec.rank == 3 else loops[1:]


def _channel(spec: ConvSpec) -> str:
    """What an output channel adds to the index of a weight."""
    w = w_strides(spec)
    if spec.groups == 1 or w.group == spec.ocg * w.oc:
        return f"oc * {w.oc}"
    return f"oc / {spec.ocg} * {w.group} + oc % {spec.ocg} * {w.oc}"

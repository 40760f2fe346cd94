"""Words of the plain C kernels of every element type beside float32."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from convgen.activations import float_literal
from convgen.families.base import activation_operations
from convgen.plan import Body, KernelPlan, Region
from convgen.render.body import plus, times
from convgen.render.tile import TileText, loop_text, tap_params, tile_text
from convgen.spec.elements import arrays_of
from convgen.spec.model import Act, Activation, ConvSpec, DType
from convgen.spec.quant import Rounding
from convgen.spec.requantize import input_reach, requantization, weight_room
from convgen.target.isa import VectorIsa

COLUMNS = 96  # of a table's lines
WORDS = {
    "fixed": "A sum as an output: scaled in fixed point, rounded twice as TFLite's reference is.",
    "once": "A sum as an output: scaled in fixed point, rounded once, halves up.",
    "float": "A sum as an output: scaled in float, rounded half to even, saturated.",
    "sum": "The sum is the output.",
}


@dataclass(frozen=True)
class RequantText:
    """What templates/requantize.j2 prints; numbers are C text, ``""`` where there is none."""

    kind: str
    words: str
    y: str
    zero: str = ""
    low: int = 0
    high: int = 0
    oc_param: str = ""
    factor: str = ""
    shift: str = ""
    scale: str = ""
    least: str = ""
    most: str = ""
    first: str = ""
    left: bool = False
    relu: bool = False
    factors: SimpleNamespace | None = None
    shifts: SimpleNamespace | None = None
    scales: SimpleNamespace | None = None
    table: SimpleNamespace | None = None
    w_zeros: SimpleNamespace | None = None


@dataclass(frozen=True)
class DoubleText:
    """What templates/activation_double.j2 prints: C double literals; ``above``, ``below``: the
    limits at the infinities. ``exp``: coefficients from the highest power down."""

    kind: str
    alpha: str = ""
    low: str = ""
    high: str = ""
    above: str = ""
    below: str = ""
    exp: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScalarText:
    """What templates/scalar.c.j2 prints. ``load_*``, ``pack_w`` and ``finish`` are formats: of an
    offset, a value, or an accumulator and its channel. ``limit``: how pack bounds sums, or None."""

    isa: VectorIsa
    prefix: str
    operations: tuple[str, ...]
    table: str
    regions: tuple[Region, ...]
    runs: tuple[tuple[str, int, int], ...]
    tiles: tuple[SimpleNamespace, ...]
    loops: tuple[SimpleNamespace, ...]
    inner: str
    w_index: str
    x_index: str
    tap_params: str
    x: str
    w: str
    bias: str
    y: str
    acc: str
    load_x: str
    load_w: str
    load_bias: str
    pack_w: str
    finish: str
    requant: RequantText | None
    double: DoubleText | None
    widen: str
    narrow: str
    half: bool
    w_zero: str
    oc_param: str
    oc_arg: str
    unit_factor: str
    channel: str
    channels: int
    depth: int
    bias_step: str
    weights_at: str
    x_unit: str
    y_unit: str
    packed_words: str
    w_tap: str
    packed_tap: str
    limit: SimpleNamespace | None


def scalar_text(plan: KernelPlan, body: Body) -> ScalarText:
    """The words of a plan whose elements are no float32."""
    spec, view = plan.spec, plan.view
    assert plan.sections is not None
    groups, images = view.groups, spec.batch
    arrays, depth = arrays_of(spec), plan.packing.depth
    eight, rows = spec.quantized, times("kh", plan.packing.kw)
    return ScalarText(
        isa=body.isa,
        prefix=body.isa.prefix,
        operations=() if eight or spec.dtype is DType.FLOAT64 else activation_operations(spec),
        table=f"{spec.name}_regions",
        regions=body.regions,
        runs=tuple((tile.name, a, b) for tile, a, b in body.runs),
        tiles=tuple(_tile(plan, tile_text(plan, body, tile)) for tile in body.tiles),
        **loop_text(body.loops),
        tap_params=tap_params(body.loops),
        x=arrays.x.c,
        w=plan.sections.weight,
        bias=plan.sections.bias,
        y=arrays.y.c,
        acc="int32_t" if eight else plan.sections.weight,
        **(_integer_words(spec) if eight else _float_words(spec, body.isa)),
        unit_factor=f"{groups * images} * " if groups * images > 1 else "",
        channel=f"{times('group', view.oc)} + oc" if groups > 1 else "oc",
        channels=spec.oc,
        depth=depth,
        bias_step=" * 4" if eight else "",
        weights_at=f"{4 * spec.oc if eight else spec.oc}",
        x_unit=(f" + {times('image', view.x_image)}" if images > 1 else "")
        + (f" + {times('group', view.x_group)}" if groups > 1 else ""),
        y_unit=(f" + {times('image', view.y_image)}" if images > 1 else "")
        + (f" + {times('group', view.y_group)}" if groups > 1 else "")
        + f" + {times('oc', view.y_channel)}",
        packed_words=f"First every bias, then each filter's {depth} weights in the order of taps.",
        w_tap=" + ".join(
            times(var, step)
            for var, step in (
                ("kh", plan.packing.w_kh),
                ("kw", plan.packing.w_kw),
                ("ic", plan.packing.w_ic),
                ("oc", plan.packing.w_oc),
            )
        ),
        packed_tap=f"{times('oc', depth)} + {times(f'({rows} + kw)', plan.packing.ic)} + ic",
    )


def _tile(plan: KernelPlan, tile: TileText) -> SimpleNamespace:
    """The tile's words, its channels' weights one filter apart."""
    bias = 4 if plan.spec.quantized else 1
    vectors = [
        SimpleNamespace(
            index=j.index,
            bias=j.index * bias,
            packed=j.index * plan.packing.depth,
            y=j.y,
            channel=j.index,
        )
        for j in tile.vectors
    ]
    pixels = [SimpleNamespace(index=m.index, x=m.x, y=m.y) for m in tile.pixels]
    return SimpleNamespace(
        name=tile.name, comment=tile.comment, channels=tile.channels, pixels=pixels,
        vectors=vectors, y_row=tile.y_row, y_col=tile.y_col, tap_args=tile.tap_args,
    )  # fmt: skip


def _integer_words(spec: ConvSpec) -> dict[str, Any]:
    assert spec.quant is not None
    requant = requant_text(spec)
    zeros = spec.quant.weight.zero_point
    w_zero = "table" if requant.w_zeros else ""
    load_w = "v[{0}] - {1}" if w_zero else f"v[{{0}}]{_less(zeros[0])}"
    by_channel = bool(requant.oc_param)
    passed = by_channel or bool(w_zero)
    return {
        "requant": requant,
        "double": None,
        "widen": "",
        "narrow": "",
        "half": False,
        "w_zero": w_zero,
        "load_x": f"s[{{0}}]{_less(spec.quant.x_zero)}",
        "load_w": load_w,
        "load_bias": f"{spec.name}_bias(b + {{0}})",
        "pack_w": "{0}",
        "finish": f"{spec.name}_output({{0}}{', oc + {1}' if by_channel else ''})",
        "oc_param": ", ptrdiff_t oc" if passed else "",
        "oc_arg": ", channel" if passed else "",
        "limit": SimpleNamespace(
            zero=f"{spec.name}_w_zero[oc]" if w_zero else f"({zeros[0]})",
            reach=input_reach(spec),
            room=weight_room(spec),
        ),
    }


def _float_words(spec: ConvSpec, isa: VectorIsa) -> dict[str, Any]:
    """Sums in float or double; 16-bit elements are widened on their way in."""
    element = arrays_of(spec).x
    half = element.size == 2
    widen = f"{spec.name}_widen" if half else ""
    narrow = f"{spec.name}_narrow" if half else ""
    double = element.compute is DType.FLOAT64
    act = f"{spec.name}_act({{0}})" if double else f"{isa.prefix}_act({{0}})"
    return {
        "requant": None,
        "double": double_text(spec.activation) if double else None,
        "widen": widen,
        "narrow": narrow,
        "half": element.digits == 11,
        "w_zero": "",
        "load_x": f"{widen}(s[{{0}}])" if half else "s[{0}]",
        "load_w": "v[{0}]",
        "load_bias": "b[{0}]",
        "pack_w": f"{widen}({{0}})" if half else "{0}",
        "finish": f"{narrow}({act})" if half else act,
        "oc_param": "",
        "oc_arg": "",
        "limit": None,
    }


def double_text(act: Activation) -> DoubleText:
    """The words of an activation in double precision."""
    exp = tuple(repr(1 / math.factorial(k)) for k in range(14, -1, -1))
    match act.kind:
        case Act.RELU:
            return DoubleText("clip", low="0.0")
        case Act.RELU6:
            return DoubleText("clip", low="0.0", high="6.0")
        case Act.CLIP:
            low, high = ("" if x is None else repr(x) for x in (act.low, act.high))
            return DoubleText("clip", low=low, high=high)
        case Act.LEAKY_RELU:
            return DoubleText("leaky_relu", alpha=repr(act.alpha))
        case Act.NONE | Act.HARDSWISH:
            return DoubleText(act.kind)
        case Act.SIGMOID:
            return DoubleText(act.kind, above="1.0", below="0.0", exp=exp)
        case Act.TANH:
            return DoubleText(act.kind, above="1.0", below="-1.0", exp=exp)
        case _:
            return DoubleText(act.kind, above="v", below="0.0", exp=exp)


def requant_text(spec: ConvSpec) -> RequantText:
    """The words of an 8-bit layer's output."""
    assert spec.quant is not None
    y = arrays_of(spec).y.c
    zeros = spec.quant.weight.zero_point
    w_zeros = _numbers(zeros) if len(set(zeros)) > 1 else None
    how = requantization(spec)
    if how is None:
        relu = spec.activation.kind is Act.RELU
        return RequantText("sum", WORDS["sum"], y, relu=relu, w_zeros=w_zeros)
    found: dict[str, Any] = {
        "zero": str(how.zero) if how.zero >= 0 else f"({how.zero})",
        "low": how.low,
        "high": how.high,
        "table": _numbers(how.table) if how.table else None,
        "first": plus(-how.low),
        "w_zeros": w_zeros,
    }
    if how.rounding is Rounding.ONNX:
        found["least"] = float_literal(how.low - how.zero)
        found["most"] = float_literal(how.high - how.zero)
        literals = [float_literal(s) for s in how.scales]
        several = len(set(literals)) > 1
        found |= {
            "scale": f"{spec.name}_scales[oc]" if several else literals[0],
            "scales": _numbers(literals) if several else None,
            "oc_param": ", ptrdiff_t oc" if several else "",
        }
        return RequantText("float", WORDS["float"], y, **found)
    kind = "once" if how.rounding is Rounding.TFLITE_SINGLE else "fixed"
    several = len(set(zip(how.factors, how.shifts, strict=True))) > 1
    found |= {
        "factor": f"{spec.name}_factors[oc]" if several else str(how.factors[0]),
        "shift": f"{spec.name}_shifts[oc]" if several else str(how.shifts[0]),
        "factors": _numbers(how.factors) if several else None,
        "shifts": _numbers(how.shifts) if several else None,
        "left": max(how.shifts) > 0,
        "oc_param": ", ptrdiff_t oc" if several else "",
    }
    return RequantText(kind, WORDS[kind], y, **found)


def _numbers(values: Iterable[object]) -> SimpleNamespace:
    texts = [str(value) for value in values]
    lines = textwrap.wrap(", ".join(texts) + ",", COLUMNS)
    return SimpleNamespace(count=len(texts), text=lines)


def _less(zero: int) -> str:
    """``" - 3"``, ``" + 3"`` for -3, nothing for 0."""
    return "" if zero == 0 else f" - {zero}" if zero > 0 else f" + {-zero}"

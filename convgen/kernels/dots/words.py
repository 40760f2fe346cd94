"""Words of the 8-bit vector kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar

from convgen.ctext.activations import float_literal
from convgen.ctext.body import BodyText, common, plane_of, plus, times, weight_at
from convgen.ctext.requantize import RequantText, requant_text
from convgen.kernels.dots.body import DotBody, DotPacking
from convgen.kernels.dots.lowering import Scaling, scaling
from convgen.kernels.tiled.slides import WindowText, batched, lanewise_text
from convgen.kernels.tiled.tile import TileText, loop_text, tap_params, tile_text
from convgen.plan.kernel import KernelPlan
from convgen.plan.tile import Region, Tile
from convgen.spec.elements import ELEMENTS, arrays_of
from convgen.spec.model import ConvSpec, Layout
from convgen.spec.quant import Requantization, Rounding
from convgen.spec.requantize import input_reach, requantization
from convgen.spec.strides import x_strides, y_strides

T = TypeVar("T")
# How vectors scale sums, and the types and names of the numbers that it takes, one of each a lane.
VECTORS = {
    "float": (("float", "factors"),),
    "stairs": (("float", "factors"), ("float", "rests"), ("float", "addends")),
    "fixed": (("int32_t", "factors"), ("int64_t", "addends"), ("int32_t", "shifts")),
}


@dataclass(frozen=True)
class DotText(BodyText):
    """What dots.c.j2 prints. ``kind``, ``how``: of ``lowering.scaling``; ``scale``:
    a block's numbers for it, or None; ``stage``: the copy of the image, or None; ``set_param``,
    ``set_arg``: whose scales are taken, where the file has those of several layers."""

    table: str
    regions: tuple[Region, ...]
    runs: tuple[tuple[str, int, int], ...]
    tiles: tuple[TileText, ...]
    loops: tuple[SimpleNamespace, ...]
    inner: str
    w_index: str
    x_index: str
    bias_param: str
    input_words: str
    finish: str
    finish_words: str
    tap_params: str
    unit_factor: str
    images: int
    x_unit: str
    y_unit: str
    block: str
    kind: str
    how: Scaling
    requant: RequantText
    scale: SimpleNamespace | None
    set_param: str
    set_arg: str
    y_channel: int
    lowest: int
    highest: int
    stage: SimpleNamespace | None
    packed: DotPacking
    by_tap: SimpleNamespace
    zero: int
    reach: int
    channels: int


def dot_text(plan: KernelPlan, body: DotBody) -> DotText:
    """The words of an 8-bit plan's vector body."""
    spec, view, packed = plan.spec, plan.view, plan.sections
    assert isinstance(packed, DotPacking)
    groups, images = view.groups, 1 if body.stage else spec.batch  # staged ones come one by one
    requant, arrays, v = requant_text(spec), arrays_of(spec), body.isa.prefix
    how = scaling(spec, body.isa)
    kind, limits = how.kind, ELEMENTS[spec.dtype].limits
    block = (f"{times('group', packed.blocks)} + " if groups > 1 else "") + f"oc / {packed.lanes}"
    scale = _scales(plan, packed, kind, v, block, apart=how.zero != 0)
    extra = (", ptrdiff_t scale" if scale else "") + (
        ", ptrdiff_t channel" if kind == "lanes" else ""
    )
    words = common(plan, body) | {
        "x_type": arrays.x.c,
        "w_type": "int8_t",
        "y_type": arrays.y.c,
        "x_vector": f"{v}_in",
        "w_vector": f"{v}_w",
        "w_load": "taps" if body.single else "weights",
        "multiply": "product" if body.single else "deep" if packed.patterns else "dot",
        "more_params": extra,
        "of_ends": ("b", "scale") if scale else ("b",),
        "by_vector": bool(scale),
        "words": f"{body.isa.name}: {body.isa.lanes} sums side by side",
    }
    return DotText(
        **words,
        table=f"{spec.name}_regions",
        regions=body.regions,
        runs=tuple((tile.name, a, b) for tile, a, b in body.runs),
        tiles=tuple(_tile(plan, body, tile, kind, scale) for tile in body.tiles),
        **loop_text(body.loops),
        bias_param=f"const {v} *b, ",
        input_words=f"{packed.depth} inputs of each pixel",
        finish="{}",
        finish_words="From sums to outputs.",
        tap_params=tap_params(body.loops),
        **_units(plan, images),
        block=block,
        kind=kind,
        how=how,
        requant=requant,
        scale=scale,
        set_param=", ptrdiff_t set" if plan.alike else "",
        set_arg=", set" if plan.alike else "",
        y_channel=view.y_channel,
        lowest=limits[0] if how.low is None else how.low,
        highest=limits[1] if how.high is None else how.high,
        stage=_stage(spec, body),
        packed=packed,
        by_tap=_caller_weights(plan),
        zero=packed.zero,
        reach=input_reach(spec),
        channels=spec.oc,
    )


def _units(plan: KernelPlan, images: int) -> dict[str, Any]:
    """Where a unit's group and image lie in x and y."""
    view, groups = plan.view, plan.view.groups
    return {
        "unit_factor": f"{groups * images} * " if groups * images > 1 else "",
        "images": images,
        "x_unit": (f" + {times('image', view.x_image)}" if images > 1 else "")
        + (f" + {times('group', view.x_group)}" if groups > 1 else "")
        + plane_of(plan.spec, view.sd * view.x_plane)
        + (" + oc" if view.x_lane else ""),
        "y_unit": (f" + {times('image', view.y_image)}" if images > 1 else "")
        + (f" + {times('group', view.y_group)}" if groups > 1 else "")
        + plane_of(plan.spec, view.y_plane)
        + f" + {times('oc', view.y_channel)}",
    }


def _tile(
    plan: KernelPlan, body: DotBody, tile: Tile, kind: str, scale: SimpleNamespace | None
) -> TileText:
    text = lanewise_text(plan, body, tile) if plan.view.x_lane else tile_text(plan, body, tile)
    packed, v, lanes = plan.sections, body.isa.prefix, body.isa.lanes
    assert isinstance(packed, DotPacking)

    def rest(j: int) -> str:
        by_scale = f", s_{j}" if scale else ""
        by_lane = f", channel{plus(j * lanes)}" if kind == "lanes" else ""
        whole = kind in VECTORS and tile.stored(j) == lanes
        return by_scale + by_lane + ("" if whole else f", {tile.stored(j)}")

    def store(j: int) -> str:
        whole = kind in VECTORS and tile.stored(j) == lanes
        return f"{v}_out" if whole else f"{v}_out_part"

    vectors = tuple(
        SimpleNamespace(
            index=j.index, start=f"b[{j.index}]", packed=plus(j.index * packed.block_stride),
            y=j.y, store=store(j.index), store_count=rest(j.index),
            scale="scale" + (plus(j.index * lanes) if scale and scale.count > 1 else ""),
        )
        for j in text.vectors
    )  # fmt: skip
    pixels = tuple(
        SimpleNamespace(index=m.index, y=m.y, input=f"{v}_quad(s{plus(m.x)})") for m in text.pixels
    )
    more: dict[str, Any] = {"vectors": vectors, "pixels": pixels}
    if isinstance(text, WindowText):
        if body.batches and tile.full:
            more["steps"] = batched(text.steps)
        more |= {"store": store(0), "store_count": rest(0)}
    args = (", scale" if scale else "") + (", channel" if kind == "lanes" else "")
    more["tap_args"] = text.tap_args + args
    return type(text)(**{**vars(text), **more})


def scale_tables(plan: KernelPlan) -> tuple[str, ...]:
    """The names of the tables that hold a plan's scales; none where sums go one by one."""
    if requantization(plan.spec) is None:
        return ()
    kind = scaling(plan.spec, plan.body.isa).kind
    return tuple(name for _, name in VECTORS.get(kind, ()))


def _scales(
    plan: KernelPlan, packed: DotPacking, kind: str, v: str, block: str, *, apart: bool
) -> SimpleNamespace | None:
    """The numbers that scale the sums of each block of channels: one entry where all are alike.
    Those of the layers that share the code follow the layer's own. ``first``: the C expression of
    the first number of ``block``, in the set of the layer that is asked for."""
    spec, lanes = plan.spec, packed.lanes
    hows = [how for one in (spec, *plan.alike) if (how := requantization(one)) is not None]
    if not hows or kind not in VECTORS:
        return None
    how = hows[0]
    several = how.rounding is Rounding.ONNX and len(set(how.scales)) > 1
    several |= how.rounding is not Rounding.ONNX and (
        len(set(zip(how.factors, how.shifts, strict=True))) > 1
    )
    blocks = range(packed.groups * packed.blocks) if several else range(1)
    makers: dict[str, Callable[[Requantization, list[int]], list[str]]] = {
        "float": _float_entry,
        "stairs": _stairs_entry,
        "fixed": partial(_fixed_entry, apart=apart),
    }
    entry = makers[kind]
    entries = [
        entry(how, [_channel(packed, b, i) for i in range(lanes)]) for how in hows for b in blocks
    ]
    names = VECTORS[kind]
    fields = [
        _field(ctype, name, f"{spec.name}_{name}", v, [f"{entry[i]}," for entry in entries])
        for i, (ctype, name) in enumerate(names)
    ]
    of_set = f"set * {len(blocks) * lanes}" if plan.alike else ""
    of_block = f"({block}) * {lanes}" if len(blocks) > 1 else ""
    first = " + ".join(filter(None, (of_set, of_block))) or "0"
    return SimpleNamespace(count=len(blocks), entries=len(entries), fields=fields, first=first)


def _field(ctype: str, name: str, table: str, v: str, lines: list[str]) -> SimpleNamespace:
    """A table of the file, and how a vector's scale holds its part: floats as a register."""
    held = (f"{v}_r {name}", f"{v}_reals({table} + at)") if ctype == "float" else (
        f"const {ctype} *{name}", f"{table} + at",
    )  # fmt: skip
    return SimpleNamespace(type=ctype, name=name, lines=lines, member=held[0], read=held[1])


def _channel(packed: DotPacking, block: int, lane: int) -> int:
    """The output channel of a lane; those that do not exist take the last one's numbers."""
    group, inside = divmod(block, packed.blocks)
    return group * packed.oc + min(inside * packed.lanes + lane, packed.oc - 1)


def _float_entry(how: Requantization, channels: list[int]) -> list[str]:
    return [_row(how.scales, channels, float_literal)]


def _stairs_entry(how: Requantization, channels: list[int]) -> list[str]:
    from convgen.kernels.dots.float_steps import (
        float_steps,  # with NumPy, which few layers need here
    )

    steps = float_steps(how)
    assert steps is not None, "scaling() asked already"
    rows = (steps.factors, steps.rests, steps.addends)
    return [_row(values, channels, float_literal) for values in rows]


def _fixed_entry(how: Requantization, channels: list[int], *, apart: bool) -> list[str]:
    """Of a product, 2^-(31 + right) is wanted: half of that divisor is added to round, and the zero
    point times it unless it is added ``apart``; TFLite's first rounding, to 2^-31, adds half of
    that as well."""
    first = 0 if how.rounding is Rounding.TFLITE_SINGLE else 2**30
    zero = 0 if apart else how.zero
    # Of this block alone: blocks are many.
    rights = {c: -how.shifts[c] for c in channels}
    addends = {c: first + 2 ** (30 + r) + zero * 2 ** (31 + r) for c, r in rights.items()}
    return [
        _row(how.factors, channels, str),
        ", ".join(str(addends[c]) for c in channels[::2] + channels[1::2]),
        ", ".join(str(rights[c] - 1) for c in channels),
    ]


def _row(values: Sequence[T], channels: list[int], text: Callable[[T], str]) -> str:
    """A value per channel; a single one counts for all."""
    return ", ".join(text(values[c] if len(values) > 1 else values[0]) for c in channels)


def _stage(spec: ConvSpec, body: DotBody) -> SimpleNamespace | None:
    stage = body.stage
    if stage is None:
        return None
    x, y = x_strides(spec), y_strides(spec)
    row = stage.w * stage.c
    return SimpleNamespace(
        **vars(stage), bytes=stage.bytes, row=row, plane=stage.h * row, image=x.image,
        batch=spec.batch, y_image=y.image,
        at=((stage.front * stage.h + stage.top) * stage.w + stage.left) * stage.c,
        id=spec.d, ih=spec.h, iw=spec.w, x=x,
        planes=spec.layout is not Layout.NHWC, close=x.pixel == spec.c,
        padded=(stage.d, stage.h, stage.w) != (spec.d, spec.h, spec.w),
    )  # fmt: skip


def _caller_weights(plan: KernelPlan) -> SimpleNamespace:
    """Where <name>_pack finds a weight, and where in its run it goes."""
    p, packed = plan.packing, plan.sections
    assert isinstance(packed, DotPacking)
    if packed.flat:
        run, k = "kh", f"{times('kw', p.ic)} + ic" if p.ic > 1 else "kw"
    else:
        run, k = f"{times('kh', p.kw)} + kw", "ic"
    at = weight_at(plan.spec, p, "kh", "kw", "channel")
    return SimpleNamespace(at=at, run=run, k=k, kh=p.kh, kw=p.kw, ic=p.ic)

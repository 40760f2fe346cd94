"""Words of the plain C kernels of 8-bit layers."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from convgen.ctext.body import plane_of, plus, times, weight_at
from convgen.ctext.requantize import RequantText, requant_text
from convgen.kernels.core.lowering import serves
from convgen.kernels.core.words import StepText, step_sum_zero, step_text
from convgen.kernels.tiled.tile import TileText, counted, loop_text, tap_params, tile_text
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.tile import Region
from convgen.spec.elements import Sections, arrays_of
from convgen.spec.requantize import input_reach, weight_room
from convgen.target.isa import VectorIsa


@dataclass(frozen=True)
class ScalarText:
    """What scalar.c.j2 prints. ``load_*``, ``pack_w`` and ``finish`` are formats: of an
    offset, a value, or an accumulator and its channel. ``limit``: how pack bounds sums, or None."""

    isa: VectorIsa
    name: str
    prefix: str
    table: str
    regions: tuple[Region, ...]
    runs: tuple[tuple[str, int, int], ...]
    tiles: tuple[SimpleNamespace, ...]
    tile: str
    opaque: str
    step: StepText | None
    loops: tuple[SimpleNamespace, ...]
    inner: str
    w_index: str
    x_index: str
    tap_params: str
    x: str
    w: str
    bias: str
    start: str
    y: str
    load_x: str
    load_w: str
    load_bias: str
    finish: str
    requant: RequantText
    w_zero: str
    oc_param: str
    oc_arg: str
    unit_factor: str
    channel: str
    channels: int
    depth: int
    bias_step: str
    starts: str
    sum_zero: str
    weights_at: str
    x_unit: str
    y_unit: str
    packed_words: str
    w_tap: str
    packed_tap: str
    limit: SimpleNamespace


def scalar_text(plan: KernelPlan, body: Body) -> ScalarText:
    """The words of a plan whose elements are no float32."""
    spec, view = plan.spec, plan.view
    assert isinstance(plan.sections, Sections)
    groups, images = view.groups, spec.batch
    arrays, depth = arrays_of(spec), plan.packing.depth
    requant, rows = requant_text(spec), times("kh", plan.packing.kw)
    return ScalarText(
        isa=body.isa,
        name=spec.name,
        prefix=body.isa.prefix,
        table=f"{spec.name}_regions",
        regions=body.regions,
        runs=tuple((tile.name, a, b) for tile, a, b in body.runs),
        tiles=tuple(_tile(plan, tile_text(plan, body, tile)) for tile in body.tiles),
        tile=f"{spec.name.upper()}_TILE" if serves(spec, plan.target) else "static",
        opaque=f"{spec.name.upper()}_OPAQUE" if serves(spec, plan.target) else "",
        step=step_text(plan, body, requant is not None and requant.w_zeros is not None),
        **loop_text(body.loops if plan.step is None else body.loops[:-1]),
        tap_params=tap_params(body.loops),
        x=arrays.x.c,
        w=plan.sections.weight,
        bias=plan.sections.bias,
        start="int32_t",
        y=arrays.y.c,
        **_integer_words(plan, body, requant),
        unit_factor=f"{groups * images} * " if groups * images > 1 else "",
        channel=f"{times('group', view.oc)} + oc" if groups > 1 else "oc",
        channels=spec.oc,
        depth=depth,
        bias_step=" * 4",
        weights_at=f"{4 * spec.oc}",
        x_unit=(f" + {times('image', view.x_image)}" if images > 1 else "")
        + (f" + {times('group', view.x_group)}" if groups > 1 else "")
        + plane_of(spec, view.sd * view.x_plane),
        y_unit=(f" + {times('image', view.y_image)}" if images > 1 else "")
        + (f" + {times('group', view.y_group)}" if groups > 1 else "")
        + plane_of(spec, view.y_plane)
        + f" + {times('oc', view.y_channel)}",
        packed_words=f"First every bias, then each filter's {depth} weights in the order of taps.",
        w_tap=weight_at(spec, plan.packing, "kh", "kw", "oc"),
        packed_tap=f"{times('oc', depth)} + {times(f'({rows} + kw)', plan.packing.ic)} + ic",
    )


def _tile(plan: KernelPlan, tile: TileText) -> SimpleNamespace:
    """The tile's words, its channels' weights one filter apart."""
    vectors = [
        SimpleNamespace(
            index=j.index,
            bias=j.index,
            bias_at=plus(4 * j.index),
            packed_at=plus(j.index * plan.packing.depth),
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


def _sum_zero(plan: KernelPlan, body: Body, requant: RequantText) -> int:
    """What the sum of a channel's weights is multiplied with before it is taken from its bias."""
    spec, how = plan.spec, plan.schedule
    assert spec.quant is not None
    if plan.step is not None:
        return step_sum_zero(plan)
    # An addition for every weight of a row of tiles, not one for every input of each.
    fewer = serves(spec, plan.target) and how.tile_h * how.tile_w > how.vectors and body.loops
    return spec.quant.x_zero if fewer and not requant.w_zeros else 0


def _integer_words(plan: KernelPlan, body: Body, requant: RequantText) -> dict[str, Any]:
    spec = plan.spec
    assert spec.quant is not None
    sum_zero = _sum_zero(plan, body, requant)
    starts = f"{spec.name}_bias(bt{{0}})"
    if sum_zero:
        taps = "".join(f", a->{name}" for name in counted(body.loops))
        starts = f"{spec.name}_start(bt{{0}}, wt{{1}}{taps})"
    zeros = spec.quant.weight.zero_point
    w_zero = "table" if requant.w_zeros else ""
    load_w = "v[{0}] - {1}" if w_zero else f"v[{{0}}]{_less(zeros[0])}"
    by_channel = bool(requant.oc_param)
    passed = by_channel or bool(w_zero)
    return {
        "requant": requant,
        "w_zero": w_zero,
        "load_x": "s[{0}]" if sum_zero else f"s[{{0}}]{_less(spec.quant.x_zero)}",
        "starts": starts,
        "sum_zero": f"({sum_zero})" if sum_zero < 0 else str(sum_zero) if sum_zero else "",
        "load_w": load_w,
        "load_bias": "b[{0}]",
        "finish": f"{spec.name}_output({{0}}{', oc + {1}' if by_channel else ''})",
        "oc_param": ", ptrdiff_t oc" if passed else "",
        "oc_arg": ", channel" if passed else "",
        "limit": SimpleNamespace(
            zero=f"{spec.name}_w_zero[oc]" if w_zero else f"({zeros[0]})",
            reach=input_reach(spec),
            room=weight_room(spec),
        ),
    }


def _less(zero: int) -> str:
    """``" - 3"``, ``" + 3"`` for -3, nothing for 0."""
    return "" if zero == 0 else f" - {zero}" if zero > 0 else f" + {-zero}"

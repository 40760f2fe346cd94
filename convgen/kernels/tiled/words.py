"""Words of the register-tiled families: regions, microkernels and sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from convgen.ctext.body import BodyText, block_of, common, plane_of, times
from convgen.kernels.tiled.slides import lanewise_text
from convgen.kernels.tiled.tile import TileText, loop_text, rest_text, tap_params, tile_text
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.packing import Packing
from convgen.plan.tile import Region


@dataclass(frozen=True)
class TiledText(BodyText):
    """What tiled.j2 prints for one body."""

    table: str
    regions: tuple[Region, ...]
    runs: tuple[tuple[str, int, int], ...]
    tiles: tuple[TileText, ...]
    x_lane: int
    turned: SimpleNamespace | None
    loops: tuple[SimpleNamespace, ...]
    inner: str
    w_index: str
    x_index: str
    input_words: str
    bias_param: str
    finish: str
    finish_words: str
    tap_params: str
    unit_factor: str
    x_unit: str
    b_unit: str
    y_unit: str


def tiled_text(plan: KernelPlan, body: Body) -> TiledText:
    """The words of one body of a register-tiled plan."""
    isa, view, packing = body.isa, plan.view, plan.packing
    groups, images = view.groups, plan.spec.batch
    return TiledText(
        **common(plan, body) | {"rest": rest_text(body)},
        table=f"{plan.spec.name}_regions{plan.tag}",
        regions=body.regions,
        runs=tuple((tile.name + plan.tag, a, b) for tile, a, b in body.runs),
        tiles=tuple(
            lanewise_text(plan, body, tile) if view.x_lane else tile_text(plan, body, tile)
            for tile in body.tiles
        ),
        x_lane=view.x_lane,
        turned=_turned(plan, body),
        **loop_text(body.loops),
        input_words=f"{'two inputs' if isa.has('pair') else 'one input'} of each pixel",
        bias_param=f"const {plan.packed.c} *b, ",
        finish=f"{isa.prefix}_act({{}})",
        finish_words="Activation and store.",
        tap_params=tap_params(body.loops),
        unit_factor=f"{groups * images} * " if groups * images > 1 else "",
        x_unit=(f" + {times('image', view.x_image)}" if images > 1 else "")
        + (f" + {times('group', view.x_group)}" if groups > 1 else "")
        + plane_of(plan.spec, view.sd * view.x_plane)
        + _lane_offset(plan, body),
        b_unit=(f"group * {packing.group_stride} + " if groups > 1 else "")
        + _block(packing, isa.lanes),
        y_unit=(f" + {times('image', view.y_image)}" if images > 1 else "")
        + (f" + {times('group', view.y_group)}" if groups > 1 else "")
        + plane_of(plan.spec, view.y_plane)
        + f" + {times('oc', view.y_channel)}",
    )


def _turned(plan: KernelPlan, body: Body) -> SimpleNamespace | None:
    """Sizes of the copy with the channels of a pixel side by side."""
    spec = plan.spec
    if not body.turned:
        return None
    return SimpleNamespace(
        images=spec.batch, pixels=spec.h * spec.w, c=spec.c, image=spec.h * spec.w * spec.c,
        pitch=plan.view.x_pixel, copy=plan.view.x_image,
        square="transpose" in body.operations, lanes=body.isa.lanes,
    )  # fmt: skip


def _block(packing: Packing, lanes: int) -> str:
    """Where the block of channel oc begins: whole vectors of channels, or one lane of a vector."""
    if lanes == packing.lanes:
        return times("oc", packing.block_stride // lanes)
    return block_of("oc", packing.lanes, packing.block_stride, packing.side)


def _lane_offset(plan: KernelPlan, body: Body) -> str:
    """What the first output channel of a tile adds to its input's address."""
    view = plan.view
    if not view.x_lane:
        return ""
    if body.isa.lanes == 1 and view.ic > 1:  # a lone channel: its group's first input
        return f" + oc / {view.ic} * {view.ic}"
    return " + oc"

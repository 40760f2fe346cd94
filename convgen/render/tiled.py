"""Words of the register-tiled families: regions, microkernels and sweeps."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from convgen.plan import Body, KernelPlan, Loop, Region, Tile
from convgen.render.body import BodyText, block_of, common, plus, times
from convgen.target.isa import VectorIsa


@dataclass(frozen=True)
class TileText:
    """One tile's microkernel and sweep; offsets are C text such as ``" + 96"``, empty for 0."""

    name: str
    comment: str
    channels: int
    pixels: tuple[SimpleNamespace, ...]
    vectors: tuple[SimpleNamespace, ...]
    y_row: int
    y_col: int


@dataclass(frozen=True)
class TiledText(BodyText):
    """What templates/tiled.j2 prints for one body."""

    table: str
    regions: tuple[Region, ...]
    runs: tuple[tuple[str, int, int], ...]
    tiles: tuple[TileText, ...]
    x_lane: int
    loops: tuple[SimpleNamespace, ...]
    inner: str
    w_index: str
    x_index: str
    input_words: str
    bias_param: str
    finish: str
    finish_words: str
    tap_params: str
    tap_args: str
    unit_factor: str
    x_unit: str
    b_unit: str
    y_unit: str


def tiled_text(plan: KernelPlan, body: Body) -> TiledText:
    """The words of one body of a register-tiled plan."""
    isa, view, packing = body.isa, plan.view, plan.packing
    first, last = _tap_names(body.loops)
    groups, images = view.groups, plan.spec.batch
    factor = "".join(f"(ptrdiff_t){n} * " for n in (images, groups) if n > 1)
    depth = len(body.loops)
    return TiledText(
        **common(body),
        table=f"{plan.spec.name}_regions",
        regions=body.regions,
        runs=tuple((tile.name, a, b) for tile, a, b in body.runs),
        tiles=tuple(tile_text(plan, body, tile) for tile in body.tiles),
        x_lane=view.x_lane,
        loops=tuple(
            SimpleNamespace(var=x.var, count=x.count, indent="  " * (i + 1))
            for i, x in enumerate(body.loops)
        ),
        inner="  " * (depth + 1),
        w_index="".join(f" + {times(x.var, x.w_step)}" for x in body.loops),
        x_index="".join(f" + {times(x.var, x.x_step)}" for x in body.loops),
        input_words="a vector of inputs per pixel" if view.x_lane else "one input of each pixel",
        bias_param="const float *b, ",
        finish=f"{isa.prefix}_act",
        finish_words="Activation and store.",
        tap_params=first,
        tap_args=last,
        unit_factor=factor,
        x_unit=(f" + image * {view.x_image}" if images > 1 else "")
        + (f" + group * {view.x_group}" if groups > 1 else "")
        + (" + oc" if view.x_lane else ""),
        b_unit=(f"group * {packing.group_stride} + " if groups > 1 else "")
        + block_of("oc", packing.lanes, packing.block_stride),
        y_unit=(f" + image * {view.y_image}" if images > 1 else "")
        + (f" + group * {view.y_group}" if groups > 1 else "")
        + f" + {times('oc', view.y_channel)}",
    )


def _tap_names(loops: tuple[Loop, ...]) -> tuple[str, str]:
    names = [
        name for name in ("kh_taps", "kw_taps") if any(x.count.startswith(name) for x in loops)
    ]
    params = "".join(f", ptrdiff_t {name}" for name in names)
    return params, "".join(f", a->{name}" for name in names)


def tile_text(plan: KernelPlan, body: Body, tile: Tile) -> TileText:
    spec, view = plan.spec, plan.view
    stored = "1 channel" if tile.channels == 1 else f"{tile.channels} channels"
    shape = f"{tile.h}x{tile.w} pixels" if tile.pixels > 1 else "1 pixel"
    accumulators = tile.pixels * tile.vectors
    comment = f"{shape} x {stored}: {accumulators} accumulator{'s' if accumulators > 1 else ''}"
    pixels = []
    for index in range(tile.pixels):
        row, col = tile.pixel(index)
        x = row * spec.sh * view.x_row + col * spec.sw * view.x_pixel
        y = row * view.y_row + col * view.y_pixel
        pixels.append(SimpleNamespace(index=index, x=plus(x), x_first=x, y=plus(y)))
    return TileText(
        name=tile.name,
        comment=f"{comment}, {accumulators} multiply-add{'s' if accumulators > 1 else ''} a step.",
        channels=tile.channels,
        pixels=tuple(pixels),
        vectors=tuple(_vector_text(plan, body.isa, tile, j) for j in range(tile.vectors)),
        y_row=tile.h * view.y_row,
        y_col=tile.w * view.y_pixel,
    )


def _vector_text(plan: KernelPlan, isa: VectorIsa, tile: Tile, j: int) -> Any:
    view, part = plan.view, tile.stored(j)
    whole = part == isa.lanes
    v = isa.prefix
    scattered = view.y_channel != 1
    if scattered:
        store, count = f"{v}_scatter", f", {part}"
    else:
        store, count = (f"{v}_store", "") if whole else (f"{v}_store_part", f", {part}")
    return SimpleNamespace(
        index=j,
        start=f"load(b{plus(plan.packing.offset(j * isa.lanes))})",
        packed=plus(plan.packing.offset(j * isa.lanes)),
        lane=plus(j * isa.lanes),
        load="load" if whole else "load_part",
        load_count="" if whole else f", {part}",
        y=plus(j * isa.lanes * view.y_channel),
        store=store,
        store_count=count,
    )

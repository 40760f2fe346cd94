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
    tap_args: str


@dataclass(frozen=True)
class SlideText(TileText):
    """A tile of a lanewise family. ``columns``: the inputs in the order they are loaded, each with
    what it is multiplied by; ``weights``: name and place of every vector of weights."""

    tap_params: str
    loops: tuple[SimpleNamespace, ...]
    inner: str
    x_index: str
    w_index: str
    weights: tuple[SimpleNamespace, ...]
    columns: tuple[SimpleNamespace, ...]
    spread: bool


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
    unit_factor: str
    x_unit: str
    b_unit: str
    y_unit: str


def tiled_text(plan: KernelPlan, body: Body) -> TiledText:
    """The words of one body of a register-tiled plan."""
    isa, view, packing = body.isa, plan.view, plan.packing
    groups, images = view.groups, plan.spec.batch
    factor = "".join(f"(ptrdiff_t){n} * " for n in (images, groups) if n > 1)
    return TiledText(
        **common(body),
        table=f"{plan.spec.name}_regions",
        regions=body.regions,
        runs=tuple((tile.name, a, b) for tile, a, b in body.runs),
        tiles=tuple(
            slide_text(plan, body, tile) if view.x_lane else tile_text(plan, body, tile)
            for tile in body.tiles
        ),
        x_lane=view.x_lane,
        **_loop_text(body.loops),
        input_words="one input of each pixel",
        bias_param="const float *b, ",
        finish=f"{isa.prefix}_act",
        finish_words="Activation and store.",
        tap_params=_tap_params(body.loops),
        unit_factor=factor,
        x_unit=(f" + image * {view.x_image}" if images > 1 else "")
        + (f" + group * {view.x_group}" if groups > 1 else "")
        + _lane_offset(plan, body),
        b_unit=(f"group * {packing.group_stride} + " if groups > 1 else "")
        + block_of("oc", packing.lanes, packing.block_stride),
        y_unit=(f" + image * {view.y_image}" if images > 1 else "")
        + (f" + group * {view.y_group}" if groups > 1 else "")
        + f" + {times('oc', view.y_channel)}",
    )


def _lane_offset(plan: KernelPlan, body: Body) -> str:
    """What the first output channel of a tile adds to its input's address."""
    view = plan.view
    if not view.x_lane:
        return ""
    if body.isa.lanes == 1 and view.ic > 1:  # a lone channel: its group's first input
        return f" + oc / {view.ic} * {view.ic}"
    return " + oc"


def _loop_text(loops: tuple[Loop, ...]) -> dict[str, Any]:
    """The reduction's loops, and where one step finds its inputs and weights."""
    return {
        "loops": tuple(
            SimpleNamespace(var=x.var, count=x.count, indent="  " * (i + 1))
            for i, x in enumerate(loops)
        ),
        "inner": "  " * (len(loops) + 1),
        "w_index": "".join(f" + {times(x.var, x.w_step)}" for x in loops),
        "x_index": "".join(f" + {times(x.var, x.x_step)}" for x in loops),
    }


def _counted(loops: tuple[Loop, ...]) -> list[str]:
    names = ("kh_taps", "kw_taps")
    return [name for name in names if any(x.count.startswith(name) for x in loops)]


def _tap_params(loops: tuple[Loop, ...]) -> str:
    return "".join(f", ptrdiff_t {name}" for name in _counted(loops))


def _tap_args(loops: tuple[Loop, ...]) -> str:
    return "".join(f", a->{name}" for name in _counted(loops))


def slide_text(plan: KernelPlan, body: Body, tile: Tile) -> SlideText:
    """A lanewise tile: its rows of taps unrolled, or counted by the loop over kw."""
    loops = tuple(x for x in body.loops if not (tile.taps and x.var == "kw"))
    base = tile_text(plan, body, tile)
    weights = [
        SimpleNamespace(name=f"{kw}_{ic}_{j}", place=plus(_weight_place(plan, body, kw, ic, j)))
        for kw in range(max(1, tile.taps))
        for ic in range(plan.view.ic)
        for j in range(tile.vectors)
    ]
    return SlideText(
        **{**vars(base), "tap_args": _tap_args(loops)},
        tap_params=_tap_params(loops),
        **_loop_text(loops),
        weights=tuple(weights),
        columns=tuple(_columns(plan, body, tile)),
        spread=plan.view.ic > 1 and body.isa.lanes > 1,
    )


def _weight_place(plan: KernelPlan, body: Body, kw: int, ic: int, j: int) -> int:
    packing = plan.packing
    return (kw * packing.ic + ic) * packing.lanes + packing.offset(j * body.isa.lanes)


def _columns(plan: KernelPlan, body: Body, tile: Tile) -> list[SimpleNamespace]:
    """Every place that the tile's windows read in one row of taps, and the products made there."""
    spec, view, lanes = plan.spec, plan.view, body.isa.lanes
    met: dict[int, list[tuple[int, int]]] = {}
    for m in range(tile.pixels):
        row, col = tile.pixel(m)
        for kw in range(max(1, tile.taps)):
            place = row * spec.sh * view.x_row + (col * spec.sw + kw * spec.dw) * view.x_pixel
            met.setdefault(place, []).append((m, kw))
    found = []
    for place, hits in sorted(met.items()):
        if lanes == 1 and view.ic > 1:  # each input of the group in turn, for all its outputs
            for ic in range(view.ic):
                pairs = [_pair(m, kw, ic, j) for m, kw in hits for j in range(tile.vectors)]
                use = SimpleNamespace(spread="", input="a", pairs=pairs)
                found.append(SimpleNamespace(load=f"load(s{plus(place + ic)})", uses=[use]))
            continue
        for j in range(tile.vectors):
            part = tile.stored(j)
            at = f"s{plus(place + j * lanes)}"
            load = f"load({at})" if part == lanes else f"load_part({at}, {part})"
            uses = [
                SimpleNamespace(
                    spread=f"spread_{view.ic}_{ic}(a)" if view.ic > 1 else "",
                    input="e" if view.ic > 1 else "a",
                    pairs=[_pair(m, kw, ic, j) for m, kw in hits],
                )
                for ic in range(view.ic)
            ]
            found.append(SimpleNamespace(load=load, uses=uses))
    return found


def _pair(m: int, kw: int, ic: int, j: int) -> SimpleNamespace:
    return SimpleNamespace(acc=f"{m}_{j}", weight=f"{kw}_{ic}_{j}")


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
        pixels.append(SimpleNamespace(index=index, x=x, y=plus(y)))
    return TileText(
        name=tile.name,
        comment=f"{comment}, {accumulators} multiply-add{'s' if accumulators > 1 else ''} a step.",
        channels=tile.channels,
        pixels=tuple(pixels),
        vectors=tuple(_vector_text(plan, body.isa, tile, j) for j in range(tile.vectors)),
        y_row=tile.h * view.y_row,
        y_col=tile.w * view.y_pixel,
        tap_args=_tap_args(body.loops),
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
        y=plus(j * isa.lanes * view.y_channel),
        store=store,
        store_count=count,
    )

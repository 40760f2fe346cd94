"""Words of one tile: offsets of its pixels and vectors, and the loops around its steps."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from convgen.ctext.body import plus, times
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.packing import Loop
from convgen.plan.tile import Tile
from convgen.target.isa import VectorIsa

_CHUNK = 256  # channels read side by side: long runs of memory, and enough units of work


@dataclass(frozen=True)
class TileText:
    """One tile's microkernel and sweep; offsets are C text such as ``" + 96"``, empty for 0.

    ``chunk``: blocks of channels that are swept side by side, 0 where each is swept alone.
    """

    name: str
    comment: str
    channels: int
    pixels: tuple[SimpleNamespace, ...]
    vectors: tuple[SimpleNamespace, ...]
    y_row: str
    y_col: str
    tap_args: str
    chunk: int

    @property
    def holds_inputs(self) -> bool:
        """Whether a step holds its inputs and streams the weights, else the reverse: the fewer
        of the two stay in registers."""
        return len(self.pixels) < len(self.vectors)

    @property
    def kind(self) -> str:
        """Which microkernel template prints it."""
        return "tile"


def rest_text(body: Body) -> SimpleNamespace | None:
    """Where the step behind the inner loop stands, and finds its inputs and weights."""
    rest = body.rest
    if rest is None:
        return None
    outer = loop_text(body.loops[: rest.depth])
    return SimpleNamespace(
        depth=rest.depth, indent=outer["inner"],
        x_index=outer["x_index"] + plus(rest.x), w_index=outer["w_index"] + plus(rest.w),
    )  # fmt: skip


def loop_text(loops: tuple[Loop, ...]) -> dict[str, Any]:
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


def counted(loops: tuple[Loop, ...]) -> list[str]:
    names = ("kd_taps", "kh_taps", "kw_taps")
    return [name for name in names if any(x.count.startswith(name) for x in loops)]


def tap_params(loops: tuple[Loop, ...]) -> str:
    return "".join(f", ptrdiff_t {name}" for name in counted(loops))


def tap_args(loops: tuple[Loop, ...]) -> str:
    return "".join(f", a->{name}" for name in counted(loops))


def tile_text(plan: KernelPlan, body: Body, tile: Tile) -> TileText:
    view = plan.view
    stored = "1 channel" if tile.channels == 1 else f"{tile.channels} channels"
    shape = f"{tile.h}x{tile.w} pixels" if tile.pixels > 1 else "1 pixel"
    accumulators = tile.pixels * tile.vectors
    comment = f"{shape} x {stored}: {accumulators} accumulator{'s' if accumulators > 1 else ''}"
    pixels, v = [], body.isa.prefix
    for index in range(tile.pixels):
        row, col = tile.pixel(index)
        x = row * view.sh * view.x_row + col * view.sw * view.x_pixel
        y = row * view.y_row + col * view.y_pixel
        read = f"{v}_set1(s[{x}])"
        for name in ("repeat", "pair"):
            read = f"{v}_{name}(s{plus(x)})" if body.isa.has(name) else read
        single = f"{v}_single(s{plus(x)})" if body.isa.has("single") else read
        pixels.append(SimpleNamespace(index=index, x=x, y=plus(y), input=read, single=single))
    return TileText(
        name=tile.name + plan.tag,
        comment=f"{comment}, {accumulators} multiply-add{'s' if accumulators > 1 else ''} a step.",
        channels=tile.channels,
        pixels=tuple(pixels),
        vectors=tuple(_vector_text(plan, body.isa, tile, j) for j in range(tile.vectors)),
        y_row=times("row", tile.h * view.y_row),
        y_col=times("col", tile.w * view.y_pixel),
        tap_args=tap_args(body.loops),
        chunk=max(1, _CHUNK // tile.channels) if view.x_lane else 0,
    )


def _vector_text(plan: KernelPlan, isa: VectorIsa, tile: Tile, j: int) -> Any:
    view, part = plan.view, tile.stored(j)
    whole = part == isa.lanes
    v = isa.prefix
    if view.y_channel != 1 and isa.lanes > 1:
        store, count = f"{v}_scatter", f", {part}"
    else:
        store, count = (f"{v}_store", "") if whole else (f"{v}_store_part", f", {part}")
    return SimpleNamespace(
        index=j,
        start=f"{v}_load(b{plus(plan.packing.offset(j * isa.lanes))})",
        packed=plus(plan.packing.offset(j * isa.lanes)),
        y=plus(j * isa.lanes * view.y_channel),
        store=store,
        store_count=count,
    )

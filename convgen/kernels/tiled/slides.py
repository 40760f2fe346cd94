"""Words of the lanewise families' tiles: which input meets which taps, in loading order."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from convgen.ctext.body import plus
from convgen.kernels.tiled.quads import quads_of
from convgen.kernels.tiled.step import strands_of
from convgen.kernels.tiled.tile import TileText, loop_text, tap_args, tap_params, tile_text
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.tile import Tile
from convgen.target import VectorIsa


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

    @property
    def kind(self) -> str:
        return "slide"


@dataclass(frozen=True)
class WindowText(TileText):
    """A depthwise tile with its windows unrolled. ``steps``: the inputs in the order they are
    loaded, each with its products and the outputs that are then complete."""

    weights: tuple[SimpleNamespace, ...]
    steps: tuple[SimpleNamespace, ...]
    store: str
    store_count: str

    @property
    def kind(self) -> str:
        return "window"


def lanewise_text(plan: KernelPlan, body: Body, tile: Tile) -> SlideText | WindowText:
    """The words of a tile, by how much of its windows is unrolled."""
    if tile.tap_rows:
        return window_text(plan, body, tile)
    return slide_text(plan, body, tile)


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
        **{**vars(base), "tap_args": tap_args(loops)},
        tap_params=tap_params(loops),
        **loop_text(loops),
        weights=tuple(weights),
        columns=tuple(_columns(plan, body, tile)),
        spread=plan.view.ic > 1 and body.isa.lanes > 1,
    )


def load_text(isa: VectorIsa, place: str, part: int) -> str:
    """An input as a C expression: loaded once, and kept in a register for all its uses.

    gcc would make it a memory operand of every multiply-add that it meets, and a vector that
    crosses a line of the cache costs two accesses each time.
    """
    v = isa.prefix
    if isa.has("each"):
        return f"{v}_each({place})" if part == isa.lanes else f"{v}_each_part({place}, {part})"
    load = f"{v}_load({place})" if part == isa.lanes else f"{v}_load_part({place}, {part})"
    return f"{v}_keep({load})" if isa.keeps else load


def _weight_place(plan: KernelPlan, body: Body, kw: int, ic: int, j: int) -> int:
    packing = plan.packing
    block = packing.offset(j * body.isa.lanes)
    if plan.sections is not None and plan.sections.block_stride:
        block = j * plan.sections.block_stride
    return (kw * packing.ic + ic) * packing.lanes + block


def _columns(plan: KernelPlan, body: Body, tile: Tile) -> list[SimpleNamespace]:
    """Every place that the tile's windows read in one row of taps, and the products made there.

    In ``bundles``: places far enough apart that no multiply-add waits for the one before it.
    """
    view, lanes = plan.view, body.isa.lanes
    met: dict[int, list[tuple[int, int]]] = {}
    for m in range(tile.pixels):
        row, col = tile.pixel(m)
        for kw in range(max(1, tile.taps)):
            place = row * view.sh * view.x_row + (col * view.sw + kw * view.dw) * view.x_pixel
            met.setdefault(place, []).append((m, kw))
    places = sorted(met)
    if lanes == 1 and view.ic > 1:  # each input of the group in turn, for all its outputs
        found = []
        for place in places:
            for ic in range(view.ic):
                pairs = [_pair(m, kw, ic, j) for m, kw in met[place] for j in range(tile.vectors)]
                text = load_text(body.isa, f"s{plus(place + ic)}", 1)
                load = SimpleNamespace(name="0", load=text)
                use = SimpleNamespace(spread="", input="a_0", pairs=pairs)
                found.append(SimpleNamespace(loads=[load], uses=[use]))
        return found
    strands = strands_of(body.isa, tile.taps) if view.ic > 1 else 1
    return [
        _bundle(plan, body, tile, {place: met[place] for place in bundle})
        for bundle in bundles(places, strands)
    ]


def _bundle(
    plan: KernelPlan, body: Body, tile: Tile, met: dict[int, list[tuple[int, int]]]
) -> SimpleNamespace:
    """Some inputs, loaded together; then what each is multiplied by, in turns."""
    ic, lanes = plan.view.ic, body.isa.lanes
    inputs = [(place, j) for place in met for j in range(tile.vectors)]
    loads = [
        SimpleNamespace(
            name=str(i), load=load_text(body.isa, f"s{plus(place + j * lanes)}", tile.stored(j))
        )
        for i, (place, j) in enumerate(inputs)
    ]
    uses = [
        SimpleNamespace(
            spread=f"spread_{ic}_{c}(a_{i})" if ic > 1 else "",
            input="e" if ic > 1 else f"a_{i}",
            pairs=[_pair(m, kw, c, j) for m, kw in met[place]],
        )
        for c in range(ic)
        for i, (place, j) in enumerate(inputs)
    ]
    return SimpleNamespace(loads=loads, uses=uses)


def bundles(places: list[int], strands: int) -> list[list[int]]:
    """The places in ``strands`` equal stretches, walked side by side."""
    length = -(-len(places) // strands)
    stretches = [places[i : i + length] for i in range(0, len(places), length)]
    return [[s[i] for s in stretches if i < len(s)] for i in range(length)]


def _pair(m: int, kw: int, ic: int, j: int) -> SimpleNamespace:
    return SimpleNamespace(acc=f"{m}_{j}", weight=f"{kw}_{ic}_{j}")


def window_text(plan: KernelPlan, body: Body, tile: Tile) -> WindowText:
    """A tile that goes over its inputs along the longer side: few outputs are open at a time."""
    if plan.sections is not None and plan.sections.patterns:
        return _tall_text(plan, body, tile)
    view, lanes = plan.view, plan.packing.lanes
    base = tile_text(plan, body, tile)
    met: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for m in range(tile.pixels):
        row, col = tile.pixel(m)
        for kh in range(tile.tap_rows):
            for kw in range(tile.taps):
                place = (row * view.sh + kh * view.dh, col * view.sw + kw * view.dw)
                met.setdefault(place, []).append((m, kh, kw))
    taps = tile.tap_rows * tile.taps
    done = dict.fromkeys(range(tile.pixels), 0)
    steps = []
    along_columns = tile.w >= tile.h
    for place in sorted(met, key=lambda p: (p[1], p[0]) if along_columns else p):
        products, finished = [], []
        for m, kh, kw in met[place]:
            name = "{}_{}".format(*tile.pixel(m))
            products.append(SimpleNamespace(acc=name, weight=f"{kh}_{kw}", first=done[m] == 0))
            done[m] += 1
            if done[m] == taps:
                finished.append(SimpleNamespace(name=name, y=base.pixels[m].y))
        at = f"x{plus(place[0] * view.x_row + place[1] * view.x_pixel)}"
        load = load_text(body.isa, at, tile.tail)
        steps.append(SimpleNamespace(load=load, products=products, finished=finished, fours=()))
    weights = tuple(
        SimpleNamespace(name=f"{kh}_{kw}", place=plus((kh * plan.packing.kw + kw) * lanes))
        for kh in range(tile.tap_rows)
        for kw in range(tile.taps)
    )
    return _window(base, tile, weights, steps)


def _window(
    base: TileText, tile: Tile, weights: tuple[SimpleNamespace, ...], steps: list[SimpleNamespace]
) -> WindowText:
    vector = base.vectors[0]
    return WindowText(
        **{**vars(base), "tap_args": "", "comment": f"{base.comment.partition(':')[0]}, whole "
           f"windows of {tile.tap_rows}x{tile.taps} taps."},
        weights=weights,
        steps=tuple(steps),
        store=vector.store,
        store_count=vector.store_count,
    )  # fmt: skip


def _tall_text(plan: KernelPlan, body: Body, tile: Tile) -> WindowText:
    """A tile that takes its inputs in fours of rows, column by column."""
    view = plan.view
    base, v = tile_text(plan, body, tile), body.isa.prefix
    quads, patterns = quads_of(tile.h, tile.tap_rows, view.sh, view.dh)
    met: dict[int, list[tuple[int, int]]] = {}
    for column in range(tile.w):
        for kw in range(tile.taps):
            met.setdefault(column * view.sw + kw * view.dw, []).append((column, kw))
    wanted = [tile.taps * sum(r in dict(q.uses) for q in quads) for r in range(tile.h)]
    done = dict.fromkeys(range(tile.pixels), 0)
    steps = []
    for place in sorted(met):
        for quad in quads:
            products, finished = [], []
            for column, kw in met[place]:
                for row, pattern in quad.uses:
                    m, name = row * tile.w + column, f"{row}_{column}"
                    first = done[m] == 0
                    products.append(
                        SimpleNamespace(acc=name, weight=f"{pattern}_{kw}", first=first)
                    )
                    done[m] += 1
                    if done[m] == wanted[row]:
                        finished.append(SimpleNamespace(name=name, y=base.pixels[m].y))
            at = ", ".join(f"x{plus(r * view.x_row + place * view.x_pixel)}" for r in quad.rows)
            load = f"{v}_tall({at})" if tile.full else f"{v}_tall_part({at}, {tile.tail})"
            steps.append(SimpleNamespace(load=load, products=products, finished=finished, fours=()))
    weights = tuple(
        SimpleNamespace(name=f"{i}_{kw}", place=plus((i * plan.packing.kw + kw) * 4 * tile.lanes))
        for i in range(len(patterns))
        for kw in range(tile.taps)
    )
    return _window(base, tile, weights, steps)


def batched(steps: tuple[SimpleNamespace, ...]) -> tuple[SimpleNamespace, ...]:
    """The same steps, with outputs that are complete stored four at a time, the rest at the end."""
    found, waiting = [], []
    for i, step in enumerate(steps):
        waiting += step.finished
        whole = len(waiting) - len(waiting) % 4
        fours = [waiting[k : k + 4] for k in range(0, whole, 4)]
        waiting = waiting[whole:]
        last = waiting if i == len(steps) - 1 else []
        found.append(SimpleNamespace(**{**vars(step), "fours": fours, "finished": last}))
    return tuple(found)

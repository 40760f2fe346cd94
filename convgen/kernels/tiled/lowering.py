"""What the register-tiled families share: peeled borders, tiles, offsets, packing, plain C body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache

from convgen.errors import ScheduleError
from convgen.kernels.face import activation_operations, isas_of
from convgen.plan.cover import Piece, cover
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.packing import Loop, Packing
from convgen.plan.problem import tap_order
from convgen.plan.tile import Rectangle, Region, Tile, View
from convgen.spec.model import ConvSpec, DType
from convgen.spec.schedule import Schedule
from convgen.spec.strides import w_strides
from convgen.target import Target, VectorIsa

Walk = Callable[[ConvSpec, Schedule], tuple[View, list[Rectangle]]]
MostPixels = Callable[[VectorIsa, int], int]
Reduce = Callable[[ConvSpec, View, Packing, bool], tuple[Loop, ...]]

_SMALL = 64  # an area with less than this part of all outputs does without unrolled windows
PLAIN_TILE = (1, 4, 4)  # pixels and channels of the plain body: 16 scalar accumulators


def most_pixels(isa: VectorIsa, vectors: int) -> int:
    """The most pixels of a tile whose step leaves every accumulator in its register.

    Beside the MR*NV accumulators, either NV weights are held and MR inputs stream through one
    register, or fewer inputs than vectors are held and the weights stream. One more register takes
    a product that is not fused, or the next input: some compilers broadcast it early.
    """
    weights_held = (isa.registers - 2 - vectors) // vectors
    inputs_held = (isa.registers - (1 if isa.fused else 2)) // (vectors + 1)
    return max(1, weights_held, min(vectors - 1, inputs_held))


def tiled_plan(
    spec: ConvSpec,
    schedule: Schedule,
    target: Target,
    walk: Walk,
    reduce: Reduce,
    most: MostPixels = most_pixels,
) -> KernelPlan:
    """Lower to a plan with the schedule's body first and a plain C body after it.

    ``reduce(spec, view, packing, some_empty)`` gives the loops over taps and channels;
    ``some_empty``: there are outputs without any tap, so even a 1x1 filter needs a counted loop.
    ``most(isa, vectors)``: how many pixels the registers hold.
    """
    isa = check(spec, schedule, target, most)
    view, areas = walk(spec, schedule)
    packing = packing_of(spec, view, target.block or isa.lanes)
    check_blocks(packing, schedule)
    some_empty = any(not area.kh_taps for area in areas)
    loops = reduce(spec, view, packing, some_empty)

    def body(isa: VectorIsa, how: Schedule, areas: Sequence[Rectangle]) -> Body:
        regions = regions_of(spec, view, packing, how, areas, isa, most)
        return Body(isa, how.family, regions, loops, operations_of(spec, view, regions, isa))

    bodies = [body(isa, schedule, areas)]
    if isa.lanes > 1:
        together = view.ic if view.x_lane and view.ic > 1 else isa.lanes  # channels of one input
        bodies.append(body(isas_of(spec, target)[-1], plain_schedule(schedule, together), areas))
    return KernelPlan(spec, schedule, target, view, packing, tuple(bodies))


def plain_schedule(schedule: Schedule, together: int) -> Schedule:
    """That of the plain C body; ``together``: channels that its tiles must not go beyond."""
    height, width, vectors = PLAIN_TILE
    return Schedule(schedule.family, 1, height, width, min(vectors, together))


def check_lanes(spec: ConvSpec, schedule: Schedule, target: Target) -> VectorIsa:
    """The instruction set of this vector width. Raises ScheduleError where there is none."""
    isas = isas_of(spec, target)
    isa = next((isa for isa in isas if isa.lanes == schedule.lanes), None)
    if isa is None:
        widths = ", ".join(str(i.lanes) for i in isas)
        of = "" if spec.dtype is DType.FLOAT32 else f" of {spec.dtype} layers"
        raise ScheduleError(
            f"schedule: {target.name} has no vectors of {schedule.lanes} lanes{of}, only {widths}"
        )
    return isa


def check(spec: ConvSpec, schedule: Schedule, target: Target, fitting: MostPixels) -> VectorIsa:
    """The instruction set that carries the schedule. Raises ScheduleError where none can."""
    isa = check_lanes(spec, schedule, target)
    check_pixels(isa, schedule, fitting)
    return isa


def check_pixels(isa: VectorIsa, schedule: Schedule, fitting: MostPixels) -> None:
    """Raises ScheduleError where the registers do not hold the schedule's tile."""
    most = fitting(isa, schedule.vectors)
    if schedule.tile_h * schedule.tile_w > most:
        raise ScheduleError(
            f"schedule: a {schedule.tile_h}x{schedule.tile_w} tile of {schedule.vectors} vectors "
            f"does not fit {isa.registers} registers; at most {most} pixels do"
        )


def check_blocks(packing: Packing, schedule: Schedule) -> None:
    """Raises ScheduleError where a tile's channels begin inside one block and end in another.

    A tile finds its vectors by offsets from its first channel, which must be the same everywhere.
    """
    block, lanes = packing.lanes, schedule.lanes
    fits = block % lanes == 0
    for first, blocks, vectors, _ in channel_runs(packing.oc, lanes, schedule.vectors):
        width = vectors * lanes
        fits &= first % block == 0 or first % block + width <= block
        fits &= blocks == 1 or block % width == 0 or width % block == 0
    if not fits:
        raise ScheduleError(
            f"schedule: {schedule.vectors} vectors of {lanes} lanes do not meet packed blocks of "
            f"{block} channels"
        )


def channel_runs(oc: int, lanes: int, vectors: int) -> list[tuple[int, int, int, int]]:
    """Cut a group's channels into (first channel, blocks, vectors, tail) runs of equal blocks."""
    width = lanes * vectors
    blocks, rest = divmod(oc, width)
    runs = [(0, blocks, vectors, lanes)] if blocks else []
    if rest:
        needed = -(-rest // lanes)
        runs.append((blocks * width, 1, needed, rest - (needed - 1) * lanes))
    return runs


def regions_of(
    spec: ConvSpec,
    view: View,
    packing: Packing,
    schedule: Schedule,
    areas: Sequence[Rectangle],
    isa: VectorIsa,
    most: MostPixels,
    small: int = _SMALL,
) -> tuple[Region, ...]:
    """Every rectangle covered by tiles, for every run of channels; equal tiles stand together.

    ``small``: what areas have less than that part of all outputs do without unrolled windows.
    """
    found: list[Region] = []
    for oc, blocks, vectors, tail in channel_runs(view.oc, schedule.lanes, schedule.vectors):
        pixels = schedule.tile_h * schedule.tile_w
        if vectors < schedule.vectors:  # the last, narrower block has registers for more pixels
            pixels = max(pixels, most(isa, vectors))
        channels = blocks * ((vectors - 1) * schedule.lanes + tail)
        for area in areas:
            most_here, walked = pixels, view
            if (
                view.windows
                and area.rows * area.cols * channels * small < spec.oh * spec.ow * view.oc
            ):
                # So little work is not worth code of its own for each set of taps.
                most_here, walked = min(pixels, isa.registers - 3), replace(view, windows=False)
            for row, rows, col, cols, h, w in _pieces(
                area.rows, area.cols, *_main_tile(area, schedule, most_here), most_here
            ):
                taps = _unrolled(walked, area, h, vectors * schedule.lanes)
                tile = Tile(h, w, vectors, schedule.lanes, tail, *taps)
                part = area.part(row, rows, col, cols)
                found.append(_region(spec, view, packing, tile, part, oc, blocks))
    order = {tile: i for i, tile in enumerate(dict.fromkeys(r.tile for r in found))}
    return tuple(sorted(found, key=lambda r: order[r.tile]))


def _unrolled(view: View, area: Rectangle, height: int, width: int) -> tuple[int, int]:
    """(taps of a row, rows of taps) that a tile of this height unrolls."""
    if view.windows and area.kh_taps and width > PLAIN_TILE[2]:
        return area.kw_taps, area.kh_taps
    return (view.unrolled if (height, area.kw_taps) == (1, view.unrolled) else 0), 0


def packing_of(spec: ConvSpec, view: View, lanes: int) -> Packing:
    """Packed order for vectors of ``lanes`` channels; strides are those of the spec's weights."""
    w, (rows, columns) = w_strides(spec), tap_order(spec)
    # Where a view takes all groups for one, its channels are the groups' only ones.
    w_oc = w.group if view.groups < spec.groups and spec.transposed else w.oc
    return Packing(
        lanes=lanes, groups=view.groups, oc=view.oc, kh=spec.kd * spec.kh, kw=spec.kw, ic=view.ic,
        w_kh=w.kh, w_kw=w.kw, w_ic=w.ic, w_oc=w_oc, w_group=w.group, rows=rows, columns=columns,
    )  # fmt: skip


def outer_loops(spec: ConvSpec, view: View, row: int, some_empty: bool) -> list[Loop]:
    """The reduction's loops over planes and rows of taps; ``row``: packed numbers of a row of taps.

    ``some_empty``: there are outputs without any tap, so even one row of taps needs a counted loop.
    """
    loops = []
    if spec.kd > 1:
        loops.append(Loop("kd", "kd_taps", view.dd * view.x_plane, spec.kh * row))
    if spec.kh > 1 or some_empty:
        loops.append(Loop("kh", "kh_taps", view.dh * view.x_row, row))
    return loops


def runs_on(spec: ConvSpec, view: View, run: int) -> bool:
    """Whether a row of taps is one run of memory, in x as among the packed weights: ``run`` inputs
    of each tap lie side by side, and the next tap's behind them (so there is one group alone)."""
    return spec.kw > 1 and view.dw == 1 and view.x_channel == 1 and view.x_pixel == run


def operations_of(
    spec: ConvSpec, view: View, regions: Sequence[Region], isa: VectorIsa
) -> tuple[str, ...]:
    """Vector operations that this body's text calls; a compiler warns of any other."""
    tiles = [region.tile for region in regions]
    # Vectors whose channels lie far apart in y are stored lane by lane.
    scattered = view.y_channel != 1 and tiles[0].lanes > 1
    used = {"load", *activation_operations(spec)}
    used |= {"dot", "pair"} if isa.has("pair") else {"fma"}
    used |= {"weights"} if isa.has("weights") else set()
    reads = "each" if isa.has("each") else "load"
    if scattered or any(t.full or t.vectors > 1 for t in tiles):
        used.add("store")
    if not all(t.full for t in tiles):
        used |= set() if scattered else {"store_part"}
        used |= {f"{reads}_part"} if view.x_lane else set()
    if not view.x_lane and not isa.has("pair"):
        used.add("repeat" if isa.has("repeat") else "set1")
    elif view.x_lane and any(t.full or t.vectors > 1 for t in tiles):
        used.add(reads)
    if view.x_lane and view.ic > 1 and tiles[0].lanes > 1:
        used |= {f"spread_{view.ic}_{i}" for i in range(view.ic)}
    if view.x_lane and isa.keeps and reads == "load":
        used.add("keep")
    return tuple(sorted(used))


def _main_tile(area: Rectangle, schedule: Schedule, pixels: int) -> tuple[int, int]:
    """The schedule's tile, wider where registers are left; on a narrow border it stands upright."""
    width = pixels // schedule.tile_h
    if area.cols >= width:
        return schedule.tile_h, width
    tiles = -(-area.rows // max(1, pixels // area.cols))
    return -(-area.rows // tiles), area.cols


@lru_cache(maxsize=65536)
def _pieces(rows: int, cols: int, th: int, tw: int, pixels: int) -> tuple[Piece, ...]:
    """``cover`` with strips of about as many pixels as the main tile has."""
    return tuple(cover(rows, cols, (th, tw), lambda width: max(1, pixels // width)))


def _region(
    spec: ConvSpec,
    view: View,
    packing: Packing,
    tile: Tile,
    area: Rectangle,
    oc: int,
    blocks: int,
) -> Region:
    taps = area.kd_taps * area.kh_taps * area.kw_taps
    depth, height, width = area.sides
    kd, kh, kw = area.packed
    first = depth.input(area.od, area.kd) * view.x_plane
    first += height.input(area.oh, area.kh) * view.x_row
    first += width.input(area.ow, area.kw) * view.x_pixel
    y_steps = (view.y_plane, view.y_row, view.y_pixel)
    origins = [s.origin * (y // s.every) for s, y in zip(area.sides, y_steps, strict=True)]
    return Region(
        tile=tile,
        area=area,
        oc=oc,
        blocks=blocks,
        # Without taps nothing is read: the pointer stays on the array's first element.
        x0=first if taps else 0,
        x_row=tile.h * view.sh * view.x_row if taps else 0,
        x_col=tile.w * view.sw * view.x_pixel if taps else 0,
        w0=((kd * spec.kh + kh) * packing.kw + kw) * packing.tap,
        y0=area.od * view.y_plane + area.oh * view.y_row + area.ow * view.y_pixel + sum(origins),
    )

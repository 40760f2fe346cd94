"""What a kernel runs into: the least time that each part of a core needs for one call of it.

Multiply-adds, loads and chains of dependent multiply-adds are counted from the plan, with wasted
lanes and padded tiles. Bytes are counted between levels of the memory: an array that is read again
comes from the smallest cache that holds everything touched in between (its *reach*). Nothing here
says how fast a kernel is; the largest of these times says how fast it could be at best.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

from convgen.kernels.dots.body import DotBody, DotPacking, quads_of
from convgen.kernels.planar.body import PlanarBody
from convgen.kernels.winograd.body import WinogradBody, matrices, passes
from convgen.kernels.winograd.combination import program
from convgen.plan.kernel import Body, KernelPlan, Region
from convgen.spec.elements import arrays_of
from convgen.target import Target

ITEM = 4  # bytes of a float
LINE = 64  # bytes of a line of a cache
PAGE = 4096  # bytes after which addresses share a set of the first cache
FMA, LOADS, LATENCY, ALIASING = "FMA", "loads", "FMA latency", "aliasing (4 KiB)"
LEVELS = ("L1 bandwidth", "L2 bandwidth", "L3 bandwidth", "DRAM bandwidth")


@dataclass(frozen=True)
class Rates:
    """How much a core does in a unit of time, whatever that unit is.

    ``bandwidth``: bytes from the first, second and third cache and from memory; ``sizes``: bytes of
    the caches; ``latency``: units until the result of a multiply-add can be used.
    """

    fmas: float
    loads: float
    latency: float
    bandwidth: tuple[float, float, float, float]
    sizes: tuple[int, int, int]


@dataclass(frozen=True)
class Limit:
    """One part of the core, and the time it needs at least, in the unit of the rates."""

    name: str
    time: float


@dataclass
class Work:
    """What one call asks of a core. ``fmas``, ``loads``: vector instructions, loads of a single
    input among them; ``chain``: multiply-adds that wait for one another; ``near``: bytes between
    registers and the first cache; ``crowded``: bytes of lines that other lines of the same tile
    push out of it; ``streams``: (bytes moved, reach) of everything that comes from further away."""

    fmas: float = 0.0
    loads: float = 0.0
    chain: float = 0.0
    near: float = 0.0
    crowded: float = 0.0
    streams: list[tuple[float, float]] = field(default_factory=list)


def target_rates(target: Target) -> Rates:
    """In cycles, from the target's data."""
    return Rates(
        target.fma_ports,
        target.load_ports,
        target.fma_latency,
        target.bytes_per_cycle,
        (target.l1, target.l2, target.l3),
    )


def limits(plan: KernelPlan, rates: Rates) -> tuple[Limit, ...]:
    """Every limit that one call on one core meets, the one that binds first."""
    work = work_of(plan, ways=max(1, rates.sizes[0] // PAGE))
    beyond = [0.0] * len(LEVELS)
    beyond[0] = work.near
    for moved, reach in work.streams:
        level = next((i for i, size in enumerate(rates.sizes) if reach <= size), len(rates.sizes))
        for i in range(1, level + 1):
            beyond[i] += moved
    found = [
        Limit(FMA, work.fmas / rates.fmas),
        Limit(LOADS, work.loads / rates.loads),
        Limit(LATENCY, work.chain * rates.latency),
        Limit(ALIASING, work.crowded / rates.bandwidth[1]),
        *(Limit(*pair) for pair in zip(LEVELS, map(_over, beyond, rates.bandwidth), strict=True)),
    ]
    return tuple(sorted((x for x in found if x.time > 0), key=lambda x: -x.time))


def _over(size: float, rate: float) -> float:
    return size / rate


def work_of(plan: KernelPlan, ways: int = 8) -> Work:
    """What the plan's own body does. ``ways``: lines of one set of the first cache."""
    match plan.body:
        case WinogradBody() as body:
            work = _winograd_work(plan, body)
        case PlanarBody() as body:
            work = _planar_work(plan, body)
        case DotBody() as body:
            work = _dot_work(plan, body)
        case Body() as body:
            work = _tiled_work(plan, body, ways)
        case body:  # another kind of kernel: the least that any would do
            work = Work(fmas=plan.spec.macs / body.isa.lanes)
    of = arrays_of(plan.spec)
    arrays = _bytes(plan.spec.x_shape, of.x.size) + plan.packed_bytes
    results = _bytes(plan.spec.y_shape, of.y.size)
    everything = arrays + results + plan.workspace_bytes
    # A line of y is fetched before the first store to it, and written back.
    work.streams.append((arrays + 2 * results, everything))
    return work


def _bytes(shape: tuple[int, ...], item: int = ITEM) -> int:
    count = item
    for size in shape:
        count *= size
    return count


# -- pixels in lanes ----------------------------------------------------------------------------


def _planar_work(plan: KernelPlan, body: PlanarBody) -> Work:
    """Every step loads each vector of pixels, in pieces where a row ends, and each weight."""
    work, spec = Work(), plan.spec
    blocks, rest = divmod(plan.view.oc, body.channels)
    channels = [body.channels] * blocks + [rest] * bool(rest)
    repeats = spec.batch * plan.view.groups
    rounds = [(body.main, spec.oh // body.main.rows)]
    rounds += [(body.rest, 1)] if body.rest is not None else []
    for strip, count in rounds:
        for run in strip.runs:
            steps = repeats * count * run.count * len(body.taps)
            pieces = sum(len(vector) for vector in run.vectors)
            work.fmas += steps * len(run.vectors) * sum(channels)
            work.loads += steps * sum(pieces + c for c in channels)
            work.chain += steps * len(channels)
            work.near += ITEM * steps * sum(pieces * body.isa.lanes + c for c in channels)
    # Rows become planes, sums are stored in planes and then woven into y.
    work.near += 2 * _bytes(spec.x_shape) + (1 if body.straight else 3) * _bytes(spec.y_shape)
    return work


# -- register-tiled kernels ----------------------------------------------------------------------


def _tiled_work(plan: KernelPlan, body: Body, ways: int) -> Work:
    work, of, weight = Work(), arrays_of(plan.spec), plan.packed.size * plan.packing.side
    repeats = plan.spec.batch * plan.view.groups
    for region in body.regions:
        count = repeats * region.row_tiles * region.col_tiles * region.blocks
        tile, taps = region.tile, region.area.kh_taps * region.area.kw_taps
        held = tile.pixels * tile.vectors
        depth = taps * -(-plan.view.ic // body.isa.depth)  # steps of one output
        inputs, broadcast = _inputs(plan, region)
        inputs = tile.pixels * depth if broadcast else inputs
        weights = depth * tile.vectors
        windows = bool(tile.tap_rows)
        work.fmas += count * depth * held
        work.loads += count * (inputs + weights + tile.vectors)
        # Unrolled windows are many short chains, which run side by side.
        work.chain += 0 if windows else count * depth
        item = of.x.size * (body.isa.depth if broadcast else tile.lanes)
        stored = tile.pixels * tile.channels * of.y.size
        work.near += count * (inputs * item + weights * tile.lanes * weight + stored)
        if taps and _most_in_a_set(plan, region) > ways:
            work.crowded += count * inputs * LINE
        work.streams += _again(plan, region, repeats)
    return work


def _dot_work(plan: KernelPlan, body: DotBody) -> Work:
    """8-bit products on vectors: one step sums several products of a lane, in one or more
    instructions; a vector of weights has that many bytes a lane."""
    packed, isa, size = plan.sections, body.isa, arrays_of(plan.spec).y.size
    assert isinstance(packed, DotPacking)
    work = Work()
    repeats = plan.spec.batch * plan.view.groups
    for region in body.regions:
        count = repeats * region.row_tiles * region.col_tiles * region.blocks
        tile = region.tile
        products, inputs, weights, chain = _dot_steps(plan, body, packed, region)
        work.fmas += count * products * isa.halves * isa.products
        work.loads += count * (inputs + weights + tile.vectors)
        work.chain += count * chain
        item = packed.depth if not plan.view.x_lane else isa.lanes
        stored = tile.pixels * tile.channels * size
        work.near += count * (inputs * item + weights * packed.depth * isa.lanes + stored)
        work.streams += _again(plan, region, repeats)
    if body.stage is not None:  # written and read once more than x itself
        work.near += 2 * plan.spec.batch * body.stage.bytes
    return work


def _dot_steps(
    plan: KernelPlan, body: DotBody, packed: DotPacking, region: Region
) -> tuple[int, int, int, int]:
    """Of one tile: products of vectors, loads of inputs and of weights, products in one chain."""
    spec, tile, area = plan.spec, region.tile, region.area
    held = tile.pixels * tile.vectors
    if packed.patterns:  # four rows of inputs at a time, each loaded alone
        quads, patterns = quads_of(tile.h, area.kh_taps, spec.sh, spec.dh)
        columns = {c * spec.sw + k * spec.dw for c in range(tile.w) for k in range(area.kw_taps)}
        products = sum(len(quad.uses) for quad in quads) * tile.w * area.kw_taps
        return products, 4 * len(quads) * len(columns), len(patterns) * area.kw_taps, 0
    taps = area.kh_taps * (1 if packed.flat else area.kw_taps)
    steps = taps * packed.run // packed.depth
    if body.single:
        inputs, _ = _inputs(plan, region)
        return steps * held, inputs, steps * tile.vectors, 0 if tile.tap_rows else steps
    return steps * held, steps * tile.pixels, steps * tile.vectors, steps


def _inputs(plan: KernelPlan, region: Region) -> tuple[int, bool]:
    """Loads of inputs that one tile makes, and whether each is a single number."""
    spec, tile, area = plan.spec, region.tile, region.area
    if not plan.view.x_lane:
        return tile.pixels * area.kh_taps * area.kw_taps * plan.view.ic, True
    if not area.kh_taps:
        return 0, False
    columns = (tile.w - 1) * spec.sw + (area.kw_taps - 1) * spec.dw + 1
    if tile.tap_rows:
        rows = (tile.h - 1) * spec.sh + (tile.tap_rows - 1) * spec.dh + 1
        return rows * columns, False
    across = columns if tile.taps else tile.w * area.kw_taps
    return tile.h * across * area.kh_taps * tile.vectors, False


def _most_in_a_set(plan: KernelPlan, region: Region) -> int:
    """How many of the lines that a tile reads at a time share one set of the first cache."""
    spec, view, tile, area = plan.spec, plan.view, region.tile, region.area
    down, across = spec.sh * view.x_row, spec.sw * view.x_pixel
    places = {(r * down, c * across) for r in range(tile.h) for c in range(tile.w)}
    if tile.tap_rows:  # all taps at once
        rows = (tile.h - 1) * spec.sh + (tile.tap_rows - 1) * spec.dh + 1
        columns = (tile.w - 1) * spec.sw + (area.kw_taps - 1) * spec.dw + 1
        places = {(r * view.x_row, c * view.x_pixel) for r in range(rows) for c in range(columns)}
    item = arrays_of(spec).x.size
    lines = {(row + column) * item // LINE for row, column in places}
    return max(Counter(line % (PAGE // LINE) for line in lines).values())


def _again(plan: KernelPlan, region: Region, repeats: int) -> Iterator[tuple[float, float]]:
    """What a region's tiles read more than once: (bytes, bytes touched in between)."""
    spec, view, tile, area = plan.spec, plan.view, region.tile, region.area
    taps = area.kh_taps * area.kw_taps
    if not taps:
        return
    item, weight = arrays_of(spec).x.size, plan.packed.size
    weights = weight * (1 + taps * plan.packing.ic) * tile.vectors * tile.lanes
    row_tiles = repeats * region.row_tiles * region.blocks
    channels = tile.vectors * tile.lanes if view.x_lane else view.ic
    width = (tile.w - 1) * spec.sw + (area.kw_taps - 1) * spec.dw + 1
    height = (tile.h - 1) * spec.sh + (area.kh_taps - 1) * spec.dh + 1
    window = item * height * width * channels
    yield (row_tiles * region.col_tiles - region.blocks) * weights, weights + window
    # The next row of tiles reads some rows of the input again.
    line = item * ((area.cols - 1) * spec.sw + (area.kw_taps - 1) * spec.dw + 1) * channels
    shared = max(0, height - tile.h * spec.sh)
    yield (row_tiles - repeats * region.blocks) * shared * line, height * line + weights
    if not view.x_lane and region.blocks > 1:  # every block of channels reads all the input
        rows = (area.rows - 1) * spec.sh + (area.kh_taps - 1) * spec.dh + 1
        yield repeats * (region.blocks - 1) * rows * line, rows * line + weights


# -- Winograd ------------------------------------------------------------------------------------


def _winograd_work(plan: KernelPlan, body: WinogradBody) -> Work:
    """Products and transforms; v is the transformed input of a block, m its products."""
    spec, lanes = plan.spec, body.isa.lanes
    planes, mr = body.planes, body.tile.pixels
    mats = matrices(body.along.m, body.along.r)
    inner, outer = passes(body.high, body.wide)
    strips = ceil(body.count / mr)
    vectors = ceil(spec.oc / lanes)
    oc_blocks = ceil(vectors / body.tile.vectors)
    inward = body.count * ceil(spec.c / lanes)
    outward = body.count * vectors
    steps = strips * planes * spec.c
    work = Work(chain=steps * oc_blocks)
    work.fmas = steps * mr * vectors
    work.fmas += inward * inner.times * len(program(mats.bt).operations)
    work.fmas += outward * outer.times * len(program(mats.at).operations)
    moved = inward * inner.moved + outward * outer.moved
    work.loads = steps * (mr * oc_blocks + vectors) + moved / 2
    work.near = ITEM * (steps * (mr * oc_blocks + vectors * lanes) + lanes * moved)
    filters = ITEM * planes * spec.c * vectors * lanes
    panel = ITEM * spec.c * body.tile.vectors * lanes  # of one matrix, which all strips read
    v, m = ITEM * planes * body.v_plane, ITEM * planes * body.m_plane
    strip = ITEM * mr * (spec.c + body.tile.vectors * lanes)
    work.streams = [
        ((body.blocks - 1) * filters, filters + v + m),
        ((strips - body.blocks) * filters, panel + strip),
        (body.blocks * v, v),  # written
        (body.blocks * oc_blocks * v, v + m + filters / oc_blocks),  # read
        (2 * body.blocks * oc_blocks * m, m + v + filters / oc_blocks),
    ]
    return work

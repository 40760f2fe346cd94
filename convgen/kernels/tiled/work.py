"""What a register-tiled kernel asks of a core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from convgen.kernels.work import LINE, PAGE, Work
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.tile import Region
from convgen.spec.elements import arrays_of


def tiled_work(plan: KernelPlan, body: Body, ways: int) -> Work:
    work, of, weight = Work(), arrays_of(plan.spec), plan.packed.size * plan.packing.side
    repeats = plan.spec.batch * plan.view.groups
    for region in body.regions:
        count = repeats * region.tiles
        tile, taps = region.tile, region.area.taps
        held = tile.pixels * tile.vectors
        depth = taps * -(-plan.view.ic // body.isa.depth)  # steps of one output
        inputs, broadcast = inputs_of(plan, region)
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
        work.streams += read_again(plan, region, repeats)
    return work


def inputs_of(plan: KernelPlan, region: Region) -> tuple[int, bool]:
    """Loads of inputs that one tile makes, and whether each is a single number."""
    view, tile, area = plan.view, region.tile, region.area
    if not view.x_lane:
        return tile.pixels * area.taps * view.ic, True
    if not area.kh_taps:
        return 0, False
    columns = (tile.w - 1) * view.sw + (area.kw_taps - 1) * view.dw + 1
    if tile.tap_rows:
        rows = (tile.h - 1) * view.sh + (tile.tap_rows - 1) * view.dh + 1
        return rows * columns, False
    across = columns if tile.taps else tile.w * area.kw_taps
    return tile.h * across * area.kd_taps * area.kh_taps * tile.vectors, False


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


def read_again(plan: KernelPlan, region: Region, repeats: int) -> Iterator[tuple[float, float]]:
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

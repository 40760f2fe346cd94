"""What an 8-bit kernel on vectors asks of a core."""

from __future__ import annotations

from convgen.kernels.dots.body import DotBody, DotPacking
from convgen.kernels.tiled.quads import quads_of
from convgen.kernels.tiled.work import inputs_of, read_again
from convgen.kernels.work import Work
from convgen.plan.kernel import KernelPlan
from convgen.plan.tile import Region
from convgen.spec.elements import arrays_of


def dot_work(plan: KernelPlan, body: DotBody, ways: int) -> Work:
    """8-bit products on vectors: one step sums several products of a lane, in one or more
    instructions; a vector of weights has that many bytes a lane."""
    packed, isa, size = plan.sections, body.isa, arrays_of(plan.spec).y.size
    assert isinstance(packed, DotPacking)
    work = Work()
    repeats = plan.spec.batch * plan.view.groups
    for region in body.regions:
        count = repeats * region.tiles
        tile = region.tile
        products, inputs, weights, chain = _dot_steps(plan, body, packed, region)
        work.fmas += count * products * isa.halves * isa.products
        work.loads += count * (inputs + weights + tile.vectors)
        work.chain += count * chain
        item = packed.depth if not plan.view.x_lane else isa.lanes
        stored = tile.pixels * tile.channels * size
        work.near += count * (inputs * item + weights * packed.depth * isa.lanes + stored)
        work.streams += read_again(plan, region, repeats)
    if body.stage is not None:  # written and read once more than x itself
        work.near += 2 * plan.spec.batch * body.stage.bytes
    return work


def _dot_steps(
    plan: KernelPlan, body: DotBody, packed: DotPacking, region: Region
) -> tuple[int, int, int, int]:
    """Of one tile: products of vectors, loads of inputs and of weights, products in one chain."""
    view, tile, area = plan.view, region.tile, region.area
    held = tile.pixels * tile.vectors
    if packed.patterns:  # four rows of inputs at a time, each loaded alone
        quads, patterns = quads_of(tile.h, area.kh_taps, view.sh, view.dh)
        columns = {c * view.sw + k * view.dw for c in range(tile.w) for k in range(area.kw_taps)}
        products = sum(len(quad.uses) for quad in quads) * tile.w * area.kw_taps
        return products, 4 * len(quads) * len(columns), len(patterns) * area.kw_taps, 0
    taps = area.kd_taps * area.kh_taps * (1 if packed.flat else area.kw_taps)
    steps = taps * packed.run // packed.depth
    if body.single:
        inputs, _ = inputs_of(plan, region)
        return steps * held, inputs, steps * tile.vectors, 0 if tile.tap_rows else steps
    return steps * held, steps * tile.pixels, steps * tile.vectors, steps

"""8-bit kernels of microcontrollers whose windows are gathered: plans, candidates, costs.

A window is copied once, widened and filled with zeros at the image's edge, and serves all filters:
no tile tests a bound, no loop hangs on a region. A depthwise layer has no use for that, and is read
several channels at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convgen.errors import ScheduleError
from convgen.kernels.face import Cost, flat_2d, is_depthwise, view_of
from convgen.kernels.tiled.lowering import packing_of
from convgen.kernels.windows.body import WindowBody, WindowPacking
from convgen.plan.kernel import KernelPlan
from convgen.plan.problem import problems_of
from convgen.plan.tile import Rectangle, Region, Tile
from convgen.spec.model import ConvSpec, DType, Layout, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target
from convgen.target.arm.windows import WindowKernel
from convgen.target.plain import PLAIN

MOST_UNROLLED = 12  # taps of a depthwise window that is unrolled whole
# Instructions: of an output's scaling and store, around a block of filters, around a window and
# around each of its rows.
_OUTPUT, _BLOCK, _WINDOW, _ROW = 6, 14, 30, 12


def serves(spec: ConvSpec, target: Target) -> bool:
    """NHWC layers whose weights count from 0, with filters enough for a tile."""
    if not spec.quantized or not target.windows or spec.layout is not Layout.NHWC:
        return False
    if not flat_2d(spec):
        return False
    assert spec.quant is not None
    return not any(spec.quant.weight.zero_point)


def kernels(spec: ConvSpec, target: Target) -> Iterator[WindowKernel]:
    """Those that can compute the layer, the widest first."""
    if not serves(spec, target):
        return
    for kernel in target.windows:
        filters = spec.oc if is_depthwise(spec) else spec.ocg
        least = kernel.lanes if is_depthwise(spec) else min(f for _, f in kernel.tiles)
        if filters >= least:
            yield kernel


def candidates(spec: ConvSpec, target: Target) -> Iterator[Schedule]:
    """Of the family that the layer belongs to: every tile of every kernel."""
    for kernel in kernels(spec, target):
        if is_depthwise(spec):
            yield Schedule(Family.DEPTHWISE, kernel.lanes, 1, 1, 1)
            continue
        for pixels, filters in kernel.tiles:
            if filters <= spec.ocg and pixels <= spec.batch * spec.oh * spec.ow:
                yield Schedule(Family.DIRECT, kernel.depth, 1, pixels, filters)


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Raises ScheduleError for a tile that no kernel of the target has."""
    depthwise = is_depthwise(spec)
    found = list(candidates(spec, target))
    if schedule not in found:
        tiles = ", ".join(map(str, found))
        raise ScheduleError(f"schedule: {schedule} is none of this layer's: {tiles or 'none'}")
    lanes = "lanes" if depthwise else "depth"
    kernel = next(k for k in kernels(spec, target) if getattr(k, lanes) == schedule.lanes)
    view = view_of(spec)
    if depthwise:
        view = replace(view, groups=1, oc=spec.oc, x_lane=1)
    packing = packing_of(spec, view, 1)
    pixels, filters = schedule.tile_w, schedule.vectors
    sections = WindowPacking(
        groups=view.groups,
        oc=view.oc,
        filters=kernel.lanes if depthwise else filters,
        depth=1 if depthwise else kernel.depth,
        taps=packing.depth,
        zero=0 if depthwise or kernel.centred else _zero(spec),
    )
    body = _body(spec, kernel, sections, pixels)
    step = next(s for s in target.core_steps if s.name == kernel.name)
    return KernelPlan(
        spec, schedule, target, view, packing, (body,), sections=sections, step=step,
        workspace_bytes=body.scratch,
    )  # fmt: skip


def _zero(spec: ConvSpec) -> int:
    """What inputs count from where the biases allow for it."""
    assert spec.quant is not None
    return spec.quant.x_zero - (128 if spec.dtype is DType.UINT8 else 0)


def pointwise(spec: ConvSpec) -> bool:
    """Whether a window is one run of memory that always lies in the image."""
    return (spec.kh, spec.kw) == (1, 1) and spec.padding == Padding()


def _body(spec: ConvSpec, kernel: WindowKernel, packed: WindowPacking, pixels: int) -> WindowBody:
    depthwise = is_depthwise(spec)
    direct = kernel.looped and pointwise(spec) and spec.dtype is DType.INT8
    staged = not depthwise and not kernel.looped and spec.icg % kernel.depth != 0
    scratch = 0
    if not depthwise and not direct:
        scratch = pixels * packed.padded * kernel.item_size + packed.padded * staged
    area = Rectangle(
        0, spec.oh, 0, spec.ow, 0, spec.kh, 0, spec.kw, sides=problems_of(spec)[0].axes
    )
    tile = Tile(1, 1 if depthwise else pixels, 1 if depthwise else packed.filters,
                packed.filters if depthwise else 1, packed.filters if depthwise else 1)  # fmt: skip
    region = Region(tile, area, 0, packed.blocks, 0, 0, 0, 0, 0)
    return WindowBody(
        isa=replace(PLAIN, name=kernel.name, registers=14),
        family=Family.DEPTHWISE if depthwise else Family.DIRECT,
        regions=(region,),
        loops=(),
        operations=(),
        kernel=kernel,
        depthwise=depthwise,
        direct=direct,
        staged=staged,
        scratch=-(-scratch // 4) * 4,
    )


def cost(plan: KernelPlan) -> Cost:
    """Instructions of one call: windows, steps and outputs."""
    spec, body, packed = plan.spec, plan.body, plan.sections
    assert isinstance(body, WindowBody)
    assert isinstance(packed, WindowPacking)
    images = spec.batch * spec.oh * spec.ow
    if body.depthwise:
        tap = 10 if not body.kernel.looped else 8
        block = _BLOCK + tap * packed.taps + _OUTPUT * packed.filters
        return Cost(images * (_WINDOW + packed.blocks * block), "instructions")
    pixels, filters = plan.schedule.tile_w, plan.schedule.vectors
    steps = packed.padded // packed.depth
    products = 2 * filters + 3 if body.kernel.looped else 2 + 2 * filters + 2 * pixels * filters
    block = _BLOCK + steps * products + _OUTPUT * pixels * filters
    window = _WINDOW + spec.kh * _ROW + 5 * steps * (1 + body.staged)
    window *= 0 if body.direct else pixels
    tiles = -(-images // pixels)
    return Cost(tiles * packed.groups * (window + packed.blocks * block), "instructions")

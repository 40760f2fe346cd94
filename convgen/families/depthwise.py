"""Depthwise convolution: one filter per channel, channels in lanes, several pixels per tile.

Takes layers with G = C = OC whose channels lie side by side (NHWC); others go the direct way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convgen.errors import ScheduleError
from convgen.families.base import Cost, is_depthwise, view_of
from convgen.families.tiled import most_pixels, peel, tiled_plan
from convgen.plan import KernelPlan, Loop, Packing, Rectangle, View
from convgen.schedule import Family, Schedule
from convgen.spec.model import ConvSpec, Layout
from convgen.target import Target

name = Family.DEPTHWISE


def fits(spec: ConvSpec) -> bool:
    return is_depthwise(spec) and spec.layout is Layout.NHWC


def candidates(spec: ConvSpec, target: Target) -> Iterator[Schedule]:
    for isa in target.isas:
        if isa.lanes >= 2 * spec.oc and isa is not target.isas[-1]:
            continue
        for vectors in range(1, min(4, -(-spec.oc // isa.lanes)) + 1):
            for width in range(1, most_pixels(isa, vectors) + 1):
                yield Schedule(name, isa.lanes, 1, width, vectors)


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Raises ScheduleError for a layer that is not depthwise in NHWC, or a tile too large."""
    if not fits(spec):
        raise ScheduleError(
            "schedule: family depthwise takes NHWC layers with groups = C = k; use family direct"
        )
    return tiled_plan(spec, schedule, target, _walk, _reduce)


def cost(plan: KernelPlan) -> Cost:
    """Cycles of every tile; each multiply-add loads its own input, so loads bind."""
    target = plan.target
    cycles = 0.0
    for region in plan.regions:
        work = region.tile.pixels * region.tile.vectors
        loads = (work + region.tile.vectors) / target.load_ports
        step = max(loads, work / target.fma_ports, float(target.fma_latency)) + 0.5
        taps = region.area.kh_taps * region.area.kw_taps
        row = 12 + region.col_tiles * (taps * step + 10 + 1.5 * work)
        cycles += row * region.row_tiles * region.blocks
    return Cost(cycles * plan.spec.batch, "loads")


def _walk(spec: ConvSpec, schedule: Schedule) -> tuple[View, list[Rectangle]]:
    view = replace(view_of(spec), groups=1, ic=1, oc=spec.oc, x_lane=1)
    return view, peel(spec)


def _reduce(spec: ConvSpec, view: View, packing: Packing, some_empty: bool) -> tuple[Loop, ...]:
    loops = []
    if spec.kh > 1 or some_empty:
        loops.append(Loop("kh", "kh_taps", spec.dh * view.x_row, spec.kw * packing.lanes))
    if spec.kw > 1:
        loops.append(Loop("kw", "kw_taps", spec.dw * view.x_pixel, packing.lanes))
    return tuple(loops)

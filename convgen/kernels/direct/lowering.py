"""Direct convolution: output channels in lanes, inputs broadcast, an MR x NR tile in registers.

The general path as well: every stride, dilation, group count, padding and odd size is a choice of
lanes and tiles here. A 1x1 layer with stride 1 is walked as rows of pixels of any length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial

from convgen.errors import ScheduleError
from convgen.kernels.core import lowering as core
from convgen.kernels.dots import lowering as dots
from convgen.kernels.face import Cost, isas_of, view_of
from convgen.kernels.pairs import lowering as bf16
from convgen.kernels.scalar.body import ScalarBody
from convgen.kernels.tiled import lowering as tiled
from convgen.kernels.tiled.lowering import (
    channel_runs,
    outer_loops,
    packing_of,
    runs_on,
    tiled_plan,
)
from convgen.kernels.tiled.step import latency, most_vectors
from convgen.kernels.tiled.step import limits as step_limits
from convgen.kernels.tiled.walk import pitch_of, squares, turned, walk
from convgen.kernels.windows import lowering as windows
from convgen.kernels.windows.body import WindowBody
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.packing import Loop, Packing
from convgen.plan.problem import peel
from convgen.plan.tile import View
from convgen.spec.elements import Sections, arrays_of
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target
from convgen.target.arm.core import CoreStep

name = Family.DIRECT
_BYTES = Sections("int8_t", 4, "int8_t", 1)  # a bias takes four of them


def fits(spec: ConvSpec) -> bool:
    """Always: this is the general path."""
    return True


def candidates(spec: ConvSpec, target: Target) -> Iterator[Schedule]:
    """Every tile that the registers hold, for each vector width that is not mostly empty."""
    if core.serves(spec, target):
        yield from (s for s in windows.candidates(spec, target) if s.family is name)
        yield from core.candidates(spec, _step(spec, target), target)
        return
    isas = isas_of(spec, target)
    most_pixels = dots.most_pixels if spec.quantized else tiled.most_pixels
    for isa in isas:
        narrower = any(1 < i.lanes < isa.lanes for i in isas)
        # Half of every vector would be empty: a narrower one does as well. A lane of 8-bit products
        # sums several of them, which pays for a single channel too.
        if isa.lanes > 1 and (
            (spec.ocg == 1 and not spec.quantized) or (narrower and isa.lanes >= 2 * spec.ocg)
        ):
            continue
        for vectors in range(1, min(most_vectors(isa), -(-spec.ocg // isa.lanes)) + 1):
            most = most_pixels(isa, vectors)
            for height in (1, 2, 3, 4, 6, 7):
                for width in range(1, most // height + 1):
                    yield Schedule(name, isa.lanes, height, width, vectors)


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Raises ScheduleError where the tile does not fit the target."""
    if schedule.lanes > 1 and windows.serves(spec, target):
        return windows.lower(spec, schedule, target)
    if spec.quantized and schedule.lanes > 1:
        return dots.direct_plan(spec, schedule, target)
    if spec.quantized:
        return scalar_plan(spec, schedule, target)
    if bf16.serves(spec, target) and schedule.lanes == bf16.lanes(target):
        walked = walk(spec, schedule)
        if walked[0].x_channel == 1:  # else the channels of a pair lie apart
            return _turning(bf16.paired_plan(spec, schedule, target, walked))
    return _turning(tiled_plan(spec, schedule, target, walk, _reduce))


def _turning(plan: KernelPlan) -> KernelPlan:
    """The plan with the copy that its walk goes over, if it does."""
    spec = plan.spec
    if not turned(spec, plan.schedule):
        return plan
    bodies = []
    for body in plan.bodies:
        assert isinstance(body, Body)
        operations = {*body.operations} | ({"transpose"} if squares(spec, body.isa) else set())
        count = spec.batch * spec.h * spec.w * pitch_of(spec)
        bodies.append(replace(body, operations=tuple(sorted(operations)), turned=count))
    room = bodies[0].turned * arrays_of(spec).x.size
    return replace(plan, bodies=tuple(bodies), workspace_bytes=room)


def scalar_plan(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """The general path of 8-bit layers: plain C, sums in int32."""
    if schedule.lanes != 1:
        raise ScheduleError(f"schedule: kernels of {spec.dtype} are plain C, with lanes: 1")
    if not core.serves(spec, target):
        return _scalar(tiled_plan(spec, schedule, target, walk, _reduce))
    step = _step(spec, target)
    most = partial(core.most, step)
    plan = tiled_plan(spec, schedule, core.narrowed(target), walk, _reduce, most)
    return replace(_scalar(plan), target=target, step=step)


def _scalar(plan: KernelPlan) -> KernelPlan:
    """The tiled plan as one of integers."""
    bodies = tuple(ScalarBody(**vars(body)) for body in plan.bodies)
    return replace(plan, bodies=bodies, sections=_BYTES)


def _step(spec: ConvSpec, target: Target) -> CoreStep | None:
    """How many products a step of an 8-bit kernel has."""
    view = view_of(spec)
    return core.step_of(spec, target, _reduce(spec, view, packing_of(spec, view, 1), False))


def floor(spec: ConvSpec, schedule: Schedule, target: Target) -> float:
    """Cycles of the tiles as ``cost`` counts them, if each had all the pixels that it may have.

    A step's cycles for an output fall as its tile grows; what a row of tiles costs is left out.
    """
    if spec.quantized or core.serves(spec, target) or bf16.serves(spec, target):
        return 0.0
    isa = next((isa for isa in isas_of(spec, target) if isa.lanes == schedule.lanes), None)
    if isa is None or isa.halves != 1 or isa.depth != 1:
        return 0.0
    products, outputs = _work(spec)
    view = view_of(spec)
    cycles = 0.0
    for _, blocks, vectors, _ in channel_runs(view.oc, schedule.lanes, schedule.vectors):
        pixels = schedule.tile_h * schedule.tile_w
        if vectors < schedule.vectors:
            pixels = max(pixels, isa.registers)
        limits = step_limits(target, isa, pixels, vectors)
        # Copies of inputs where there is no fused multiply-add do not fall with the tile.
        limits["instructions"] *= isa.fused or isa.operands == 3
        bound = max(limits.values())
        step = bound + 0.25 * max(0.0, 1.5 * latency(target, isa) - bound)
        step += 0.02 * (pixels + vectors)
        start = 12 + 1.5 * pixels * vectors
        cycles += blocks * (products * view.ic * step + outputs * start) / pixels
    return cycles * view.groups * spec.batch


@lru_cache(maxsize=64)
def _work(spec: ConvSpec) -> tuple[int, int]:
    """Taps of all outputs of an image's channel, and how many outputs these are."""
    areas = peel(spec)
    count = [area.planes * area.rows * area.cols for area in areas]
    return sum(n * area.taps for n, area in zip(count, areas, strict=True)), sum(count)


def cost(plan: KernelPlan) -> Cost:
    """Cycles of every tile: of each step of its reduction what binds (``step``), and its ends."""
    if isinstance(plan.body, WindowBody):
        return windows.cost(plan)
    if core.serves(plan.spec, plan.target):
        return core.cost(plan)
    target, isa = plan.target, plan.body.isa
    bounds: dict[str, float] = {}
    number = 4 if plan.spec.quantized else plan.packed.size * plan.packing.side  # to a product
    for region in plan.regions:
        mr, nv = region.tile.pixels, region.tile.vectors
        weights = number * isa.lanes * nv  # bytes a step
        depth = plan.packing.depth / isa.depth  # steps
        limits = step_limits(target, isa, mr, nv)
        bound = max(limits, key=lambda key: limits[key])
        free = isa.registers - (mr * nv + min(mr, nv) + 1)
        # Loads compete a little even where they do not bind, a full register file leaves no room
        # to run ahead, and rows far apart are more streams to follow: measured, about 1% each.
        step = limits[bound] + 0.02 * (mr + nv) + 0.005 * mr * nv * (region.tile.h - 1) / 3
        step += 0.015 * limits[bound] * (free < 2) + 0.5 * max(0, -free)
        # Chains that end hardly later than the units have work for leave gaps.
        step += 0.25 * max(0.0, 1.5 * latency(target, isa) - limits[bound])
        if weights * depth > target.l1:  # they come from the second cache, over and over
            step += 0.1 * weights / 64
        taps = region.area.taps
        # Biases, activation or scaling, stores, and the loops' own cost.
        start = 12 + (dots.END if plan.spec.quantized and isa.lanes > 1 else 1.5) * mr * nv
        if plan.view.y_channel > 1 and isa.lanes > 1:  # lane by lane, into as many planes
            start += _scatter(plan) * mr * region.tile.channels
        tile = taps * -(-plan.packing.ic // isa.depth) * step + start
        row = 12 + region.col_tiles * tile
        spent = row * region.row_tiles * region.area.planes * region.blocks
        bounds[bound] = bounds.get(bound, 0.0) + spent
    repeats = plan.view.groups * plan.spec.batch
    copied = 0.0
    if isinstance(plan.body, Body) and plan.body.turned:
        copied = plan.body.turned * (5 / isa.lanes if squares(plan.spec, isa) else 2.0)
    return Cost(sum(bounds.values()) * repeats + copied, max(bounds, key=lambda key: bounds[key]))


def _scatter(plan: KernelPlan) -> float:
    """Cycles to store one lane into its plane; planes a page apart share the first cache's sets."""
    apart = plan.view.y_channel * arrays_of(plan.spec).y.size
    return 8.0 if apart % 4096 == 0 else 2.5


def _reduce(spec: ConvSpec, view: View, packing: Packing, some_empty: bool) -> tuple[Loop, ...]:
    """The reduction. A row of taps is one run of memory when its channels lie side by side."""
    lanes = packing.lanes
    loops = outer_loops(spec, view, spec.kw * packing.ic * lanes, some_empty)
    if runs_on(spec, view, packing.ic):
        count = f"kw_taps * {packing.ic}" if packing.ic > 1 else "kw_taps"
        return (*loops, Loop("k", count, 1, lanes))
    if spec.kw > 1:
        loops.append(Loop("kw", "kw_taps", view.dw * view.x_pixel, packing.ic * lanes))
    if packing.ic > 1:
        loops.append(Loop("ic", str(packing.ic), view.x_channel, lanes))
    return tuple(loops)

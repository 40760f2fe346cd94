"""Depthwise and finely grouped convolution: channels of several groups side by side in lanes.

Every output channel meets the 1, 2, 4 or 8 input channels of its own group, and they lie in the
same vector: one load serves a whole row of taps (the window slides over it), and lanes are spread
within their group where it has more than one channel. Takes NHWC layers with C = OC.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from convgen.errors import ScheduleError
from convgen.kernels.dots import lowering as dots
from convgen.kernels.dots.body import DotPacking
from convgen.kernels.face import Cost, isas_of, view_of
from convgen.kernels.tiled.lowering import check_lanes, outer_loops, packing_of, tiled_plan
from convgen.kernels.tiled.step import strands_of
from convgen.kernels.windows import lowering as windows
from convgen.kernels.windows.body import WindowBody
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Loop, Packing
from convgen.plan.problem import peel
from convgen.plan.tile import Rectangle, Region, Tile, View
from convgen.spec.elements import ELEMENTS
from convgen.spec.model import ConvSpec, Layout
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa

_MOST_TAPS = 7  # of a row that is unrolled; longer rows take a counted loop
_MOST_WINDOW = 25  # taps of a window that is unrolled whole
_MOST_PRODUCTS = 220  # multiply-adds of one unrolled tile: about 2 KiB of code
_LINE = 64  # bytes of a cache line
_WAYS = 16  # of the second cache
_PAGE = 4096  # bytes after which addresses meet the same set of the first cache
# Measured on Zen 5, cycles: what an input of a tile adds to each of its outputs while the lines
# come from the second cache, and from beyond it (where rows of taps are counted, more); a line that
# was evicted before its time, from the first cache and from the second; a line read again from the
# second cache, row by row.
_NEAR, _FAR, _FAR_ROWS, _EVICTED, _LOST, _REREAD = 0.012, 0.037, 0.08, 2.7, 100, 2.5
_BEGINNING = 16  # cycles of a tile that takes several rows at a time
_AHEAD = 33  # multiply-adds that a core sees ahead, for each instruction it issues in a cycle


@dataclass(frozen=True)
class Lanewise:
    """A family of layers whose groups have one of these sizes."""

    name: Family
    sizes: tuple[int, ...]

    def fits(self, spec: ConvSpec) -> bool:
        if spec.quantized and not (dots.carried(spec) and self.sizes == (1,)):
            return False
        return (
            spec.groups > 1
            and spec.icg == spec.ocg
            and spec.icg in self.sizes
            and (spec.layout is Layout.NHWC or spec.quantized)
            # Weights of transposed groups lie apart: no one stride finds those of every channel.
            and (spec.icg == 1 or not spec.transposed)
        )

    def candidates(self, spec: ConvSpec, target: Target) -> Iterator[Schedule]:
        """Every tile that the registers hold, for each vector that holds whole groups."""
        if windows.serves(spec, target):
            yield from (s for s in windows.candidates(spec, target) if s.family is self.name)
            return
        isas = isas_of(spec, target)
        for isa in isas:
            half_empty = isa.lanes >= 2 * spec.oc and isa is not isas[-1]
            if half_empty or not self._carries(isa, spec):
                continue
            if spec.quantized and isa.lanes == 1:
                continue  # direct's plain C is as good
            most = min(4, -(-spec.oc // isa.lanes)) if spec.icg == 1 else 1
            windowed = _windows(spec, isa, 1)
            if windowed:
                yield from self._windowed(spec, isa)
            counts = range(2 if windowed else 1, most + 1)
            for vectors in counts:
                for width in range(1, _most_pixels(spec, isa, vectors) + 1):
                    yield Schedule(self.name, isa.lanes, 1, width, vectors)

    def _windowed(self, spec: ConvSpec, isa: VectorIsa) -> Iterator[Schedule]:
        """Tiles whose accumulators in flight, with the weights, fit the registers."""
        taps = spec.kh * spec.kw
        alive = -(-spec.axes[2].extent // spec.sw)
        free = isa.registers - 2 - min(taps, isa.registers // 2)
        for height in range(1, min(spec.oh, max(1, free // alive), 8) + 1):
            most = max(1, min(spec.ow, _MOST_PRODUCTS // (height * taps), 16))
            for width in range(min(2, most), most + 1):
                yield Schedule(self.name, isa.lanes, height, width, 1)

    def lower(self, spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
        """Raises ScheduleError for a layer of another kind, or a tile that does not fit."""
        if not self.fits(spec):
            sizes = " or ".join(map(str, self.sizes))
            raise ScheduleError(
                f"schedule: family {self.name} takes NHWC layers with several groups of {sizes} "
                "channels in and as many out; use family direct"
            )
        if windows.serves(spec, target):
            return windows.lower(spec, schedule, target)
        if spec.quantized:
            return self._dots(spec, schedule, target)
        isa = check_lanes(spec, schedule, target)
        if not self._carries(isa, spec):
            raise ScheduleError(
                f"schedule: {isa.lanes} lanes do not hold whole groups of {spec.icg} channels"
            )
        if spec.icg > 1 and schedule.vectors > 1:
            raise ScheduleError(f"schedule: family {self.name} takes one vector at a time")

        def most(isa: VectorIsa, vectors: int) -> int:
            return _most_pixels(spec, isa, vectors)

        return tiled_plan(spec, schedule, target, _walk, _reduce, most)

    def _dots(self, spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
        isa = dots.isa_of(spec, schedule, target)
        stage = None if spec.layout is Layout.NHWC else dots.stage_of(spec)
        view, areas = _walk(dots.seen_through(spec, stage) if stage else spec, schedule)
        view = dots.stored_as(view, spec) if stage else view
        places = replace(packing_of(spec, view, isa.lanes), ic=1)
        loops = _reduce(spec, view, places, any(not area.kh_taps for area in areas))
        most = _most_pixels(spec, isa, schedule.vectors)
        return dots.depthwise_plan(spec, schedule, target, most, (view, areas), loops, stage)

    def floor(self, spec: ConvSpec, schedule: Schedule, target: Target) -> float:
        """Nothing is known of a cost before the plan is; there are few candidates."""
        return 0.0

    def cost(self, plan: KernelPlan) -> Cost:
        """Cycles of every tile: its work in the core, and what its lines of memory cost."""
        if isinstance(plan.body, WindowBody):
            return windows.cost(plan)
        spec = plan.spec
        cycles = 0.0
        for region in plan.regions:
            work = _window_cycles if region.tile.tap_rows else _row_cycles
            cycles += region.tiles * work(plan, region)
        return Cost(cycles * spec.batch, "loads" if spec.icg == 1 else "FMA")

    def _carries(self, isa: VectorIsa, spec: ConvSpec) -> bool:
        return isa.lanes == 1 or isa.lanes % spec.icg == 0


def _slides(spec: ConvSpec, vectors: int) -> bool:
    """Whether rows of taps are unrolled: short ones, whose weights leave room for accumulators."""
    return spec.kw <= _MOST_TAPS and vectors <= 2


def _windows(spec: ConvSpec, isa: VectorIsa, vectors: int) -> bool:
    """Whether whole windows are unrolled: depthwise, few taps, one vector at a time."""
    few = spec.kh * spec.kw <= _MOST_WINDOW and spec.kd == 1
    return spec.icg == 1 and few and vectors == 1 and isa.lanes > 1


def _window_cycles(plan: KernelPlan, region: Region) -> float:
    """Of a tile whose windows are unrolled: products, or loads (each input once)."""
    spec, tile, target = plan.spec, region.tile, plan.target
    if isinstance(plan.sections, DotPacking) and plan.sections.patterns:
        core = dots.tall_cycles(plan, region) + _BEGINNING
        return core + _fetching(plan, region, _FAR) + _evicted(plan, region)
    products = tile.pixels * tile.taps * tile.tap_rows / target.fma_ports
    inputs = _inputs(plan, region)
    loads = _accesses(tile, 1.0, _item(plan)) * inputs + tile.taps * tile.tap_rows
    end = dots.END if spec.quantized else 0.5
    widened = plan.body.isa.widening * inputs / 2
    core = max(products, loads / target.load_ports, widened) + end * tile.pixels + 12
    return core + _fetching(plan, region, _FAR) + _evicted(plan, region)


def _row_cycles(plan: KernelPlan, region: Region) -> float:
    """Of a tile that counts its rows of taps: multiply-adds, loads and spreads share the core.

    A sum waits for its own last multiply-add, but the core finds other work as far as it looks
    ahead: in a small tile it sees the ones after it.
    """
    target, spec, tile, area = plan.target, plan.spec, region.tile, region.area
    products = tile.pixels * tile.vectors * area.kw_taps * spec.icg
    columns = tile.pixels * area.kw_taps
    if tile.taps:
        columns = (tile.w - 1) * plan.view.sw + (tile.taps - 1) * plan.view.dw + 1
    inputs = columns * tile.vectors
    spreads = inputs * (spec.icg if spec.icg > 1 else 0)
    weights = area.kw_taps * spec.icg * tile.vectors
    loads = (_accesses(tile, 0.3, _item(plan)) * inputs + weights) / target.load_ports
    widened = plan.body.isa.widening * inputs / 2
    row = max(products / target.fma_ports + spreads / 4, loads, widened)
    seen = min(1.0, area.kh_taps * products / (_AHEAD * target.issue))
    chain = seen * area.kw_taps * spec.icg * target.fma_latency
    lines = max(_reread(plan, region), _evicted(plan, region))
    lines_of_taps = area.kd_taps * area.kh_taps
    core = max(lines_of_taps * max(row, chain), lines)
    if spec.quantized:
        core += dots.END * tile.pixels * tile.vectors + 0.25 * lines_of_taps * inputs  # widened
    return core + 20 + 0.2 * tile.pixels * tile.vectors + _fetching(plan, region, _FAR_ROWS)


def _inputs(plan: KernelPlan, region: Region) -> int:
    """Pixels that the windows of a tile lie on, those between its rows and columns included."""
    view, tile, area = plan.view, region.tile, region.area
    rows = (tile.h - 1) * view.sh + (area.kh_taps - 1) * view.dh + 1
    columns = (tile.w - 1) * view.sw + (area.kw_taps - 1) * view.dw + 1
    return max(0, rows) * max(0, columns)


def _accesses(tile: Tile, crossings: float, item: int) -> float:
    """To the first cache, for one vector: it seldom starts at a line, and then crosses into the
    next one the more often the wider it is. ``crossings``: how many of them make it wait."""
    return 1 + crossings * item * tile.lanes / _LINE


def _fetching(plan: KernelPlan, region: Region, far: float) -> float:
    """Cycles until a tile's lines are there, as far as nothing else hides them. ``far``: what an
    input adds to each output while its line comes from beyond the second cache."""
    spec, target, tile = plan.spec, plan.target, region.tile
    inputs = _inputs(plan, region)
    item = _item(plan)
    size = item * (math.prod(spec.x_shape) + math.prod(spec.y_shape)) // spec.batch
    waits = (_NEAR if size <= target.l2 else far) * inputs * tile.pixels * tile.vectors
    # Which sets of the second cache pages fall on is chance: half full, some overflow.
    lost = inputs + tile.pixels - _room(plan, target.l2, target.l2 // _WAYS) // 2
    return waits * item / 4 + _LOST * max(0, lost) * (1 + item * tile.lanes * tile.vectors / _LINE)


def _evicted(plan: KernelPlan, region: Region) -> float:
    """Cycles for the lines that are gone before the channels beside them are wanted: pixels a large
    power of two apart share few sets of the first cache, and a tile walks over more than those
    hold."""
    tile = region.tile
    pixels = _inputs(plan, region) + tile.pixels - _room(plan, plan.target.l1, _PAGE)
    return _EVICTED * max(0, pixels) * (1 + _item(plan) * tile.lanes * tile.vectors / _LINE)


def _reread(plan: KernelPlan, region: Region) -> float:
    """Cycles for the inputs of a tile that the row of tiles above it met too, when the first cache
    does not hold them until then: all of them once they are half as many again as it holds."""
    view, tile, area = plan.view, region.tile, region.area
    rows = (tile.h - 1) * view.sh + (area.kh_taps - 1) * view.dh + 1
    side = area.sides[-1]
    columns = min(side.size, (side.out - 1) * view.sw + (side.taps - 1) * view.dw + 1)
    over = rows * columns / _room(plan, plan.target.l1, _PAGE) - 1
    gone = min(1.0, max(0.0, 2 * over))
    lines = max(1.0, _item(plan) * tile.lanes * tile.vectors / _LINE)
    return _REREAD * gone * _inputs(plan, region) * lines


def _item(plan: KernelPlan) -> int:
    """Bytes of an input, and of an output."""
    return ELEMENTS[plan.spec.dtype].size


def _room(plan: KernelPlan, size: int, span: int) -> int:
    """Pixels whose first lines a cache holds, when addresses ``span`` bytes apart share a set."""
    return span // math.gcd(_item(plan) * plan.view.x_pixel, span) * max(1, size // span)


def _most_pixels(spec: ConvSpec, isa: VectorIsa, vectors: int) -> int:
    """Registers left for accumulators beside a row of weights, an input and its spread.

    Where whole windows are unrolled an accumulator lives only until its last tap, so what counts
    is the length of the code.
    """
    if _windows(spec, isa, vectors):
        return max(1, _MOST_PRODUCTS // (spec.kh * spec.kw))
    taps = spec.kw if _slides(spec, vectors) else 1
    weights = taps * spec.icg * vectors
    others = 2 if spec.icg == 1 else 1 + strands_of(isa, taps)
    free = isa.registers - others - min(weights, isa.registers // 2)
    return max(1, free // vectors)


def _walk(spec: ConvSpec, schedule: Schedule) -> tuple[View, list[Rectangle]]:
    """Channels count over all groups; full rows of taps are unrolled where they are short."""
    view = replace(view_of(spec), groups=1, oc=spec.oc, x_lane=1)
    few = spec.kh * spec.kw <= _MOST_WINDOW and spec.kd == 1
    windows = spec.icg == 1 and few and schedule.vectors == 1
    unrolled = spec.kw if _slides(spec, schedule.vectors) else 0
    return replace(view, unrolled=unrolled, windows=windows), peel(spec)


def _reduce(spec: ConvSpec, view: View, packing: Packing, some_empty: bool) -> tuple[Loop, ...]:
    step = packing.ic * packing.lanes
    loops = outer_loops(spec, view, spec.kw * step, some_empty)
    if spec.kw > 1:
        loops.append(Loop("kw", "kw_taps", view.dw * view.x_pixel, step))
    return tuple(loops)

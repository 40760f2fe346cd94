"""Depthwise and finely grouped convolution: channels of several groups side by side in lanes.

Every output channel meets the 1, 2, 4 or 8 input channels of its own group, and they lie in the
same vector: one load serves a whole row of taps (the window slides over it), and lanes are spread
within their group where it has more than one channel. Takes NHWC layers with C = OC.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from convgen.errors import ScheduleError
from convgen.families.base import Cost, view_of
from convgen.families.tiled import peel, tiled_plan
from convgen.plan import KernelPlan, Loop, Packing, Rectangle, View
from convgen.schedule import Family, Schedule
from convgen.spec.model import ConvSpec, Layout
from convgen.target import Target, VectorIsa

_MOST_TAPS = 7  # of a row that is unrolled; longer rows take a counted loop


@dataclass(frozen=True)
class Lanewise:
    """A family of layers whose groups have one of these sizes."""

    name: Family
    sizes: tuple[int, ...]

    def fits(self, spec: ConvSpec) -> bool:
        return (
            spec.groups > 1
            and spec.icg == spec.ocg
            and spec.icg in self.sizes
            and spec.layout is Layout.NHWC
        )

    def candidates(self, spec: ConvSpec, target: Target) -> Iterator[Schedule]:
        """Rows of every width that the registers hold, for each vector that holds whole groups."""
        for isa in target.isas:
            half_empty = isa.lanes >= 2 * spec.oc and isa is not target.isas[-1]
            if half_empty or not self._carries(isa, spec):
                continue
            most = min(4, -(-spec.oc // isa.lanes)) if spec.icg == 1 else 1
            for vectors in range(1, most + 1):
                for width in range(1, _most_pixels(spec, isa, vectors) + 1):
                    yield Schedule(self.name, isa.lanes, 1, width, vectors)

    def lower(self, spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
        """Raises ScheduleError for a layer of another kind, or a tile that does not fit."""
        if not self.fits(spec):
            sizes = " or ".join(map(str, self.sizes))
            raise ScheduleError(
                f"schedule: family {self.name} takes NHWC layers with several groups of {sizes} "
                "channels in and as many out; use family direct"
            )
        isa = target.lanes(schedule.lanes)
        if isa is not None and not self._carries(isa, spec):
            raise ScheduleError(
                f"schedule: {isa.lanes} lanes do not hold whole groups of {spec.icg} channels"
            )
        if spec.icg > 1 and schedule.vectors > 1:
            raise ScheduleError(f"schedule: family {self.name} takes one vector at a time")

        def most(isa: VectorIsa, vectors: int) -> int:
            return _most_pixels(spec, isa, vectors)

        return tiled_plan(spec, schedule, target, _walk, _reduce, most)

    def cost(self, plan: KernelPlan) -> Cost:
        """Cycles of every tile: multiply-adds, loads and spreads share the vector pipes."""
        target, spec = plan.target, plan.spec
        cycles = 0.0
        for region in plan.regions:
            tile, area = region.tile, region.area
            products = tile.pixels * tile.vectors * area.kw_taps * spec.icg
            columns = tile.pixels * area.kw_taps
            if tile.taps:
                columns = (tile.w - 1) * spec.sw + (tile.taps - 1) * spec.dw + 1
            inputs = columns * tile.vectors
            spreads = inputs * (spec.icg if spec.icg > 1 else 0)
            # A vector of inputs seldom starts at a line of the cache: it costs two accesses.
            loads = (2 * inputs + area.kw_taps * spec.icg * tile.vectors) / target.load_ports
            chains = area.kw_taps * spec.icg * target.fma_latency
            row = max(products / target.fma_ports + spreads / 2, loads, chains) + 3
            start = 12 + 2 * tile.pixels * tile.vectors
            row_of_tiles = 20 + region.col_tiles * (area.kh_taps * row + start)
            cycles += row_of_tiles * region.row_tiles * region.blocks
        return Cost(cycles * spec.batch, "loads" if spec.icg == 1 else "FMA")

    def _carries(self, isa: VectorIsa, spec: ConvSpec) -> bool:
        return isa.lanes == 1 or isa.lanes % spec.icg == 0


def _most_pixels(spec: ConvSpec, isa: VectorIsa, vectors: int) -> int:
    """Registers left for accumulators beside a row of weights, an input and its spread."""
    weights = min(spec.kw, _MOST_TAPS) * spec.icg * vectors
    free = isa.registers - 2 - min(weights, isa.registers // 2)
    return max(1, free // vectors)


def _walk(spec: ConvSpec, schedule: Schedule) -> tuple[View, list[Rectangle]]:
    """Channels count over all groups; full rows of taps are unrolled where they are short."""
    view = replace(view_of(spec), groups=1, oc=spec.oc, x_lane=1)
    return replace(view, unrolled=spec.kw if spec.kw <= _MOST_TAPS else 0), peel(spec)


def _reduce(spec: ConvSpec, view: View, packing: Packing, some_empty: bool) -> tuple[Loop, ...]:
    step = packing.ic * packing.lanes
    loops = []
    if spec.kh > 1 or some_empty:
        loops.append(Loop("kh", "kh_taps", spec.dh * view.x_row, spec.kw * step))
    if spec.kw > 1:
        loops.append(Loop("kw", "kw_taps", spec.dw * view.x_pixel, step))
    return tuple(loops)

"""8-bit layers on vectors: output channels in lanes, several input channels to each product.

Direct tiles read x as it lies where its channels come in whole steps (NHWC, a multiple of the
depth); else the image is staged: copied with its padding, channels side by side, so that a row of
taps is one run of bytes whatever their number. Depthwise tiles take one product a lane.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from convgen.errors import ScheduleError
from convgen.kernels.dots.body import DotBody, DotPacking, Stage
from convgen.kernels.face import view_of
from convgen.kernels.tiled.lowering import (
    PLAIN_TILE,
    outer_loops,
    packing_of,
    regions_of,
    runs_on,
)
from convgen.kernels.tiled.quads import Pattern, quads_of
from convgen.kernels.tiled.walk import walk
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Loop
from convgen.plan.problem import peel
from convgen.plan.tile import Rectangle, Region, Tile, View
from convgen.spec.elements import ELEMENTS
from convgen.spec.model import Act, ConvSpec, Layout, Padding
from convgen.spec.quant import Rounding
from convgen.spec.requantize import requantization
from convgen.spec.schedule import Schedule
from convgen.target import Target, VectorIsa
from convgen.target.dots import DotIsa

MOST_OUTPUTS = 2**62  # no area is so small that its windows are not unrolled


END = 4.0  # cycles from a vector of sums to bytes
# Four rows made one vector, and a vector of sums stored with three others, in instructions; cycles
# for one of them: measured on Zen 5.
_QUAD, _STORED, _SHARE = 6, 8, 0.38


def carried(spec: ConvSpec) -> bool:
    """Whether vector kernels can compute the layer: its weights count from 0."""
    return spec.quant is not None and not any(spec.quant.weight.zero_point)


def most_pixels(isa: VectorIsa, vectors: int) -> int:
    """Registers left for accumulators beside weights, an input, and the constant added to it.

    Halves that are multiplied apart leave room for two products, and a tile of fewer pixels than
    vectors holds its inputs in place of the weights. Where inputs or weights are unpacked compilers
    fetch all inputs of a step before its products, and with fewer than a quarter of the registers
    to spare they move and spill (gcc 12).
    """
    if any(isa.unpacking):
        free = isa.registers * 3 // 4 - isa.weight_registers * vectors
        return max(1, free // (vectors + 1))
    if isa.halves == 1:
        return max(1, (isa.registers - 3 - vectors) // vectors)
    free = isa.registers - 2 - isa.halves  # what streams through beside what is held
    held = (free - isa.halves * vectors) // vectors
    return max(1, held, min(vectors - 1, free // (vectors + isa.halves)))


def isa_of(spec: ConvSpec, schedule: Schedule, target: Target) -> DotIsa:
    """The instructions that carry the schedule. Raises ScheduleError where none can."""
    found = target.dot_isas(spec.dtype)
    isa = next((isa for isa in found if isa.lanes == schedule.lanes), None)
    if isa is None:
        widths = ", ".join(str(i.lanes) for i in found) or "none"
        raise ScheduleError(
            f"schedule: {target.name} has no 8-bit vectors of {schedule.lanes} lanes, only "
            f"{widths}, beside plain C with lanes: 1"
        )
    if not carried(spec):
        raise ScheduleError("schedule: weights with zero points take plain C, with lanes: 1")
    return isa


def staged(spec: ConvSpec, depth: int) -> bool:
    """Whether the image is copied: its channels do not come in whole steps, or lie apart."""
    return spec.layout is not Layout.NHWC or spec.icg % depth != 0


def stage_of(spec: ConvSpec) -> Stage:
    """The copy is padded where the image is; a transposed layer has no padding but holes."""
    p = Padding() if spec.transposed else spec.padding
    assert spec.quant is not None
    d = spec.d + p.front + p.back
    h, w = spec.h + p.top + p.bottom, spec.w + p.left + p.right
    return Stage(d, h, w, spec.c, p.front, p.top, p.left, spec.quant.x_zero)


def seen_through(spec: ConvSpec, stage: Stage) -> ConvSpec:
    """What tiles see: the padded copy, or that of a transposed layer's whole input."""
    pads = spec.padding if spec.transposed else Padding()
    return replace(
        spec, d=stage.d, h=stage.h, w=stage.w, padding=pads, layout=Layout.NHWC,
        x_pixel=0, y_pixel=0,
    )  # fmt: skip


def stored_as(view: View, spec: ConvSpec) -> View:
    """The same walk, its outputs where the layer itself has them."""
    outer = view_of(spec)
    return replace(
        view, y_image=outer.y_image, y_plane=outer.y_plane, y_row=outer.y_row,
        y_pixel=outer.y_pixel, y_channel=outer.y_channel, y_group=outer.y_group,
    )  # fmt: skip


def direct_plan(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Dense and grouped layers. Raises ScheduleError where the tile does not fit."""
    isa = isa_of(spec, schedule, target)
    _check(isa, schedule, most_pixels(isa, schedule.vectors))
    stage = stage_of(spec) if staged(spec, isa.depth) else None
    seen = spec
    if stage is not None:
        seen = seen_through(spec, stage)
        view, areas = stored_as(view_of(seen), spec), peel(seen)
    else:
        view, areas = walk(spec, schedule)
    # In a padded copy every output meets every tap.
    whole = stage is not None and not spec.transposed
    flat = whole and spec.groups == 1 and spec.dw == 1
    width = spec.kw * spec.icg if flat else spec.icg
    run = -(-width // isa.depth) * isa.depth
    packing = _packing(spec, view, isa, run, flat, isa.depth, whole)
    loops = _loops(spec, view, packing, any(not a.kh_taps for a in areas), stage is not None)
    return _plan(spec, seen, schedule, target, isa, view, areas, packing, loops, stage)


def depthwise_plan(
    spec: ConvSpec,
    schedule: Schedule,
    target: Target,
    most: int,
    walked: tuple[View, list[Rectangle]],
    loops: tuple[Loop, ...],
    stage: Stage | None = None,
) -> KernelPlan:
    """One product a lane; ``most``: pixels that the registers hold. ``stage``: the copy that is
    walked, where channels do not lie side by side in x."""
    isa = isa_of(spec, schedule, target)
    _check(isa, schedule, most)
    view, areas = walked
    seen = spec if stage is None else seen_through(spec, stage)
    if tall(spec, isa, view) and all(area.kh_taps for area in areas):
        return _tall_plan(spec, seen, schedule, target, isa, most, view, areas, stage)
    whole = stage is not None and not spec.transposed
    packing = _packing(spec, view, isa, 1, False, 1, whole)
    return _plan(spec, seen, schedule, target, isa, view, areas, packing, loops, stage, most)


def tall(spec: ConvSpec, isa: VectorIsa, view: View) -> bool:
    """Whether inputs come four rows at a time: windows of several rows, unrolled."""
    return isa.has("tall") and view.windows and spec.kh > 1 and isa.lanes > PLAIN_TILE[2]


def tall_cycles(plan: KernelPlan, region: Region) -> float:
    """Of a tile whose inputs come four rows at a time: all its instructions share the core."""
    view, tile, area = plan.view, region.tile, region.area
    quads, patterns = quads_of(tile.h, area.kh_taps, view.sh, view.dh)
    reach = {c * view.sw + k * view.dw for c in range(tile.w) for k in range(area.kw_taps)}
    products = sum(len(quad.uses) for quad in quads) * tile.w * area.kw_taps
    alone = tile.pixels % 4 if tile.full and "narrow4" in plan.body.operations else tile.pixels
    weights = len(patterns) * area.kw_taps
    rare = max(0, weights + min(tile.pixels, tile.h * area.kw_taps) - 22)  # of registers
    work = _QUAD * len(quads) * len(reach) + products + weights + 2 * rare * tile.w
    return _SHARE * (work + _STORED * tile.pixels) + (END - _SHARE * _STORED) * alone


def _tall_plan(
    spec: ConvSpec,
    seen: ConvSpec,
    schedule: Schedule,
    target: Target,
    isa: DotIsa,
    most: int,
    view: View,
    areas: list[Rectangle],
    stage: Stage | None,
) -> KernelPlan:
    """Weights are packed in the patterns that tiles meet; a region's first tap says which."""
    whole = stage is not None and not spec.transposed
    packing = _packing(spec, view, isa, 4, False, 4, whole)
    places = replace(packing_of(spec, view, isa.lanes), ic=4)
    regions = regions_of(
        seen, view, places, schedule, areas, isa, lambda isa, vectors: most, small=MOST_OUTPUTS
    )
    patterns: list[Pattern] = []
    placed = []
    for region in regions:
        area = region.area
        _, kh, kw = area.packed
        _, wanted = quads_of(region.tile.h, area.kh_taps, view.sh, view.dh)
        run = [tuple(k + kh if k >= 0 else k for k in pattern) for pattern in wanted]
        starts = range(len(patterns) - len(run) + 1)
        at = next((i for i in starts if patterns[i : i + len(run)] == run), len(patterns))
        if at == len(patterns):
            patterns += run  # type: ignore[arg-type]
        placed.append(replace(region, w0=(at * spec.kw + kw) * 4 * isa.lanes))
    packing = replace(
        packing, runs=len(patterns) * spec.kw, patterns=tuple(patterns), taps=spec.kh * spec.kw
    )
    strides = packing_of(spec, view, isa.lanes)
    batches = isa.has("narrow4") and view.y_channel == 1
    operations = _operations(spec, isa, tuple(placed), packing, False, batches)
    body = DotBody(isa, schedule.family, tuple(placed), (), operations, stage=stage)
    room = stage.bytes if stage else 0
    return KernelPlan(
        spec, schedule, target, view, strides, (body,), workspace_bytes=room, sections=packing
    )


def _check(isa: DotIsa, schedule: Schedule, most: int) -> None:
    if schedule.tile_h * schedule.tile_w > most:
        raise ScheduleError(
            f"schedule: a {schedule.tile_h}x{schedule.tile_w} tile of {schedule.vectors} vectors "
            f"does not fit {isa.registers} registers; at most {most} pixels do"
        )


def _packing(
    spec: ConvSpec, view: View, isa: DotIsa, run: int, flat: bool, depth: int, whole: bool
) -> DotPacking:
    assert spec.quant is not None
    zero = spec.quant.x_zero + (isa.offset if depth > 1 else 0)
    rows = spec.kd * spec.kh
    runs = rows if flat else rows * spec.kw
    return DotPacking(
        isa.lanes, depth, view.groups, view.oc, runs, run, flat, zero,
        summed=zero != 0 and not whole,
    )  # fmt: skip


def _loops(
    spec: ConvSpec, view: View, packing: DotPacking, some_empty: bool, whole: bool
) -> tuple[Loop, ...]:
    """Over rows of taps and the steps of a row; strides in bytes."""
    lanes, run, depth = packing.lanes, packing.run, packing.depth
    steps, step = run // depth, depth * lanes
    row = run * lanes if packing.flat else spec.kw * run * lanes
    loops = outer_loops(spec, view, row, some_empty)
    if packing.flat:
        return (*loops, Loop("k", str(steps), depth, step)) if steps > 1 else tuple(loops)
    if runs_on(spec, view, run) and not whole:
        count = f"kw_taps * {steps}" if steps > 1 else "kw_taps"
        return (*loops, Loop("k", count, depth, step))
    if spec.kw > 1:
        loops.append(Loop("kw", "kw_taps", view.dw * view.x_pixel, run * lanes))
    if steps > 1:
        loops.append(Loop("k", str(steps), depth, step))
    return tuple(loops)


def _plan(
    spec: ConvSpec,
    seen: ConvSpec,
    schedule: Schedule,
    target: Target,
    isa: DotIsa,
    view: View,
    areas: list[Rectangle],
    packing: DotPacking,
    loops: tuple[Loop, ...],
    stage: Stage | None,
    most: int = 0,
) -> KernelPlan:
    strides = packing_of(spec, view, isa.lanes)  # of the caller's weights
    places = replace(strides, kw=1 if packing.flat else spec.kw, ic=packing.run)

    def fitting(isa: VectorIsa, vectors: int) -> int:
        return most or most_pixels(isa, vectors)

    regions = regions_of(seen, view, places, schedule, areas, isa, fitting, SMALL)
    single = view.x_lane == 1
    body = DotBody(
        isa, schedule.family, regions, loops, _operations(spec, isa, regions, packing, single),
        stage=stage, single=single,
    )  # fmt: skip
    room = stage.bytes if stage else 0
    return KernelPlan(
        spec, schedule, target, view, strides, (body,), workspace_bytes=room, sections=packing
    )


# An area with less than this part of all outputs does without unrolled windows: their code takes
# long to compile and saves next to nothing there.
SMALL = 12
WITH_ZERO = 21  # the farthest shift to the right of a product that holds a zero point too


@dataclass(frozen=True)
class Scaling:
    """How sums become outputs. ``kind``: ``sums`` as they are, ``float``, ``stairs`` or ``fixed``
    by vectors through ``operation``, ``lanes`` one by one. ``low``, ``high``: clamps where the
    type's own saturation does not do; ``zero``: what is added before them."""

    kind: str
    operation: str = ""
    low: int | None = None
    high: int | None = None
    zero: int = 0


def scaling(spec: ConvSpec, isa: VectorIsa) -> Scaling:
    """Fixed point takes vectors where every ratio is below 1/2, as nearly all are, and float32
    where that is the same and the instruction set has what it takes. Filters that training has
    left dead have ratios down to 2^-32, or 0."""
    how = requantization(spec)
    if how is None:
        return Scaling("sums" if spec.activation.kind is Act.NONE else "lanes")
    if how.table:
        return Scaling("lanes")
    limits = ELEMENTS[spec.dtype].limits
    low = None if how.low == limits[0] else how.low
    high = None if how.high == limits[1] else how.high
    if how.rounding is Rounding.ONNX:
        if max(how.scales) <= 0.5:  # no product leaves int32, and saturation does the rest
            return Scaling("float", "rescale", low, high, how.zero)
        return Scaling("float", "rescale_within", None, None, how.zero)
    if not all(-31 <= shift <= -1 for shift in how.shifts):
        return Scaling("lanes")
    if isa.has("stairs"):
        from convgen.kernels.dots.float_steps import (
            float_steps,  # with NumPy, which few layers need here
        )

        steps = float_steps(how)
        if steps is not None:
            operation = "stairs_signed" if steps.signed else "stairs"
            return Scaling("stairs", operation, low, high, how.zero)
    # Halves below 0 go down, which nobody sees after a clamp at the zero point.
    halves_up = how.rounding is Rounding.TFLITE_SINGLE or how.low >= how.zero
    operation = "reduce" if halves_up else "reduce_signed"
    # The zero point is in what is added to the products, as long as 64 bits hold it there.
    apart = min(how.shifts) < -WITH_ZERO
    return Scaling("fixed", operation, low, high, how.zero if apart else 0)


def _operations(
    spec: ConvSpec,
    isa: VectorIsa,
    regions: tuple[Region, ...],
    packing: DotPacking,
    single: bool,
    batches: bool = False,
) -> tuple[str, ...]:
    """Vector operations that the kernel's text calls; a compiler warns of any other."""
    tiles: list[Tile] = [region.tile for region in regions]
    partly = not all(t.full for t in tiles)
    fully = any(t.full or t.vectors > 1 for t in tiles)
    used = {"sums"} | ({"sub"} if packing.summed else set())
    if packing.patterns:
        fully = any(t.full for t in tiles)
        used |= {"deep", "weights"} | ({"tall"} if fully else set())
        used |= {"tall_part"} if partly else set()
    elif single:
        used |= {"taps", "product"} | ({"each"} if fully else set())
        used |= {"each_part"} if partly else set()
    else:
        used |= {"quad", "weights", "dot"}
    how = scaling(spec, isa)
    if how.kind in ("sums", "lanes"):
        return tuple(sorted(used | {"spill"}))
    used |= {how.operation} | ({"reals"} if how.kind != "fixed" else set())
    if batches and any(t.full and t.pixels >= 4 for t in tiles):
        used.add("narrow4")
        fully = any(t.full and t.pixels % 4 for t in tiles)
        if not fully and not partly:
            return tuple(sorted(used))
    used |= {"add1"} if how.zero else set()
    used |= {"max1"} if how.low is not None else set()
    used |= {"min1"} if how.high is not None else set()
    used |= {"narrow"} if fully else set()
    used |= {"narrow_part"} if partly else set()
    return tuple(sorted(used))

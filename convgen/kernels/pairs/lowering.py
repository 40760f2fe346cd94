"""Direct convolution of bfloat16 layers with two input channels to a product, where a CPU has such.

Channels lie side by side in x: an NHWC layer, dense or grouped. A last odd channel of each tap
takes a step of its own. All others, and those of ``accuracy: strict``, are widened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convgen.kernels.pairs.body import PairedBody
from convgen.kernels.tiled.lowering import (
    check_pixels,
    most_pixels,
    operations_of,
    outer_loops,
    packing_of,
    plain_schedule,
    regions_of,
    runs_on,
)
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.packing import Loop, Packing, Rest
from convgen.plan.tile import Rectangle, View
from convgen.spec.model import Accuracy, ConvSpec, DType
from convgen.spec.schedule import Schedule
from convgen.target import Target, VectorIsa
from convgen.target.x86.bf16 import PLAIN_BF16, SIDE

_EACH = Loop("side", str(SIDE), 1, 1)  # the plain body's, round every pair


def serves(spec: ConvSpec, target: Target) -> bool:
    """Whether products of pairs can compute the layer, over a view whose channels lie side by side:
    they take numbers below 2^-126 for 0."""
    return (
        target.bf16 is not None
        and spec.dtype is DType.BFLOAT16
        and spec.accuracy is Accuracy.FAST
        and spec.icg >= SIDE
    )


def lanes(target: Target) -> int:
    """Of the vectors that multiply pairs, 0 where there are none."""
    return target.bf16.lanes if target.bf16 is not None else 0


def paired_plan(
    spec: ConvSpec, schedule: Schedule, target: Target, walked: tuple[View, list[Rectangle]]
) -> KernelPlan:
    """Raises ScheduleError where the tile does not fit."""
    isa = target.bf16
    assert isa is not None, target.name
    check_pixels(isa, schedule, most_pixels)
    view, areas = walked
    packing = replace(packing_of(spec, view, isa.lanes), side=SIDE)
    loops = _reduce(spec, view, packing, any(not area.kh_taps for area in areas))
    pairs, rest = packing.ic // SIDE, None
    if packing.ic % SIDE:
        rest = Rest(len(loops) - (pairs > 1), pairs * SIDE, pairs * packing.row)

    def body(isa: VectorIsa, how: Schedule, loops: Sequence[Loop]) -> Body:
        regions = regions_of(spec, view, packing, how, areas, isa, most_pixels)
        operations = operations_of(spec, view, regions, isa)
        if rest is not None and isa.has("single"):
            operations = tuple(sorted((*operations, "single")))
        return PairedBody(isa, how.family, regions, tuple(loops), operations, rest)

    plain = body(PLAIN_BF16, plain_schedule(schedule, isa.lanes), (*loops, _EACH))
    bodies = (body(isa, schedule, loops), plain)
    return KernelPlan(spec, schedule, target, view, packing, bodies)


def _reduce(spec: ConvSpec, view: View, packing: Packing, some_empty: bool) -> tuple[Loop, ...]:
    """Over rows of taps, and the pairs of a row: one run of memory but for groups or dilation."""
    step, pairs = packing.row, packing.ic // SIDE
    loops = outer_loops(spec, view, spec.kw * packing.tap, some_empty)
    if runs_on(spec, view, packing.ic) and packing.ic % SIDE == 0:
        count = f"kw_taps * {pairs}" if pairs > 1 else "kw_taps"
        return (*loops, Loop("k", count, SIDE, step))
    if spec.kw > 1:
        loops.append(Loop("kw", "kw_taps", view.dw * view.x_pixel, packing.tap))
    if pairs > 1:
        loops.append(Loop("k", str(pairs), SIDE, step))
    return tuple(loops)

"""Convolution with lanes along the reduction: for few output channels of long windows.

Where output channels fill no vector and there are few pixels, the inputs under a window still lie
side by side: a row of taps with its channels in NHWC, the whole image where the window covers it in
NCHW. Partial sums lie in lanes and in several vectors, and are added up at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convgen.errors import ScheduleError
from convgen.kernels.face import Cost, activation_operations, flat_2d, isas_of, no_floor, view_of
from convgen.kernels.reduction.body import ReductionBody
from convgen.kernels.tiled.lowering import check_lanes, packing_of
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Packing
from convgen.spec.model import ConvSpec, Layout, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa

floor = no_floor
name = Family.REDUCTION
_MOST_OUTPUTS = 1 << 16  # beyond them pixels or channels fill vectors in other families


def fits(spec: ConvSpec) -> bool:
    few = spec.batch * spec.oh * spec.ow * spec.oc <= _MOST_OUTPUTS
    if spec.quantized or not flat_2d(spec):
        return False
    return few and (spec.layout is Layout.NHWC or whole(spec))


def whole(spec: ConvSpec) -> bool:
    """Whether every window is an image: then each is one run of memory in planes as well."""
    return (
        spec.layout is Layout.NCHW
        and (spec.kh, spec.kw) == (spec.h, spec.w)
        and spec.padding == Padding()
        and (spec.dh, spec.dw) == (1, 1)
    )


def candidates(spec: ConvSpec, target: Target) -> Iterator[Schedule]:
    """As many channels together as share their inputs, with strands enough for two units."""
    _, run = _runs(spec)
    for isa in isas_of(spec, target):
        if isa.lanes == 1 or run < isa.lanes:
            continue
        for channels in dict.fromkeys(min(spec.ocg, n) for n in (1, 2, 4)):
            for strands in (1, 2, 4, 8):
                if channels * strands + strands + 1 <= isa.registers:
                    yield Schedule(name, isa.lanes, 1, strands, channels)


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Raises ScheduleError for a layer this family does not take, or a tile that does not fit."""
    if not fits(spec):
        raise ScheduleError(
            f"schedule: family {name} takes NHWC layers of floating point with at most "
            f"{_MOST_OUTPUTS} outputs, or NCHW ones whose window is the image; use family direct"
        )
    isa = check_lanes(spec, schedule, target)
    channels, strands = min(schedule.vectors, spec.ocg), schedule.tile_w
    if schedule.tile_h != 1 or channels * strands > isa.registers:
        raise ScheduleError(
            f"schedule: {channels} channels of {strands} vectors do not fit {isa.registers} "
            "registers; tile[0] is 1"
        )
    packing = _packing(spec)
    bodies = [_body(spec, isa, channels, strands)]
    if isa.lanes > 1:
        bodies.append(_body(spec, isas_of(spec, target)[-1], channels, 1))
    return KernelPlan(spec, schedule, target, view_of(spec), packing, tuple(bodies))


def cost(plan: KernelPlan) -> Cost:
    """Cycles of the runs: their loads, their multiply-adds, or how they wait for each other."""
    body, spec, target = plan.body, plan.spec, plan.target
    assert isinstance(body, ReductionBody)
    isa, channels, strands = body.isa, body.channels, body.strands
    rows = plan.packing.depth // body.run
    steps, rest = divmod(body.run, strands * isa.lanes)
    short = rest // isa.lanes + (2.0 if rest % isa.lanes else 0.0)
    products = channels * (1 if isa.fused else 2)
    step = max(
        strands * products / target.fma_ports,
        strands * (1 + channels) * (1 + isa.widening / 4) / target.load_ports,
        float(target.fma_latency),
    )
    window = rows * (steps * step + short * target.fma_latency + 4)
    ends = 20 + channels * (strands + 2 * isa.lanes)
    blocks = -(-spec.ocg // channels)
    units = spec.batch * spec.groups * blocks * spec.oh * spec.ow
    # Weights that no cache holds are read once for every pixel.
    size = plan.packed.size * plan.packing.depth * channels
    rate = target.bytes_per_cycle[3] if plan.packed_bytes > target.l3 else 32.0
    window = max(window, size / rate)
    return Cost(units * (window + ends), "loads")


def _runs(spec: ConvSpec) -> tuple[bool, int]:
    """Whether a row of taps is one run of inputs, and how long a run is."""
    if whole(spec):
        return True, spec.icg * spec.kh * spec.kw
    joined = spec.groups == 1 and spec.dw == 1
    return joined, spec.icg * (spec.kw if joined else 1)


def _packing(spec: ConvSpec) -> Packing:
    """Each channel's weights in the order in which its inputs lie."""
    packing = packing_of(spec, view_of(spec), 1)
    if not whole(spec):
        return packing
    return replace(
        packing, kh=spec.icg, kw=1, ic=spec.kh * spec.kw,
        w_kh=packing.w_ic, w_kw=packing.w_ic, w_ic=packing.w_tap,
    )  # fmt: skip


def ragged(spec: ConvSpec, run: int, lanes: int) -> bool:
    """Whether some window's run of ``run`` inputs, or what of it is in the image, fills its last
    vector in part."""
    p = spec.padding
    inside = any((p.top, p.left, p.bottom, p.right))
    return run % lanes > 0 or (inside and spec.icg % lanes > 0)


def spilling(isa: VectorIsa) -> str:
    """The operation that brings sums to memory as they are; "" where a copy of the vector does."""
    if isa.has("spill"):
        return "spill"
    return "" if isa.has("each") else "store"


def _body(spec: ConvSpec, isa: VectorIsa, channels: int, strands: int) -> ReductionBody:
    joined, run = _runs(spec)
    read = "each" if isa.has("each") else "load"
    used = {"set1", "add", "load", "fma", read, "store_part", *activation_operations(spec)}
    used |= {f"{read}_part", "load_part"} if ragged(spec, run, isa.lanes) else set()
    used |= {spilling(isa)} if isa.lanes > 1 and spilling(isa) else set()
    return ReductionBody(
        isa, name, tuple(sorted(used)), channels, strands, run, joined, whole(spec)
    )

"""What a kernel with lanes along the reduction asks of a core."""

from __future__ import annotations

from math import ceil

from convgen.kernels.reduction.body import ReductionBody
from convgen.kernels.work import Work
from convgen.plan.kernel import KernelPlan
from convgen.spec.elements import arrays_of


def reduction_work(plan: KernelPlan, body: ReductionBody, ways: int) -> Work:
    """Inputs are loaded once for all channels of a block, and meet a vector of weights each."""
    spec, lanes = plan.spec, body.isa.lanes
    units = spec.batch * spec.groups * ceil(spec.ocg / body.channels) * spec.oh * spec.ow
    steps = units * plan.packing.depth // body.run * ceil(body.run / lanes)
    size = arrays_of(spec).x.size + plan.packed.size * body.channels
    return Work(
        fmas=steps * body.channels,
        loads=steps * (1 + body.channels),
        chain=steps / body.strands,
        near=steps * lanes * size,
    )

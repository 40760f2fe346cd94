"""What a kernel over planes asks of a core."""

from __future__ import annotations

from math import ceil

from convgen.kernels.planes.body import PlanesBody
from convgen.kernels.work import Work, bytes_of
from convgen.plan.kernel import KernelPlan
from convgen.spec.elements import arrays_of


def planes_work(plan: KernelPlan, body: PlanesBody, ways: int) -> Work:
    """Every step loads each vector of pixels, once for all rows of outputs where windows are
    written out, and each weight; copied rows are written and read once more."""
    work, spec, of = Work(), plan.spec, arrays_of(plan.spec)
    blocks, rest = divmod(spec.ocg, body.channels)
    channels = [body.channels] * blocks + [rest] * bool(rest)
    rows = 1 if body.flat else ceil(spec.oh / body.rows)
    repeats, depth = spec.batch * spec.groups * rows, plan.packing.depth
    for columns in body.columns:
        vectors = body.rows * len(columns.places)
        count = repeats * columns.count
        inputs = depth * vectors
        if body.windows:
            high = (body.rows - 1) * spec.sh + (spec.kh - 1) * spec.dh + 1
            inputs = min(high, body.rows * spec.kh) * spec.kw
        work.fmas += count * depth * vectors * sum(channels)
        work.loads += count * sum(inputs + (0 if body.windows else depth * c) for c in channels)
        work.chain += 0 if body.windows else count * depth * len(channels)
        near = of.x.size * body.isa.lanes * inputs * len(channels)
        work.near += count * (near + plan.packed.size * depth * sum(channels))
    copied = 2 if body.staged or body.slot else 0
    work.near += copied * bytes_of(spec.x_shape, of.x.size) + bytes_of(spec.y_shape, of.y.size)
    return work

"""What a planar kernel asks of a core."""

from __future__ import annotations

from convgen.kernels.planar.body import PlanarBody
from convgen.kernels.work import ITEM, Work, bytes_of
from convgen.plan.kernel import KernelPlan


def planar_work(plan: KernelPlan, body: PlanarBody, ways: int) -> Work:
    """Every step loads each vector of pixels, in pieces where a row ends, and each weight."""
    work, spec = Work(), plan.spec
    blocks, rest = divmod(plan.view.oc, body.channels)
    channels = [body.channels] * blocks + [rest] * bool(rest)
    repeats = spec.batch * plan.view.groups
    rounds = [(body.main, spec.oh // body.main.rows)]
    rounds += [(body.rest, 1)] if body.rest is not None else []
    for strip, count in rounds:
        for run in strip.runs:
            steps = repeats * count * run.count * len(body.taps)
            pieces = sum(len(vector) for vector in run.vectors)
            work.fmas += steps * len(run.vectors) * sum(channels)
            work.loads += steps * sum(pieces + c for c in channels)
            work.chain += steps * len(channels)
            work.near += ITEM * steps * sum(pieces * body.isa.lanes + c for c in channels)
    # Rows become planes, sums are stored in planes and then woven into y.
    work.near += 2 * bytes_of(spec.x_shape) + (1 if body.straight else 3) * bytes_of(spec.y_shape)
    return work

"""What a Winograd kernel asks of a core."""

from __future__ import annotations

from math import ceil

from convgen.kernels.winograd.body import WinogradBody
from convgen.kernels.winograd.combination import program
from convgen.kernels.winograd.matrices import matrices, passes
from convgen.kernels.work import ITEM, Work
from convgen.plan.kernel import KernelPlan


def winograd_work(plan: KernelPlan, body: WinogradBody, ways: int) -> Work:
    """Products and transforms; v is the transformed input of a block, m its products."""
    spec, lanes = plan.spec, body.isa.lanes
    planes, mr = body.planes, body.tile.pixels
    mats = matrices(body.along.m, body.along.r)
    inner, outer = passes(body.high, body.wide)
    strips = ceil(body.count / mr)
    vectors = ceil(spec.oc / lanes)
    oc_blocks = ceil(vectors / body.tile.vectors)
    inward = body.count * ceil(spec.c / lanes)
    outward = body.count * vectors
    steps = strips * planes * spec.c
    work = Work(chain=steps * oc_blocks)
    work.fmas = steps * mr * vectors
    work.fmas += inward * inner.times * len(program(mats.bt).operations)
    work.fmas += outward * outer.times * len(program(mats.at).operations)
    moved = inward * inner.moved + outward * outer.moved
    work.loads = steps * (mr * oc_blocks + vectors) + moved / 2
    work.near = ITEM * (steps * (mr * oc_blocks + vectors * lanes) + lanes * moved)
    filters = ITEM * planes * spec.c * vectors * lanes
    panel = ITEM * spec.c * body.tile.vectors * lanes  # of one matrix, which all strips read
    v, m = ITEM * planes * body.v_plane, ITEM * planes * body.m_plane
    strip = ITEM * mr * (spec.c + body.tile.vectors * lanes)
    work.streams = [
        ((body.blocks - 1) * filters, filters + v + m),
        ((strips - body.blocks) * filters, panel + strip),
        (body.blocks * v, v),  # written
        (body.blocks * oc_blocks * v, v + m + filters / oc_blocks),  # read
        (2 * body.blocks * oc_blocks * m, m + v + filters / oc_blocks),
    ]
    return work

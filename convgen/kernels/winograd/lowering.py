"""Winograd convolution for square and one-dimensional filters with stride 1: fewer products.

Tiles of m x m outputs (1 x m or m x 1 for a filter of one row or column) are transformed in blocks
that stay in the cache, multiplied with the transformed filters as small matrix products, one for
each of a tile's inputs, and transformed back. Takes layers with one group whose spec allows it
(``accuracy: fast``); a dilated one goes as dense phases. Of planes (NCHW) the rows under a row of
tiles are transposed first, and so are the outputs of each tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from convgen.errors import ScheduleError
from convgen.kernels.face import Cost, activation_operations, flat_2d, no_floor, view_of
from convgen.kernels.tiled.lowering import (
    PLAIN_TILE,
    check_blocks,
    check_lanes,
    most_pixels,
    packing_of,
)
from convgen.kernels.tiled.step import limits, most_vectors
from convgen.kernels.winograd.body import LEAST_CHANNELS, WinogradBody, Work
from convgen.kernels.winograd.combination import program
from convgen.kernels.winograd.matrices import IDENTITY, Filtering, Matrix, matrices, passes
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Packing
from convgen.plan.tile import Tile
from convgen.spec.model import Accuracy, ConvSpec, DType, Layout
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa

floor = no_floor
name = Family.WINOGRAD
TURNED = 5.0  # cycles to transpose a square of lanes x lanes elements, for each lane
# The m whose errors stay small, by filter.
_OUTPUTS = {
    (3, 3): (2, 3, 4, 6), (5, 5): (2, 4),
    **dict.fromkeys(((1, 3), (3, 1)), (2, 3, 4, 6)),
    **dict.fromkeys(((1, 5), (5, 1)), (2, 4, 6)),
    **dict.fromkeys(((1, 7), (7, 1)), (2, 4)),
}  # fmt: skip


def fits(spec: ConvSpec) -> bool:
    # Dilation d is d*d dense layers on every d-th pixel, when padding keeps them apart.
    phases = spec.dh == spec.dw and spec.padding.top % spec.dh == spec.padding.left % spec.dw == 0
    filled = spec.dh <= min(spec.h, spec.w, spec.oh, spec.ow)  # no phase without a pixel
    return (
        flat_2d(spec)
        and (spec.kh, spec.kw) in _OUTPUTS
        and (spec.sh, spec.sw, spec.groups) == (1, 1, 1)
        and phases
        and filled
        and spec.c >= LEAST_CHANNELS
        and spec.dtype is DType.FLOAT32
        and spec.accuracy is Accuracy.FAST
    )


def candidates(spec: ConvSpec, target: Target) -> Iterator[Schedule]:
    """Every m, with product tiles that fill the registers and blocks that fit the second cache."""
    isa = target.isa
    if isa.lanes == 1 or not target.doubles or spec.icg < isa.lanes or spec.oc < isa.lanes:
        return
    for m in _OUTPUTS[spec.kh, spec.kw]:
        high, wide = _axes(spec, m)
        longest = max(side for side, f in ((spec.oh, high), (spec.ow, wide)) if f != IDENTITY)
        if m > 2 and m * spec.dh > longest:
            continue
        count = math.prod(_tiles(spec, high, wide))
        planes = high.alpha * wide.alpha
        for vectors in range(1, min(most_vectors(isa), -(-spec.oc // isa.lanes)) + 1):
            most = most_pixels(isa, vectors)
            for rows in range(max(1, most // 2), most + 1):
                bytes_a_strip = 4 * planes * rows * (spec.icg + vectors * isa.lanes)
                fit = max(1, target.l2 * 3 // 4 // bytes_a_strip)
                strips = -(-count // rows)
                blocks = -(-strips // fit)
                yield Schedule(name, isa.lanes, high.m, wide.m, vectors, rows, -(-strips // blocks))


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Raises ScheduleError for a layer this family does not take, or a tile that does not fit."""
    if not fits(spec):
        raise ScheduleError(
            "schedule: family winograd takes layers with a filter of 3x3, 5x5, 1xN or Nx1 "
            "(N 3, 5 or 7), stride 1, one group, equal dilations that divide the padding at top "
            "and left, "
            f"C >= {LEAST_CHANNELS} and accuracy fast; use family direct"
        )
    if not target.doubles:
        raise ScheduleError(
            f"schedule: family winograd transforms its filters in double, which {target.name} has "
            "no instructions for; use family direct"
        )
    tiles = [tuple(f.m for f in _axes(spec, m)) for m in _OUTPUTS[spec.kh, spec.kw]]
    if (schedule.tile_h, schedule.tile_w) not in tiles:
        sizes = ", ".join(f"[{h}, {w}]" for h, w in tiles)
        raise ScheduleError(f"schedule: winograd's tile for this filter is one of {sizes}")
    isa = check_lanes(spec, schedule, target)
    most = most_pixels(isa, schedule.vectors)
    if schedule.rows > most:
        raise ScheduleError(
            f"schedule: {schedule.rows} rows of {schedule.vectors} vectors do not fit "
            f"{isa.registers} registers; at most {most} rows do"
        )
    view = view_of(spec)
    high, wide = Filtering(schedule.tile_h, spec.kh), Filtering(schedule.tile_w, spec.kw)
    packing = packing_of(spec, view, target.block or isa.lanes)
    packing = replace(
        packing, kh=high.alpha, kw=wide.alpha, winograd=((high.m, high.r), (wide.m, wide.r))
    )
    check_blocks(packing, schedule)
    own = _body(spec, packing, schedule, isa, target)
    if not own.band:
        own = replace(
            own,
            fetch_in=4 * spec.h * spec.w * spec.c > target.l2,
            fetch_out=4 * spec.oh * spec.ow * spec.oc > target.l2,
        )
    bodies = [own]
    if isa.lanes > 1:
        _, rows, vectors = PLAIN_TILE
        strips = -(-schedule.rows * schedule.strips // rows)
        plain = replace(schedule, lanes=1, vectors=vectors, rows=rows, strips=strips)
        bodies.append(_body(spec, packing, plain, target.isas[-1], target))
    workspace = 4 * max(body.scratch for body in bodies)
    return KernelPlan(
        spec, schedule, target, view, packing, tuple(bodies), workspace_bytes=workspace
    )


def cost(plan: KernelPlan) -> Cost:
    """Cycles of the products and the transforms, and of streaming the filters to every block."""
    body, target, spec = plan.body, plan.target, plan.spec
    assert isinstance(body, WinogradBody)
    lanes = body.isa.lanes
    mr = body.tile.pixels
    oc_vectors, ic_vectors = -(-spec.oc // lanes), -(-spec.icg // lanes)
    whole, rest = divmod(oc_vectors, body.tile.vectors)
    strip = whole * _strip(spec, target, body.isa, mr, body.tile.vectors)
    strip += _strip(spec, target, body.isa, mr, rest) if rest else 0
    products = -(-body.count // mr) * body.planes * strip
    filters = 4 * body.planes * spec.icg * oc_vectors * lanes
    rate = _rate(target, filters)
    stream = body.blocks * filters / rate
    inward, outward = _transforms(body.high, body.wide)
    # Inputs of a tile that leaves the image go through a buffer, and are moved twice.
    d = spec.dh
    high = _inner(spec.oh // d, body.high, spec.h // d)
    edge = 1 - high * _inner(spec.ow // d, body.wide, spec.w // d)
    transforms = body.count * ((1 + edge) * inward * ic_vectors + outward * oc_vectors)
    transforms += _turning(spec, body) if body.band else 0.0
    bound = "FMA" if products > stream else "weights from L3" if rate > 6 else "weights from memory"
    return Cost(max(products, stream) + transforms, bound)


def _turning(spec: ConvSpec, body: WinogradBody) -> float:
    """Cycles to transpose the rows under every row of tiles, and the outputs of every tile."""
    lanes = body.isa.lanes
    rows = body.count // body.cols * body.high.alpha
    inputs = rows * -(-spec.w // lanes) * -(-spec.c // lanes) * TURNED * lanes
    outputs = body.outputs / lanes * TURNED * lanes + 1.5 * lanes * body.high.m
    return inputs + body.count * -(-spec.oc // lanes) * outputs


def _rate(target: Target, filters: int) -> float:
    """Bytes a cycle at which filters of so many bytes come."""
    third = target.bytes_per_cycle[2]
    return 32 if filters < target.l2 // 2 else third if filters < target.l3 else 6


def _axes(spec: ConvSpec, m: int) -> tuple[Filtering, Filtering]:
    """F along a column and along a row of the filter; nothing where it has one tap."""
    high, wide = (Filtering(m, r) if r > 1 else IDENTITY for r in (spec.kh, spec.kw))
    return high, wide


def _transforms(high: Filtering, wide: Filtering) -> tuple[float, float]:
    """Cycles for one vector of channels of one tile, inward and outward: sums, loads and stores."""
    along = wide if high == IDENTITY else high
    mats, planes = matrices(along.m, along.r), high.alpha * wide.alpha
    inner, outer = passes(high, wide)
    if IDENTITY in (high, wide):
        inward = (_sums(mats.bt) + 2.5 * planes) / 2
        return inward, (_sums(mats.at) + 2 * planes) / 2
    inward = (_sums(mats.bt) * inner.times + 5 * planes) / 2
    return inward, (_sums(mats.at) * outer.times + 3 * planes) / 2


def _work(
    spec: ConvSpec, target: Target, isa: VectorIsa, f: tuple[Filtering, Filtering], tile: Tile
) -> Work:
    """What a part of the work takes, a strip of MR tiles being the least of it."""
    planes = math.prod(axis.alpha for axis in f)
    inward, outward = _transforms(*f)
    block = 4 * planes * spec.icg * tile.vectors * tile.lanes
    filters = block * -(-spec.oc // (tile.vectors * tile.lanes))
    multiply = planes * _strip(spec, target, isa, tile.pixels, tile.vectors)
    return Work(
        transform=round(tile.pixels * inward * -(-spec.icg // tile.lanes)),
        multiply=round(multiply + tile.pixels * outward * tile.vectors),
        fetch=round(block / _rate(target, filters)),
    )


def _strip(spec: ConvSpec, target: Target, isa: VectorIsa, mr: int, nv: int) -> float:
    """Cycles of one MR x NV product. Its inputs come from the second cache: loads cost more."""
    step = max(limits(target, isa, mr, nv, load_cost=1.25).values())
    return spec.icg * (step + 0.25) + 12 + 1.5 * mr * nv


def _tiles(spec: ConvSpec, high: Filtering, wide: Filtering) -> tuple[int, int, int]:
    """Images (each phase of a dilated layer is one), and rows and columns of tiles in one."""
    d = spec.dh
    return spec.batch * d * d, -(-spec.oh // (d * high.m)), -(-spec.ow // (d * wide.m))


def _sums(matrix: Matrix) -> int:
    return len(program(matrix).operations)


def _inner(out: int, f: Filtering, size: int) -> float:
    """The share of tiles along one axis that lie whole inside the image."""
    tiles = max(1, -(-out // f.m))
    first = f != IDENTITY and out >= size
    last = tiles * f.m + f.r - 1 > size + (f != IDENTITY)
    outside = int(first) + int(last)
    return max(0, tiles - outside) / tiles


def _body(
    spec: ConvSpec, packing: Packing, how: Schedule, isa: VectorIsa, target: Target
) -> WinogradBody:
    high, wide = Filtering(how.tile_h, spec.kh), Filtering(how.tile_w, spec.kw)
    images, rows, cols = _tiles(spec, high, wide)
    block = how.rows * how.strips
    width = how.vectors * isa.lanes
    pitch = -(-spec.icg // isa.lanes) * isa.lanes
    whole, rest = divmod(spec.oc, width)
    needed = -(-rest // isa.lanes)  # vectors of the last, narrower block of channels
    tile = Tile(1, how.rows, how.vectors if whole else needed, isa.lanes, isa.lanes)
    last = Tile(1, how.rows, needed, isa.lanes, isa.lanes) if rest else tile
    pad = max(16, isa.lanes)
    pitch += pad if pitch % 512 == 0 else 0
    plane = block * pitch
    plane += pad if plane % 256 == 0 else 0
    m_plane = block * tile.vectors * isa.lanes
    m_plane += pad if m_plane % 256 == 0 else 0
    along = wide if high == IDENTITY else high
    mats = matrices(along.m, along.r)
    used = {"load", "store", "set1", "fma", "add", *activation_operations(spec)}
    used |= {*program(mats.at).operations, *program(mats.bt).operations}
    turned = spec.layout is not Layout.NHWC
    squares = min(spec.w, spec.c) >= isa.lanes or high.m * wide.m >= isa.lanes
    used |= {"transpose"} if turned and squares and isa.has("transpose") else set()
    assert high.alpha * wide.alpha * packing.ic == packing.depth
    return WinogradBody(
        isa=isa, family=name, operations=tuple(sorted(used)), high=high, wide=wide,
        rows=rows, cols=cols, count=images * rows * cols, block=block,
        tile=tile, last=None if last == tile else last,
        v_pitch=pitch, v_plane=plane, m_plane=m_plane,
        work=_work(spec, target, isa, (high, wide), tile),
        band=high.alpha * spec.w * spec.c if turned else 0,
    )  # fmt: skip

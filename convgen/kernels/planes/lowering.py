"""Convolution over planes (NCHW): output pixels in lanes, as they lie in x and in y.

Every tap of a row of outputs reads neighbouring pixels, so a vector of pixels meets one weight at
a time, which is broadcast. Where no padding and no stride stand between them x is read where it
lies, and a 1x1 layer's image is one row; else the rows under a band of outputs are copied first,
padding and all. Depthwise layers are written out, window by window. Takes every group count and
every element type of floating point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convgen.errors import ScheduleError
from convgen.kernels.face import Cost, activation_operations, flat_2d, isas_of, no_floor, view_of
from convgen.kernels.planes.body import Columns, PlanesBody
from convgen.kernels.tiled.lowering import check_lanes, packing_of
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Packing
from convgen.spec.elements import arrays_of
from convgen.spec.model import ConvSpec, Layout, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa

floor = no_floor
name = Family.PLANES

_TABLE = 256  # steps of the reduction that stand in a table one by one
_MOST_TAPS = 1 << 14
_MOST_WINDOW = 25  # taps that are written out
_MOST_ROW = 1 << 22  # elements of the rows under one row of outputs
_ENOUGH_UNITS = 32  # to deal out to threads
_MOST_CHANNELS = 14
_BLOCKS = 4  # of channels that read a pixel: from here on a copy of a tile's pixels pays


def fits(spec: ConvSpec) -> bool:
    return (
        spec.layout is Layout.NCHW
        and flat_2d(spec)
        and not spec.quantized
        and spec.kh * spec.kw <= _MOST_TAPS
        and _staged_row(spec, 16)[0] * _rows_under(spec, 1) <= _MOST_ROW
    )


def candidates(spec: ConvSpec, target: Target) -> Iterator[Schedule]:
    """Tiles that fill the registers, for each vector that is not mostly empty."""
    isas = isas_of(spec, target)
    for isa in isas:
        narrower = any(1 < i.lanes < isa.lanes for i in isas)
        flat, row = flattened(spec), spec.ow * (spec.oh if flattened(spec) else 1)
        if isa.lanes == 1 or (narrower and isa.lanes >= 2 * row):
            continue
        if _windowed(spec, 1):
            for rows in range(1, min(spec.oh, 6) + 1):
                yield Schedule(name, isa.lanes, rows, 1, 1)
            continue
        most = -(-row // isa.lanes)
        parts = dict.fromkeys(-(-spec.ocg // n) for n in range(1, spec.ocg + 1))
        for channels in (c for c in parts if c <= _MOST_CHANNELS):
            for vectors in range(1, min(most, most_vectors(isa, channels), 8) + 1):
                for rows in range(1, 2 if flat else min(spec.oh, 4) + 1):
                    if rows * vectors <= most_vectors(isa, channels):
                        yield Schedule(name, isa.lanes, rows, vectors, channels)


def most_vectors(isa: VectorIsa, channels: int) -> int:
    """Of a tile: its sums, its inputs and one weight stay in registers."""
    spare = 1 if isa.fused else 2
    most = max(1, (isa.registers - spare) // (channels + 1))
    # With more vectors than channels compilers fetch the next weight early: one more register.
    return most if most <= channels else max(1, (isa.registers - spare - 1) // (channels + 1))


def flattened(spec: ConvSpec) -> bool:
    """Whether the pixels of an image are one row."""
    return (spec.kh, spec.kw, spec.sh, spec.sw) == (1, 1, 1, 1) and spec.padding == Padding()


def _windowed(spec: ConvSpec, channels: int) -> bool:
    """Whether a tile's taps are written out: those of one channel that meets one other."""
    single = spec.icg == spec.ocg == channels == 1
    return single and spec.kh * spec.kw <= _MOST_WINDOW and not flattened(spec)


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Raises ScheduleError for a layer this family does not take, or a tile that does not fit."""
    if not fits(spec):
        raise ScheduleError(
            f"schedule: family {name} takes NCHW layers of floating point, of at most "
            f"{_MOST_TAPS} taps and {_MOST_ROW} padded inputs under a row of outputs; use family "
            "direct"
        )
    isa = check_lanes(spec, schedule, target)
    channels = min(schedule.vectors, spec.ocg)
    vectors = schedule.tile_h * schedule.tile_w
    if _windowed(spec, channels) and schedule.tile_w > 1:
        raise ScheduleError(
            f"schedule: family {name} writes windows out for one vector of pixels in a row: "
            "tile[1] is 1"
        )
    if not _windowed(spec, channels) and vectors > most_vectors(isa, channels):
        raise ScheduleError(
            f"schedule: {vectors} vectors of pixels x {channels} channels do not fit "
            f"{isa.registers} registers; at most {most_vectors(isa, channels)} do"
        )
    packing = packing_of(spec, view_of(spec), target.block or channels)
    if packing.lanes != channels:
        raise ScheduleError(
            f"schedule: tiles of {channels} channels do not read blocks of {packing.lanes}"
        )
    bodies = [_body(spec, packing, isa, schedule, target)]
    if isa.lanes > 1:
        wide = 1 if _windowed(spec, channels) else max(1, 12 // channels)
        plain = replace(schedule, lanes=1, tile_h=1, tile_w=wide)
        bodies.append(_body(spec, packing, isas_of(spec, target)[-1], plain, target))
    room = arrays_of(spec).x.size * max(body.scratch for body in bodies)
    return KernelPlan(
        spec, schedule, target, view_of(spec), packing, tuple(bodies), workspace_bytes=room
    )


# -- cost ------------------------------------------------------------------------------------------


def cost(plan: KernelPlan) -> Cost:
    """Cycles of the tiles, and of rows that are copied first."""
    body, spec = plan.body, plan.spec
    assert isinstance(body, PlanesBody)
    whole, rest = divmod(spec.ocg, body.channels)
    blocks = [body.channels] * whole + ([rest] if rest else [])
    bounds: dict[str, float] = {}
    rows = 1 if body.flat else -(-spec.oh // body.rows)
    for columns in body.columns:
        for channels in dict.fromkeys(blocks):
            vectors = body.rows * len(columns.places)
            bound, cycles = _tile(plan, body, vectors, channels)
            cycles += 0 if columns.stored == body.isa.lanes else 6 * body.rows * channels
            count = rows * columns.count * blocks.count(channels)
            bounds[bound] = bounds.get(bound, 0.0) + count * cycles
    total = sum(bounds.values()) + _staging(plan, body)
    return Cost(total * spec.groups * spec.batch, max(bounds, key=lambda key: bounds[key]))


def _staging(plan: KernelPlan, body: PlanesBody) -> float:
    """Cycles to copy the rows under all bands of one group of one image."""
    spec, isa = plan.spec, body.isa
    if body.slot:
        return spec.icg * body.across * (2.0 * body.slot / spec.icg / isa.lanes + 2)
    if not body.staged:
        return 0.0
    rows = spec.oh * spec.sh + body.bands * max(0, _rows_under(spec, 1) - spec.sh)
    vectors = -(-body.pitch // isa.lanes)
    element = vectors * 1.0
    if spec.sw > 1:
        element = vectors * 2.0 * spec.sw if isa.has("evens") and spec.sw == 2 else 1.2 * spec.w
    return rows * spec.icg * (element + 4)


def _tile(plan: KernelPlan, body: PlanesBody, vectors: int, channels: int) -> tuple[str, float]:
    """What binds a tile, and its cycles."""
    target, isa, spec = plan.target, body.isa, plan.spec
    steps = plan.packing.depth
    if body.windows:  # an input meets every row of outputs that it lies under
        high = (body.rows - 1) * spec.sh + (spec.kh - 1) * spec.dh + 1
        loads = min(high, body.rows * spec.kh) * spec.kw
        work = body.rows * steps
        spilled = max(0, steps + body.rows + 2 - isa.registers) * body.rows
        cycles = max(work / target.fma_ports, (loads + spilled) / target.load_ports)
        cycles = max(cycles, steps * target.fma_latency / 4)
        return "FMA", cycles * (1 if isa.fused else 2) + 2 + 1.5 * body.rows
    products = channels * vectors * (1 if isa.fused else 2)
    limits = {
        "FMA": products / target.fma_ports,
        "loads": 1.15 * (vectors + channels) / target.load_ports,
        "FMA latency": 1.25 * target.fma_latency,
        "instructions": (products + vectors * (1 + isa.widening) + channels + 3) / target.issue,
    }
    bound = max(limits, key=lambda key: limits[key])
    step = limits[bound] + 0.25 + (0.4 * channels if isa.shuffled else 0.0)
    item = arrays_of(spec).x.size
    if item * steps * vectors * isa.lanes > target.l1:  # inputs come from the second cache
        step += item * vectors * isa.lanes / target.bytes_per_cycle[1] * 0.1
    return bound, steps * step + 15 + 1.5 * products


# -- lowering --------------------------------------------------------------------------------------


def _rows_under(spec: ConvSpec, rows: int) -> int:
    """Input rows, padding included, under this many rows of outputs."""
    return (rows - 1) * spec.sh + (spec.kh - 1) * spec.dh + 1


def _staged_row(spec: ConvSpec, lanes: int) -> tuple[int, int]:
    """Elements of a row of all channels of a group in the copy, and of one phase of one channel:
    what the last vector of a row reads, in whole vectors."""
    reach = max(spec.ow, lanes) + (spec.kw - 1) * spec.dw // spec.sw
    pitch = -(-reach // lanes) * lanes
    return spec.icg * spec.sw * pitch, pitch


def copied(spec: ConvSpec) -> int:
    """Columns of a row of x that windows read, from its first on."""
    reach = (spec.ow - 1) * spec.sw + (spec.kw - 1) * spec.dw + 1
    return max(0, min(spec.w, reach - spec.padding.left))


def _body(
    spec: ConvSpec, packing: Packing, isa: VectorIsa, how: Schedule, target: Target
) -> PlanesBody:
    lanes, flat = isa.lanes, flattened(spec)
    row = spec.h * spec.w if flat else spec.ow
    staged = spec.sw > 1 or spec.padding != Padding() or row < lanes
    flat = flat and not staged
    row = row if flat else spec.ow
    x_row, pitch = _staged_row(spec, lanes)
    x_channel = spec.sw * pitch
    if not staged:
        x_row, x_channel = spec.w, spec.h * spec.w
    rows = 1 if flat else min(how.tile_h, spec.oh)
    columns = _columns(row, lanes, how.tile_w, flat)
    blocks = packing.blocks
    item = arrays_of(spec).x.size
    bands = _bands(spec, target, columns, rows, flat, item * (x_row if staged else spec.icg))
    chunks = min(blocks, max(1, _ENOUGH_UNITS // (spec.batch * spec.groups * bands)))
    chunk = -(-blocks // chunks)
    taps, inner = _taps(spec, x_row, x_channel, pitch, staged)
    slot = 0
    if flat and blocks >= _BLOCKS and spec.icg > 1:
        slot = spec.icg * lanes * max(len(c.places) for c in columns)
    windows = _windowed(spec, packing.lanes)
    return PlanesBody(
        isa=isa, family=name, operations=_operations(spec, isa, columns, staged, flat, slot > 0),
        channels=packing.lanes, rows=rows, columns=columns, flat=flat, bands=bands,
        chunks=-(-blocks // chunk), chunk=chunk, staged=staged, slot=slot, pitch=pitch,
        rows_in=_rows_under(spec, -(-spec.oh // bands)), x_row=x_row, x_channel=x_channel,
        taps=taps, inner=inner, windows=windows,
    )  # fmt: skip


def _columns(row: int, lanes: int, most: int, flat: bool) -> tuple[Columns, ...]:
    """Tiles of about equally many vectors over a row; equal ones in one run.

    The last vector of a row shares pixels with the one before it. Not in a flat row, whose tiles
    may go to different threads: there, and in a row shorter than a vector, it is stored in part.
    """
    vectors = -(-row // lanes)
    starts = [lanes * i for i in range(vectors)]
    stored = lanes
    if row % lanes and (flat or row < lanes):
        stored = row % lanes
    elif row % lanes:
        starts[-1] = row - lanes
    tiles = -(-vectors // most)
    found: list[Columns] = []
    at = 0
    for left in range(tiles, 0, -1):
        count = -(-(vectors - at) // left)
        places = tuple(start - starts[at] for start in starts[at : at + count])
        last = stored if left == 1 else lanes
        new = Columns(places, last, starts[at], places[-1] + lanes, 1)
        old = found[-1] if found else None
        if old and (old.places, old.stored) == (new.places, new.stored):
            step = new.first - old.first if old.count == 1 else old.step
            if new.first == old.first + old.count * step:
                found[-1] = replace(old, step=step, count=old.count + 1)
                at += count
                continue
        found.append(new)
        at += count
    return tuple(found)


def _bands(
    spec: ConvSpec, target: Target, columns: tuple[Columns, ...], rows: int, flat: bool, unit: int
) -> int:
    """Into how many bands the outputs go, so that the inputs of one stay in a cache: in the first
    where that holds those of a tile, else in the second. ``unit``: bytes of a row of the copy, or
    of one pixel of all channels."""
    if flat:
        tiles = sum(c.count for c in columns)
        pixels = max(c.step for c in columns)
        fit = target.l1 // 2 // (unit * pixels) or max(1, target.l2 // 2 // (unit * pixels))
        return max(1, -(-tiles // fit))
    lines = spec.oh // rows
    if not lines:
        return 1
    if unit * _rows_under(spec, 2 * rows) <= target.l1 // 2:
        room = target.l1 // 2
    else:
        room = target.l2 // 2
    fit = max(1, (room // unit - _rows_under(spec, 1)) // spec.sh + 1) // rows
    return max(1, min(lines, -(-lines // max(1, fit))))


def _taps(
    spec: ConvSpec, x_row: int, x_channel: int, pitch: int, staged: bool
) -> tuple[tuple[int, ...], int]:
    """Where each step lies, and how many channels each stands for."""
    places = []
    for kh in range(spec.kh):
        for kw in range(spec.kw):
            at, phase = divmod(kw * spec.dw, spec.sw)
            column = phase * pitch + at if staged else kw * spec.dw
            places.append(kh * spec.dh * x_row + column)
    if spec.icg == 1 or (len(places) > 1 and len(places) * spec.icg <= _TABLE):
        return tuple(p + ic * x_channel for p in places for ic in range(spec.icg)), 1
    return tuple(places), spec.icg


def _operations(
    spec: ConvSpec, isa: VectorIsa, columns: tuple[Columns, ...], staged: bool, flat: bool,
    panels: bool,
) -> tuple[str, ...]:  # fmt: skip
    """Vector operations that this body's text calls; a compiler warns of any other."""
    read = "each" if isa.has("each") else "load"
    used = {"set1", "fma", *activation_operations(spec)}
    partly = any(c.stored < isa.lanes for c in columns)
    fully = any(c.stored == isa.lanes or len(c.places) > 1 for c in columns)
    used |= {"store"} if fully else set()
    used |= {"store_part"} if partly else set()
    used |= {read} if fully or not flat or panels else set()
    if panels and not isa.has("each"):
        used |= {"load", "store"} | ({"load_part"} if partly else set())
    elif not panels:
        used |= {f"{read}_part"} if partly and flat else set()
    if staged:
        used |= {"store_part", "repeat" if isa.has("repeat") else "set1"} if mends(spec) else set()
        if copies_vectors(spec, isa):
            used |= {"load", "store"} | ({"evens", "odds"} if spec.sw == 2 else set())
    return tuple(sorted(used))


def mends(spec: ConvSpec) -> bool:
    """Whether windows leave the image."""
    return spec.padding != Padding()


def copies_vectors(spec: ConvSpec, isa: VectorIsa) -> bool:
    """Whether rows are copied by vectors: elements that loads and stores leave as they are."""
    if isa.lanes == 1 or isa.has("each"):
        return False
    if spec.sw == 1:
        return copied(spec) >= isa.lanes
    return spec.sw == 2 and isa.has("evens") and copied(spec) >= 2 * isa.lanes

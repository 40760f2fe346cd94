"""Planar convolution: output pixels in lanes, for layers whose output channels fill no vector.

Rows of the input become planes in the workspace, with the padding written in and the columns of a
strided layer told apart by phase, so that every tap reads neighbouring pixels from neighbouring
elements. Sums of a tile, vectors of pixels times a few channels, take their weights one by one
from memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from convgen.errors import ScheduleError
from convgen.kernels.face import Cost, activation_operations, flat_2d, view_of
from convgen.kernels.planar.body import PlanarBody, Run, Segment, Split, Strip
from convgen.kernels.planar.shuffle import interleaved, picks_per_vector, taken_apart
from convgen.kernels.tiled.lowering import check_lanes, packing_of
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Packing
from convgen.plan.tile import View
from convgen.spec.model import ConvSpec, DType
from convgen.spec.schedule import Family, Schedule
from convgen.target import Target, VectorIsa

name = Family.PLANAR

_MOST_CHANNELS = 32  # of the output: more fill vectors by themselves
_MOST_STEPS = 4096  # of the reduction: their table is part of the code
_MOST_STREAMS = 24  # taken apart at once: the registers hold no more vectors
_MOST_PICKS = 7  # a vector: beyond them, one element at a time is as quick
_BAND_BYTES = 48 << 10  # of planes, of which a strip reads a few rows
_MOST_STRIP = 32  # vectors of a strip of several rows
_MOST_SIZE = 1 << 20  # elements of a band's planes


def fits(spec: ConvSpec) -> bool:
    return (
        spec.dtype is DType.FLOAT32
        and flat_2d(spec)
        and spec.oc <= _MOST_CHANNELS
        and spec.kh * spec.kw * spec.icg <= _MOST_STEPS
        and _row_pitch(spec, 1) * _in_rows(spec, 1) <= _MOST_SIZE
    )


def most_vectors(isa: VectorIsa, channels: int) -> int:
    """Of a tile: its sums, its inputs and one weight stay in registers."""
    return max(1, (isa.registers - 1) // (channels + 1))


def candidates(spec: ConvSpec, target: Target) -> Iterator[Schedule]:
    """Equal parts of a group's channels, tiles that fill registers, strips that waste few lanes."""
    for isa in target.isas:
        # Where rows cannot be joined nothing was measured yet; a pinned schedule may try.
        if not isa.has("join") or spec.oh * spec.ow < isa.lanes:
            continue
        counts = dict.fromkeys(-(-spec.ocg // parts) for parts in range(1, spec.ocg + 1))
        for channels in (c for c in counts if c <= 12):
            most = min(8, most_vectors(isa, channels))
            for vectors in range(max(1, most - 2), most + 1):
                for rows in _strip_rows(spec, isa.lanes, vectors):
                    yield Schedule(name, isa.lanes, rows, vectors, channels)


def _strip_rows(spec: ConvSpec, lanes: int, vectors: int) -> list[int]:
    """Numbers of rows that waste fewer lanes than all smaller ones, and one that fills a tile."""
    found, least = [], 2.0
    for rows in range(1, min(spec.oh, 16) + 1):
        pixels = rows * spec.ow
        waste = -(-pixels // lanes) * lanes / pixels
        if waste < least - 1e-9 and (rows == 1 or pixels <= _MOST_STRIP * lanes):
            found.append(rows)
            least = waste
    enough = min(spec.oh, 16, -(-vectors * lanes // (found[-1] * spec.ow)) * found[-1])
    return sorted({*found, enough})


def lower(spec: ConvSpec, schedule: Schedule, target: Target) -> KernelPlan:
    """Raises ScheduleError for a layer this family does not take, or a tile that does not fit."""
    if not fits(spec):
        raise ScheduleError(
            f"schedule: family {name} takes layers of at most {_MOST_CHANNELS} output channels, "
            f"{_MOST_STEPS} multiply-adds an output and {_MOST_SIZE} padded inputs under a row of "
            "outputs; use family direct"
        )
    isa = check_lanes(spec, schedule, target)
    if schedule.tile_w * schedule.vectors > isa.registers:
        raise ScheduleError(
            f"schedule: {schedule.tile_w} vectors of pixels x {schedule.vectors} channels do not "
            f"fit {isa.registers} registers"
        )
    view = view_of(spec)
    packing = packing_of(spec, view, min(schedule.vectors, spec.ocg))
    bodies = [_body(spec, view, packing, isa, schedule.tile_h, schedule.tile_w)]
    if isa.lanes > 1:
        vectors = max(1, 12 // packing.lanes)
        bodies.append(_body(spec, view, packing, target.isas[-1], 1, vectors))
    workspace = 4 * max(body.scratch for body in bodies)
    return KernelPlan(
        spec, schedule, target, view, packing, tuple(bodies), workspace_bytes=workspace
    )


def floor(spec: ConvSpec, schedule: Schedule, target: Target) -> float:
    """Cycles of the tiles as ``_tile`` counts them, if every lane of every vector had a pixel."""
    channels = min(schedule.vectors, spec.ocg)
    step = max(1 / target.fma_ports, 1.5 / channels / target.load_ports)
    vectors = spec.oh * spec.ow * spec.oc / schedule.lanes
    return vectors * (spec.kh * spec.kw * spec.icg * step + 1.5) * spec.batch


def cost(plan: KernelPlan) -> Cost:
    """Cycles of the tiles, of rows that become planes, and of sums that go to y."""
    body, spec = plan.body, plan.spec
    assert isinstance(body, PlanarBody)
    bounds: dict[str, float] = {}
    whole, rest = divmod(spec.oh, body.main.rows)
    for strip, count in zip(body.strips, (whole, 1) if rest else (whole,), strict=True):
        for run in strip.runs:
            for channels in _blocks(spec, body):
                bound, cycles = _tile(plan, run, channels)
                bounds[bound] = bounds.get(bound, 0.0) + count * run.count * cycles
    lanes = body.isa.lanes
    bands = -(-spec.oh // body.band)
    in_rows = (spec.oh - bands) * spec.sh + bands * _in_rows(spec, 1)
    split = body.split
    row = 1.0 * spec.w * spec.c
    if split.network is not None:
        steps = (split.whole + (split.rest > 0)) * len(split.starts)
        row = steps * (1.0 * len(split.network.picks) + 1.5 * len(split.places))
    moved = in_rows * (row + 20)
    if not body.straight:
        blocks, left = divmod(body.main.rows * spec.ow, lanes)
        per = spec.oc * lanes if body.network is None else 1.0 * len(body.network.picks) + spec.oc
        moved += spec.oh / body.main.rows * (blocks * per + left * spec.oc + 10)
    total = sum(bounds.values()) * spec.groups + moved
    return Cost(total * spec.batch, max(bounds, key=lambda key: bounds[key]))


def _blocks(spec: ConvSpec, body: PlanarBody) -> list[int]:
    whole, rest = divmod(spec.ocg, body.channels)
    return [body.channels] * whole + ([rest] if rest else [])


def _tile(plan: KernelPlan, run: Run, channels: int) -> tuple[str, float]:
    """What binds a tile, and its cycles."""
    target, isa = plan.target, plan.body.isa
    vectors = len(run.vectors)
    loads = sum(len(segments) for segments in run.vectors)
    limits = {
        "FMA": channels * vectors / target.fma_ports,
        "loads": (1.5 * loads + 0.5 * channels) / target.load_ports,
        "FMA latency": float(target.fma_latency),
    }
    bound = max(limits, key=lambda key: limits[key])
    spilled = max(0, channels * vectors + vectors + 1 - isa.registers)
    spread = 0.4 * channels if isa.shuffled else 0.0  # over all lanes, of a weight
    step = limits[bound] + 0.5 * spilled + 0.25 + spread
    return bound, plan.packing.depth * step + 15 + 1.5 * channels * vectors


# -- lowering --------------------------------------------------------------------------------------


def left_zeros(spec: ConvSpec) -> int:
    """Elements before the first column of a plane's row that windows read."""
    return -(-spec.padding.left // spec.sw)


def read_columns(spec: ConvSpec) -> int:
    """Elements from the first column of a plane's row to the last one that windows read."""
    return spec.ow + ((spec.kw - 1) * spec.dw - spec.padding.left) // spec.sw


def pitch_of(spec: ConvSpec, lanes: int) -> int:
    """Elements of a plane's row: whole vectors. The zeros left of the next one are its tail."""
    columns = max(-(-spec.w // spec.sw), read_columns(spec))
    return -(-(columns + left_zeros(spec)) // lanes) * lanes


def _row_pitch(spec: ConvSpec, lanes: int) -> int:
    return spec.c * spec.sw * pitch_of(spec, lanes)


def _in_rows(spec: ConvSpec, rows: int) -> int:
    """Input rows, padding included, under this many rows of outputs."""
    return (rows - 1) * spec.sh + (spec.kh - 1) * spec.dh + 1


def _body(
    spec: ConvSpec, view: View, packing: Packing, isa: VectorIsa, rows: int, vectors: int
) -> PlanarBody:
    lanes = isa.lanes
    rows = min(rows, spec.oh) if lanes == 1 or isa.has("join") else 1
    pitch, row_pitch = pitch_of(spec, lanes), _row_pitch(spec, lanes)
    lead = -(-left_zeros(spec) // lanes) * lanes
    band = rows
    while band + rows <= spec.oh and 4 * row_pitch * _in_rows(spec, band + rows) <= _BAND_BYTES:
        band += rows
    main = _strip(spec, lanes, rows, vectors)
    rest = _strip(spec, lanes, spec.oh % rows, vectors) if spec.oh % rows else None
    straight = view.y_pixel == 1
    sums_pitch = view.y_channel if straight else -(-rows * spec.ow // lanes) * lanes
    network = None
    if not straight and isa.has("pick") and _quick(spec.oc) and rows * spec.ow >= lanes:
        network = interleaved(spec.oc, lanes)
    taps = _taps(spec, lanes, lead)
    split = _split(spec, isa)
    strips = [main] if rest is None else [main, rest]
    # The lanes of a last vector that hold no pixel are read all the same, and so are the ends of
    # planes that zeros are written to.
    reach = max(
        run.x0 + (run.count - 1) * run.x_step + segment.place
        for strip in strips
        for run in strip.runs
        for segments in run.vectors
        for segment in segments
    )
    reach += (band - rows) * spec.sh * row_pitch + max(taps)
    reach += (spec.groups - 1) * spec.icg * spec.sw * pitch
    in_rows = _in_rows(spec, band)
    planes = -(-max(reach + lanes, lead + in_rows * row_pitch) // lanes) * lanes
    return PlanarBody(
        isa=isa, family=name, operations=_operations(spec, strips, lanes, straight, split, network),
        channels=packing.lanes, band=band, main=main, rest=rest, pitch=pitch, row_pitch=row_pitch,
        lead=lead, taps=taps, planes=planes, split=split,
        straight=straight, sums_pitch=sums_pitch,
        sums=0 if straight else spec.oc * sums_pitch, network=network,
    )  # fmt: skip


def _quick(streams: int) -> bool:
    return streams <= _MOST_STREAMS and picks_per_vector(streams) <= _MOST_PICKS


def _taps(spec: ConvSpec, lanes: int, lead: int) -> tuple[int, ...]:
    """Of every step of the reduction, in packed order: rows and columns of taps, then channels."""
    row_pitch = _row_pitch(spec, lanes)
    found = []
    for kh in range(spec.kh):
        for kw in range(spec.kw):
            base = lead + kh * spec.dh * row_pitch
            column = kw * spec.dw - spec.padding.left
            found += [base + place(spec, lanes, ic, column) for ic in range(spec.icg)]
    return tuple(found)


def _strip(spec: ConvSpec, lanes: int, rows: int, most: int) -> Strip:
    """Tiles of about equally many vectors, equal ones in one run as far as they stand in line."""
    down = spec.sh * _row_pitch(spec, lanes)
    pixels = rows * spec.ow
    needed = -(-pixels // lanes)
    count = -(-needed // most)
    runs: list[Run] = []
    at = 0
    for left in range(count, 0, -1):
        vectors = -(-(needed - at // lanes) // left)
        first = at // spec.ow * down + at % spec.ow
        tile = tuple(
            _segments(at + v * lanes, min(lanes, pixels - at - v * lanes), spec.ow, down, first)
            for v in range(vectors)
        )
        stored = min(vectors * lanes, pixels - at)
        run = Run(tile, stored, 1, first, 0, at, 0)
        runs = [*runs[:-1], *_joined(runs[-1], run)] if runs else [run]
        at += vectors * lanes
    return Strip(rows, tuple(runs))


def _segments(pixel: int, count: int, width: int, down: int, first: int) -> tuple[Segment, ...]:
    """Where the pixels of one vector lie, from element ``first`` of the planes."""
    found = []
    lane = 0
    while lane < count:
        row, column = divmod(pixel + lane, width)
        found.append(Segment(lane, row * down + column - lane - first))
        lane += width - column
    return tuple(found)


def _joined(last: Run, run: Run) -> list[Run]:
    """The two as one run, if the second is the first one's next."""
    x_step = run.x0 - last.x0 - (last.count - 1) * last.x_step
    p_step = run.p0 - last.p0 - (last.count - 1) * last.p_step
    same = (run.vectors, run.stored) == (last.vectors, last.stored)
    if not same or (last.count > 1 and (x_step, p_step) != (last.x_step, last.p_step)):
        return [last, run]
    return [Run(run.vectors, run.stored, last.count + 1, last.x0, x_step, last.p0, p_step)]


def _split(spec: ConvSpec, isa: VectorIsa) -> Split:
    """Whole pixels at once where the registers hold them; else a square of pixels x channels."""
    sw, lanes, view = spec.sw, isa.lanes, view_of(spec)
    whole, rest = divmod(spec.w // sw, lanes)
    if whole + rest == 0:
        return NO_SPLIT
    if view.x_pixel == 1:  # planes already: only the phases of a stride are told apart
        if sw > 1 and not (isa.has("pick") and _quick(sw)):
            return NO_SPLIT
        places = tuple(place(spec, lanes, 0, column) for column in range(sw))
        starts = tuple((c * view.x_channel, place(spec, lanes, c, 0)) for c in range(spec.c))
        first = place(spec, lanes, 0, 0)
        return Split(
            taken_apart(sw, lanes), whole, rest, lanes, _full(rest * sw, sw, lanes),
            tuple(p - first for p in places), starts,
        )  # fmt: skip
    if not isa.has("pick"):
        return NO_SPLIT
    streams = spec.c * sw
    if _quick(streams):
        places = tuple(place(spec, lanes, q % spec.c, q // spec.c) for q in range(streams))
        full = _full(rest * streams, streams, lanes)
        return Split(taken_apart(streams, lanes), whole, rest, lanes, full, places, ((0, 0),))
    if spec.c < lanes:
        return NO_SPLIT
    # A square of pixels x channels is transposed; the last one overlaps the one before.
    down = sw * pitch_of(spec, lanes)
    firsts = [*range(0, spec.c - lanes, lanes), spec.c - lanes]
    starts = tuple(
        (column * spec.c + c, place(spec, lanes, c, column)) for column in range(sw) for c in firsts
    )
    full = tuple(lanes if i < rest else 0 for i in range(lanes))
    places = tuple(q * down for q in range(lanes))
    return Split(taken_apart(lanes, lanes), whole, rest, sw * spec.c, full, places, starts)


NO_SPLIT = Split(None, 0, 0, 0, (), (), ())


def _full(elements: int, vectors: int, lanes: int) -> tuple[int, ...]:
    return tuple(min(lanes, max(0, elements - i * lanes)) for i in range(vectors))


def place(spec: ConvSpec, lanes: int, channel: int, column: int) -> int:
    """Where a channel of a column of the image lies in its row of the planes."""
    at, phase = divmod(column, spec.sw)
    return (channel * spec.sw + phase) * pitch_of(spec, lanes) + at


def _operations(
    spec: ConvSpec, strips: list[Strip], lanes: int, straight: bool, split: Split, network: object
) -> tuple[str, ...]:
    """Vector operations that this body's text calls; a compiler warns of any other."""
    runs = [run for strip in strips for run in strip.runs]
    used = {"load", "store", "set1", "fma", *activation_operations(spec)}
    if any(len(segments) > 1 for run in runs for segments in run.vectors):
        used.add("join")
    if straight and any(run.stored % lanes for run in runs):
        used.add("store_part")
    if split.network is not None:
        used |= {"pick"} if split.network.picks and split.whole + split.rest else set()
        if any(0 < n < lanes for n in split.full):
            used.add("load_part")
    if network is not None:
        used.add("pick")
    return tuple(sorted(used))


def clears(spec: ConvSpec, lanes: int, split: Split) -> range:
    """Where vectors of zeros go in a plane's row before its pixels do."""
    columns = spec.w // spec.sw
    if split.network is None:
        first = columns // lanes * lanes
        needed = left_zeros(spec) > 0 or read_columns(spec) > columns
    else:  # the vector with the rest of the columns is filled up with zeros by itself
        first = -(-columns // lanes) * lanes
        needed = left_zeros(spec) > 0 or read_columns(spec) > first
    return range(first, pitch_of(spec, lanes), lanes) if needed else range(0)

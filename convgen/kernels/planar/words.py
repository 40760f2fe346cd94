"""Words of the planar family: rows taken apart into planes, tiles of pixels, sums put together."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from convgen.ctext.body import BodyText, block_of, common, plus, times
from convgen.kernels.planar.body import PlanarBody, PlanarTile, Segment, Strip
from convgen.kernels.planar.lowering import clears, place
from convgen.kernels.planar.shuffle import Network
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import Padding

Tables = dict[tuple[int, ...], int]


@dataclass(frozen=True)
class PlanarText(BodyText):
    """What planar.j2 prints for one body; sizes as in PlanarBody and the spec."""

    tap_lines: tuple[str, ...]
    steps: int
    lane_lines: tuple[str, ...]
    tables: int
    tiles: tuple[SimpleNamespace, ...]
    strips: tuple[SimpleNamespace, ...]
    split: SimpleNamespace | None
    edges: tuple[SimpleNamespace, ...]
    clears: range
    lead: int
    leads: range
    gap_leads: range
    gather: SimpleNamespace | None
    image: str
    first_row: str
    mend: SimpleNamespace | None
    straight: bool
    band: int
    bands: int
    strip_rows: int
    sum_rows: int
    row_pitch: int
    plane_count: int
    pitch: int
    planes: int
    h: int
    pt: int
    sh: int
    oh: int
    c: int
    oc: int
    images: int
    x_image: int
    x_row: int
    y_image: int
    y_row: int
    sums_pitch: int


def planar_text(plan: KernelPlan, body: PlanarBody) -> PlanarText:
    """The words of one body of a planar plan."""
    spec, view = plan.spec, plan.view
    tables: Tables = {}
    names = _tile_names(plan, body)
    split = _split(plan, body, tables)
    gather = None if body.network is None else _network(plan.spec.name, body, body.network, tables)
    bands = -(-spec.oh // body.band)
    leads = range(0, body.lead, body.isa.lanes)
    gaps = spec.sh > spec.receptive_field[0]  # rows that no window reads, and so nobody copies
    image = f"u / {bands}" if bands > 1 else "u"
    first_row = times(f"u % {bands}" if spec.batch > 1 else "u", body.band) if bands > 1 else "0"
    return PlanarText(
        **common(plan, body),
        tap_lines=_lines(body.taps),
        steps=len(body.taps),
        lane_lines=tuple(", ".join(map(str, lanes)) for lanes in tables),
        tables=len(tables),
        tiles=tuple(_tile(plan, body, tile, name) for tile, name in names.items()),
        strips=tuple(_strip(plan, body, strip, names) for strip in body.strips),
        split=split,
        edges=_edges(plan, body),
        clears=clears(spec, body.isa.lanes, body.split),
        lead=body.lead, leads=leads[:0] if gaps else leads, gap_leads=leads if gaps else leads[:0],
        gather=gather,
        image=image, first_row=first_row,
        mend=_mend(plan) if spec.padding != Padding() else None,
        straight=body.straight,
        band=body.band, bands=bands, strip_rows=body.main.rows,
        sum_rows=spec.oh % body.main.rows, 
        row_pitch=body.row_pitch, plane_count=spec.c * spec.sw, pitch=body.pitch,
        planes=body.planes, h=spec.h, pt=spec.padding.top, sh=spec.sh, oh=spec.oh, c=spec.c,
        oc=spec.oc, images=spec.batch, x_image=view.x_image, x_row=view.x_row,
        y_image=view.y_image, y_row=view.y_row, sums_pitch=body.sums_pitch,
    )  # fmt: skip


def _lines(numbers: tuple[int, ...]) -> tuple[str, ...]:
    return tuple(", ".join(map(str, numbers[i : i + 12])) + "," for i in range(0, len(numbers), 12))


# -- rows to planes --------------------------------------------------------------------------------


def _network(name: str, body: PlanarBody, network: Network, tables: Tables) -> SimpleNamespace:
    """Picks as C, their lanes in tables that equal ones share."""
    v = body.isa.prefix
    picks = []
    for pick in network.picks:
        table = tables.setdefault(pick.lanes, len(tables))
        picks.append(
            SimpleNamespace(
                name=pick.name, value=f"{v}_pick({pick.a}, {pick.b}, {name}_lanes[{table}])"
            )
        )
    return SimpleNamespace(inputs=network.inputs, picks=picks, outputs=network.outputs)


def _split(plan: KernelPlan, body: PlanarBody, tables: Tables) -> SimpleNamespace | None:
    """One function per kind of step: of whole vectors, and of the rest of a row."""
    split, isa, v = body.split, body.isa, body.isa.prefix
    if split.network is None:
        return None
    network = _network(plan.spec.name, body, split.network, tables)
    steps = []
    for name, count in (("split", isa.lanes), ("split_rest", split.rest)):
        if not (split.rest if name == "split_rest" else split.whole):
            continue
        loads = []
        for i, known in enumerate(network.inputs):
            n = isa.lanes if name == "split" else split.full[i]
            at = f"x{plus(i * split.step)}"
            loads.append(
                f"{v} {known} = "
                + (
                    f"{v}_load({at})" if n == isa.lanes
                    else f"{v}_load_part({at}, {n})" if n
                    else f"{v}_set1(0.0f)"
                )
            )  # fmt: skip
        stores = [
            f"{v}_store(to{plus(place)}, {out})"
            for place, out in zip(split.places, network.outputs, strict=True)
        ]
        steps.append(
            SimpleNamespace(
                name=f"{plan.spec.name}_{name}",
                count=count,
                loads=loads,
                picks=network.picks,
                stores=stores,
            )
        )
    x_step = isa.lanes * plan.spec.sw * plan.view.x_pixel
    starts = [
        SimpleNamespace(
            x=plus(x), to=plus(to),
            x_rest=plus(x + split.whole * x_step), to_rest=plus(to + split.whole * isa.lanes),
        )
        for x, to in split.starts
    ]  # fmt: skip
    return SimpleNamespace(
        steps=steps, starts=starts, whole=split.whole, rest=split.rest, x_step=x_step,
        to_step=isa.lanes, inputs=len(network.inputs), planes=len(network.outputs),
    )  # fmt: skip


def _edges(plan: KernelPlan, body: PlanarBody) -> tuple[SimpleNamespace, ...]:
    """Columns that no vector takes, one loop for each phase of the stride."""
    spec, view = plan.spec, plan.view
    sw = spec.sw
    found = []
    for column in range(sw):
        first = spec.w // sw if body.split.network is not None else 0
        stop = -(-(spec.w - column) // sw)
        if first < stop:
            channel = f"c * {sw * body.pitch}"
            found.append(
                SimpleNamespace(
                    first=first, stop=stop,
                    to=f"{channel} + j{plus(place(spec, body.isa.lanes, 0, column))}",
                    x=f"{times('j', sw * view.x_pixel)} + {times('c', view.x_channel)}"
                    + plus(column * view.x_pixel),
                )
            )  # fmt: skip
    return tuple(found)


def _mend(plan: KernelPlan) -> SimpleNamespace:
    """Places of one output's bias, inputs and taps, from its number and the step's."""
    spec, view, packing = plan.spec, plan.view, plan.packing
    channel = f" + k % {spec.icg}" if spec.icg > 1 else ""
    in_group, bias = "oc", ""
    if spec.groups > 1:
        group = f"oc / {spec.ocg}" if spec.ocg > 1 else "oc"
        in_group = f"(oc % {spec.ocg})"
        bias = f"{group} * {packing.group_stride}"
        first = times(group, spec.icg)
        channel = f" + ({first}{channel})" if " " in first or channel else f" + {first}"
    if channel and view.x_channel > 1:
        channel = f" + {times('(' + channel[3:].strip('()') + ')', view.x_channel)}"
    top, left = _minus(spec.padding.top), _minus(spec.padding.left)
    pixel_row = f"(oh + i / {spec.ow})" if spec.ow > 1 else "(oh + i)"
    tap = f"k / {spec.icg}" if spec.icg > 1 else "k"
    row = spec.kw * spec.icg
    if spec.ocg > 1:
        block = block_of(in_group, packing.lanes, packing.block_stride)
        bias = f"{bias} + {block}" if bias else block
    return SimpleNamespace(
        ow=spec.ow, columns=spec.w,
        h=f"{times(pixel_row, spec.sh)}{top}",
        w=f"{times(f'i % {spec.ow}', spec.sw)}{left}" if spec.ow > 1 else str(-spec.padding.left),
        window_h=spec.receptive_field[0], window_w=spec.receptive_field[1],
        b=f" + {bias}" if bias else "",
        kh=_term(times(f"k / {row}" if row > 1 else "k", spec.dh) if spec.kh > 1 else ""),
        kw=_term(times(f"{tap} % {spec.kw}", spec.dw) if spec.kw > 1 else ""),
        x=f"{times('ih', view.x_row)} + {times('iw', view.x_pixel)}{channel}",
        y=f"{times('i', view.y_pixel)} + {times('oc', view.y_channel)}",
        channel=times("oc", view.y_channel), count=times("rows", spec.ow),
        last_pixel=times("", view.y_pixel),
    )  # fmt: skip


def _term(term: str) -> str:
    return f" + {term}" if term else ""


def _minus(number: int) -> str:
    return f" - {number}" if number else ""


# -- tiles and strips ------------------------------------------------------------------------------


def _tile_names(plan: KernelPlan, body: PlanarBody) -> dict[PlanarTile, str]:
    names: dict[PlanarTile, str] = {}
    taken: dict[str, int] = {}
    for channels in body.channel_counts(plan.spec.ocg):
        for strip in body.strips:
            for run in strip.runs:
                tile = PlanarTile(run.vectors, channels, _stored(body, run.stored, run.vectors))
                if tile in names:
                    continue
                base = f"{len(run.vectors)}x{channels}"
                taken[base] = taken.get(base, 0) + 1
                names[tile] = base if taken[base] == 1 else f"{base}_{taken[base]}"
    return names


def _stored(body: PlanarBody, stored: int, vectors: tuple[tuple[Segment, ...], ...]) -> int:
    """Sums that go to the workspace are stored whole, lanes without a pixel included."""
    return stored if body.straight else len(vectors) * body.isa.lanes


def _tile(plan: KernelPlan, body: PlanarBody, tile: PlanarTile, name: str) -> SimpleNamespace:
    v, lanes = body.isa.prefix, body.isa.lanes
    count = len(tile.vectors)
    sums = count * tile.channels
    rest = tile.stored - (count - 1) * lanes
    vectors = []
    for j, segments in enumerate(tile.vectors):
        load = f"{v}_load(s{plus(segments[0].place)})"
        joins = [
            f"{v}_join(x_{j}, {v}_load(s{plus(segment.place)}), {segment.lane})"
            for segment in segments[1:]
        ]
        part = j == count - 1 and rest < lanes
        vectors.append(
            SimpleNamespace(
                index=j, load=load, joins=joins, y=j * lanes,
                store=f"{v}_store_part" if part else f"{v}_store",
                count=f", {rest}" if part else "",
            )
        )  # fmt: skip
    unit = f"{lanes} pixels" if lanes > 1 else "1 pixel"
    return SimpleNamespace(
        name=name,
        comment=f"{count} x {unit}, {tile.channels} channel{'s' * (tile.channels > 1)}: "
        f"{sums} sum{'s' * (sums > 1)} in registers.",
        vectors=vectors,
        channels=[SimpleNamespace(index=c, y=c * body.sums_pitch) for c in range(tile.channels)],
    )


def _strip(
    plan: KernelPlan, body: PlanarBody, strip: Strip, names: dict[PlanarTile, str]
) -> SimpleNamespace:
    spec = plan.spec
    blocks, rest = divmod(spec.ocg, body.channels)
    runs = []
    for run in strip.runs:
        calls = []
        for channels, first, count in ((body.channels, 0, blocks), (rest, blocks, 1)):
            if not channels or not count:
                continue
            tile = PlanarTile(run.vectors, channels, _stored(body, run.stored, run.vectors))
            calls.append(SimpleNamespace(name=names[tile], first=first, count=count))
        runs.append(
            SimpleNamespace(
                count=run.count, calls=calls, x=plus(run.x0), x_step=run.x_step,
                y=plus(run.p0), y_step=run.p_step,
            )
        )  # fmt: skip
    pixels = strip.rows * spec.ow
    under = (spec.kh - 1) * spec.dh + 1  # input rows of one row of windows
    kept = max(0, under - spec.sh)  # of them, those that the row before has read as well
    fresh = f"row ? {times('row', spec.sh)}{plus(kept)} : 0" if kept else times("row", spec.sh)
    return SimpleNamespace(
        fresh=fresh, needed=(strip.rows - 1) * spec.sh + under,
        rows=strip.rows, runs=runs, pixels=pixels,
        whole=pixels // body.isa.lanes * body.isa.lanes, groups=spec.groups,
        x_group=spec.icg * spec.sw * body.pitch, b_group=plan.packing.group_stride,
        y_group=spec.ocg * body.sums_pitch, b_block=plan.packing.block_stride,
        y_block=body.channels * body.sums_pitch,
    )  # fmt: skip

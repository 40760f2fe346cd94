"""Words of kernels over planes: rows copied with their padding, tiles of pixels, bands."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from convgen.ctext.body import BodyText, common, plus, times
from convgen.kernels.planes.body import Columns, PlanesBody, PlanesTile
from convgen.kernels.planes.lowering import copied, copies_vectors, mends
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import DType

_NAN = {
    DType.FLOAT16: "({0} & 0x7fffu) > 0x7c00u",
    DType.BFLOAT16: "({0} & 0x7fffu) > 0x7f80u",
}


@dataclass(frozen=True)
class PlanesText(BodyText):
    """What templates/kernels/planes/planes.j2 prints for one body; sizes as in PlanesBody.

    ``strips``: for whole blocks of channels and, if any, for the last one: the tiles of one row of
    tiles. ``read``: the operation that reads a vector of x; ``one``: C that reads one element into
    every lane; ``nan``: C that tells whether an output is NaN.
    """

    tap_lines: tuple[str, ...]
    taps: tuple[int, ...]
    inner: int
    depth: int
    block: int
    tiles: tuple[SimpleNamespace, ...]
    strips: tuple[SimpleNamespace, ...]
    rows: int
    across: int
    flat: bool
    windows: bool
    staged: bool
    slot: int
    panels: tuple[SimpleNamespace, ...]
    copy: SimpleNamespace | None
    pitch: int
    rows_under: int
    x_row: int
    x_channel: int
    images: int
    groups: int
    bands: int
    chunks: int
    chunk: int
    blocks: int
    group_stride: int
    block_stride: int
    x_image: int
    x_group: int
    y_image: int
    y_group: int
    y_channel: int
    y_row: int
    x_down: int
    plane: int
    h: int
    w: int
    oh: int
    ow: int
    ocg: int
    icg: int
    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    pt: int
    pl: int
    mend: bool
    read: str
    one: str
    nan: str


def planes_text(plan: KernelPlan, body: PlanesBody) -> PlanesText:
    """The words of one body of a plan over planes."""
    spec, view, packing, isa = plan.spec, plan.view, plan.packing, body.isa
    v = isa.prefix
    names = _names(plan, body)
    table = body.taps if len(body.taps) > 1 and not body.windows else ()
    return PlanesText(
        **common(plan, body),
        tap_lines=tuple(
            ", ".join(map(str, table[i : i + 12])) + "," for i in range(0, len(table), 12)
        ),
        taps=body.taps, inner=body.inner, depth=packing.depth, block=packing.lanes,
        tiles=tuple(_tile(plan, body, tile, name) for tile, name in names.items()),
        strips=tuple(_strip(body, channels, names) for channels in _channels(plan, body)),
        rows=body.rows, across=body.across, flat=body.flat, windows=body.windows,
        staged=body.staged, slot=body.slot, panels=_panels(plan, body) if body.slot else (),
        copy=_copy(plan, body) if body.staged else None, pitch=body.pitch,
        rows_under=(spec.kh - 1) * spec.dh + 1, x_row=body.x_row, x_channel=body.x_channel,
        images=spec.batch, groups=spec.groups, bands=body.bands, chunks=body.chunks,
        chunk=body.chunk, blocks=packing.blocks, group_stride=packing.group_stride,
        block_stride=packing.block_stride,
        x_image=view.x_image, x_group=view.x_group, y_image=view.y_image, y_group=view.y_group,
        y_channel=view.y_channel, y_row=view.y_row, x_down=spec.sh * body.x_row,
        plane=view.x_channel, h=spec.h, w=spec.w, oh=spec.oh, ow=spec.ow, ocg=spec.ocg,
        icg=spec.icg, kh=spec.kh, kw=spec.kw, sh=spec.sh, sw=spec.sw, dh=spec.dh, dw=spec.dw,
        pt=spec.padding.top, pl=spec.padding.left,
        mend=body.staged and mends(spec),
        read=f"{v}_{'each' if isa.has('each') else 'load'}",
        one=f"{v}_repeat({{}})" if isa.has("repeat") else f"{v}_set1(*({{}}))",
        nan=_NAN.get(spec.dtype, "{0} != {0}"),
    )  # fmt: skip


def _channels(plan: KernelPlan, body: PlanesBody) -> tuple[int, ...]:
    """Channels of the blocks that a group is cut into: whole ones, and the last."""
    whole, rest = divmod(plan.spec.ocg, body.channels)
    return (*((body.channels,) if whole else ()), *((rest,) if rest else ()))


def _tile_of(body: PlanesBody, columns: Columns, channels: int) -> PlanesTile:
    return PlanesTile(body.rows, columns.places, columns.stored, channels, body.isa.lanes)


def _names(plan: KernelPlan, body: PlanesBody) -> dict[PlanesTile, str]:
    names: dict[PlanesTile, str] = {}
    taken: dict[str, int] = {}
    for channels in _channels(plan, body):
        for columns in body.columns:
            tile = _tile_of(body, columns, channels)
            if tile not in names:
                base = f"{body.rows}x{len(columns.places)}x{channels}"
                taken[base] = taken.get(base, 0) + 1
                again = "" if taken[base] == 1 else f"_{taken[base]}"
                names[tile] = f"{base}{again}{plan.tag}"
    return names


# -- rows copied with their padding ----------------------------------------------------------------


def _copy(plan: KernelPlan, body: PlanesBody) -> SimpleNamespace:
    """One row of one channel: zeros before and behind what each phase of the stride gets."""
    spec, lanes = plan.spec, body.isa.lanes
    sw, pl, used = spec.sw, spec.padding.left, copied(spec)
    by_vector = copies_vectors(spec, body.isa)
    phases = []
    for parity in range(min(sw, used)):  # column j * sw + parity of x
        at, phase = divmod(parity + pl, sw)
        phases.append(
            SimpleNamespace(
                parity=parity, to=phase * body.pitch + at, count=-(-(used - parity) // sw),
            )
        )  # fmt: skip
    zeros, end = [], 0  # places of the row that no column goes to
    for p in sorted(phases, key=lambda p: p.to):
        zeros.append((end, p.to - end))
        end = p.to + p.count
    zeros.append((end, sw * body.pitch - end))
    step = sw * lanes
    whole = used // step * step if by_vector else 0
    return SimpleNamespace(
        phases=phases, zeros=[z for z in zeros if z[1]], row=sw * body.pitch, vectors=by_vector,
        step=step, whole=whole, used=used, lanes=lanes,
        tails=[SimpleNamespace(p=p, first=whole // sw) for p in phases if whole // sw < p.count],
    )  # fmt: skip


def _panels(plan: KernelPlan, body: PlanesBody) -> tuple[SimpleNamespace, ...]:
    """The copy of one channel's pixels of each tile, run by run."""
    v, lanes, before, found = body.isa.prefix, body.isa.lanes, 0, []
    for columns in body.columns:
        lines = []
        for j, at in enumerate(columns.places):
            part = columns.stored < lanes and j == len(columns.places) - 1
            count = columns.stored if part else lanes
            if body.isa.has("each"):
                lines.append(
                    f"memcpy(to{plus(j * lanes)}, s{plus(at)}, {times('sizeof *to', count)});"
                )
                if part:
                    empty = times("sizeof *to", lanes - count)
                    lines.append(f"memset(to{plus(j * lanes + count)}, 0, {empty});")
            else:
                load = f"{v}_load_part(s{plus(at)}, {count})" if part else f"{v}_load(s{plus(at)})"
                lines.append(f"{v}_store(to{plus(j * lanes)}, {load});")
        more = f" + {times('i', columns.step)}" if columns.count > 1 else ""
        found.append(
            SimpleNamespace(
                lines=lines, count=columns.count, before=before, at=f"{plus(columns.first)}{more}",
                width=len(columns.places) * lanes,
            )
        )  # fmt: skip
        before += columns.count
    return tuple(found)


# -- tiles and strips ------------------------------------------------------------------------------


def _tile(plan: KernelPlan, body: PlanesBody, tile: PlanesTile, name: str) -> SimpleNamespace:
    spec, isa, v = plan.spec, body.isa, body.isa.prefix
    read = "each" if isa.has("each") else "load"
    part = tile.stored < isa.lanes
    last = len(tile.places) - 1
    vectors: list[SimpleNamespace] = []
    for r in range(tile.rows):
        for j, at in enumerate(tile.places):
            x = j * isa.lanes if body.slot else r * spec.sh * body.x_row + at
            y = r * plan.view.y_row + at
            partly = part and j == last
            load = f"{v}_{read}(s{plus(x)})"
            if partly and body.flat and not body.slot:
                load = f"{v}_{read}_part(s{plus(x)}, {tile.stored})"
            vectors.append(
                SimpleNamespace(
                    index=len(vectors), load=load, y=y,
                    store=f"{v}_store_part" if partly else f"{v}_store",
                    count=f", {tile.stored}" if partly else "",
                )
            )  # fmt: skip
    sums = len(vectors) * tile.channels
    rows = f"{tile.rows} rows of " if tile.rows > 1 else ""
    pixels = (len(tile.places) - 1) * isa.lanes + tile.stored
    return SimpleNamespace(
        name=name,
        comment=f"{rows}{pixels} pixel{'s' * (pixels > 1)}, {tile.channels} "
        f"channel{'s' * (tile.channels > 1)}: {sums} sum{'s' * (sums > 1)} in registers.",
        vectors=vectors,
        x_channel=len(tile.places) * isa.lanes if body.slot else body.x_channel,
        channels=[
            SimpleNamespace(index=c, y=c * plan.view.y_channel) for c in range(tile.channels)
        ],
        window=_window(plan, body, tile) if body.windows else None,
    )  # fmt: skip


def _window(plan: KernelPlan, body: PlanesBody, tile: PlanesTile) -> list[SimpleNamespace]:
    """Every input that a tile's windows meet, once, with the products it takes part in."""
    spec, v, isa = plan.spec, body.isa.prefix, body.isa
    read = "each" if isa.has("each") else "load"
    steps, begun = [], set()
    rows = {r * spec.sh + kh * spec.dh for r in range(tile.rows) for kh in range(spec.kh)}
    last = {r: r * spec.sh + (spec.kh - 1) * spec.dh for r in range(tile.rows)}
    for row in sorted(rows):
        for kw in range(spec.kw):
            products = []
            for r in range(tile.rows):
                kh, off = divmod(row - r * spec.sh, spec.dh)
                if off == 0 and 0 <= kh < spec.kh:
                    products.append(
                        SimpleNamespace(acc=r, weight=kh * spec.kw + kw, first=r not in begun)
                    )
                    begun.add(r)
            ends = [r for r in last if last[r] == row and kw == spec.kw - 1]
            steps.append(
                SimpleNamespace(
                    load=f"{v}_{read}(s{plus(row * body.x_row + body.taps[kw])})",
                    products=products, finished=ends,
                )
            )  # fmt: skip
    return steps


def _strip(body: PlanesBody, channels: int, names: dict[PlanesTile, str]) -> SimpleNamespace:
    runs, before = [], 0
    for columns in body.columns:
        first, more = columns.first, ""
        if columns.count > 1:
            more = f" + {times('i', columns.step)}"
        runs.append(
            SimpleNamespace(
                name=names[_tile_of(body, columns, channels)], count=columns.count,
                step=columns.step, first=first, at=f"{plus(first)}{more}", before=before,
            )
        )  # fmt: skip
        before += columns.count
    return SimpleNamespace(channels=channels, runs=runs)

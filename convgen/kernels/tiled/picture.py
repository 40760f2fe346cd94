"""The kernel's plan in text: its register tile, and the output cut into interior and border."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from convgen.kernels.kind import Section
from convgen.plan.drawing import beside
from convgen.plan.kernel import KernelPlan
from convgen.plan.tile import Rectangle, Region, Tile

INTERIOR = "*"
LETTERS = string.ascii_lowercase + string.ascii_uppercase
CROWDED = "+"  # every border rectangle, when there are more of them than letters
SEGMENT = 4  # cells that one stretch of rows or columns takes in the map
LISTED = 26  # rectangles listed in the table unless all are asked for
LARGEST = 40  # rows or columns of the largest map


@dataclass(frozen=True)
class Zone:
    """Outputs whose windows meet the same taps: a mark for the map and what computes them."""

    mark: str
    areas: tuple[Rectangle, ...]
    tiles: tuple[Tile, ...]

    @property
    def taps(self) -> int:
        return self.areas[0].taps

    @property
    def hull(self) -> Rectangle:
        """The rectangle around all areas; only outputs that meet no tap lie in several places."""
        oh, ow = min(a.oh for a in self.areas), min(a.ow for a in self.areas)
        rows = max(a.oh + a.rows for a in self.areas) - oh
        cols = max(a.ow + a.cols for a in self.areas) - ow
        od = min(a.od for a in self.areas)
        planes = max(a.od + a.planes for a in self.areas) - od
        return replace(self.areas[0], oh=oh, rows=rows, ow=ow, cols=cols, od=od, planes=planes)

    def covers(self, r: int, c: int) -> bool:
        return any(a.oh <= r < a.oh + a.rows and a.ow <= c < a.ow + a.cols for a in self.areas)


def tile_lines(plan: KernelPlan, pixels: str = "output pixels") -> list[str]:
    """What one step of the busiest micro-kernel holds in registers, also as a small drawing.

    ``pixels``: what its rows and columns are.
    """
    tiles = (tile for tile in plan.body.tiles if isinstance(tile, Tile))
    work = dict.fromkeys(tiles, 0)  # in units that all tiles share
    for region in plan.body.regions:
        a = region.area
        channels = region.blocks * region.tile.channels
        work[region.tile] += a.planes * a.rows * a.cols * a.taps * channels
    tile = max(work, key=lambda t: (work[t], t.pixels * t.vectors, t.full))
    isa = plan.body.isa
    held = tile.pixels * tile.vectors
    unit = f"{tile.vectors} vector{'s' * (tile.vectors > 1)} of {tile.lanes} channels"
    if tile.lanes == 1:
        unit = f"{tile.vectors} channel{'s' * (tile.vectors > 1)}"
    lines = [
        f"{tile.h} x {tile.w} {pixels} x {unit}: {held} accumulators "
        f"of {isa.registers} {isa.name} registers",
    ]
    if not tile.full:
        lines.append(f"tail{tile.tail}: its last vector stores {tile.tail} of {tile.lanes} lanes")
    names = [[f"acc_{i}_{v}" for i in range(tile.pixels)] for v in range(tile.vectors)]
    width = len(names[-1][-1])
    faces = []
    for v, column in enumerate(names):
        last = tile.channels if v == tile.vectors - 1 else (v + 1) * tile.lanes
        rows = [column[r * tile.w : (r + 1) * tile.w] for r in range(tile.h)]
        text = [" ".join(cell.ljust(width) for cell in row) for row in rows]
        faces.append([f"channels oc + {_span(v * tile.lanes, last - v * tile.lanes)}", *text])
    return lines + beside(faces)


def tile_and_regions(plan: KernelPlan, everything: bool) -> list[Section]:
    """What ``explain`` shows of a tiled kernel; ``everything``: every rectangle is listed."""
    rows = region_rows(plan, everything)
    hidden = len(zones(plan)) - len(rows)
    taps = "taps (kd x kh x kw)" if plan.spec.rank == 3 else "taps (kh x kw)"
    return [
        Section("Register tile", tuple(tile_lines(plan))),
        Section(
            "Output, cut into rectangles whose windows meet the same taps",
            (*flattened(plan), *region_map(plan), ""),
            ("mark", "rows", "columns", taps, "tiles (rows x columns x vectors)"),
            tuple(rows),
            f"and {hidden} more (-v lists them)" if hidden else "",
        ),
    ]


def zones(plan: KernelPlan) -> list[Zone]:
    """The rectangles of one image, interior first, each once.

    Regions cut a rectangle further, by channels and so that tiles cover it exactly; here they are
    joined again.
    """
    joined: dict[tuple[object, ...], list[Region]] = {}
    for region in plan.regions:
        a = region.area
        taps = (a.kd, a.kd_taps, a.kh, a.kh_taps, a.kw, a.kw_taps)
        joined.setdefault((*taps, *(side.origin for side in a.sides)), []).append(region)
    found = []
    for group in joined.values():
        areas = tuple(r.area for r in group if r.oc == group[0].oc)
        found.append(Zone("", areas, tuple(dict.fromkeys(r.tile for r in group))))
    most = max((zone.taps for zone in found), default=0)
    found.sort(key=lambda zone: (zone.taps < most, zone.hull.oh, zone.hull.ow))
    crowded = len(found) - 1 > len(LETTERS)
    marks = [INTERIOR, *(CROWDED * (len(found) - 1) if crowded else LETTERS)]
    return [replace(zone, mark=mark) for mark, zone in zip(marks, found, strict=False)]


def region_rows(plan: KernelPlan, everything: bool = False) -> list[tuple[str, ...]]:
    """Rows of the table of rectangles: mark, rows, columns, taps, register tiles."""
    rows: list[tuple[str, ...]] = []
    every = zones(plan)
    for zone in every if everything else every[:LISTED]:
        a = zone.hull
        taps = f"{_span(a.kh, a.kh_taps)} x {_span(a.kw, a.kw_taps)}"
        if plan.spec.rank == 3:
            taps = f"{_span(a.kd, a.kd_taps)} x {taps}"
        if plan.spec.taps == 1:
            taps = "the only one"
        if not zone.taps:
            taps = "none: bias and activation only"
        tiles = ", ".join(tile.name for tile in zone.tiles)
        rows.append((zone.mark, _rows(plan, a), _places(a, 2, a.ow, a.cols), taps, tiles))
    return rows


def _rows(plan: KernelPlan, a: Rectangle) -> str:
    """Its rows of outputs, after its planes where there are several."""
    rows = _places(a, 1, a.oh, a.rows)
    return rows if plan.spec.rank < 3 else f"{rows} of planes {_places(a, 0, a.od, a.planes)}"


def _places(a: Rectangle, axis: int, first: int, count: int) -> str:
    """The layer's outputs that these of a problem are."""
    side = a.sides[axis]
    text = _span(side.origin + first * side.every, (count - 1) * side.every + 1)
    return text if side.every == 1 or count == 1 else f"{text} by {side.every}"


def walked(plan: KernelPlan) -> tuple[int, int]:
    """Rows and columns of the output as the kernel walks it: OH x OW unless it is flattened."""
    areas = [region.area for region in plan.regions]
    return max(a.oh + a.rows for a in areas), max(a.ow + a.cols for a in areas)


def flattened(plan: KernelPlan) -> list[str]:
    """A line that says so where the kernel walks the output in another shape than the spec's."""
    rows, cols = walked(plan)
    spec = plan.spec
    if spec.transposed or spec.taps > 1 or (rows, cols) == (spec.oh, spec.ow):
        return []
    planes = f"{spec.od} x " if spec.rank == 3 else ""
    return [
        f"a 1x1 filter needs no rows: the {planes}{spec.oh} x {spec.ow} pixels are walked as "
        f"{rows} rows of at most {cols}",
    ]


def region_facts(plan: KernelPlan) -> list[dict[str, Any]]:
    """Every region of the plan as plain data: ranges as [first, count]."""
    return [
        {
            "rows": [r.area.oh, r.area.rows],
            "cols": [r.area.ow, r.area.cols],
            "channels": [r.oc, r.blocks * r.tile.channels],
            **_deep_facts(plan, r),
            "kh": [r.area.kh, r.area.kh_taps],
            "kw": [r.area.kw, r.area.kw_taps],
            "tile": [r.tile.h, r.tile.w],
            "vectors": r.tile.vectors,
            "lanes": r.tile.lanes,
        }
        for r in plan.regions
    ]


def _deep_facts(plan: KernelPlan, region: Region) -> dict[str, Any]:
    """Planes of a 3-D layer; of a transposed one the first output of its phase and the step."""
    a, facts = region.area, dict[str, Any]()
    if plan.spec.rank == 3:
        facts |= {"planes": [a.od, a.planes], "kd": [a.kd, a.kd_taps]}
    if plan.spec.transposed:
        facts["phase"] = [side.origin for side in a.sides[3 - plan.spec.rank :]]
    return facts


def region_map(plan: KernelPlan) -> list[str]:
    """The output as rows of marks, numbered; a long stretch is cut short with dots.

    The rectangles' edges cut both axes into stretches, each drawn at most ``SEGMENT`` cells long.
    """
    every = zones(plan)
    if plan.spec.transposed:
        steps = " x ".join(str(axis.stride) for axis in plan.spec.axes[3 - plan.spec.rank :])
        text = f"the outputs of {steps} phases, each a problem of its own with its own taps"
        return [text, f"{len(every)} rectangles: not drawn"]
    if plan.spec.od > 1:
        return [f"{len(every)} boxes of planes, rows and columns: not drawn"]
    height, width = walked(plan)
    edges = [a for z in every for a in ((z.hull,) if z.taps else z.areas)]
    rows = _axis({0, *(a.oh for a in edges)}, height)
    cols = _axis({0, *(a.ow for a in edges)}, width)
    if max(len(rows), len(cols)) > LARGEST:
        return [f"{len(every)} rectangles: too many for a map"]
    margin, cell = len(str(height - 1)), len(str(width - 1)) + 1
    lines = [" " * margin + "".join(("" if c is None else str(c)).rjust(cell) for c in cols)]
    for r in rows:
        marks = []
        for c in cols:
            if r is None:
                marks.append(":" if c is not None else "")
            else:
                marks.append(".." if c is None else _mark(every, r, c))
        label = ":" if r is None else str(r)
        lines.append(label.rjust(margin) + "".join(mark.rjust(cell) for mark in marks))
    return lines


def _axis(starts: set[int], total: int) -> list[int | None]:
    cuts = [*sorted(starts), total]
    drawn: list[int | None] = []
    for first, stop in pairwise(cuts):
        if stop - first <= SEGMENT:
            drawn += range(first, stop)
        else:
            drawn += [first, first + 1, None, stop - 1]
    return drawn


def _mark(every: list[Zone], r: int, c: int) -> str:
    """Blank only past the end of a flattened image's last, shorter row."""
    return next((zone.mark for zone in every if zone.covers(r, c)), " ")


def _span(first: int, count: int) -> str:
    if count == 0:
        return "none"
    return str(first) if count == 1 else f"{first}..{first + count - 1}"

"""The kernel's plan in text: its register tile, and the output cut into interior and border."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from convgen.cli.draw import beside
from convgen.kernels.planar.body import PlanarBody
from convgen.plan.kernel import KernelPlan, Rectangle, Region, Tile

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
        return self.areas[0].kh_taps * self.areas[0].kw_taps

    @property
    def hull(self) -> Rectangle:
        """The rectangle around all areas; only outputs that meet no tap lie in several places."""
        oh, ow = min(a.oh for a in self.areas), min(a.ow for a in self.areas)
        rows = max(a.oh + a.rows for a in self.areas) - oh
        cols = max(a.ow + a.cols for a in self.areas) - ow
        a = self.areas[0]
        return Rectangle(oh, rows, ow, cols, a.kh, a.kh_taps, a.kw, a.kw_taps)

    def covers(self, r: int, c: int) -> bool:
        return any(a.oh <= r < a.oh + a.rows and a.ow <= c < a.ow + a.cols for a in self.areas)


def tile_lines(plan: KernelPlan, pixels: str = "output pixels") -> list[str]:
    """What one step of the busiest micro-kernel holds in registers, also as a small drawing.

    ``pixels``: what its rows and columns are.
    """
    assert not isinstance(plan.body, PlanarBody), "its tiles are drawn by draw_planar"
    work = dict.fromkeys(plan.body.tiles, 0)  # in units that all tiles share
    for region in plan.body.regions:
        a = region.area
        channels = region.blocks * region.tile.channels
        work[region.tile] += a.rows * a.cols * a.kh_taps * a.kw_taps * channels
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


def zones(plan: KernelPlan) -> list[Zone]:
    """The rectangles of one image, interior first, each once.

    Regions cut a rectangle further, by channels and so that tiles cover it exactly; here they are
    joined again.
    """
    joined: dict[tuple[int, int, int, int], list[Region]] = {}
    for region in plan.regions:
        a = region.area
        joined.setdefault((a.kh, a.kh_taps, a.kw, a.kw_taps), []).append(region)
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
        if plan.spec.kh * plan.spec.kw == 1:
            taps = "the only one"
        if not zone.taps:
            taps = "none: bias and activation only"
        tiles = ", ".join(tile.name for tile in zone.tiles)
        rows.append((zone.mark, _span(a.oh, a.rows), _span(a.ow, a.cols), taps, tiles))
    return rows


def walked(plan: KernelPlan) -> tuple[int, int]:
    """Rows and columns of the output as the kernel walks it: OH x OW unless it is flattened."""
    areas = [region.area for region in plan.regions]
    return max(a.oh + a.rows for a in areas), max(a.ow + a.cols for a in areas)


def flattened(plan: KernelPlan) -> list[str]:
    """A line that says so where the kernel walks the output in another shape than the spec's."""
    rows, cols = walked(plan)
    spec = plan.spec
    if (rows, cols) == (spec.oh, spec.ow):
        return []
    return [
        f"a 1x1 filter needs no rows: the {spec.oh} x {spec.ow} pixels are walked as "
        f"{rows} rows of at most {cols}",
    ]


def region_facts(plan: KernelPlan) -> list[dict[str, Any]]:
    """Every region of the plan as plain data: ranges as [first, count]."""
    return [
        {
            "rows": [r.area.oh, r.area.rows],
            "cols": [r.area.ow, r.area.cols],
            "channels": [r.oc, r.blocks * r.tile.channels],
            "kh": [r.area.kh, r.area.kh_taps],
            "kw": [r.area.kw, r.area.kw_taps],
            "tile": [r.tile.h, r.tile.w],
            "vectors": r.tile.vectors,
            "lanes": r.tile.lanes,
        }
        for r in plan.regions
    ]


def region_map(plan: KernelPlan) -> list[str]:
    """The output as rows of marks, numbered; a long stretch is cut short with dots.

    The rectangles' edges cut both axes into stretches, each drawn at most ``SEGMENT`` cells long.
    """
    every = zones(plan)
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

"""docs/coverage.md: for each family, kind of region and reading of the C, a layer that is tested.

The table is made from plans alone, so it is the same on every machine; what its cells name is then
compiled and verified here, as far as this machine has the instructions. A cell that stays empty
fails the test: either a layer is missing below, or the kind cannot occur and ``NEVER`` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from edge_layers import depthwise, layer
from kernels import Part, Way, body_of, needs, prove_right, target_of
from places import ROOT

from convgen.kernels import lower
from convgen.kernels.winograd.body import WinogradBody
from convgen.plan.cover import rectangles, stretches
from convgen.plan.kernel import AnyBody, Body, KernelPlan
from convgen.plan.tile import Rectangle, Region
from convgen.spec.model import Accuracy, ConvSpec
from convgen.spec.schedule import Family, Schedule

PAGE = ROOT / "docs" / "coverage.md"


@dataclass(frozen=True)
class Reading:
    """A column: one instruction set's body, and how the file is compiled to run it."""

    isa: str
    lanes: int
    part: Part = Part.OWN


READINGS = {
    "AVX-512": Reading("avx512", 16),
    "AVX2": Reading("avx2", 8),
    "AVX2, 4 lanes": Reading("avx2", 4),
    "SSE2": Reading("sse2", 4),
    "plain C": Reading("plain", 1),
    "plain body beside SIMD": Reading("avx512", 16, Part.PLAIN),
    "scalar model": Reading("avx2", 8, Part.MODEL),
}


@dataclass(frozen=True)
class Case:
    """A layer and its tile: rows, columns, vectors (Winograd: m, MR rows, vectors)."""

    spec: ConvSpec
    tile: tuple[int, int, int]

    def plan(self, family: Family, reading: Reading) -> KernelPlan:
        height, width, vectors = self.tile
        schedule = Schedule(family, reading.lanes, height, width, vectors)
        if family is Family.WINOGRAD:
            schedule = Schedule(family, reading.lanes, height, height, vectors, width, 2)
        return lower(self.spec, schedule, target_of(reading.isa))


def grouped(size: str, pad: str, kernel: str = "3x3", **more: object) -> ConvSpec:
    """Groups of two channels."""
    c = int(size.split("x")[2])
    return layer(size, c, kernel, pad, groups=c // 2, **more)


def fast(spec: ConvSpec) -> ConvSpec:
    return replace(spec, accuracy=Accuracy.FAST)


# 77 and 78 channels leave a rest for every width; padding of 6 around a 5x5 filter on a smaller
# image gives outputs that see all of it, and outputs that see none.
CASES: dict[Family, dict[str, Case]] = {
    Family.DIRECT: {
        "borders": Case(layer("9x12x3", 77, "3x3", "1 1 1 1", batch=2), (2, 3, 2)),
        "far padding": Case(layer("3x4x2", 77, "5x5", "6 6 6 6"), (2, 3, 2)),
        "groups": Case(layer("6x7x4", 74, "3x3", "1 1 1 1", groups=2), (2, 3, 2)),
    },
    Family.DEPTHWISE: {
        "borders": Case(depthwise("9x12x77", "3x3", "1 1 1 1", batch=2), (2, 3, 1)),
        "far padding": Case(depthwise("3x4x77", "5x5", "6 6 6 6"), (2, 3, 1)),
        "two vectors": Case(depthwise("9x12x77", "3x3", "1 1 1 1"), (1, 3, 2)),
        "tall tiles": Case(depthwise("9x12x77", "3x3", "1 1 1 1"), (2, 2, 2)),
    },
    Family.GROUPED: {
        "borders": Case(grouped("9x12x78", "1 1 1 1", batch=2), (1, 3, 1)),
        "far padding": Case(grouped("3x4x78", "6 6 6 6", "5x5"), (2, 2, 1)),
        "tall tiles": Case(grouped("9x12x78", "1 1 1 1"), (2, 2, 1)),
    },
    Family.WINOGRAD: {
        "borders": Case(fast(layer("13x12x21", 67, "3x3", "1 1 1 1", batch=2)), (4, 3, 2)),
        "no padding": Case(fast(layer("14x14x16", 32, "3x3")), (4, 3, 1)),
    },
}

# -- which kinds a plan has ------------------------------------------------------------------------

Kind = Callable[[KernelPlan, Body, Region, Rectangle], bool]


def _ends(r: Region, spec: ConvSpec) -> tuple[bool, bool, bool, bool]:
    """Whether taps fall outside the image at the top, bottom, left and right."""
    a = r.area
    return a.kh > 0, a.kh + a.kh_taps < spec.kh, a.kw > 0, a.kw + a.kw_taps < spec.kw


def _cut(top: bool, bottom: bool, left: bool, right: bool) -> Kind:
    """Regions with taps whose windows are cut at exactly these sides."""
    want = (top, bottom, left, right)
    return lambda plan, body, r, whole: bool(r.area.kh_taps) and _ends(r, plan.spec) == want


def _corner(plan: KernelPlan, body: Body, r: Region, whole: Rectangle) -> bool:
    top, bottom, left, right = _ends(r, plan.spec)
    return bool(r.area.kh_taps) and top != bottom and left != right


def _both_ends(plan: KernelPlan, body: Body, r: Region, whole: Rectangle) -> bool:
    top, bottom, left, right = _ends(r, plan.spec)
    return bool(r.area.kh_taps) and ((top and bottom) or (left and right))


def _narrow(plan: KernelPlan, body: Body, r: Region, whole: Rectangle) -> bool:
    widest = max(region.tile.channels for region in body.regions)
    return r.oc > 0 and r.tile.channels < widest


KINDS: dict[str, Kind] = {
    "interior": _cut(False, False, False, False),
    "top": _cut(True, False, False, False),
    "bottom": _cut(False, True, False, False),
    "left": _cut(False, False, True, False),
    "right": _cut(False, False, False, True),
    "corner": _corner,
    "both ends of an axis": _both_ends,
    "no taps at all": lambda plan, body, r, whole: r.area.kh_taps == 0,
    "column strip": lambda plan, body, r, whole: r.area.ow > whole.ow,
    "row strip": lambda plan, body, r, whole: r.area.oh > whole.oh,
    "several channel blocks": lambda plan, body, r, whole: r.blocks > 1,
    "last narrower block": _narrow,
    "batch": lambda plan, body, r, whole: plan.spec.batch > 1,
}
GROUPS: dict[str, Kind] = {"groups": lambda plan, body, r, whole: plan.view.groups > 1}
TAPS: dict[str, Kind] = {
    "row of taps unrolled": lambda plan, body, r, whole: r.tile.taps > 0 == r.tile.tap_rows,
    "taps counted": lambda plan, body, r, whole: r.tile.taps == 0 < r.area.kh_taps,
}
WINDOW: dict[str, Kind] = {"window unrolled": lambda plan, body, r, whole: r.tile.tap_rows > 0}
TILED: dict[Family, dict[str, Kind]] = {
    Family.DIRECT: {**KINDS, **GROUPS},
    Family.DEPTHWISE: {**KINDS, **TAPS, **WINDOW},
    Family.GROUPED: {**KINDS, **TAPS},
}
WINOGRAD: dict[str, Callable[[KernelPlan, WinogradBody], bool]] = {
    "tiles inside the image": lambda p, b: b.rows > 2 and b.cols > 2,
    "tiles over the border": lambda p, b: p.spec.padding.top > 0 and p.spec.padding.right > 0,
    "no border at all": lambda p, b: p.spec.padding == type(p.spec.padding)(),
    "cut tiles at the bottom": lambda p, b: p.spec.oh % b.high.m > 0,
    "whole tiles only": lambda p, b: p.spec.oh % b.high.m == 0 == p.spec.ow % b.wide.m,
    "rest of input channels": lambda p, b: b.isa.lanes == 1 or p.spec.c % b.isa.lanes > 0,
    "several blocks of tiles": lambda p, b: b.blocks > 1,
    "last block not full": lambda p, b: b.count % b.block > 0,
    "last narrower block": lambda p, b: b.last is not None,
    "batch": lambda p, b: p.spec.batch > 1,
}
ONE_LANE = ("plain C", "plain body beside SIMD")
FOUR_LANES = ("AVX2, 4 lanes", "SSE2", *ONE_LANE)
NEVER = {
    (Family.DEPTHWISE, "window unrolled", FOUR_LANES): "of 8 lanes or more only",
    (Family.GROUPED, "last narrower block", ONE_LANE): "one group at a time",
}


def kinds(family: Family) -> list[str]:
    return list(WINOGRAD if family is Family.WINOGRAD else TILED[family])


def kinds_of(plan: KernelPlan, body: AnyBody) -> set[str]:
    """Every kind of which this body has a region."""
    if isinstance(body, WinogradBody):
        return {kind for kind, holds in WINOGRAD.items() if holds(plan, body)}
    spec, p = plan.spec, plan.spec.padding
    rows = stretches(spec.h, spec.oh, p.top, spec.kh, spec.dh, spec.sh)
    cols = stretches(spec.w, spec.ow, p.left, spec.kw, spec.dw, spec.sw)
    wholes = rectangles(rows, cols)
    pairs = [(r, next(w for w in wholes if _within(r.area, w))) for r in body.regions]
    named = TILED[plan.schedule.family]
    return {kind for kind, holds in named.items() if any(holds(plan, body, *p) for p in pairs)}


def _within(area: Rectangle, whole: Rectangle) -> bool:
    down = whole.oh <= area.oh < whole.oh + whole.rows
    return down and whole.ow <= area.ow < whole.ow + whole.cols


# -- the page --------------------------------------------------------------------------------------


@cache
def present(family: Family, label: str, column: str) -> frozenset[str]:
    reading = READINGS[column]
    plan = CASES[family][label].plan(family, reading)
    return frozenset(kinds_of(plan, body_of(plan, reading.part)))


def cell(family: Family, kind: str, column: str) -> str:
    """The first layer whose plan has the kind, a reason why there is none, or nothing."""
    for label in CASES[family]:
        if kind in present(family, label, column):
            return label
    reasons = [why for (f, k, columns), why in NEVER.items() if (f, k) == (family, kind)
               and column in columns]  # fmt: skip
    return f"*{reasons[0]}*" if reasons else ""


def page() -> str:
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield "# What the kernel tests cover"
    yield ""
    yield "Made by `pytest tests/spec/test_coverage_table.py --update-golden`; do not edit."
    yield ""
    yield "Each cell names a layer whose plan has that kind of region in that reading of the C, and"
    yield "which is compiled and held to the whole verification ladder in"
    yield "`tests/spec/test_coverage_table.py`."
    yield "Cells in italics say why the kind cannot occur there."
    for family in CASES:
        yield from ("", f"## {family}", "")
        yield f"| region | {' | '.join(READINGS)} |"
        yield f"| --- |{' --- |' * len(READINGS)}"
        for kind in kinds(family):
            yield f"| {kind} | {' | '.join(cell(family, kind, c) for c in READINGS)} |"
        yield ""
        for label, case in CASES[family].items():
            yield f"- {label}: {_words(case)}"


def _words(case: Case) -> str:
    s, (height, width, vectors) = case.spec, case.tile
    p = s.padding
    pad = f"padding {p.top} {p.left} {p.bottom} {p.right}"
    more = [pad, *([f"groups {s.groups}"] if s.groups > 1 else [])]
    more += [f"batch {s.batch}"] if s.batch > 1 else []
    tile = f"tile {height} x {width}, {vectors} vector{'s' if vectors > 1 else ''}"
    if s.accuracy is Accuracy.FAST:
        tile = f"F({height} x {height}), {width} rows, {vectors} vector{'s' if vectors > 1 else ''}"
    return f"{s.h}x{s.w}x{s.c} to {s.oc}, filter {s.kh}x{s.kw}, {', '.join(more)}; {tile}"


def test_the_page_is_current(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, page())


@pytest.mark.parametrize("family", CASES)
def test_no_cell_is_empty(family: Family) -> None:
    empty = [
        (kind, column) for kind in kinds(family) for column in READINGS
        if not cell(family, kind, column)
    ]  # fmt: skip
    assert not empty


def test_what_cannot_occur_does_not() -> None:
    for (family, kind, columns), _ in NEVER.items():
        for column in columns:
            assert not any(kind in present(family, label, column) for label in CASES[family])


NAMED = sorted(
    {
        (str(family), label, column)
        for family in CASES
        for column in READINGS
        for kind in kinds(family)
        if (label := cell(family, kind, column)) in CASES[family]
    }
)


@pytest.mark.parametrize(("family", "label", "column"), NAMED)
def test_what_a_cell_names_is_verified(family: str, label: str, column: str) -> None:
    reading = READINGS[column]
    way = Way(part=reading.part)
    needs(reading.isa, way)
    prove_right(CASES[Family(family)][label].plan(Family(family), reading), way)

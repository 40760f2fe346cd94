"""The text drawings show what the definition of the convolution says, cell by cell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from spec_strategies import specs

from convgen.cli.draw import WHOLE_COLS, WHOLE_ROWS, input_drawing, panel, windows
from convgen.kernels import kind_of, lower
from convgen.kernels.tiled.picture import (
    INTERIOR,
    flattened,
    region_map,
    region_rows,
    tile_lines,
    zones,
)
from convgen.kernels.winograd.body import WinogradBody
from convgen.kernels.winograd.picture import grid_lines, patch_lines, winograd_facts
from convgen.package.emit.files import decide
from convgen.plan.drawing import WIDTH, beside
from convgen.plan.kernel import KernelPlan
from convgen.spec.model import Accuracy, ConvSpec, Layer, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS

FIVE_PADDED = ConvSpec("a", 5, 5, 1, 1, 3, 3, padding=Padding(1, 1, 1, 1))


def plan_of(spec: ConvSpec, target: str = "x86-64-avx2") -> KernelPlan:
    """The plan of direct summation: ``strict`` keeps Winograd out."""
    strict = replace(spec, accuracy=Accuracy.STRICT)
    return decide(Layer(strict, "a.yaml"), TARGETS[target]).plan


def test_five_by_five_with_padding_one_is_drawn_whole() -> None:
    lines = input_drawing(FIVE_PADDED)
    assert lines[0] == "padded input 7 x 7: input 5 x 5, padding top 1, left 1, bottom 1, right 1"
    first = [line[:24] for line in lines[3:12]]
    assert first == [
        "y[0,0]  window 1        ",
        "   -1  0  1  2  3  4  5 ",
        "-1  x  x  x  0  0  0  0 ",
        " 0  x  #  #  .  .  .  0 ",
        " 1  x  #  #  .  .  .  0 ",
        " 2  0  .  .  .  .  .  0 ",
        " 3  0  .  .  .  .  .  0 ",
        " 4  0  .  .  .  .  .  0 ",
        " 5  0  0  0  0  0  0  0 ",
    ]


def test_stride_moves_the_next_window() -> None:
    spec = ConvSpec("a", 5, 5, 1, 1, 3, 3, 2, 2)
    text = "\n".join(input_drawing(spec))
    assert "no padding" in text
    assert "y[0,1]  next: 2 to the right" in text
    assert "y[1,0]  next row: 2 down" in text
    row_of_tap = next(line for line in text.splitlines() if line.startswith("0"))
    assert row_of_tap.split("    ")[:2] == ["0  #  #  #  .  .", "0  .  .  #  #  #"]


def test_dilation_leaves_holes() -> None:
    spec = ConvSpec("a", 5, 5, 1, 1, 3, 3, dh=2, dw=2)
    lines = input_drawing(spec)
    assert [line.strip() for line in lines[4:]] == [
        "0  1  2  3  4",
        "0  #  .  #  .  #",
        "1  .  .  .  .  .",
        "2  #  .  #  .  #",
        "3  .  .  .  .  .",
        "4  #  .  #  .  #",
    ]


def test_large_inputs_are_abbreviated_but_show_every_tap() -> None:
    spec = ConvSpec("a", 224, 224, 3, 64, 7, 7, 2, 2, padding=Padding(3, 3, 2, 2))
    lines = input_drawing(spec)
    assert any(line.startswith("abbreviated") for line in lines)
    assert all(len(line) <= WIDTH for line in lines)
    grids = [line for line in lines[4:] if not line.startswith("y[")]
    assert sum(line.count("#") + line.count("x") for line in grids) == 4 * 49
    assert sum(line.count("y[") for line in lines) == 4


@settings(max_examples=60, deadline=None)
@given(specs())
def test_whole_drawings_follow_the_definition(spec: ConvSpec) -> None:
    p = spec.padding
    rows, cols = spec.h + p.top + p.bottom, spec.w + p.left + p.right
    if rows > WHOLE_ROWS or cols > WHOLE_COLS:
        return
    for window in windows(spec):
        grid = [line.split()[1:] for line in panel(spec, window)[2:]]
        taps = {
            (
                window.oh * spec.sh - p.top + kh * spec.dh,
                window.ow * spec.sw - p.left + kw * spec.dw,
            )
            for kh in range(spec.kh)
            for kw in range(spec.kw)
        }
        for r, row in enumerate(grid):
            for c, mark in enumerate(row):
                ih, iw = r - p.top, c - p.left
                inside = 0 <= ih < spec.h and 0 <= iw < spec.w
                tap = (ih, iw) in taps
                assert mark == {(1, 1): "#", (1, 0): "x", (0, 1): ".", (0, 0): "0"}[tap, inside]


@settings(max_examples=40, deadline=None)
@given(specs())
def test_any_layer_can_be_drawn(spec: ConvSpec) -> None:
    lines = input_drawing(spec)
    assert len(lines) < 4 * (WHOLE_ROWS * 3)
    plan = plan_of(spec)
    sections = kind_of(plan.body).picture(plan, False)
    assert sections and all(section.lines for section in sections)


def test_beside_starts_a_new_row_of_panels_when_the_page_is_full() -> None:
    assert beside([["aa", "b"], ["c"]], gap=1, width=9) == ["aa c", "b"]
    assert beside([["aaaa"], ["bbbb"]], gap=1, width=8) == ["aaaa", "", "bbbb"]


def test_borders_are_marked_around_the_interior() -> None:
    plan = plan_of(ConvSpec("a", 6, 6, 1, 8, 3, 3, padding=Padding(1, 1, 1, 1)))
    assert region_map(plan) == [
        "  0 1 2 3 4 5",
        "0 a b b b b c",
        "1 d * * * * e",
        "2 d * * * * e",
        "3 d * * * * e",
        "4 d * * * * e",
        "5 f g g g g h",
    ]
    rows = region_rows(plan)
    assert rows[0][:4] == (INTERIOR, "1..4", "1..4", "0..2 x 0..2")
    assert rows[1][:4] == ("a", "0", "0", "1..2 x 1..2")


@settings(max_examples=40, deadline=None)
@given(specs())
def test_every_output_lies_in_exactly_one_zone(spec: ConvSpec) -> None:
    plan = plan_of(spec)
    if not plan.body.regions or flattened(plan):
        return  # a kernel without a table of regions, or one long row
    marked = [
        (r, c)
        for zone in zones(plan)
        for a in zone.areas
        for r in range(a.oh, a.oh + a.rows)
        for c in range(a.ow, a.ow + a.cols)
    ]
    assert sorted(marked) == [(r, c) for r in range(spec.oh) for c in range(spec.ow)]


def test_a_window_entirely_on_padding_is_named() -> None:
    plan = plan_of(ConvSpec("a", 1, 1, 1, 1, 1, 1, padding=Padding(1, 1, 1, 1)), "generic")
    rows = region_rows(plan)
    assert [row[0] for row in rows] == [INTERIOR, "a"]
    assert rows[1][3] == "none: bias and activation only"
    assert region_map(plan)[1:] == ["0 a a a", "1 a * a", "2 a a a"]


def test_pointwise_layers_say_that_they_are_flattened() -> None:
    plan = plan_of(ConvSpec("a", 13, 17, 8, 8, 1, 1))
    assert "13 x 17 pixels are walked as" in flattened(plan)[0]


@pytest.mark.parametrize("name", ["x86-64-avx2", "x86-64-sse2"])
def test_the_tile_names_every_accumulator_once(name: str) -> None:
    spec = ConvSpec("a", 8, 8, 4, 16, 3, 3)
    target = TARGETS[name]
    schedule = Schedule(Family.DIRECT, target.isa.lanes, 2, 2, 2)
    text = "\n".join(tile_lines(lower(spec, schedule, target)))
    count = int(text.split(": ")[1].split()[0])
    names = [word for word in text.split() if word.startswith("acc_")]
    assert len(names) == len(set(names)) == count
    assert f"of {target.isa.registers} {target.isa.name} registers" in text


def test_the_tile_is_the_one_that_does_most_of_the_work() -> None:
    """Strips of the border may hold as many accumulators; they are not what is drawn."""
    spec = ConvSpec("a", 224, 224, 3, 64, 7, 7, sh=2, sw=2, padding=Padding(3, 3, 2, 2))
    schedule = Schedule(Family.DIRECT, 16, 2, 7, 2)
    lines = tile_lines(lower(spec, schedule, TARGETS["x86-64-avx512"]))
    assert lines[0].startswith("2 x 7 output pixels x 2 vectors of 16 channels: 28 accumulators")


def winograd_plan() -> tuple[KernelPlan, WinogradBody]:
    spec = ConvSpec("a", 16, 17, 16, 16, 3, 3, padding=Padding(1, 1, 1, 1))
    plan = lower(spec, Schedule(Family.WINOGRAD, 8, 4, 4, 2, 4, 2), TARGETS["x86-64-avx2"])
    assert isinstance(plan.body, WinogradBody)
    return plan, plan.body


def test_winograd_patches_are_counted_and_placed() -> None:
    lines = patch_lines(*winograd_plan())
    text = "\n".join(lines)
    assert text.startswith("F(4 x 4, 3 x 3):")
    assert "tile 0 reads input rows -1..4, the next one down 3..8: neighbours share 2" in text
    assert "36 products for each pair of channels instead of 144: 4.00 times fewer" in text
    assert sum(line.count("i i i i i i") for line in lines) == 6
    assert sum(line.rstrip().endswith("o o o o") for line in lines) == 4


@pytest.mark.parametrize(
    ("taps", "reads"),
    [
        ((1, 3), "tile 0 reads input columns -1..4, the next one to the right 3..8: neighbours"),
        ((3, 1), "tile 0 reads input rows -2..3, the next one down 2..7: neighbours share 2"),
    ],
)
def test_a_flat_filters_patch_is_flat(taps: tuple[int, int], reads: str) -> None:
    spec = ConvSpec("a", 16, 17, 16, 16, *taps, padding=Padding(2, 1, 1, 1))
    tile = [4 if r > 1 else 1 for r in taps]
    plan = lower(spec, Schedule(Family.WINOGRAD, 8, *tile, 2, 4, 2), TARGETS["x86-64-avx2"])
    assert isinstance(plan.body, WinogradBody)
    text = "\n".join(patch_lines(plan, plan.body))
    assert reads in text
    assert "6 products for each pair of channels instead of 12: 2.00 times fewer" in text
    assert text.count("i i i i i i") == (taps[0] == 1)


def test_winograd_tiles_are_numbered_by_block() -> None:
    lines = grid_lines(*winograd_plan())
    assert lines[0] == "16 x 17 outputs in 4 x 5 tiles"
    assert "20 tiles in 3 blocks of at most 8" in lines[1]
    assert "0 rows and 3 columns beyond" in lines[2]
    grid = [line.split() for line in lines[-4:]]
    assert [mark for row in grid for mark in row] == [str(i // 8) for i in range(20)]


def test_winograd_facts() -> None:
    plan, body = winograd_plan()
    facts = winograd_facts(body)
    assert (facts["patch"], facts["tiles"], facts["blocks"]) == ([6, 6], [4, 5], 3)
    assert "4 Winograd tiles x 2 vectors of 8 channels" in tile_lines(plan, "Winograd tiles")[0]

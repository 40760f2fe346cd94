"""Plans by brute force: every output once, every window with exactly the taps inside the image.

The strongest of these tests carries out a whole plan on paper: it walks regions, tiles and loops
as the templates print them and collects which element of x meets which packed weight for each
output. What comes out must be the definition of the layer.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from edge_layers import EDGES
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels import ISAS, planned, target_of
from operator_layers import operator_layers
from spec_strategies import specs

from convgen.kernels import FAMILIES
from convgen.kernels.search import costed
from convgen.kernels.tiled.lowering import most_pixels
from convgen.plan.cover import Stretch, cover, rectangles, stretches
from convgen.plan.kernel import Body, KernelPlan
from convgen.plan.packing import Packing
from convgen.plan.tile import Rectangle, Tile
from convgen.spec.model import Accuracy, ConvSpec, Layout, WeightLayout
from convgen.spec.schedule import Family, Schedule
from convgen.spec.window import Axis, out_size
from convgen.target import Target

QUICK = settings(derandomize=True, deadline=None, database=None, max_examples=300)
PLANS = settings(QUICK, max_examples=60)
STRICT = specs(largest=6).map(lambda spec: replace(spec, accuracy=Accuracy.STRICT))


# -- one axis -------------------------------------------------------------------------------------


def inside(size: int, before: int, taps: int, dil: int, step: int, o: int) -> tuple[int, ...]:
    """The taps of output ``o`` that lie inside the image, one by one."""
    places = ((k, o * step - before + k * dil) for k in range(taps))
    return tuple(k for k, place in places if 0 <= place < size)


@QUICK
@given(
    size=st.integers(1, 12),
    before=st.integers(0, 9),
    after=st.integers(0, 9),
    taps=st.integers(1, 6),
    dil=st.integers(1, 5),
    step=st.integers(1, 6),
)
def test_stretches(size: int, before: int, after: int, taps: int, dil: int, step: int) -> None:
    out = out_size(size, before, after, taps, dil, step)
    found = stretches(size, out, before, taps, dil, step)
    covered = [o for s in found for o in range(s.first, s.first + s.count)]
    assert covered == list(range(out))
    for s in found:
        run = tuple(range(s.tap, s.tap + s.taps))
        for o in range(s.first, s.first + s.count):
            assert run == inside(size, before, taps, dil, step, o)
    for left, right in pairwise(found):
        assert (left.tap, left.taps) != (right.tap, right.taps), "one stretch cut in two"


def test_stretches_of_the_readme_layer() -> None:
    assert stretches(32, 32, 2, 5, 1, 1) == [
        Stretch(0, 1, 2, 3), Stretch(1, 1, 1, 4), Stretch(2, 28, 0, 5),
        Stretch(30, 1, 0, 4), Stretch(31, 1, 0, 3),
    ]  # fmt: skip


def test_a_tap_free_axis_leaves_no_taps_at_all() -> None:
    found = rectangles([Stretch(0, 1, 0, 0), Stretch(1, 2, 0, 3)], [Stretch(0, 4, 1, 2)])
    assert found == [Rectangle(0, 1, 0, 4, 0, 0, 0, 0), Rectangle(1, 2, 0, 4, 0, 3, 1, 2)]


# -- tiles over a rectangle ------------------------------------------------------------------------


@QUICK
@given(
    rows=st.integers(1, 20),
    cols=st.integers(1, 20),
    height=st.integers(1, 7),
    width=st.integers(1, 9),
    pixels=st.integers(1, 30),
)
def test_cover(rows: int, cols: int, height: int, width: int, pixels: int) -> None:
    pieces = cover(rows, cols, (height, width), lambda side: max(1, pixels // side))
    met: Counter[tuple[int, int]] = Counter()
    for row, high, col, wide, th, tw in pieces:
        assert high % th == 0 and wide % tw == 0, "a tile would reach over its piece"
        assert th * tw <= max(height * width, pixels), "a tile with more pixels than registers"
        met.update((r, c) for r in range(row, row + high) for c in range(col, col + wide))
    assert met == {(r, c): 1 for r in range(rows) for c in range(cols)}
    assert len(pieces) <= 5


# -- a plan, carried out on paper ----------------------------------------------------------------

Products = dict[int, Counter[tuple[int, int]]]  # y index -> (x index, packed index) -> how often


def carried_out(plan: KernelPlan, body: Body) -> Products:
    """What the generated C does, index by index; an output that is stored twice is an error."""
    found: Products = {}
    for image in range(plan.spec.batch):
        for group in range(plan.view.groups):
            for y, products in _unit_products(plan, body, image, group):
                assert y not in found, f"output {y} is written twice"
                found[y] = _in_planes(plan.spec, products) if body.turned else products
    return found


def _in_planes(spec: ConvSpec, products: Counter[tuple[int, int]]) -> Counter[tuple[int, int]]:
    """Where x has in its planes what a body reads in a copy with the channels side by side."""
    pixels = math.prod((spec.d, spec.h, spec.w))
    found: Counter[tuple[int, int]] = Counter()
    for (copied, packed), times in products.items():
        pixel, channel = divmod(copied, spec.c)
        image, pixel = divmod(pixel, pixels)
        found[(image * spec.c + channel) * pixels + pixel, packed] += times
    return found


def _unit_products(
    plan: KernelPlan, body: Body, image: int, group: int
) -> Iterator[tuple[int, Counter[tuple[int, int]]]]:
    v, packing = plan.view, plan.packing
    for r in body.regions:
        assert r.area.rows % r.tile.h == 0 and r.area.cols % r.tile.w == 0
        steps = list(_steps(body, r.area))
        for block in range(r.blocks):
            oc = r.oc + block * r.tile.channels
            x0 = r.x0 + image * v.x_image + group * v.x_group
            y0 = r.y0 + image * v.y_image + group * v.y_group + oc * v.y_channel
            w0 = group * packing.group_stride + packing.offset(oc) + packing.lanes + r.w0
            tiles = itertools.product(range(r.area.planes), range(r.row_tiles), range(r.col_tiles))
            for plane, row, col in tiles:
                x = x0 + plane * v.sd * v.x_plane + row * r.x_row + col * r.x_col
                y = y0 + plane * v.y_plane + row * r.tile.h * v.y_row + col * r.tile.w * v.y_pixel
                yield from _tile_products(plan, r.tile, steps, oc, (x, y, w0))


def _steps(body: Body, area: Rectangle) -> Iterator[tuple[int, int]]:
    """Offsets in x and in packed of every step of the reduction."""
    offsets = [(0, 0)]
    for loop in body.loops:
        names = {name: getattr(area, name) for name in ("kd_taps", "kh_taps", "kw_taps")}
        count = eval(loop.count, names)
        offsets = [
            (x + i * loop.x_step, w + i * loop.w_step) for x, w in offsets for i in range(count)
        ]
    yield from offsets


def _tile_products(
    plan: KernelPlan,
    tile: Tile,
    steps: list[tuple[int, int]],
    oc: int,
    origin: tuple[int, int, int],
) -> Iterator[tuple[int, Counter[tuple[int, int]]]]:
    """Lanewise families meet the inputs of the channel's own group, and no loop counts those."""
    v, packing = plan.view, plan.packing
    x, y, w = origin
    inputs = range(v.ic) if v.x_lane else (0,)
    for index in range(tile.pixels):
        down, right = tile.pixel(index)
        xp = x + down * v.sh * v.x_row + right * v.sw * v.x_pixel
        yp = y + down * v.y_row + right * v.y_pixel
        for vector in range(tile.vectors):
            wv = w + packing.offset(vector * tile.lanes)
            for lane in range(tile.stored(vector)):
                channel = vector * tile.lanes + lane
                first = (oc + channel) // v.ic * v.ic if v.x_lane else 0
                products = Counter(
                    (xp + dx + first + i, wv + dw + i * packing.lanes + lane)
                    for dx, dw in steps
                    for i in inputs
                )
                yield yp + channel * v.y_channel, products


def defined(spec: ConvSpec, packing: Packing) -> Products:
    """The same from the layer's formula, one tap at a time."""
    found: Products = {}
    outs = itertools.product(*(range(axis.out) for axis in spec.axes))
    sizes, out_sizes = (spec.d, spec.h, spec.w), (spec.od, spec.oh, spec.ow)
    for out in outs:
        met = [list(meeting(*pair)) for pair in zip(spec.axes, out, strict=True)]
        for n, oc in itertools.product(range(spec.batch), range(spec.oc)):
            y = _at(spec, n, out, oc, out_sizes, spec.y_pixel or spec.oc, spec.oc)
            found[y] = Counter(
                (
                    _at(
                        spec, n, [place for _, place in tap], oc // spec.ocg * spec.icg + ic,
                        sizes, spec.x_pixel or spec.c, spec.c,
                    ),
                    packed_at(spec, packing, [k for k, _ in tap], ic, oc),
                )
                for tap in itertools.product(*met)
                for ic in range(spec.icg)
            )  # fmt: skip
    return found


def meeting(axis: Axis, out: int) -> Iterator[tuple[int, int]]:
    """The taps of an output that meet an input, and which."""
    for k in range(axis.taps):
        place = out * axis.stride - axis.before + k * axis.dilation
        rest = 0
        if axis.transposed:
            place, rest = divmod(out + axis.before - k * axis.dilation, axis.stride)
        if rest == 0 and 0 <= place < axis.size:
            yield k, place


def _at(
    spec: ConvSpec, n: int, place: Sequence[int], channel: int, sizes: Sequence[int], pixel: int,
    channels: int,
) -> int:  # fmt: skip
    """``pixel``: elements from one pixel to the next of a channels-last image."""
    at = 0
    for index, size in zip(place, sizes, strict=True):
        at = at * size + index
    if spec.layout is Layout.NHWC:
        return (n * math.prod(sizes) + at) * pixel + channel
    return (n * channels + channel) * math.prod(sizes) + at


def packed_at(spec: ConvSpec, p: Packing, tap: Sequence[int], ic: int, oc: int) -> int:
    """[group][block][1 + rows*kw*ic][lane], as the packing's docstring has it."""
    kd, kh, kw = tap
    row = kd * spec.kh + kh
    if p.rows:
        row, kw = p.rows.index(row), p.columns.index(kw)
    group, channel = divmod(oc, p.oc)
    block, lane = divmod(channel, p.lanes)
    blocks = -(-p.oc // p.lanes)
    depth = 1 + p.kh * p.kw * p.ic
    k = 1 + (row * p.kw + kw) * p.ic + ic
    return ((group * blocks + block) * depth + k) * p.lanes + lane


def check_plan(plan: KernelPlan) -> None:
    want = defined(plan.spec, plan.packing)
    for body in plan.bodies:
        found = carried_out(plan, body)
        assert set(found) == set(want), f"{body.isa.name}: other outputs than the layer's"
        wrong = [y for y in want if want[y] != found[y]]
        assert not wrong, f"{body.isa.name}: output {wrong[0]} sums other products"


SLOW_ON_PAPER = {
    "wide", "primes", "stem", "pointwise_prime", "pointwise", "depthwise_7x7", "depthwise_wide",
    "grouped_by_8",
}  # fmt: skip


def tiled(spec: ConvSpec, target: Target) -> KernelPlan:
    """The chooser's plan, or the first tiled one where the chooser takes another kind of kernel:
    those keep planes or transformed tiles in a workspace, and are no sums of products in place."""
    plan = planned(spec, target)
    if isinstance(plan.body, Body):
        return plan
    plans = (other for family in FAMILIES.values() for other, _ in costed(family, spec, target))
    return next(other for other in plans if isinstance(other.body, Body))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("label", sorted(set(EDGES) - SLOW_ON_PAPER))
def test_an_edge_layer_on_paper(label: str, isa: str) -> None:
    check_plan(tiled(EDGES[label], target_of(isa)))


@PLANS
@given(spec=STRICT, isa=st.sampled_from(ISAS))
def test_any_layer_on_paper(spec: ConvSpec, isa: str) -> None:
    check_plan(tiled(spec, target_of(isa)))


@PLANS
@given(
    spec=STRICT,
    height=st.integers(1, 4),
    width=st.integers(1, 7),
    vectors=st.integers(1, 3),
    lanes=st.sampled_from([16, 8, 4, 1]),
)
def test_any_tile_on_paper(
    spec: ConvSpec, height: int, width: int, vectors: int, lanes: int
) -> None:
    isa = target_of("avx512").lanes(lanes)
    assert isa is not None
    most = most_pixels(isa, vectors)
    height = min(height, most)
    schedule = Schedule(Family.DIRECT, lanes, height, min(width, most // height), vectors)
    check_plan(planned(spec, target_of("avx512"), schedule))


@pytest.mark.parametrize("isa", ISAS)
def test_every_operator_on_paper(isa: str) -> None:
    """1-D, 3-D and transposed layers of any kind, also in views of wider buffers."""
    for number, spec in enumerate(operator_layers(60, seed=7)):
        if spec.layout is Layout.NHWC and number % 3 == 0:
            spec = replace(spec, x_pixel=spec.c + 3, y_pixel=spec.oc + 2)
        plan = tiled(replace(spec, accuracy=Accuracy.STRICT), target_of(isa))
        check_plan(plan)


def test_a_wrong_plan_is_seen() -> None:
    """The paper test can fail: a region that starts one pixel late is reported."""
    plan = planned(EDGES["pad_top_only"], target_of("plain"))
    body = plan.body
    late = replace(body.regions[0], x0=body.regions[0].x0 + 3)
    broken = replace(body, regions=(late, *body.regions[1:]))
    assert carried_out(plan, broken) != defined(plan.spec, plan.packing)


# -- what the plan says about itself ---------------------------------------------------------------


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("label", EDGES)
def test_facts_of_a_plan(label: str, isa: str) -> None:
    plan = tiled(EDGES[label], target_of(isa))
    assert plan.bodies[-1].isa.lanes == 1, "every file has a plain C body"
    assert plan.packed_bytes == 4 * plan.packing.elements
    assert plan.align >= 4 * plan.packing.lanes and plan.align & (plan.align - 1) == 0
    assert plan.workspace_bytes == 4 * max(body.turned for body in plan.bodies)
    for body in plan.bodies:
        # Runs name the region table from end to end, each tile once: one sweep function each.
        ends = [end for run in body.runs for end in run[1:]]
        assert ends[0] == 0 and ends[-1] == len(body.regions)
        assert ends[1:-1:2] == ends[2::2]
        assert len({tile.name for tile, *_ in body.runs}) == len(body.runs)
        for region in body.regions:
            assert region.area.rows >= 1 and region.area.cols >= 1 and region.blocks >= 1


def test_words_of_a_region() -> None:
    plan = planned(EDGES["pad_around_one_tap"], target_of("plain"))
    comments = [region.comment for region in plan.regions]
    assert any(comment.endswith("taps none x none") for comment in comments)
    assert any(comment.endswith("taps 0..0 x 0..0") for comment in comments)


@pytest.mark.parametrize("layout", WeightLayout)
def test_packing_strides_name_the_weights(layout: WeightLayout) -> None:
    spec = ConvSpec(name="p", h=9, w=9, c=6, oc=10, kh=2, kw=3, groups=2, weight_layout=layout)
    p = planned(spec, target_of("sse2")).packing
    shape = dict(zip(str(layout).replace("O", "o").lower(), spec.w_shape, strict=True))
    assert shape == {"h": 2, "w": 3, "i": 3, "o": 10}
    strides, step = {}, 1
    for axis in reversed(str(layout).lower()):
        strides[axis] = step
        step *= shape[axis]
    assert (p.w_kh, p.w_kw, p.w_ic, p.w_oc) == tuple(strides[a] for a in "hwio")

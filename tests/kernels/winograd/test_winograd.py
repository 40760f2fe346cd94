"""Winograd: exact matrices, kernels within the published bound, and where it may not be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from kernels import GCC, ISAS, Part, Way, needs, prove_right, target_of

from convgen.choose.chooser import choose
from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.kernels.pack import pack
from convgen.kernels.winograd import lowering as winograd
from convgen.kernels.winograd.body import (
    ERROR_FACTORS,
    FLAT_ERROR_FACTORS,
    LEAST_CHANNELS,
    WinogradBody,
)
from convgen.kernels.winograd.matrices import matrices
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.model import (
    Accuracy,
    Act,
    Activation,
    ConvSpec,
    Layout,
    Padding,
    WeightLayout,
)
from convgen.spec.schedule import Family, Schedule

SIZES = sorted(ERROR_FACTORS)
FLAT_SIZES = sorted(FLAT_ERROR_FACTORS)


def schedule(lanes: int, m: int, vectors: int = 2, rows: int = 3, strips: int = 2) -> Schedule:
    return Schedule(Family.WINOGRAD, lanes, m, m, vectors, rows, strips)


def flat(lanes: int, spec: ConvSpec, m: int, rows: int = 3, strips: int = 2) -> Schedule:
    high, wide = (m if taps > 1 else 1 for taps in (spec.kh, spec.kw))
    return Schedule(Family.WINOGRAD, lanes, high, wide, 2, rows, strips)


def row(r: int, **changes: object) -> ConvSpec:
    """A layer with a 1 x r filter."""
    return layer(**({"kh": 1, "kw": r, "padding": Padding(0, r // 2, 0, r // 2)} | changes))


def column(r: int, **changes: object) -> ConvSpec:
    """A layer with an r x 1 filter."""
    return layer(**({"kh": r, "kw": 1, "padding": Padding(r // 2, 0, r // 2, 0)} | changes))


def layer(**changes: object) -> ConvSpec:
    base = ConvSpec("wino", 13, 11, 19, 37, 3, 3, padding=Padding(1, 1, 1, 1))
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("m", "r"), sorted({(1, 1), *SIZES, *FLAT_SIZES}))
def test_matrices_compute_correlation_exactly(m: int, r: int) -> None:
    """AT [(G g) * (BT d)] equals the m outputs of the filter, in exact fractions."""
    mats = matrices(m, r)
    alpha = m + r - 1
    d = [Fraction(3 * i * i - 7 * i + 2, 5) for i in range(alpha)]
    g = [Fraction(2 * k - 3, 7) for k in range(r)]

    def times(matrix: tuple[tuple[Fraction, ...], ...], v: list[Fraction]) -> list[Fraction]:
        return [sum((a * b for a, b in zip(row, v, strict=True)), Fraction(0)) for row in matrix]

    product = [a * b for a, b in zip(times(mats.g, g), times(mats.bt, d), strict=True)]
    direct = [sum((d[i + k] * g[k] for k in range(r)), Fraction(0)) for i in range(m)]
    assert times(mats.at, product) == direct


@pytest.mark.parametrize(("m", "r"), sorted({*SIZES, *FLAT_SIZES}))
def test_transform_constants_are_exact_in_float32(m: int, r: int) -> None:
    """BT and AT lie in the kernel as float literals: none of them may round."""
    mats = matrices(m, r)
    for entry in (e for matrix in (mats.at, mats.bt) for row in matrix for e in row):
        assert Fraction(float(np.float32(float(entry)))) == entry


@pytest.mark.parametrize("isa", ISAS[:3])
@pytest.mark.parametrize(("m", "r"), SIZES)
def test_every_size_holds_its_bound(isa: str, m: int, r: int) -> None:
    needs(isa)
    target = target_of(isa)
    spec = layer(kh=r, kw=r, padding=Padding(r // 2, r // 2, r // 2, r // 2))
    prove_right(lower(spec, schedule(target.isa.lanes, m), target))


@pytest.mark.parametrize(
    ("isa", "make", "m", "r"),
    [
        *(("avx512", row, m, r) for m, r in FLAT_SIZES),
        *(("avx2", column, max(m for m, taps in FLAT_SIZES if taps == r), r) for r in (3, 5, 7)),
    ],
)
def test_every_flat_size_holds_its_bound(
    isa: str, make: Callable[..., ConvSpec], m: int, r: int
) -> None:
    """With few channels, which average least out."""
    needs(isa)
    target = target_of(isa)
    spec = make(r, c=LEAST_CHANNELS, h=20)
    prove_right(lower(spec, flat(target.isa.lanes, spec, m), target))


@pytest.mark.parametrize(
    ("part", "spec"),
    [
        (Part.PLAIN, row(3)),
        (Part.MODEL, column(3, h=9, w=6)),
        (Part.PLAIN, column(3, c=8, oc=1)),
        (Part.OWN, row(3, c=64, oc=16, h=24, w=24)),
        (Part.OWN, row(5, h=1, w=1)),
        (Part.OWN, column(5, h=1, w=30)),
        (Part.OWN, column(3, h=2, w=30, padding=Padding(0, 3, 2, 0))),
        (Part.OWN, row(3, padding=Padding(2, 4, 1, 0), bias=False)),
        (Part.PLAIN, row(3, padding=Padding(2, 4, 1, 0), weight_layout=WeightLayout.OIHW)),
        (Part.MODEL, column(7, batch=3, h=5, w=5, weight_layout=WeightLayout.OHWI)),
        (Part.OWN, row(7, h=3, w=60, activation=Activation(Act.GELU))),
        (Part.OWN, row(3, dh=2, dw=2, padding=Padding(0, 2, 0, 2), batch=2)),
        (Part.PLAIN, column(3, dh=3, dw=3, padding=Padding(3, 3, 0, 1))),
    ],
    ids=lambda v: (
        v
        if isinstance(v, str)
        else f"{v.kh}x{v.kw}-{v.h}x{v.w}x{v.c}-{v.oc}-{v.padding.top}-{v.batch}-{v.dh}"
    ),
)
def test_flat_edges(part: Part, spec: ConvSpec) -> None:
    way = Way(part=part)
    needs("avx512", way)
    prove_right(lower(spec, flat(16, spec, 4, 5, 1), target_of("avx512")), way)


@pytest.mark.parametrize("make", [row, column])
def test_a_flat_filter_takes_one_pass_and_no_room_between_two(
    make: Callable[..., ConvSpec],
) -> None:
    spec = make(3)
    plan = lower(spec, flat(16, spec, 4), target_of("avx512"))
    body = plan.body
    assert isinstance(body, WinogradBody)
    assert (body.flat, body.planes, str(plan.packing.winograd).count("(1, 1)")) == (True, 6, 1)
    assert body.scratch == 6 * (body.v_plane + body.m_plane + 16)
    assert lower(layer(), schedule(16, 4), target_of("avx512")).body.scratch > 36 * 2 * 16
    text = render_c(plan)["wino.c"]
    assert "float *t" not in text and "AT [(G g) * (BT d)]" in text


@pytest.mark.parametrize(
    "spec",
    [
        layer(c=8, oc=1),
        layer(c=64, oc=16, h=24, w=24),
        layer(h=1, w=1),
        layer(h=2, w=30, padding=Padding(0, 3, 2, 0)),
        layer(padding=Padding()),
        layer(padding=Padding(4, 0, 5, 1)),
        layer(batch=3, h=5, w=5),
        layer(bias=False, weight_layout=WeightLayout.OIHW),
        layer(weight_layout=WeightLayout.OHWI, activation=Activation(Act.RELU6)),
        layer(activation=Activation(Act.GELU)),
        layer(activation=Activation(Act.LEAKY_RELU, alpha=0.25)),
        layer(dh=2, dw=2, padding=Padding(2, 2, 2, 2)),
        layer(dh=3, dw=3, padding=Padding(3, 0, 1, 2), batch=2),
    ],
    ids=lambda s: f"{s.h}x{s.w}x{s.c}-{s.oc}-{s.padding.top}-{s.activation.kind}-{s.batch}-{s.dh}",
)
@pytest.mark.parametrize("part", list(Part))
def test_edges(spec: ConvSpec, part: Part) -> None:
    way = Way(part=part)
    needs("avx512", way)
    target = target_of("avx512")
    for m, vectors, rows, strips in ((4, 2, 5, 1), (3, 1, 4, 2)):
        prove_right(lower(spec, schedule(16, m, vectors, rows, strips), target), way)


# Images narrower than a vector, channels that end inside one, tiles that leave the image at every
# side, several images, phases of a dilation, filters of one row and one column.
PLANES = {
    "as_they_come": layer(),
    "whole_squares": layer(h=16, w=16, c=16, oc=32),
    "one_output": layer(c=8, oc=1, w=17),
    "narrow": layer(h=7, w=5, c=40, oc=24),
    "one_pixel": layer(h=1, w=1),
    "wide_padding": layer(h=2, w=30, padding=Padding(0, 3, 2, 0)),
    "beyond_padding": layer(padding=Padding(7, 9, 8, 10)),
    "no_padding": layer(padding=Padding(), weight_layout=WeightLayout.OIHW),
    "batch": layer(batch=3, h=5, w=9, bias=False, activation=Activation(Act.RELU6)),
    "dilated": layer(dh=2, dw=2, padding=Padding(2, 2, 2, 2), w=18),
    "dilated_batch": layer(dh=3, dw=3, padding=Padding(3, 0, 1, 2), batch=2),
    "row": row(3, w=21),
    "row_dilated": row(3, dh=2, dw=2, padding=Padding(0, 2, 0, 2), batch=2, w=20),
    "column": column(3, c=24, weight_layout=WeightLayout.OHWI),
    "column_dilated": column(3, dh=3, dw=3, padding=Padding(3, 3, 0, 1)),
}  # fmt: skip


@pytest.mark.parametrize("label", PLANES)
@pytest.mark.parametrize("way", ["avx512", "avx2", "half", "sse2", "model", "plain"])
def test_planes_are_transposed_and_back(label: str, way: str) -> None:
    isa, lanes, how = {
        "avx512": ("avx512", 16, GCC), "avx2": ("avx2", 8, GCC), "half": ("avx2", 4, GCC),
        "sse2": ("sse2", 4, GCC), "model": ("avx2", 8, Way(part=Part.MODEL)),
        "plain": ("avx2", 8, Way(part=Part.PLAIN)),
    }[way]  # fmt: skip
    needs(isa, how)
    spec = replace(PLANES[label], layout=Layout.NCHW)
    m = 6 if label in ("as_they_come", "batch", "whole_squares") else 4
    prove_right(lower(spec, flat(lanes, spec, m), target_of(isa)), how)


def test_of_planes_clang_takes_it_without_a_warning() -> None:
    way = Way(cc="clang")
    needs("avx2", way)
    spec = layer(layout=Layout.NCHW)
    prove_right(lower(spec, schedule(8, 4), target_of("avx2")), way)


def test_clang_takes_it_without_a_warning() -> None:
    way = Way(cc="clang")
    needs("avx2", way)
    prove_right(lower(layer(), schedule(8, 4), target_of("avx2")), way)


@pytest.mark.parametrize("make", [layer, partial(row, 5), partial(column, 5)])
def test_baked_weights_equal_the_packing_in_c(make: Callable[..., ConvSpec]) -> None:
    """The ladder compares the baked image with what <name>_pack writes, bit for bit."""
    rng = np.random.default_rng(3)
    spec = make(weight_layout=WeightLayout.OHWI)
    needs("avx2")
    w = rng.normal(size=spec.w_shape).astype(np.float32)
    weights = Weights(w, rng.normal(size=spec.oc).astype(np.float32))
    plan = lower(spec, flat(8, spec, 4), target_of("avx2"))
    assert pack(plan.packing, weights).nbytes == plan.packed_bytes
    prove_right(plan, GCC, weights)


@pytest.mark.parametrize(
    "change",
    [
        {"kh": 1, "padding": Padding(1, 1, 1, 1), "dh": 1, "dw": 2},
        {"kh": 9, "kw": 1, "padding": Padding(4, 0, 4, 0)},
        {"sh": 2, "sw": 2},
        {"dh": 2, "dw": 2},  # padding 1 is not a multiple of the dilation
        {"dh": 2, "dw": 1, "padding": Padding(2, 2, 2, 2)},
        {"kh": 5},
        {"c": 7},
        {"accuracy": Accuracy.STRICT},
        {"groups": 1, "kh": 7, "kw": 7, "padding": Padding(3, 3, 3, 3)},
    ],
    ids=str,
)
def test_other_layers_are_refused(change: dict[str, object]) -> None:
    spec = layer(**change)
    assert not winograd.fits(spec)
    with pytest.raises(ScheduleError, match="use family direct"):
        lower(spec, schedule(16, 4), target_of("avx512"))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (schedule(16, 5), "one of"),
        (schedule(16, 4, vectors=4, rows=9), "do not fit"),
        (schedule(2, 4), "no vectors of 2 lanes"),
        (replace(schedule(16, 4), tile_h=2), "one of"),
        (replace(schedule(16, 4), tile_h=1), "one of"),
    ],
)
def test_infeasible_schedules_say_why(bad: Schedule, words: str) -> None:
    with pytest.raises(ScheduleError, match=words):
        lower(layer(), bad, target_of("avx512"))


def test_flat_filters_take_it_where_products_count() -> None:
    target = target_of("avx512")
    deep, shallow = row(3, h=56, w=56, c=64, oc=64), column(3, c=8, oc=64)
    assert choose(deep, target).schedule.family is Family.WINOGRAD
    assert choose(shallow, target).schedule.family is Family.DIRECT


def test_a_flat_filter_takes_no_square_tile() -> None:
    with pytest.raises(ScheduleError, match=r"one of \[1, 2\], \[1, 3\], \[1, 4\], \[1, 6\]"):
        lower(row(3), schedule(16, 4), target_of("avx512"))


def test_strict_accuracy_never_uses_it_and_fast_does() -> None:
    big = ConvSpec("big", 56, 56, 64, 64, 3, 3, padding=Padding(1, 1, 1, 1))
    target = target_of("avx512")
    assert choose(big, target).schedule.family is Family.WINOGRAD
    strict = replace(big, accuracy=Accuracy.STRICT)
    assert choose(strict, target).schedule.family is Family.DIRECT


def test_workspace_holds_every_array() -> None:
    """v, m and both patches of every body fit the bytes that the header promises."""
    plan = lower(layer(), schedule(16, 4), target_of("avx512"))
    for body in plan.bodies:
        assert isinstance(body, WinogradBody)
        square = body.planes
        assert body.v_plane >= body.block * body.v_pitch
        assert body.m_plane >= body.block * body.tile.vectors * body.isa.lanes
        patches = 2 * body.isa.lanes  # one of inputs or outputs, one between two passes
        assert plan.workspace_bytes >= 4 * square * (body.v_plane + body.m_plane + patches)


def test_schedule_reads_back() -> None:
    pinned = schedule(16, 4)
    assert str(pinned).endswith("block: [3, 2]}")
    assert Schedule.from_mapping(pinned.to_mapping()) == pinned

"""Kernels over planes (NCHW): rows copied or read in place, tiles of every shape, bands, chunks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edge_layers import EDGES, RELU, depthwise, layer
from kernels import GCC, Part, Way, needs, prove_right, target_of
from slices import one_in

from convgen.choose.chooser import choose
from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.kernels.pack import pack
from convgen.kernels.planes.body import PlanesBody
from convgen.kernels.planes.lowering import candidates, fits
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layout, Padding, WeightLayout
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS
from convgen.verify.eva import Reading
from convgen.verify.prove import prove

NCHW = Layout.NCHW


def planes(size: str, oc: int, kernel: str, pad: str = "0 0 0 0", **more: object) -> ConvSpec:
    return layer(size, oc, kernel, pad, layout=NCHW, **more)


# What is hard for it: rows shorter than a vector, and of every rest; strides with phases of unequal
# length, columns and rows that no window reads; windows in the padding alone; reductions in a table
# and in loops; images that are one row, in panels and in place; last blocks of fewer channels.
HARD: dict[str, ConvSpec] = {
    "rows_of_7": planes("19x9x5", 6, "3x3"),
    "rows_of_3": planes("23x3x2", 3, "3x3", "1 1 1 1", batch=2),
    "in_place": planes("9x19x5", 7, "3x3"),
    "in_place_row_stride": planes("13x19x5", 7, "3x3", sh=2),
    "padded": planes("12x19x3", 5, "3x3", "1 1 1 1", batch=2, activation=RELU),
    "stride_2": planes("13x40x2", 5, "3x3", "1 1 1 1", sh=2, sw=2),
    "stride_2_even_padding": planes("9x37x3", 4, "3x5", "1 2 1 2", sh=2, sw=2),
    "stride_3": planes("21x50x2", 7, "4x4", "2 1 0 3", sh=3, sw=3),
    "stride_4_of_prime": planes("9x71x1", 2, "3x5", "0 2 0 2", sh=2, sw=4),
    "stride_beyond_image": planes("3x3x2", 3, "1x1", sh=5, sw=5),
    "row_gaps": planes("21x40x3", 4, "2x2", sh=5, sw=5),
    "wide_padding": planes("6x17x3", 4, "3x9", "1 20 1 33"),
    "taps_in_padding_only": planes("3x3x2", 5, "2x2", "4 4 4 4", sh=2, sw=2),
    "dilated": planes("12x31x3", 5, "3x3", "2 4 2 4", dh=2, dw=4, sw=3),
    "long_reduction": planes("6x17x40", 6, "3x3", "1 1 1 1"),
    "one_by_one": planes("13x11x9", 3, "1x1"),
    "one_by_one_panels": planes("13x11x40", 23, "1x1", batch=2),
    "one_by_one_deep": planes("9x11x300", 18, "1x1", weight_layout=WeightLayout.OIHW),
    "one_by_one_tiny": planes("2x2x9", 5, "1x1"),
    "one_by_one_padded": planes("5x9x4", 6, "1x1", "1 2 0 1"),
    "one_by_one_strided": planes("9x11x4", 6, "1x1", sh=2, sw=2),
    "eleven_channels": planes("8x18x13", 11, "3x3"),
    "no_bias": planes("9x20x3", 4, "3x3", "1 1 1 1", bias=False),
    "groups": planes("9x20x6", 9, "3x3", "1 1 1 1", groups=3, weight_layout=WeightLayout.OHWI),
    "groups_one_by_one": planes("9x5x8", 12, "1x1", groups=4, batch=2),
    "depth_multiplier": planes("8x18x4", 12, "3x3", "1 1 1 1", groups=4),
    "depthwise": depthwise("9x20x6", "3x3", "1 1 1 1", layout=NCHW, batch=2),
    "depthwise_in_place": depthwise("9x20x6", "3x3", layout=NCHW),
    "depthwise_7": depthwise("7x7x5", "3x3", "1 1 1 1", layout=NCHW),
    "depthwise_strided": depthwise("15x38x5", "3x3", "1 1 0 0", layout=NCHW, sh=2, sw=2),
    "depthwise_5x5": depthwise("10x9x4", "5x5", "2 2 2 2", layout=NCHW, activation=RELU),
    "depthwise_7x7": depthwise("11x19x3", "7x7", "3 3 3 3", layout=NCHW),
    "depthwise_dilated": depthwise("13x22x5", "3x3", "2 3 1 0", layout=NCHW, dh=2, dw=3),
    "depthwise_1x1": depthwise("5x5x17", "1x1", layout=NCHW),
    "gelu": planes("9x11x3", 5, "3x3", "1 1 1 1", activation=Activation(Act.GELU)),
}  # fmt: skip
# (lanes of a vector, its instructions, how it is compiled). Layers take turns; AVX2 takes all.
WAYS = {
    "avx2": (8, "avx2", GCC), "avx512": (16, "avx512", GCC), "half": (4, "avx2", GCC),
    "sse2": (4, "sse2", GCC), "plain": (8, "avx2", Way(part=Part.PLAIN)),
    "model": (8, "avx2", Way(part=Part.MODEL)), "clang": (8, "avx2", Way(cc="clang")),
}  # fmt: skip
TURNS = [
    (label, way)
    for i, label in enumerate(HARD)
    for j, way in enumerate(WAYS)
    if way in ("avx2", "avx512") or (i + j) % 4 == 0
]


def schedule(lanes: int, spec: ConvSpec, rows: int, vectors: int, channels: int) -> Schedule:
    if spec.icg == spec.ocg == 1:
        vectors = 1 if 1 < spec.kh * spec.kw <= 25 else vectors
        channels = 1
    return Schedule(Family.PLANES, lanes, rows, vectors, channels)


@pytest.mark.parametrize(("label", "way"), TURNS)
def test_hard_layers(label: str, way: str) -> None:
    lanes, isa, how = WAYS[way]
    needs(isa, how)
    spec = HARD[label]
    prove_right(lower(spec, schedule(lanes, spec, 1, 2, 4), target_of(isa)), how)


@pytest.mark.parametrize(("rows", "vectors", "channels"), [(2, 1, 5), (3, 1, 3), (1, 3, 2)])
@pytest.mark.parametrize("label", ["padded", "stride_2", "in_place", "depthwise", "rows_of_7"])
def test_tiles_of_other_shapes(label: str, rows: int, vectors: int, channels: int) -> None:
    needs("avx2")
    spec = HARD[label]
    prove_right(lower(spec, schedule(8, spec, rows, vectors, channels), target_of("avx2")))


@pytest.mark.parametrize("label", ["planes", "planes_oihw", "groups_in_planes", "depthwise_nchw"])
def test_edge_layers(label: str) -> None:
    needs("avx2")
    spec = EDGES[label]
    prove_right(lower(spec, schedule(8, spec, 1, 1, 5), target_of("avx2")))


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16])
@pytest.mark.parametrize(
    "label", ["padded", "stride_2", "one_by_one_panels", "depthwise_strided", "long_reduction"]
)
def test_other_elements(label: str, dtype: DType) -> None:
    needs("avx2")
    spec, target = replace(HARD[label], dtype=dtype), target_of("avx2")
    lanes = 4 if dtype is DType.FLOAT64 else 8
    prove_right(lower(spec, schedule(lanes, spec, 1, 2, 3), target))


def test_many_bands_and_chunks_agree_however_they_are_dealt_out() -> None:
    """The ladder compares every split into parts with the whole, bit for bit."""
    needs("avx2")
    cut = []
    for spec in (
        planes("40x41x70", 21, "1x1"),
        planes("12x14x30", 40, "3x3", "1 1 1 1"),
        depthwise("70x150x3", "3x3", "1 1 1 1", layout=NCHW),
    ):
        plan = lower(spec, schedule(8, spec, 1, 2, 4), target_of("avx2"))
        body = plan.body
        assert isinstance(body, PlanesBody)
        cut.append((body.bands > 1, body.chunks > 1))
        prove_right(plan)
    assert cut == [(True, False), (True, True), (True, False)]


def test_one_file_for_every_x86() -> None:
    needs("avx2")
    spec = HARD["padded"]
    plan = lower(spec, schedule(16, spec, 1, 2, 5), TARGETS["x86-64"])
    assert {p.schedule.family for p in plan.narrower} == {Family.PLANES}
    prove_right(plan)


def test_baked_weights_equal_the_packing_in_c() -> None:
    rng = np.random.default_rng(3)
    spec = HARD["groups"]
    needs("avx2")
    w = rng.normal(size=spec.w_shape).astype(np.float32)
    weights = Weights(w, rng.normal(size=spec.oc).astype(np.float32))
    plan = lower(spec, schedule(8, spec, 2, 1, 2), target_of("avx2"))
    assert pack(plan.packing, weights).nbytes == plan.packed_bytes
    prove_right(plan, GCC, weights)


def test_pixels_are_summed_once_where_rows_are_whole_vectors() -> None:
    body = lower(
        planes("28x32x3", 8, "3x3", "1 1 1 1"), Schedule(Family.PLANES, 8, 1, 2, 4),
        target_of("avx2"),
    ).body  # fmt: skip
    assert isinstance(body, PlanesBody)
    assert sum(len(c.places) * c.count for c in body.columns) * 8 == 32


@pytest.mark.parametrize("size", ["28x28x128", "56x56x64", "14x14x512", "7x7x1024"])
def test_depthwise_layers_take_it(size: str) -> None:
    spec = depthwise(size, "3x3", "1 1 1 1", layout=NCHW)
    for isa in ("avx2", "avx512"):
        assert choose(spec, target_of(isa)).schedule.family is Family.PLANES


def test_other_layers_are_refused() -> None:
    for spec in (layer("9x9x3", 4, "3x3"), planes("2x2x1", 1, "129x129", "128 128 128 128")):
        assert not fits(spec)
        with pytest.raises(ScheduleError, match="use family direct"):
            lower(spec, Schedule(Family.PLANES, 8, 1, 1, 1), target_of("avx2"))


def test_a_tile_beyond_the_registers_is_refused() -> None:
    with pytest.raises(ScheduleError, match="do not fit 16 registers"):
        lower(HARD["padded"], Schedule(Family.PLANES, 8, 1, 4, 5), target_of("avx2"))


def test_candidates_can_all_be_carried_out() -> None:
    for spec in HARD.values():
        for isa in ("avx512", "sse2"):
            for candidate in candidates(spec, target_of(isa)):
                assert lower(spec, candidate, target_of(isa)).body.isa.lanes == candidate.lanes
    assert Padding() == HARD["in_place"].padding


# EVA keeps no relation between a band's first tile and the tiles inside it.
BANDED = {"long_reduction", "one_by_one_panels", "one_by_one_deep"}


@pytest.mark.needs("frama-c")
@pytest.mark.parametrize("label", one_in(12, [label for label in HARD if label not in BANDED], str))
def test_hard_layers_are_proved(label: str) -> None:
    spec = HARD[label]
    plan = lower(spec, schedule(8, spec, 1, 2, 4), target_of("avx2"))
    for reading in Reading:
        found = prove(plan, render_c(plan), reading)
        assert found.proved, "\n".join(found.alarms)

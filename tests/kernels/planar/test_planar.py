"""Planar kernels: rows taken apart by every stride, strips over row ends, stores of every width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edge_layers import EDGES, RELU, depthwise, layer
from kernels import GCC, Part, Way, needs, prove_right, target_of

from convgen.choose.chooser import choose
from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.kernels.pack import pack
from convgen.kernels.planar.body import PlanarBody
from convgen.spec import Weights
from convgen.spec.model import ConvSpec, Layout, Padding, WeightLayout
from convgen.spec.schedule import Family, Schedule

# The worked cases of the layer this project began with.
S1 = layer("32x32x3", 6, "5x5", activation=RELU)
S2 = layer("32x32x3", 10, "5x5", "2 2 2 2", activation=RELU)
S3 = layer("32x32x3", 6, "5x5", "2 2 1 1", sh=2, sw=2, activation=RELU)

# What is hard for it: rows that end inside a vector, and inside three; rests of bands, strips and
# channels; widths around whole vectors, with every remainder of the stride; straight stores.
HARD: dict[str, ConvSpec] = {
    "rows_of_7": layer("19x9x5", 6, "3x3"),
    "rows_of_3": layer("23x3x2", 3, "3x3", "1 1 1 1", batch=2),
    "strided_rest": layer("9x35x3", 5, "3x5", "1 2 1 2", sh=2, sw=2),
    "stride_3": layer("21x50x2", 7, "4x4", "2 1 0 3", sh=3, sw=3),
    "stride_4_of_prime": layer("9x71x1", 2, "3x5", "0 2 0 2", sh=2, sw=4),
    "wide_padding": layer("6x17x3", 4, "3x9", "1 20 1 33"),
    "taps_in_padding_only": layer("3x3x2", 5, "2x2", "4 4 4 4", sh=2, sw=2),
    "squares": layer("7x37x35", 3, "3x3", "1 1 1 1"),
    "squares_strided": layer("7x37x18", 3, "3x3", "1 1 1 1", sh=2, sw=2),
    "one_by_one": layer("13x11x40", 1, "1x1"),
    "eleven_channels": layer("8x18x13", 11, "3x3"),
    "planes": layer("12x19x3", 5, "3x3", "1 1 1 1", layout=Layout.NCHW, batch=2),
    "planes_strided": layer("13x40x2", 5, "3x3", "1 1 1 1", layout=Layout.NCHW, sh=2, sw=2),
    "one_output": layer("11x33x2", 1, "3x3", "1 1 1 1"),
    "groups_of_two": layer(
        "9x20x6", 9, "3x3", "1 1 1 1", groups=3, weight_layout=WeightLayout.OHWI
    ),
    "depthwise": depthwise("9x20x6", "3x3", "1 1 1 1"),
    "dilated": layer("12x31x3", 5, "3x3", "2 4 2 4", dh=2, dw=4, sw=3),
    "many_bands": layer("61x60x6", 2, "3x3", "1 1 1 1", sh=2, sw=1),
    "row_gaps": layer("21x40x3", 4, "2x2", sh=5, sw=5),
    # No vector of outputs is whole: only the zeros of rows outside the image are stored whole.
    "no_whole_store": layer("1x1x2", 1, "1x1", bias=False),
    "no_whole_store_wide": layer("17x5x3", 1, "1x3"),
    "no_bias": layer("9x20x3", 4, "3x3", bias=False),
}  # fmt: skip
# AVX-512 takes every layer, the others take turns.
WAYS = {
    "avx512": (16, GCC), "avx2": (8, GCC), "plain": (16, Way(part=Part.PLAIN)),
    "half": (4, GCC), "sse2": (4, GCC), "model": (16, Way(part=Part.MODEL)),
}  # fmt: skip
TURNS = [
    (label, way)
    for i, label in enumerate(HARD)
    for j, way in enumerate(WAYS)
    if way == "avx512" or (i + j) % 4 == 0
]


def schedule(lanes: int, rows: int, vectors: int, channels: int) -> Schedule:
    return Schedule(Family.PLANAR, lanes, rows, vectors, channels)


@pytest.mark.parametrize(("label", "way"), TURNS)
def test_hard_layers(label: str, way: str) -> None:
    lanes, how = WAYS[way]
    isa = {"half": "avx2", "plain": "avx512", "model": "avx512"}.get(way, way)
    needs(isa, how)
    prove_right(lower(HARD[label], schedule(lanes, 3, 2, 4), target_of(isa)), how)


@pytest.mark.parametrize("rows", [4, 5])
@pytest.mark.parametrize("spec", [S1, S2, S3], ids=["s1", "s2", "s3"])
def test_strips_of_any_height(spec: ConvSpec, rows: int) -> None:
    needs("avx512")
    prove_right(lower(spec, schedule(16, rows, 4, 5), target_of("avx512")))


def test_clang_takes_it_without_a_warning() -> None:
    way = Way(cc="clang")
    needs("avx512", way)
    prove_right(lower(HARD["strided_rest"], schedule(16, 2, 3, 5), target_of("avx512")), way)


def test_baked_weights_equal_the_packing_in_c() -> None:
    rng = np.random.default_rng(3)
    spec = HARD["groups_of_two"]
    needs("avx2")
    w = rng.normal(size=spec.w_shape).astype(np.float32)
    weights = Weights(w, rng.normal(size=spec.oc).astype(np.float32))
    plan = lower(spec, schedule(8, 2, 2, 2), target_of("avx2"))
    assert pack(plan.packing, weights).nbytes == plan.packed_bytes
    prove_right(plan, GCC, weights)


@pytest.mark.parametrize("label", ["pointwise_grouped", "batch_any", "depth_multiplier", "row"])
def test_edge_layers(label: str) -> None:
    needs("avx512")
    prove_right(lower(EDGES[label], schedule(16, 2, 2, 5), target_of("avx512")))


def test_few_channels_are_chosen_planar_and_many_are_not() -> None:
    for spec in (S1, S2, S3, layer("112x112x32", 1, "3x3"), layer("56x56x3", 4, "3x3")):
        assert choose(spec, target_of("avx512")).schedule.family is Family.PLANAR
    for spec in (layer("56x56x64", 20, "1x1"), layer("28x28x64", 32, "3x3", "1 1 1 1")):
        assert choose(spec, target_of("avx512")).schedule.family is not Family.PLANAR


@pytest.mark.parametrize("spec", [S1, S2, S3], ids=["s1", "s2", "s3"])
def test_lanes_are_full_where_rows_allow_it(spec: ConvSpec) -> None:
    """28 columns fill vectors of 16 four rows at a time."""
    plan = lower(spec, schedule(16, 4, 4, 6), target_of("avx512"))
    body = plan.body
    assert isinstance(body, PlanarBody)
    vectors = sum(len(run.vectors) * run.count for run in body.main.runs)
    assert vectors * 16 == 4 * spec.ow


def test_a_tile_beyond_the_registers_is_refused() -> None:
    with pytest.raises(ScheduleError, match="do not fit 16 registers"):
        lower(S1, schedule(8, 1, 4, 6), target_of("avx2"))
    with pytest.raises(ScheduleError, match="no vectors of 16 lanes"):
        lower(S1, schedule(16, 1, 4, 6), target_of("avx2"))


def test_an_unpadded_layer_has_nothing_to_mend() -> None:
    from convgen.render.source import render_c

    for spec, mends in ((S1, False), (S2, True)):
        plan = lower(replace(spec, name="l"), schedule(16, 2, 4, 5), target_of("avx512"))
        assert ("mend(" in render_c(plan)["l.c"]) is mends
    assert S1.padding == Padding()

"""Kernels with lanes along the reduction: runs of every length, windows that leave the image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edge_layers import RELU, layer
from kernels import GCC, Part, Way, needs, planned, prove_right, target_of
from slices import one_in

from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.kernels.pack import pack
from convgen.kernels.reduction.lowering import fits
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layout, WeightLayout
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS
from convgen.verify.eva import Reading
from convgen.verify.prove import prove

HARD: dict[str, ConvSpec] = {
    "whole_image": layer("5x7x13", 1, "5x7"),
    "whole_planes": layer("5x7x13", 3, "5x7", layout=Layout.NCHW, activation=RELU),
    "whole_planes_oihw": layer(
        "4x3x6", 5, "4x3", layout=Layout.NCHW, weight_layout=WeightLayout.OIHW, batch=2
    ),
    "whole_planes_groups": layer("3x5x8", 6, "3x5", layout=Layout.NCHW, groups=2),
    "one_pixel": layer("1x1x301", 7, "1x1"),
    "one_pixel_planes": layer("1x1x301", 2, "1x1", layout=Layout.NCHW, bias=False),
    "padded": layer("6x5x11", 1, "3x3", "1 1 1 1"),
    "padded_strided": layer("9x8x11", 2, "5x3", "2 1 2 0", sh=2, sw=2, batch=2),
    "dilated": layer("9x10x19", 1, "3x3", "2 3 2 3", dh=2, dw=3),
    "groups": layer("5x6x36", 3, "3x3", "1 0 1 1", groups=3, weight_layout=WeightLayout.OHWI),
    "beyond_padding": layer("2x3x17", 1, "2x2", "4 4 4 4"),
    "gelu": layer("3x3x40", 2, "3x3", activation=Activation(Act.GELU)),
}  # fmt: skip
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


def schedule(lanes: int, strands: int = 2, channels: int = 2) -> Schedule:
    return Schedule(Family.REDUCTION, lanes, 1, strands, channels)


@pytest.mark.parametrize(("label", "way"), TURNS)
def test_hard_layers(label: str, way: str) -> None:
    lanes, isa, how = WAYS[way]
    needs(isa, how)
    prove_right(lower(HARD[label], schedule(lanes), target_of(isa)), how)


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16])
@pytest.mark.parametrize("label", ["whole_planes", "padded_strided", "groups"])
def test_other_elements(label: str, dtype: DType) -> None:
    needs("avx2")
    spec = replace(HARD[label], dtype=dtype)
    prove_right(lower(spec, schedule(4 if dtype is DType.FLOAT64 else 8), target_of("avx2")))


def test_baked_weights_equal_the_packing_in_c() -> None:
    needs("avx2")
    rng = np.random.default_rng(3)
    for label in ("whole_planes_groups", "groups"):
        spec = HARD[label]
        w = rng.normal(size=spec.w_shape).astype(np.float32)
        weights = Weights(w, rng.normal(size=spec.oc).astype(np.float32))
        plan = lower(spec, schedule(8, 1, 4), target_of("avx2"))
        assert pack(plan.packing, weights).nbytes == plan.packed_bytes
        prove_right(plan, GCC, weights)


def test_one_file_for_every_x86() -> None:
    needs("avx2")
    plan = lower(HARD["padded"], schedule(16, 4, 1), TARGETS["x86-64"])
    assert [p.schedule.family for p in plan.narrower] == [Family.REDUCTION] * 2
    prove_right(plan)


@pytest.mark.parametrize("isa", ["avx512", "avx2", "sse2"])
@pytest.mark.parametrize("layout", Layout)
def test_filters_as_large_as_the_input_take_it(layout: Layout, isa: str) -> None:
    for size, oc, kernel in (("7x7x512", 1, "7x7"), ("1x1x100000", 1, "1x1")):
        plan = planned(layer(size, oc, kernel, layout=layout), target_of(isa))
        assert plan.schedule.family is Family.REDUCTION


def test_other_layers_are_refused() -> None:
    for spec in (layer("9x9x16", 2, "3x3", layout=Layout.NCHW), layer("300x300x3", 4, "3x3")):
        assert not fits(spec)
        with pytest.raises(ScheduleError, match="use family direct"):
            lower(spec, schedule(8), target_of("avx2"))
    with pytest.raises(ScheduleError, match="do not fit 16 registers"):
        lower(HARD["padded_strided"], schedule(8, 16, 2), target_of("avx2"))


@pytest.mark.needs("frama-c")
@pytest.mark.parametrize("label", one_in(6, [*HARD], str))
def test_hard_layers_are_proved(label: str) -> None:
    plan = lower(HARD[label], schedule(8), target_of("avx2"))
    for reading in Reading:
        found = prove(plan, render_c(plan), reading)
        assert found.proved, "\n".join(found.alarms)

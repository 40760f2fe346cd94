"""Planes that the direct kernels turn into pixels first: where these lie half a page apart, or a
whole one, each has a line more between it and the next."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge_layers import layer
from kernels import COMPILERS, Part, Way, needs, prove_right, target_of

from convgen.kernels import lower
from convgen.kernels.tiled.walk import pitch_of, turned
from convgen.spec.model import Accuracy, ConvSpec, DType, Layout
from convgen.spec.schedule import Family, Schedule


def planes(image: str, oc: int, kernel: str = "1x1", **more: object) -> ConvSpec:
    return replace(layer(image, oc, kernel), layout=Layout.NCHW, **more)  # type: ignore[arg-type]


CASES = {
    "half a page": planes("3x4x512", 40),
    "images": planes("4x5x512", 40, batch=2),
    "rest of a vector": planes("3x3x512", 37),
    "groups": planes("3x4x512", 48, groups=2),
    "strided": planes("7x5x512", 40, sh=2),
    "column": planes("6x4x512", 40, "3x1"),
    "doubles": planes("3x4x256", 40, dtype=DType.FLOAT64),
    "halves": planes("3x4x1024", 40, dtype=DType.FLOAT16),
}


@pytest.mark.parametrize("part", [Part.OWN, Part.MODEL])
@pytest.mark.parametrize("label", CASES)
def test_a_line_between_pixels(label: str, part: Part) -> None:
    spec, target = CASES[label], target_of("avx2")
    lanes = 4 if spec.dtype is DType.FLOAT64 else 8
    schedule = Schedule(Family.DIRECT, lanes, 1, 3, 1)
    assert turned(spec, schedule) and pitch_of(spec) > spec.c
    plan = lower(spec, schedule, target)
    size = 8 if spec.dtype is DType.FLOAT64 else 2 if spec.dtype is DType.FLOAT16 else 4
    assert plan.workspace_bytes == spec.batch * spec.h * spec.w * pitch_of(spec) * size
    way = Way(COMPILERS[0], part=part)
    needs("avx2", way)
    prove_right(plan, way)


def test_pairs_of_bfloat16_have_it_too() -> None:
    spec = planes("3x4x1024", 80, dtype=DType.BFLOAT16, accuracy=Accuracy.FAST)
    schedule = Schedule(Family.DIRECT, 16, 1, 3, 1)
    assert turned(spec, schedule) and pitch_of(spec) == 1024 + 32
    prove_right(lower(spec, schedule, target_of("avx512bf16")), Way(part=Part.MODEL))


@pytest.mark.parametrize(
    "spec", [planes("3x4x500", 40), planes("3x4x512", 40, "1x3"), planes("3x4x64", 40)]
)
def test_others_lie_close_together(spec: ConvSpec) -> None:
    """A row of taps is one run of memory, and few channels share no sets."""
    assert pitch_of(spec) == spec.c

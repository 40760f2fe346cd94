"""Every layer with some work gets a vector kernel on a machine that has vectors for its type."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from edge_layers import EDGES
from kernels import target_of
from quant_layers import quantised

from convgen.choose.chooser import choose
from convgen.kernels.face import flat_2d, isas_of
from convgen.spec.model import Accuracy, ConvSpec, DType, Layout, Padding
from convgen.spec.quant import Rounding
from convgen.target import Target

WORK = 10_000  # multiply-adds from which it pays
COUNT = 36


def drawn(seed: int) -> ConvSpec:
    """A layer of any geometry, and of every kind of grouping, large or small on each axis."""
    rng = np.random.default_rng([seed, 15])

    def some(low: int, high: int) -> int:
        return int(np.exp(rng.uniform(np.log(low), np.log(high + 1))))

    kh, kw, dh, dw, sh, sw = (
        some(1, 5),
        some(1, 5),
        some(1, 2),
        some(1, 2),
        some(1, 3),
        some(1, 3),
    )
    h, w = (max(some(1, 60), (k - 1) * d + 1) for k, d in ((kh, dh), (kw, dw)))
    groups = (1, 1, some(1, 8), some(1, 64))[int(rng.integers(4))]
    icg, ocg = (some(1, 300), some(1, 64)) if groups == 1 else (some(1, 8), some(1, 4))
    pads = Padding(*(int(rng.integers(0, k)) for k in (kh, kw, kh, kw)))
    return ConvSpec(
        "edge", h, w, groups * icg, groups * ocg, kh, kw, sh, sw, dh, dw, pads, groups,
        layout=list(Layout)[seed % 2], accuracy=list(Accuracy)[int(rng.integers(2))],
    )  # fmt: skip


def of_type(spec: ConvSpec, dtype: DType) -> ConvSpec:
    if dtype in (DType.INT8, DType.UINT8):
        return replace(quantised(spec, Rounding.ONNX), dtype=dtype)
    return replace(spec, dtype=dtype)


def plain_is_quicker(spec: ConvSpec) -> bool:
    """Groups of several inputs and one output, and one filter over planes, by which an input is
    read a few times only. Measured on Zen 3, in us: 37x31x56 in 8 groups (NHWC) 22 in plain C, 37
    with pixels in lanes, 86 along the reduction; 55x152 in 19 groups (NCHW, SSE2) 14 and 20, 38x295
    in 59 groups 9 and 20; 51x9x154 with one filter 44 and 43."""
    return spec.ocg == 1 < spec.icg and (spec.groups > 1 or spec.layout is Layout.NCHW)


def scalar(spec: ConvSpec, target: Target) -> bool:
    """Whether plain C was chosen although there are vectors for the type."""
    vectors = any(isa.lanes > 1 for isa in isas_of(spec, target))
    return vectors and choose(spec, target).schedule.lanes == 1


@pytest.mark.parametrize("isa", ["avx2", "avx512", "sse2"])
@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.FLOAT16, DType.FLOAT64, DType.INT8])
def test_random_layers_get_vectors(dtype: DType, isa: str) -> None:
    target = target_of(isa)
    looked_at = 0
    for seed in range(COUNT):
        spec = drawn(seed)
        if spec.macs < WORK or spec.macs > 10**9:
            continue
        looked_at += 1
        assert plain_is_quicker(spec) or not scalar(of_type(spec, dtype), target), spec
    assert looked_at > COUNT // 3


@pytest.mark.parametrize("label", EDGES)
def test_the_hard_layers_get_vectors(label: str) -> None:
    for layout in Layout:
        one = replace(EDGES[label], layout=layout)
        if one.macs >= WORK and flat_2d(one) and not plain_is_quicker(one):
            assert not scalar(one, target_of("avx2")), one

"""1-D, 3-D and transposed layers in every element type; floats of float32 are in test_kernels."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from edge_layers import EDGES
from kernels import GCC, Part, Way, compiled, needs, planned, prove_right, target_of
from operator_layers import operator_layers
from quant_layers import quantised

from convgen.kernels.pack import pack, pack_sections
from convgen.plan.kernel import KernelPlan
from convgen.plan.problem import problems_of, tap_order
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.elements import arrays_of
from convgen.spec.model import Accuracy, ConvSpec, DType, Layout
from convgen.spec.quant import Rounding
from convgen.target import TARGETS
from convgen.verify.fills import exact_fill

OPERATORS = [label for label, spec in EDGES.items() if spec.transposed or spec.rank != 2]
FEW = ["transposed_groups", "transposed_planes", "series_planes", "volume", "volume_transposed"]


def integers(label: str, dtype: DType = DType.INT8) -> ConvSpec:
    return quantised(EDGES[label], list(Rounding)[len(label) % 3], dtype)


# -- problems ---------------------------------------------------------------------------------


def test_problems_share_out_the_outputs() -> None:
    """Every output is one problem's; every tap of a transposed layer is packed once."""
    for spec in operator_layers(200, seed=3):
        problems = problems_of(spec)
        assert len({(p.images, p.groups, p.ic, p.oc, p.x_channel) for p in problems}) == 1
        counts = np.zeros((spec.od, spec.oh, spec.ow), int)
        for problem in problems:
            at = [side.origin + np.arange(side.out) * side.every for side in problem.axes]
            counts[np.ix_(*at)] += 1
        assert (counts == 1).all(), spec
        rows, columns = tap_order(spec)
        if spec.transposed:
            assert sorted(rows) == list(range(spec.kd * spec.kh))
            assert sorted(columns) == list(range(spec.kw))


def test_a_convolution_is_one_problem() -> None:
    (problem,) = problems_of(EDGES["dilated_and_strided"])
    _, height, width = problem.axes
    assert (height.stride, width.dilation, height.every) == (2, 2, 1)


# -- packing ----------------------------------------------------------------------------------


def packed_by_c(plan: KernelPlan, weights: Weights) -> np.ndarray:
    library = ctypes.CDLL(str(compiled(plan.spec.name, render_c(plan), GCC)))
    packed = np.full(plan.packed_bytes, 0xAA, np.uint8)
    pointer = ctypes.c_void_p
    b = None if weights.b is None else pointer(weights.b.ctypes.data)
    pack_c = library[f"{plan.spec.name}_pack"]
    assert pack_c(pointer(weights.w.ctypes.data), b, pointer(packed.ctypes.data)) == 0
    return packed


@pytest.mark.parametrize("label", OPERATORS)
def test_weights_are_packed_alike_in_c_and_numpy(label: str) -> None:
    needs("avx2")
    for spec in (EDGES[label], integers(label)):
        fill = exact_fill(spec, 5)
        weights = Weights(np.ascontiguousarray(fill.w), fill.b)
        plan = planned(spec, target_of("avx2"))
        if spec.quantized:
            own = pack_sections(plan, weights)
        else:
            own = pack(plan.packing, weights, arrays_of(spec).w)
        assert packed_by_c(plan, weights).tobytes() == own.tobytes()


@pytest.mark.parametrize("label", FEW)
def test_baked_weights(label: str) -> None:
    needs("avx2")
    fill = exact_fill(EDGES[label], 6)
    prove_right(planned(EDGES[label], target_of("avx2")), GCC, Weights(fill.w, fill.b))


# -- element types ----------------------------------------------------------------------------


@pytest.mark.parametrize("label", OPERATORS)
def test_integers_on_vectors(label: str) -> None:
    needs("avx2")
    prove_right(planned(integers(label), target_of("avx2")))


@pytest.mark.parametrize("label", OPERATORS[::2])
def test_integers_with_vnni(label: str) -> None:
    spec = integers(label, DType.UINT8)
    prove_right(planned(spec, TARGETS["x86-64-avx512"]), Way(part=Part.MODEL))


@pytest.mark.parametrize("target", ["generic", "cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("label", FEW)
def test_integers_in_plain_c(label: str, target: str) -> None:
    part = Part.OWN if target == "generic" else Part.PLAIN
    prove_right(planned(integers(label), TARGETS[target]), Way(part=part))


@pytest.mark.parametrize("label", ["transposed_depthwise", "volume_depthwise"])
def test_depthwise_integers_over_planes(label: str) -> None:
    """Their images are copied, channels side by side."""
    needs("avx2")
    prove_right(planned(replace(integers(label), layout=Layout.NCHW), target_of("avx2")))


@pytest.mark.parametrize("dtype", [DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16])
@pytest.mark.parametrize("label", FEW)
def test_other_floats(label: str, dtype: DType) -> None:
    needs("avx2")
    prove_right(planned(replace(EDGES[label], dtype=dtype), target_of("avx2")))


@pytest.mark.parametrize("label", ["transposed", "transposed_groups", "volume"])
def test_pairs(label: str) -> None:
    spec = replace(EDGES[label], dtype=DType.BFLOAT16, accuracy=Accuracy.FAST)
    plan = planned(spec, TARGETS["x86-64-avx512bf16"])
    assert plan.packing.side == 2
    prove_right(plan, Way(part=Part.MODEL))

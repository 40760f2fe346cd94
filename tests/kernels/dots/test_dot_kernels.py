"""8-bit kernels on vectors, to the bit: every instruction set that is here, and their models."""

from __future__ import annotations

import ctypes
import random
from dataclasses import replace

import numpy as np
import pytest
from dot_ways import DOTTED, X86, way_of
from edge_layers import EDGES
from kernels import COMPILERS, Way, compiled, planned, prove_right
from quant_layers import CLAMPED, TABLED, Filled, filled, quantised, random_layer
from slices import share

from convgen.choose.chooser import ranking
from convgen.kernels.dots.body import DotBody, DotPacking
from convgen.kernels.pack import pack_sections
from convgen.kernels.tiled.quads import quads_of
from convgen.oracle.integers import reference
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layout, Padding
from convgen.spec.quant import Affine, Quant, Rounding
from convgen.spec.schedule import Family
from convgen.target import TARGETS


def plans(spec: ConvSpec, target: str) -> list[KernelPlan]:
    found = [entry.plan for entry in ranking(spec, TARGETS[target])]
    return [plan for plan in found if isinstance(plan.body, DotBody)]


def run(layer: Filled, plan: KernelPlan, way: Way) -> np.ndarray:
    spec = layer.spec
    lib = ctypes.CDLL(str(compiled(spec.name, render_c(plan), way)))
    packed = np.empty(plan.packed_bytes, np.uint8)
    workspace = np.empty(plan.workspace_bytes + 1, np.uint8)
    y = np.empty(spec.y_shape, numpy_dtype(arrays_of(spec).y))
    b = None if layer.b is None else layer.b.ctypes.data_as(ctypes.c_void_p)
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (layer.w, packed, layer.x, y, workspace)]
    assert lib.edge_pack(at[0], b, at[1]) == 0
    assert packed.tobytes() == pack_sections(plan, Weights(layer.w, layer.b)).tobytes()
    lib.edge_run(at[2], at[1], at[3], at[4])
    return y


def check(layer: Filled, target: str, way: Way, seed: int = 0) -> bool:
    """Whether a vector plan, drawn among all, gives the oracle's bytes; False if there is none."""
    found = plans(layer.spec, target)
    if not found:
        return False
    plan = random.Random(seed).choice(found)
    want = reference(layer.spec, layer.x, layer.w, layer.b)
    text = f"{layer.spec}\n{plan.schedule}"
    np.testing.assert_array_equal(run(layer, plan, way), want, text)
    return True


@pytest.mark.parametrize("model", [False, True], ids=["real", "model"])
@pytest.mark.parametrize("target", DOTTED)
def test_random_layers(target: str, model: bool) -> None:
    if not model and target not in X86:
        pytest.skip("another machine's instructions: test_cross.py runs them under emulation")
    way, ran = way_of(target, model=model), 0
    count = 12 if target == DOTTED[0] else 4 if model else 8
    for seed in range(count):
        rounding = list(Rounding)[seed % 3]
        dtype = DType.UINT8 if seed % 2 else DType.INT8
        layer = random_layer(seed + 100, rounding, dtype=dtype, w_zero=False)
        ran += check(layer, target, way, seed)
    assert ran >= 2 * count // 3


@pytest.mark.parametrize("name", list(EDGES)[1::7])
def test_edges(name: str) -> None:
    target = "x86-64-avx512"
    way = way_of(target, model=False)
    spec = quantised(EDGES[name], list(Rounding)[len(name) % 3])
    check(filled(spec, 1), target, way, len(name))


SHAPES = {
    "whole steps": (9, 10, 8, 40, 3, 1, Padding(1, 1, 1, 1), 1),
    "pointwise": (7, 9, 16, 33, 1, 1, Padding(), 1),
    "three channels": (12, 11, 3, 20, 5, 2, Padding(2, 2, 1, 1), 1),
    "groups": (6, 7, 24, 36, 3, 1, Padding(1, 0, 0, 1), 3),
    "groups of odd size": (6, 7, 15, 36, 3, 1, Padding(1, 0, 0, 1), 3),
    "depthwise": (9, 11, 37, 37, 3, 1, Padding(1, 1, 1, 1), 37),
    "depthwise, wide": (13, 12, 20, 20, 7, 2, Padding(3, 3, 2, 3), 20),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("target", X86)
def test_shapes_climb_the_ladder(target: str, shape: str) -> None:
    """Guard pages, parts and poison as well as the bytes."""
    rounding = list(Rounding)[list(SHAPES).index(shape) % 3]
    way = way_of(target, model=False)
    h, w, c, oc, taps, stride, pad, groups = SHAPES[shape]
    spec = ConvSpec("edge", h, w, c, oc, taps, taps, stride, stride, 1, 1, pad, groups)
    act = (Activation(), Activation(Act.RELU), Activation(Act.RELU6))[len(shape) % 3]
    spec = replace(quantised(spec, rounding), activation=act)
    prove_right(plans(spec, target)[0], way)


@pytest.mark.parametrize(
    ("height", "taps", "stride", "dilation"),
    [(2, 3, 1, 1), (1, 3, 2, 1), (3, 3, 2, 1), (4, 5, 1, 1), (3, 2, 1, 4)],
)
def test_fours_of_rows_meet_every_tap_once(
    height: int, taps: int, stride: int, dilation: int
) -> None:
    quads, patterns = quads_of(height, taps, stride, dilation)
    met = [
        (row, patterns[at][i], quad.rows[i])
        for quad in quads
        for row, at in quad.uses
        for i in range(4)
        if patterns[at][i] >= 0
    ]
    want = [(r, k, r * stride + k * dilation) for r in range(height) for k in range(taps)]
    assert sorted(met) == want


@pytest.mark.parametrize("model", [False, True], ids=["real", "model"])
@pytest.mark.parametrize("rounding", Rounding)
def test_depthwise_by_fours_of_rows(rounding: Rounding, model: bool) -> None:
    """Strides, dilations and tails; sums of taps where the input's zero is not its least."""
    if model and rounding is not Rounding.ONNX:
        pytest.skip("compilers take their time for it; the model of roundings is tested above")
    way, ran = way_of("x86-64-avx512", model=model), 0
    cases = list(enumerate([(19, 3, 1, 1), (16, 3, 2, 1), (33, 5, 1, 1), (9, 3, 1, 2)]))
    if model:
        cases = share(4, cases)
    for i, (c, k, s, d) in cases:
        pad = Padding(1, 2, 1, 0)
        h, w = (11 + 3 - (k - 1) * d - 1) % s, (13 + 1 - (k - 1) * d - 1) % s
        spec = ConvSpec("edge", 11 - h, 13 - w, c, c, k, k, s, s, d, d, pad, c)
        layer = filled(quantised(spec, rounding), i)
        found = [
            plan
            for plan in plans(layer.spec, "x86-64-avx512")
            if isinstance(plan.sections, DotPacking) and plan.sections.patterns
        ]
        plan = random.Random(i).choice(found)
        want = reference(layer.spec, layer.x, layer.w, layer.b)
        np.testing.assert_array_equal(run(layer, plan, way), want, f"{plan.schedule}")
        ran += 1
    assert ran == len(cases)


@pytest.mark.parametrize("act", [*CLAMPED, TABLED[1]], ids=lambda act: str(act.kind))
@pytest.mark.parametrize("rounding", Rounding)
def test_activations(rounding: Rounding, act: Activation) -> None:
    way = way_of("x86-64-avx512", model=False)
    layer = random_layer(5, rounding, activation=act, w_zero=False)
    assert check(layer, "x86-64-avx512", way)


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8])
def test_int32_sums_and_planes(dtype: DType) -> None:
    way = way_of("x86-64-avx512", model=False)
    sums = Quant(Affine((), (3,)), Affine((), (0,)), None)
    spec = ConvSpec("edge", 5, 6, 8, 20, 3, 3, dtype=dtype, quant=sums)
    for each in (spec, replace(spec, layout=Layout.NCHW), replace(spec, batch=3, c=3)):
        for act in (Activation(), Activation(Act.RELU)):
            assert check(filled(replace(each, activation=act), 2), "x86-64-avx512", way)


# Scales that vectors take as they are, those clamped before they round, those of dead filters.
RATIOS = (
    (0.5, 0.499, 2.0**-8, 2.0**-20, 2.0**-21, 0.3),
    (1.0, 3.0, 0.75, 2.0**-9),
    (2.0**-22, 2.0**-23, 2.0**-28, 1.9 * 2.0**-31, 2.0**-31, 1.1 * 2.0**-32, 2.0**-40, 0.3),
)


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("target", X86)
def test_hard_sums(target: str, rounding: Rounding, cc: str) -> None:
    """The bias alone is the sum: every kind of tie and saturation, in every lane."""
    way = way_of(target, model=False, cc=cc)
    for ratios in RATIOS if cc == "gcc" else RATIOS[:1]:
        b, scales = np.zeros(0, np.int32), list[float]()
        for ratio in ratios:
            ends = [0.5 / ratio, 1.5 / ratio, 2.5 / ratio, 120 / ratio, 130 / ratio]
            near = np.concatenate([np.arange(-3, 4) + int(min(e, 2**31 - 500)) for e in ends])
            large = [2**31 - 200, 2**30, 2**24 + 1, 2**24 + 3, 12345678, 2**23]
            sums = np.clip(np.concatenate([near, large]), -(2**31) + 200, 2**31 - 200)
            b = np.concatenate([b, sums, -sums]).astype(np.int32)
            scales += [ratio * 0.5] * (2 * len(sums))
        quant = Quant(Affine((1.0,), (0,)), Affine(tuple(scales)), Affine((0.5,), (5,)),
                      None, rounding)  # fmt: skip
        spec = ConvSpec("edge", 1, 1, 1, len(b), 1, 1, dtype=DType.INT8, quant=quant)
        layer = Filled(spec, np.zeros(spec.x_shape, np.int8), np.ones(spec.w_shape, np.int8), b)
        assert check(layer, target, way)


@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
@pytest.mark.parametrize("zero", [-128, 5])
@pytest.mark.parametrize("target", X86)
def test_dead_filters_do_not_slow_their_layer(target: str, zero: int, rounding: Rounding) -> None:
    """Training leaves some with scales of next to nothing, or 0: the others keep their vectors."""
    way = way_of(target, model=False)
    scales = [0.01, 1e-12, 0.0, 3e-9, 0.02] * 4
    quant = Quant(
        Affine((1.0,), (3,)), Affine(tuple(scales)), Affine((0.5,), (zero,)), None, rounding
    )
    layer = filled(ConvSpec("edge", 7, 6, 12, 20, 3, 3, dtype=DType.INT8, quant=quant), 4)
    layer.w[..., 2::5] = 0
    assert "spill" not in planned(layer.spec, TARGETS[target]).body.operations
    assert check(layer, target, way)


# Depthwise with windows unrolled and counted, grouped, dense; last blocks of every length.
PLANES = {
    "dense": ConvSpec("edge", 9, 11, 5, 21, 3, 3, padding=Padding(1, 1, 1, 1)),
    "strided": ConvSpec("edge", 12, 9, 16, 33, 3, 2, 2, 2, padding=Padding(1, 1, 0, 0)),
    "one_by_one": ConvSpec("edge", 6, 7, 20, 40, 1, 1, batch=2),
    "groups": ConvSpec("edge", 7, 8, 8, 24, 3, 3, padding=Padding(1, 1, 1, 1), groups=2),
    "depthwise": ConvSpec("edge", 9, 10, 37, 37, 3, 3, padding=Padding(1, 1, 1, 1), groups=37),
    "depthwise_batch": ConvSpec("edge", 9, 9, 16, 16, 3, 3, 2, 2, padding=Padding(1, 1, 1, 1),
                                groups=16, batch=2),
    "depthwise_rows": ConvSpec("edge", 5, 30, 20, 20, 1, 9, padding=Padding(0, 4, 0, 4), groups=20),
}  # fmt: skip


@pytest.mark.parametrize("model", [False, True], ids=["vectors", "model"])
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("label", PLANES)
def test_planes_are_scaled_by_vectors(label: str, rounding: Rounding, model: bool) -> None:
    """NCHW: the image is copied side by side, and every vector of bytes goes to its planes."""
    target = "x86-64-avx2"
    way = way_of(target, model=model)
    spec = replace(PLANES[label], layout=Layout.NCHW)
    layer = filled(quantised(spec, rounding), 3)
    plan = planned(layer.spec, TARGETS[target])
    assert isinstance(plan.sections, DotPacking), plan.schedule
    assert "spill" not in plan.body.operations
    assert plan.schedule.family is (
        Family.DEPTHWISE if label.startswith("depthwise") else Family.DIRECT
    )
    assert check(layer, target, way)

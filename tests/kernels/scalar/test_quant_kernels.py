"""The generated 8-bit kernels, to the bit: against the oracle, on every compiler that is here."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from edge_layers import EDGES
from kernels import COMPILERS, Way, compiled, needs, planned
from quant_layers import CLAMPED, TABLED, Filled, filled, quantised, random_layer

from convgen.kernels.pack import pack_sections
from convgen.oracle.integers import reference
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.model import Act, Activation, ConvSpec, DType
from convgen.spec.quant import Affine, Quant, Rounding
from convgen.target import TARGETS

PLAIN = TARGETS["generic"]
STRICTEST = ("-O2", "-Wpedantic", "-ffp-contract=fast")


def library(layer: Filled, way: Way, weights: Weights | None = None) -> tuple[Path, int]:
    plan = planned(layer.spec, PLAIN)
    return compiled(layer.spec.name, render_c(plan, weights), way), plan.packed_bytes


def run(layer: Filled, way: Way) -> np.ndarray:
    path, size = library(layer, way)
    lib, spec = ctypes.CDLL(str(path)), layer.spec
    packed = np.empty(size, np.uint8)
    y = np.empty(spec.y_shape, numpy_dtype(arrays_of(spec).y))
    b = None if layer.b is None else layer.b.ctypes.data_as(ctypes.c_void_p)
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (layer.w, packed, layer.x, y)]
    assert lib.edge_pack(at[0], b, at[1]) == 0
    expected = pack_sections(planned(spec, PLAIN), Weights(layer.w, layer.b))
    assert packed.tobytes() == expected.tobytes()
    lib.edge_run(at[2], at[1], at[3], None)
    return y


@pytest.mark.parametrize("name", list(EDGES)[::6])
def test_edges(name: str) -> None:
    needs("plain")
    spec = quantised(EDGES[name], list(Rounding)[len(name) % 3])
    layer = filled(spec, 1)
    np.testing.assert_array_equal(run(layer, Way()), reference(spec, layer.x, layer.w, layer.b))


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("rounding", Rounding)
def test_random_layers(rounding: Rounding, cc: str) -> None:
    way = Way(cc, flags=STRICTEST)
    needs("plain", way)
    for seed in range(5 if cc == "gcc" else 2):
        dtype = DType.UINT8 if seed % 2 else DType.INT8
        layer = random_layer(seed, rounding, dtype=dtype)
        want = reference(layer.spec, layer.x, layer.w, layer.b)
        np.testing.assert_array_equal(run(layer, way), want, str(layer.spec))


@pytest.mark.parametrize("act", [CLAMPED[4], TABLED[0], TABLED[5]], ids=lambda act: act.kind)
def test_activations(act: Activation) -> None:
    layer = random_layer(5, Rounding.TFLITE, activation=act)
    want = reference(layer.spec, layer.x, layer.w, layer.b)
    np.testing.assert_array_equal(run(layer, Way()), want)


@pytest.mark.parametrize("act", [Activation(), Activation(Act.RELU)], ids=lambda act: act.kind)
def test_int32_sums(act: Activation) -> None:
    quant = Quant(Affine((), (3,)), Affine((), (1, -2, 3, 0)), None)
    spec = ConvSpec("edge", 5, 6, 3, 4, 3, 3, dtype=DType.UINT8, quant=quant, activation=act)
    layer = filled(spec, 2)
    want = reference(spec, layer.x, layer.w, layer.b)
    assert want.dtype == np.int32
    np.testing.assert_array_equal(run(layer, Way()), want)


# One weight of 1 and a bias of choice: sums that lie on ties and at the ends of int32.
RATIOS = (1.0, 0.5, 2.0**-8, 2.0**-31, 3.0, 1000.0, 0.75, 1e-9, 2.0**20)


@pytest.mark.parametrize("rounding", Rounding)
def test_hard_sums(rounding: Rounding) -> None:
    """The bias alone is the sum: every kind of tie and saturation, through the C."""
    for ratio in RATIOS if rounding is Rounding.TFLITE else RATIOS[::2]:
        ends = [0.5 / ratio, 1.5 / ratio, 2.5 / ratio, 120 / ratio, 130 / ratio]
        near = np.concatenate([np.arange(-3, 4) + int(min(e, 2**31 - 500)) for e in ends])
        large = [2**31 - 200, 2**30, 2**24 + 1, 2**24 + 3, 12345678, 2**23]
        b = np.clip(np.concatenate([near, large]), -(2**31) + 200, 2**31 - 200)
        b = np.concatenate([b, -b]).astype(np.int32)
        quant = Quant(Affine((ratio * 0.5,), (0,)), Affine((1.0,)), Affine((0.5,), (5,)),
                      None, rounding)  # fmt: skip
        spec = ConvSpec("edge", 1, 1, 1, len(b), 1, 1, dtype=DType.INT8, quant=quant)
        layer = Filled(spec, np.zeros(spec.x_shape, np.int8), np.ones(spec.w_shape, np.int8), b)
        want = reference(spec, layer.x, layer.w, layer.b)
        np.testing.assert_array_equal(run(layer, Way()), want, f"{rounding} {ratio}")


@pytest.mark.parametrize("rounding", Rounding)
def test_hard_sums_where_channels_differ(rounding: Rounding) -> None:
    """Ties of channels whose scales, and so whose shifts, are their own."""
    ratios = np.tile([2.0**-8, 0.25, 2.0**-3, 0.5, 0.3], 14)
    half = np.repeat(np.arange(-7, 7), 5) + 0.5
    b = np.round(half / ratios).astype(np.int32)
    quant = Quant(Affine((0.5,), (0,)), Affine(tuple(float(r) for r in np.float32(ratios))),
                  Affine((0.5,), (5,)), None, rounding)  # fmt: skip
    spec = ConvSpec("edge", 1, 1, 1, len(b), 1, 1, dtype=DType.INT8, quant=quant)
    layer = Filled(spec, np.zeros(spec.x_shape, np.int8), np.ones(spec.w_shape, np.int8), b)
    np.testing.assert_array_equal(run(layer, Way()), reference(spec, layer.x, layer.w, layer.b))


def test_pack_names_the_channel_that_overflows() -> None:
    quant = Quant(Affine((), (-128,)), Affine((), (0,)), None)
    spec = ConvSpec("edge", 1, 1, 66311, 3, 1, 1, dtype=DType.INT8, quant=quant)
    w = np.full(spec.w_shape, 127, np.int8)
    b = np.zeros(3, np.int32)
    path, size = library(Filled(spec, w, w, b), Way())
    lib, packed = ctypes.CDLL(str(path)), np.empty(size, np.uint8)

    def status() -> int:
        at = [a.ctypes.data_as(ctypes.c_void_p) for a in (w, b, packed)]
        return int(lib.edge_pack(*at))

    assert status() == 0
    b[1] = -1912
    assert status() == 0
    b[1] = 1913
    assert status() == 2
    b[1], w[0, 0, :8, 2] = 0, -128
    assert status() == 3
    b[0] = -(2**31)
    assert status() == 1

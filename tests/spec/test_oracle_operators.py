"""The oracle of 1-D, 3-D and transposed layers beside brute force and ONNX's reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from operator_layers import brute_force, operator_layers

from convgen.oracle.floats import Points, image_nhwc, reference, reference_at
from convgen.oracle.integers import reference as quant_reference
from convgen.spec.model import ConvSpec, DType, Layout
from convgen.spec.quant import Affine, Quant

Array = NDArray[Any]
LAYERS = list(operator_layers(120))


def fill(spec: ConvSpec, seed: int = 0) -> tuple[Array, Array, Array | None]:
    rng = np.random.default_rng(seed)
    x, w = (rng.integers(-4, 5, shape).astype(np.float64) for shape in (spec.x_shape, spec.w_shape))
    return x, w, rng.integers(-4, 5, spec.oc).astype(np.float64) if spec.bias else None


def test_the_layers_are_of_every_kind() -> None:
    kinds = {(s.rank, s.transposed, s.layout, s.weight_layout) for s in LAYERS}
    assert len(kinds) > 50
    assert any(s.transposed and s.groups > 1 and s.icg > 1 and s.ocg > 1 for s in LAYERS)
    assert any(s.transposed and any(s.extra) for s in LAYERS)


@pytest.mark.parametrize("spec", LAYERS, ids=range(len(LAYERS)))
def test_brute_force(spec: ConvSpec) -> None:
    x, w, b = fill(spec)
    y = reference(spec, x, w, b)
    assert y.shape == spec.y_shape
    assert np.array_equal(y, brute_force(spec, x, w, b))


@pytest.mark.parametrize("spec", LAYERS[::3], ids=range(len(LAYERS[::3])))
def test_some_points(spec: ConvSpec) -> None:
    """A part of the outputs, unevenly spread, is that part of all of them."""
    x, w, b = fill(spec)
    rng = np.random.default_rng(1)

    def some(size: int) -> Array:
        return np.flatnonzero(rng.random(size) < 0.6)

    points = Points(*map(some, (spec.batch, spec.oh, spec.ow, spec.ocg, spec.od)))
    found = reference_at(spec, x, w, b, points)
    assert np.array_equal(found, points.take(spec, reference(spec, x, w, b)))


@pytest.mark.parametrize("spec", LAYERS, ids=range(len(LAYERS)))
def test_onnx(spec: ConvSpec) -> None:
    """Group by group: ONNX's reference of ConvTranspose knows one group alone."""
    pytest.importorskip("onnx")
    axes = spec.axes[3 - spec.rank :]
    if any(axis.extra >= axis.stride for axis in axes):
        pytest.skip("onnx.reference takes no output_padding of a stride or more")
    x, w, b = fill(spec)
    y = reference(spec, x, w, b)
    channels_first = spec.layout is Layout.NCHW
    x, y = (a if channels_first else np.moveaxis(a, -1, 1) for a in (x, y))
    dims = "DHW"[3 - spec.rank :]
    wanted = ("IO" if spec.transposed else "OI") + dims
    given = str(spec.weight_layout).replace("HW", dims)
    w = w.transpose([given.index(letter) for letter in wanted])
    for g in range(spec.groups):
        into = slice(g * spec.icg, (g + 1) * spec.icg)
        out = slice(g * spec.ocg, (g + 1) * spec.ocg)
        bias = np.zeros(spec.ocg) if b is None else b[out]
        found = _onnx(spec, x[:, into], w[into] if spec.transposed else w[out], bias)
        assert np.array_equal(found, y[:, out])


def _onnx(spec: ConvSpec, x: Array, w: Array, b: Array) -> Array:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    axes = spec.axes[3 - spec.rank :]
    facts: dict[str, Any] = {
        "kernel_shape": [axis.taps for axis in axes],
        "strides": [axis.stride for axis in axes],
        "dilations": [axis.dilation for axis in axes],
        "pads": [axis.before for axis in axes] + [axis.after for axis in axes],
    }
    if spec.transposed:
        facts["output_padding"] = [axis.extra for axis in axes]
    operator = "ConvTranspose" if spec.transposed else "Conv"
    node = helper.make_node(operator, list("xwb"), ["y"], **facts)
    values = [helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in "xwby"]
    model = helper.make_model(helper.make_graph([node], "one", values[:3], values[3:]))
    found: Array = ReferenceEvaluator(model).run(None, {"x": x, "w": w, "b": b})[0]
    return found


@pytest.mark.parametrize("spec", LAYERS[::4], ids=range(len(LAYERS[::4])))
def test_integers(spec: ConvSpec) -> None:
    """Sums of 8-bit layers with zero points, one for each filter."""
    rng = np.random.default_rng(2)
    zeros = tuple(int(z) for z in rng.integers(-3, 4, spec.oc))
    weight = Affine((1.0,) * spec.oc, zeros)
    spec = replace(spec, dtype=DType.INT8, quant=Quant(Affine((1.0,), (3,)), weight, None))
    x, w, b = fill(spec)
    x8, w8 = x.astype(np.int8), w.astype(np.int8)
    bias = None if b is None else b.astype(np.int32)
    y = quant_reference(spec, x8, w8, bias)
    plain = replace(spec, dtype=DType.FLOAT64, quant=None)
    ones = brute_force(replace(plain, bias=False), x - 3, np.ones(spec.w_shape), None)
    by_channel = zeros if spec.layout is Layout.NHWC else np.reshape(zeros, (-1, *[1] * spec.rank))
    wanted = brute_force(plain, x - 3, w, b) - ones * by_channel
    assert y.dtype == np.int32
    assert np.array_equal(y, wanted)


def test_an_image_is_seen_as_rows() -> None:
    spec = next(s for s in LAYERS if s.rank == 3 and s.d > 1 and s.layout is Layout.NCHW)
    x = np.zeros(spec.x_shape)
    image_nhwc(spec, x)[0, spec.h] = 1  # the first row of the second plane
    assert x[0, :, 1, 0].all() and x.sum() == spec.w * spec.c

"""The integer oracle against a model in Python's integers, on random layers and on hard sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from quant_layers import CLAMPED, TABLED, Filled, filled, model, output, random_layer

from convgen.oracle.floats import Points
from convgen.oracle.integers import largest_sums, outputs_at, overflowing, reference
from convgen.spec.layouts import image_nhwc
from convgen.spec.model import Act, Activation, ConvSpec, DType
from convgen.spec.quant import Affine, Quant, Rounding, fixed_point
from convgen.spec.requantize import requantization

LAYERS = 60  # of each rounding
DTYPES = (DType.INT8, DType.UINT8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rounding", Rounding)
def test_random_layers(rounding: Rounding, dtype: DType) -> None:
    seen: set[int] = set()
    for seed in range(LAYERS):
        layer = random_layer(seed, rounding, dtype=dtype)
        y = reference(layer.spec, layer.x, layer.w, layer.b)
        assert y.dtype == np.dtype(str(dtype)) and y.shape == layer.spec.y_shape
        assert image_nhwc(layer.spec, y).reshape(-1).tolist() == model(layer), layer.spec
        seen |= set(np.unique(y).tolist())
    assert len(seen) > 250, "outputs should reach nearly every value"


@pytest.mark.parametrize("act", [Activation(), Activation(Act.RELU)])
def test_int32_sums(act: Activation) -> None:
    """ConvInteger: no scale, no saturation."""
    for seed in range(20):
        layer = random_layer(seed, Rounding.ONNX, activation=act, tables=False)
        quant = layer.spec.quant
        assert quant is not None
        sums = Quant(replace(quant.input, scale=()), replace(quant.weight, scale=()), None)
        layer = filled(replace(layer.spec, quant=sums), seed)
        y = reference(layer.spec, layer.x, layer.w, layer.b)
        assert y.dtype == np.int32
        assert image_nhwc(layer.spec, y).reshape(-1).tolist() == model(layer)


def one_scale(
    rounding: Rounding, ratio: float, dtype: DType, act: Activation, zero: int
) -> ConvSpec:
    """A layer of one pixel, whose sums can be given at will."""
    table = Affine((0.05,), (3,)) if act in TABLED else None
    quant = Quant(
        Affine((float(np.float32(ratio)) * (0.05 if table else 0.5),), (0,)),
        Affine((1.0,)), Affine((0.5,), (zero,)), table, rounding,
    )  # fmt: skip
    return ConvSpec("edge", 1, 1, 1, 1, 1, 1, dtype=dtype, quant=quant, activation=act)


RATIOS = (1.0, 0.5, 0.25, 2.0**-8, 2.0**-31, 3.0, 1000.0, 0.75, 0.1, 0.0123, 1 - 2.0**-24, 1e-9)


@pytest.mark.parametrize("act", [*CLAMPED[:3], TABLED[0]], ids=lambda act: act.kind)
@pytest.mark.parametrize("rounding", Rounding)
def test_hard_sums(rounding: Rounding, act: Activation) -> None:
    """Ties, the ends of int32, both sides of every saturation; zero points at the ends."""
    near = np.array([0, 2**31 - 1, 2**30, 2**24 + 1, 2**24 + 3, 12345678, 2**23])
    for dtype in DTYPES:
        low, high = (-128, 127) if dtype is DType.INT8 else (0, 255)
        for ratio in RATIOS:
            for zero in (low, high, 5):
                spec = one_scale(rounding, ratio, dtype, act, zero)
                ends = [(high - zero) / ratio, (zero - low) / ratio, 0.5 / ratio, 1.5 / ratio]
                usable = [int(min(e, 2**31 - 4)) for e in ends]
                sums = np.concatenate([near, np.add.outer(usable, np.arange(-3, 4)).reshape(-1)])
                sums = np.clip(np.concatenate([sums, -sums]), -(2**31) + 1, 2**31 - 1)
                points = Points(*(np.array([0]) for _ in range(4)))
                got = outputs_at(spec, sums.reshape(-1, 1, 1, 1).astype(np.int64), points)
                want = [output(spec, int(s), 0) for s in sums]
                assert got.reshape(-1).tolist() == want, (dtype, ratio, zero)


def test_table_covers_all_256() -> None:
    for dtype in DTYPES:
        spec = one_scale(Rounding.TFLITE, 1.0, dtype, TABLED[1], 3)
        how = requantization(spec)
        assert how is not None and len(how.table) == 256


def test_overflow_names_the_first_channel() -> None:
    quant = Quant(Affine((), (-128,)), Affine((), (0, 0, 0)), None)
    spec = ConvSpec("edge", 1, 1, 66311, 3, 1, 1, dtype=DType.INT8, quant=quant, bias=False)
    w = np.full(spec.w_shape, 127, np.int8)
    w[..., 0] = 1
    assert overflowing(spec, w, None) is None  # 66311 * 127 * 255 = 2^31 - 1913
    assert largest_sums(spec, w, None).tolist() == [66311 * 255, *[66311 * 127 * 255] * 2]
    w[0, 0, 5, 1] = -128
    w[0, 0, :30, 2] = -128
    assert overflowing(spec, w, None) == 2
    with pytest.raises(ValueError, match="channel 2"):
        reference(spec, np.zeros(spec.x_shape, np.int8), w)


@pytest.mark.parametrize(
    ("key", "wrong"), [("x", np.uint8), ("w", np.uint8), ("b", np.int64)], ids=lambda v: str(v)
)
def test_other_integers_are_refused(key: str, wrong: type) -> None:
    layer = random_layer(1, Rounding.TFLITE, bias=True)
    layer = filled(layer.spec, 1)
    arrays = {"x": layer.x, "w": layer.w, "b": layer.b}
    arrays[key] = arrays[key].astype(wrong)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=f"^{key}: expected"):
        reference(layer.spec, **arrays)


def test_a_wrong_rounding_is_seen() -> None:
    """The layers above tell the three modes apart."""
    differ = dict.fromkeys(Rounding, 0)
    for seed in range(LAYERS):
        layer = random_layer(seed, Rounding.TFLITE)
        quant = layer.spec.quant
        assert quant is not None
        for rounding in Rounding:
            spec = replace(layer.spec, quant=replace(quant, rounding=rounding))
            other = Filled(spec, layer.x, layer.w, layer.b)
            differ[rounding] += model(layer) != model(other)
    assert differ[Rounding.TFLITE] == 0 and differ[Rounding.ONNX] > 0
    assert differ[Rounding.TFLITE_SINGLE] > 0


@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
def test_a_multiplier_that_rounds_up_to_two(rounding: Rounding) -> None:
    """Two float32 scales whose product is 1 - 2^-34: the factor is 2^30 then, its exponent 1."""
    near = 2.0**-17
    assert fixed_point((1 + near) * (1 - near)) == (2**30, 1)
    quant = Quant(Affine((1 + near,), (0,)), Affine((1 - near,)), Affine((1.0,), (0,)), None,
                  rounding)  # fmt: skip
    spec = ConvSpec("edge", 1, 3, 1, 1, 1, 1, dtype=DType.INT8, quant=quant)
    x = np.array([100, -77, 3], np.int8).reshape(spec.x_shape)
    y = reference(spec, x, np.ones(spec.w_shape, np.int8), np.zeros(1, np.int32))
    assert y.reshape(-1).tolist() == [100, -77, 3]

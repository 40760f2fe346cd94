"""A filter of zeros may have scale 0, as models of real use have; nothing else may."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from built import needs_cc

import convgen
from convgen.errors import SpecError
from convgen.numbers.settle import settled
from convgen.oracle.integers import reference
from convgen.spec import parse_mapping

ZERO = 1  # the filter of zeros


def layer_of(layout: str, scales: list[float], rounding: str = "tflite", **more: Any) -> Any:
    rng = np.random.default_rng(3)
    w = rng.integers(-100, 100, (3, 3, 4, len(scales)), np.int8)
    b = rng.integers(-1000, 1000, len(scales), np.int32)
    zero = more.pop("zero", 0)
    w[..., [at for at, scale in enumerate(scales) if scale == 0]] = zero
    if layout == "OIHW":
        w = w.transpose(3, 2, 0, 1).copy()
    quant = {
        "input": {"scale": 0.02, "zero_point": -3},
        "weight": {"scale": scales, "zero_point": zero},
        "output": {"scale": 0.05, "zero_point": 7},
        "rounding": rounding,
    }
    return {
        "name": "zeros", "input": "6x5x4", "filters": len(scales), "kernel": 3, "dtype": "int8",
        "weight_layout": layout, "quant": quant | more.pop("quant", {}),
        "weights": {"w": w, "b": b},
        **more,
    }  # fmt: skip


@pytest.mark.parametrize("rounding", ["tflite", "tflite_single", "onnx"])
@pytest.mark.parametrize("layout", ["HWIO", "OIHW"])
def test_its_outputs_are_the_zero_point(layout: str, rounding: str) -> None:
    """TFLite multiplies the sum, bias and all, by 0; so does ONNX. Other filters see nothing."""
    scales = [0.01, 0.0, 0.02, 0.013]
    (layer,) = parse_mapping(layer_of(layout, scales, rounding))
    assert layer.spec.quant is None, "not before the weights have been seen"
    done = settled(layer)
    assert done.weights is not None and done.layer.spec.quant is not None
    assert "Filter 1 with scale 0" in done.layer.notes[-1]
    x = np.random.default_rng(0).integers(-128, 128, (1, 6, 5, 4), np.int8)
    y = reference(done.layer.spec, x, done.weights.w, done.weights.b)
    assert (y[..., ZERO] == 7).all()
    (plain,) = parse_mapping(layer_of(layout, [s or 0.01 for s in scales], rounding))
    other = settled(plain)
    assert other.weights is not None
    same = reference(other.layer.spec, x, other.weights.w, other.weights.b)
    rest = [0, 2, 3]
    assert layout == "OIHW" or np.array_equal(y[..., rest], same[..., rest])
    given = layer_of(layout, scales, rounding)
    assert np.array_equal(convgen.reference(given, x), y)


def test_every_filter_of_zeros() -> None:
    done = settled(*parse_mapping(layer_of("HWIO", [0.0, 0.0, 0.0])))
    assert done.weights is not None and not done.weights.w.any()


def test_zeros_are_the_zero_point() -> None:
    settled(*parse_mapping(layer_of("HWIO", [0.01, 0.0], zero=5)))


@needs_cc
def test_a_build_takes_it(tmp_path: Any) -> None:
    spec = layer_of("HWIO", [0.01, 0.0, 0.02])
    module = convgen.build(spec, tmp_path, cache_root=tmp_path / "cache")
    x = np.random.default_rng(0).integers(-128, 128, module.INPUT_SHAPE, np.int8)
    assert np.array_equal(module.conv(x), convgen.reference(spec, x))


def refused(spec: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as caught:
        settled(*parse_mapping(spec))
    return str(caught.value)


def test_a_filter_that_is_not_zero_is_named() -> None:
    spec = layer_of("OIHW", [0.01, 0.0, 0.02])
    spec["weights"]["w"][1, 2, 0, 0] = 9
    text = refused(spec)
    assert "E404" in text and "filter 1 has scale 0, but 1 of its weights are not 0" in text


def test_run_time_and_drawn_weights_cannot_show_it() -> None:
    spec = layer_of("HWIO", [0.01, 0.0])
    for weights in ({}, {"weights": {"init": "truncated_normal", "stddev": 0.1}}):
        rest = {key: value for key, value in spec.items() if key != "weights"}
        assert "filter 1 has scale 0" in refused({**rest, **weights})


@pytest.mark.parametrize("key", ["input", "output"])
def test_other_scales_are_steps(key: str) -> None:
    zero = {key: {"scale": 0, "zero_point": 0}}
    assert "E404" in refused(layer_of("HWIO", [0.01], quant=zero))


def test_a_bias_scale_of_a_filter_of_zeros_is_0() -> None:
    scales = [0.01, 0.0]
    settled(*parse_mapping(layer_of("HWIO", scales, quant={"bias": {"scale": [0.0002, 0.0]}})))
    text = refused(layer_of("HWIO", scales, quant={"bias": {"scale": [0.0, 0.0]}}))
    assert "E407" in text


def test_scales_in_a_file(tmp_path: Any) -> None:
    spec = layer_of("HWIO", [0.01, 0.0, 0.02])
    np.savez(tmp_path / "scales.npz", w=np.array([0.01, 0.0, 0.02], np.float32))
    spec["quant"]["weight"]["scale"] = f"{tmp_path / 'scales.npz'}#w"
    assert settled(*parse_mapping(spec)).layer.spec.quant is not None
    np.savez(tmp_path / "scales.npz", w=np.array([0.0, 0.01, 0.02], np.float32))
    assert "filter 0 has scale 0" in refused(spec)

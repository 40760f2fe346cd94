"""Float weights and samples become an int8 layer, and what that costs is told truly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convgen
from convgen.errors import UsageError
from convgen.oracle.floats import reference as exact
from convgen.spec import parse_file

TEXT = """input: 12x12x3
batch: any
filters: 10
kernel: 5
padding: 2
dtype: int8
weights: w.npz
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    w = (rng.standard_normal((5, 5, 3, 10)) * np.linspace(0.02, 0.3, 10)).astype(np.float32)
    w[..., 4] = 0
    np.savez(tmp_path / "w.npz", w=w, b=1 + rng.random(10, np.float32))
    np.save(tmp_path / "x.npy", rng.uniform(-0.2, 1, (3, 12, 12, 3)).astype(np.float32))
    return tmp_path


def layer(folder: Path, quantize: str = "{calibration: x.npy}", more: str = "") -> Path:
    path = folder / "layer.yaml"
    path.write_text(f"{TEXT}quantize: {quantize}\n{more}")
    return path


@pytest.mark.parametrize("act", ["none", "relu", "tanh", "gelu"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_sqnr_is_what_the_integers_give(folder: Path, act: str, dtype: str) -> None:
    path = layer(folder, more=f"activation: {act}\n")
    path.write_text(path.read_text().replace("int8", dtype))
    found = convgen.quantize(path)
    q = found.quant
    x = np.load(folder / "x.npy")
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    places = np.rint(x / q.input.scale[0]) + q.input.zero_point[0]
    y = convgen.reference(path, places.clip(low, high).astype(dtype))
    assert y.dtype == np.dtype(dtype)
    real = (y.astype(float) - q.output.zero_point[0]) * q.output.scale[0]
    (parsed,) = parse_file(path)
    spec = parsed.spec.__class__(**{**vars(parsed.spec), "dtype": "float32"})
    held = np.load(folder / "w.npz")
    want = exact(spec, x, held["w"], held["b"])
    noise, signal = ((want - real) ** 2).sum((0, 1, 2)), (want**2).sum((0, 1, 2))
    np.testing.assert_allclose(found.sqnr, 10 * np.log10(signal / noise), rtol=1e-9)
    assert found.overall == pytest.approx(10 * math.log10(signal.sum() / noise.sum()))
    assert 25 < found.overall < 60
    assert found.w.dtype == np.int8 and found.b is not None and found.b.dtype == np.int32
    assert np.abs(found.w).max(axis=(0, 1, 2)).tolist() == [127] * 4 + [0] + [127] * 5


def test_percentile_narrows_the_range(folder: Path) -> None:
    x = np.load(folder / "x.npy")
    x[0, 0, 0, 0] = 100
    np.save(folder / "x.npy", x)
    whole = convgen.quantize(layer(folder)).quant
    cut = convgen.quantize(layer(folder, "{calibration: x.npy, percentile: 99}")).quant
    assert cut.input.scale[0] < whole.input.scale[0] / 50


def test_zero_stays_exact_and_ranges_fit(folder: Path) -> None:
    x = np.load(folder / "x.npy") * 0 + 3
    np.save(folder / "x.npy", x)
    quant = convgen.quantize(layer(folder)).quant
    assert quant.input.zero_point == (-128,)  # a range above 0 is widened down to it
    assert quant.input.scale[0] == pytest.approx(3 / 255)


def test_a_large_bias_fits_int32(folder: Path) -> None:
    held = dict(np.load(folder / "w.npz"))
    held["b"] = held["b"] + np.float32(1e7)
    np.savez(folder / "w.npz", **held)
    found = convgen.quantize(layer(folder))
    assert found.b is not None and 2**29 < found.b.max() < 2**30 + 100


def test_notes_tell_and_other_layers_refuse(folder: Path) -> None:
    from convgen.numbers.settle import settled

    (parsed,) = parse_file(layer(folder))
    note = settled(parsed).layer.notes[-1]
    assert note.startswith("Quantised after 3 sample(s) of x.npy: SQNR ")
    assert note.count(".") >= 10, "ten channels, ten figures"
    with pytest.raises(UsageError, match="no `quantize"):
        convgen.quantize({"input": "8x8x3", "filters": 4, "kernel": 3})


def test_scales_from_a_file(tmp_path: Path) -> None:
    scales: Any = np.linspace(0.01, 0.02, 4, dtype=np.float32)
    np.savez(tmp_path / "s.npz", w=scales, x=np.float32(0.5))
    path = tmp_path / "layer.yaml"
    path.write_text(
        "input: 5x5x2\nfilters: 4\nkernel: 3\ndtype: int8\nweights: "
        "{init: truncated_normal, stddev: 0.1}\nquant: {input: {scale: s.npz#x}, "
        "weight: {scale: s.npz#w}, output: {scale: 1}}\n"
    )
    from convgen.numbers.settle import settled

    (parsed,) = parse_file(path)
    done = settled(parsed)
    quant = done.layer.spec.quant
    assert quant is not None and quant.weight.scale == tuple(float(s) for s in scales)
    assert quant.input.scale == (0.5,)
    assert done.weights is not None and done.weights.w.dtype == np.int8
    assert 3 <= np.abs(done.weights.w).max() <= 20

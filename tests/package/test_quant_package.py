"""8-bit layers through the front door: built, verified, imported, called; their own selftest."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convgen
from convgen.errors import ScheduleError, UsageError
from convgen.package.emit.files import decide, kernel_files
from convgen.package.emit.selftests import selftest_file
from convgen.spec import parse_text
from convgen.spec.model import ConvSpec, DType
from convgen.target import TARGETS

pytestmark = pytest.mark.needs("cc")
TEXT = """name: bytes_layer
input: 9x8x3
filters: 5
kernel: 3
padding: 1
dtype: int8
activation: relu
quant:
  input: {scale: 0.02, zero_point: -3}
  weight: {scale: [0.01, 0.012, 0.008, 0.011, 0.01]}
  output: {scale: 0.06, zero_point: 4}
"""
SUMS = """name: sums_layer
input: 9x8x3
batch: any
filters: 5
kernel: 3
bias: false
dtype: uint8
layout: NCHW
quant: {input: {zero_point: 128}, weight: {zero_point: 2}, output: int32}
"""


def arrays(module: Any, dtype: str, images: int = 1) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(4)
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    shape = (images, *module.INPUT_SHAPE[1:])
    x = rng.integers(low, high + 1, shape).astype(dtype)
    w = rng.integers(-128, 128, module.WEIGHT_SHAPE).astype(np.int8)
    b = rng.integers(-9000, 9000, 5).astype(np.int32) if module.BIAS_SHAPE else None
    return x, w, b


def test_run_time_weights(tmp_path: Path) -> None:
    module = convgen.build(TEXT, tmp_path, cache_root=tmp_path / "cache")
    x, w, b = arrays(module, "int8")
    want = convgen.reference(TEXT, x, w, b)
    y = module.conv(x, w, b)
    assert y.dtype == np.int8 and want.dtype == np.int8
    np.testing.assert_array_equal(y, want)
    packed = module.pack(w, b)
    np.testing.assert_array_equal(module.run(x, packed, threads=3), want)
    out = np.empty_like(want)
    assert module.bind(x, packed, out=out)() is out
    np.testing.assert_array_equal(out, want)
    assert module.SPEC["quant"]["weight"]["scale"][1] == pytest.approx(0.012)
    with pytest.raises(TypeError, match="x has dtype uint8, expected int8"):
        module.conv(x.view(np.uint8), w, b)
    with pytest.raises(TypeError, match="b has dtype float32, expected int32"):
        module.conv(x, w, b.astype(np.float32))
    with pytest.raises(TypeError, match="out has dtype int32, expected int8"):
        module.conv(x, w, b, out=np.empty(y.shape, np.int32))
    b[3] = -(2**31)
    size, reach = int(np.abs(w[..., 3].astype(int)).sum()), 127 + 3  # the zero point is -3
    total = f"{size:,} x {reach} + 2,147,483,648 = {size * reach + 2**31:,}"
    with pytest.raises(ValueError, match="output channel 3 cannot be packed") as caught:
        module.pack(w, b)
    assert total in str(caught.value), "which sum"
    assert "|bias|" in str(caught.value), "the bias counts"
    assert "beyond 2^31 - 1 = 2,147,483,647" in str(caught.value), "which limit"


def test_int32_output_and_any_batch(tmp_path: Path) -> None:
    module = convgen.build(SUMS, tmp_path, cache_root=tmp_path / "cache")
    x, w, _ = arrays(module, "uint8", 3)
    y = module.conv(x, w)
    assert y.dtype == np.int32 and y.shape == (3, 5, 7, 6)
    np.testing.assert_array_equal(y, convgen.reference(SUMS, x, w))


def test_calibrated_layer_bakes_its_integers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((3, 3, 3, 5)).astype(np.float32)
    np.savez(tmp_path / "w.npz", w=w, b=rng.standard_normal(5).astype(np.float32))
    np.save(tmp_path / "x.npy", rng.standard_normal((4, 9, 8, 3)).astype(np.float32))
    spec = tmp_path / "small.yaml"
    text = TEXT.split("quant:")[0].replace("bytes_layer", "small").replace("relu", "tanh")
    spec.write_text(f"{text}weights: w.npz\nquantize: {{calibration: x.npy}}\n")
    module = convgen.build(spec, tmp_path / "build", cache_root=tmp_path / "cache")
    assert {"quantize", "weights"}.isdisjoint(module.SPEC)
    x, _, _ = arrays(module, "int8")
    np.testing.assert_array_equal(module.conv(x), convgen.reference(spec, x))
    np.save(tmp_path / "x.npy", 2 * np.load(tmp_path / "x.npy"))
    again = convgen.build(spec, tmp_path / "build", cache_root=tmp_path / "cache")
    step = again.SPEC["quant"]["input"]["scale"] / module.SPEC["quant"]["input"]["scale"]
    assert step == pytest.approx(2), "other samples, another layer"


@pytest.mark.parametrize("baked", [False, True], ids=["run time", "baked"])
@pytest.mark.parametrize("text", [TEXT, SUMS], ids=["int8", "int32"])
def test_selftest(text: str, baked: bool, tmp_path: Path) -> None:
    """It passes, strictly compiled, and sees a kernel whose output is one off."""
    if baked:
        rng = np.random.default_rng(1)
        bias = {} if "bias: false" in text else {"b": rng.integers(-99, 99, 5).astype(np.int32)}
        w = rng.integers(-128, 128, (3, 3, 3, 5)).astype(np.int8)
        np.savez(tmp_path / "w.npz", w=w, **bias)
        text += "weights: w.npz\n"
    (layer,) = parse_text(text, str(tmp_path / "layer.yaml"))
    decided = decide(layer, TARGETS["generic"])
    test = selftest_file(decided.plan, decided.weights)
    for name, content in {**kernel_files(decided), "selftest.c": test}.items():
        (tmp_path / name).write_text(content)
    kernel = tmp_path / f"{layer.spec.name}.c"

    def outcome() -> tuple[int, str]:
        flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror", "-O1"]
        command = ["cc", *flags, kernel.name, "selftest.c", "-o", "selftest"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
        done = subprocess.run(["./selftest"], cwd=tmp_path, capture_output=True, text=True,
                              timeout=20, check=False)  # fmt: skip
        return done.returncode, done.stdout

    status, told = outcome()
    assert status == 0 and "and all" in told
    content = kernel.read_text()
    changed = content.replace("return sum;", "return sum + 1;").replace("+ 1) >> 1", "+ 0) >> 1")
    assert changed != content
    kernel.write_text(changed)
    status, told = outcome()
    assert status == 1 and "FAIL" in told


def test_what_cannot_be_built_says_so() -> None:
    with pytest.raises(UsageError, match="needs its `quant`"):
        convgen.build(ConvSpec("bare", 3, 3, 1, 1, 1, 1, dtype=DType.INT8))
    pinned = TEXT + "schedule: {family: planar, lanes: 8, tile: [1, 1], vectors: 1}\n"
    with pytest.raises(ScheduleError, match="only direct and depthwise"):
        convgen.build(pinned)

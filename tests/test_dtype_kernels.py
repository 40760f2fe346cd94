"""float64, float16 and bfloat16: plain C kernels on the ladder, conversions to the bit."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_layers import ACTIVATIONS, EDGES, with_activation
from kernels import Way, compiled, planned, prove_right
from quant_layers import random_layer

import convgen
from convgen.oracle import reference
from convgen.render import render_c
from convgen.spec.elements import ELEMENTS, stored, widened
from convgen.spec.model import ConvSpec, DType
from convgen.spec.quant import Rounding
from convgen.target import TARGETS

PLAIN = TARGETS["generic"]
FLOATS = (DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16)
STRICT = Way(flags=("-O2", "-Wpedantic"))


FEW = {"relu6", "leaky_relu", "gelu"}  # what 16-bit elements share with float32 is tested there


@pytest.mark.parametrize(
    ("dtype", "act"), [(d, a) for d in FLOATS for a in ACTIVATIONS if d is FLOATS[0] or a in FEW]
)
def test_activations(dtype: DType, act: str) -> None:
    prove_right(planned(replace(with_activation(act), dtype=dtype), PLAIN), STRICT)


@pytest.mark.parametrize("name", list(EDGES)[3::20])
@pytest.mark.parametrize("dtype", FLOATS)
def test_edges(dtype: DType, name: str) -> None:
    prove_right(planned(replace(EDGES[name], dtype=dtype), PLAIN), STRICT)


@pytest.mark.parametrize("dtype", FLOATS[1:])
def test_every_16_bits(dtype: DType) -> None:
    """A 1x1 layer with a weight of 1 gives every number back; NaN stays NaN."""
    spec = ConvSpec("edge", 256, 256, 1, 1, 1, 1, dtype=dtype, bias=False)
    lib = ctypes.CDLL(str(compiled("edge", render_c(planned(spec, PLAIN)), STRICT)))
    x = np.arange(2**16, dtype=np.uint16).reshape(spec.x_shape)
    y, packed = np.zeros_like(x), np.zeros(2, np.float32)
    w = stored(np.ones(1), ELEMENTS[dtype])
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (w, packed, x, y)]
    assert lib.edge_pack(at[0], None, at[1]) == 0
    lib.edge_run(at[2], at[1], at[3], None)
    kind = ELEMENTS[dtype].storage
    got, want = (widened(a.view(kind), ELEMENTS[dtype]) for a in (y, x))
    assert (np.isnan(got) == np.isnan(want)).all()
    np.testing.assert_array_equal(got, want + np.float32(0))  # -0 + 0 is 0, as the bias makes it


@pytest.mark.parametrize("dtype", FLOATS[1:])
def test_storing_rounds_once(dtype: DType) -> None:
    """Halfway cases through the C: x * w + b with a sum exact in float32."""
    element = ELEMENTS[dtype]
    spec = ConvSpec("edge", 8, 512, 1, 1, 1, 1, dtype=dtype, bias=False)
    x = stored(np.random.default_rng(0).standard_normal(4096) * 100, element).reshape(spec.x_shape)
    w = stored(np.array([1 + 2.0**-6]), element).reshape(spec.w_shape)
    lib = ctypes.CDLL(str(compiled("edge", render_c(planned(spec, PLAIN)), STRICT)))
    y, packed = np.zeros_like(x), np.zeros(2, np.float32)
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (w, packed, x, y)]
    lib.edge_pack(at[0], None, at[1])
    lib.edge_run(at[2], at[1], at[3], None)
    want = stored(reference(spec, x, w), element)
    np.testing.assert_array_equal(y, want)


def test_bfloat16_storage_is_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    rng = np.random.default_rng(1)
    values = np.concatenate(
        [rng.standard_normal(5000) * 2.0 ** rng.integers(-130, 127, 5000),
         [np.inf, -np.inf, 3.4e38, 3.39e38, 1e-45, 0.0, -0.0]]
    )  # fmt: skip
    single = values.astype(np.float32)
    bits = stored(single, ELEMENTS["bfloat16"])
    np.testing.assert_array_equal(bits, single.astype(ml_dtypes.bfloat16).view(np.uint16))
    assert np.isnan(widened(stored(np.array([np.nan]), ELEMENTS["bfloat16"]), ELEMENTS["bfloat16"]))
    tie = np.array([1 + 2.0**-8 + 2.0**-40])  # rounded twice, it would fall to 1
    assert widened(stored(tie, ELEMENTS["bfloat16"]), ELEMENTS["bfloat16"])[0] == 1 + 2.0**-7


TEXT = "name: {}_layer\ninput: 6x5x3\nfilters: 4\nkernel: 3\npadding: 1\nactivation: relu\n"


@pytest.mark.parametrize("dtype", FLOATS)
def test_package(dtype: DType, tmp_path: Path) -> None:
    text = TEXT.format(dtype) + f"dtype: {dtype}\n"
    module = convgen.build(text, tmp_path, cache_root=tmp_path / "cache")
    element = ELEMENTS[dtype]
    rng = np.random.default_rng(2)
    x, w, b = (stored(rng.standard_normal(s), element) for s in ((1, 6, 5, 3), (3, 3, 3, 4), 4))
    if dtype is DType.BFLOAT16:
        kind = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16
        x, w, b = (a.view(kind) for a in (x, w, b))
    y = module.conv(x, w, b)
    assert y.dtype == x.dtype
    want = convgen.reference(text, x, w, b)
    np.testing.assert_allclose(y.astype(np.float64), want.astype(np.float64), rtol=2.0**-7)
    with pytest.raises(TypeError, match="x has dtype float32"):
        module.conv(x.astype(np.float32), w, b)


@pytest.mark.parametrize("act", ["relu6", "gelu"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_selftest(dtype: DType, act: str) -> None:
    """Strictly compiled, it passes; and sees a bias that is left out."""
    from convgen.package.selftest import selftest_file

    spec = replace(with_activation(act), dtype=dtype)
    plan = planned(spec, PLAIN)
    files, test = render_c(plan), selftest_file(plan, None)
    program = compiled("edge", files, STRICT, main=test)
    done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and ": ok, " in done.stdout, done.stdout
    files["edge.c"] = files["edge.c"].replace("biases[oc] = ", "biases[oc] = 0 * ")
    program = compiled("edge", files, STRICT, main=test)
    done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1 and ": FAIL" in done.stdout


LAID_OUT = [
    *(replace(with_activation(a), dtype=d) for d in FLOATS for a in ("clip", "gelu", "tanh")),
    *(random_layer(seed, list(Rounding)[seed % 3]).spec for seed in range(12)),
    replace(EDGES["groups_and_batch"], dtype=DType.FLOAT64),
]


@pytest.mark.parametrize("spec", LAID_OUT, ids=lambda s: f"{s.dtype}-{s.activation.kind}")
def test_layout_of_the_c(spec: ConvSpec) -> None:
    """100 columns, no tabs, no space at a line's end, at most one blank line, one last newline."""
    plan = planned(replace(spec, name="a_longer_name"), PLAIN)
    for text in render_c(plan).values():
        assert text.endswith(("}\n", "*/\n"))
        assert "\t" not in text and "\n\n\n" not in text
        for line in text.splitlines():
            assert len(line) <= 100 and line == line.rstrip(), line

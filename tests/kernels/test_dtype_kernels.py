"""float64, float16 and bfloat16: every instruction set on the ladder, conversions to the bit."""

from __future__ import annotations

import ctypes
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_layers import ACTIVATIONS, EDGES, with_activation
from kernels import (
    COMPILERS,
    GCC,
    ISAS,
    Part,
    Way,
    compiled,
    needs,
    planned,
    prove_right,
    target_of,
)
from quant_layers import random_layer

import convgen
from convgen.oracle.floats import reference
from convgen.render.source import render_c
from convgen.spec.elements import ELEMENTS, stored, widened
from convgen.spec.model import Act, Activation, ConvSpec, DType
from convgen.spec.quant import Rounding
from convgen.target import TARGETS

PLAIN = TARGETS["generic"]
FLOATS = (DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16)
STRICT = Way(part=Part.PLAIN)


PORTABLE = Way()
HARDSWISH = Activation(Act.HARDSWISH)
FEW = {"relu6", "leaky_relu", "gelu"}  # what 16-bit elements share with float32 is tested there


@pytest.mark.parametrize(
    ("dtype", "act"), [(d, a) for d in FLOATS for a in ACTIVATIONS if d is FLOATS[0] or a in FEW]
)
def test_activations(dtype: DType, act: str) -> None:
    prove_right(planned(replace(with_activation(act), dtype=dtype), PLAIN), PORTABLE)


@pytest.mark.parametrize("name", list(EDGES)[3::20])
@pytest.mark.parametrize("dtype", FLOATS)
def test_edges(dtype: DType, name: str) -> None:
    prove_right(planned(replace(EDGES[name], dtype=dtype), PLAIN), STRICT)


HARD = ("depthwise_wide", "depthwise_7x7", "grouped_by_4", "grouped_by_8", "planes", "primes")


@pytest.mark.parametrize("isa", [*ISAS, "fat"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_instruction_set(dtype: DType, isa: str) -> None:
    """Tails, windows, spreads and planes, two layers each; the two compilers in turns."""
    needs("avx512" if isa == "fat" else isa)
    first = FLOATS.index(dtype) + [*ISAS, "fat"].index(isa)
    for i, name in enumerate(HARD[first % 3 :: 3]):
        target = TARGETS["x86-64"] if isa == "fat" else target_of(isa)
        plan = planned(replace(EDGES[name], dtype=dtype, activation=HARDSWISH), target)
        assert plan.body.isa.lanes > 1
        way = Way(COMPILERS[i % 2])
        needs("plain", way)
        prove_right(plan, way)


@pytest.mark.parametrize("part", [Part.PLAIN, Part.MODEL])
@pytest.mark.parametrize("dtype", FLOATS)
def test_other_bodies_of_the_file(dtype: DType, part: Part) -> None:
    """Plain C over the packing of vectors, and the vectors' model."""
    for name in ("depthwise_wide", "grouped_by_8", "primes"):
        spec = replace(with_activation("gelu") if name == "primes" else EDGES[name], dtype=dtype)
        prove_right(planned(spec, target_of("avx512")), Way(part=part))


def test_fat_bodies_share_a_packing() -> None:
    for dtype in FLOATS:
        plan = planned(replace(EDGES["wide"], dtype=dtype), TARGETS["x86-64"])
        assert plan.isas == ("avx512", "avx2", "sse2")
        assert {p.packing for p in plan.narrower} == {plan.packing}


WAYS = [("plain", STRICT), *((isa, GCC) for isa in ISAS), ("avx2", Way("clang")),
        ("sse2", Way("clang"))]  # fmt: skip
each_way = pytest.mark.parametrize(("isa", "way"), WAYS, ids=lambda v: getattr(v, "cc", v))


@each_way
@pytest.mark.parametrize("dtype", FLOATS[1:])
def test_every_16_bits(dtype: DType, isa: str, way: Way) -> None:
    """Depthwise 1x1 filters of 1 give every number back; NaN stays NaN. 257 channels: a tail."""
    needs(isa, way)
    spec = ConvSpec("edge", 1, 256, 257, 257, 1, 1, groups=257, dtype=dtype, bias=False)
    plan = planned(spec, target_of(isa))
    lib = ctypes.CDLL(str(compiled("edge", render_c(plan), way)))
    x = np.resize(np.arange(2**16, dtype=np.uint16), spec.x_shape)
    y, packed = np.zeros_like(x), np.zeros(plan.packed_bytes // 4, np.float32)
    w = stored(np.ones(257), ELEMENTS[dtype])
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (w, packed, x, y)]
    assert lib.edge_pack(at[0], None, at[1]) == 0
    lib.edge_run(at[2], at[1], at[3], None)
    kind = ELEMENTS[dtype].storage
    got, want = (widened(a.view(kind), ELEMENTS[dtype]) for a in (y, x))
    assert (np.isnan(got) == np.isnan(want)).all()
    np.testing.assert_array_equal(got, want + np.float32(0))  # -0 + 0 is 0, as the bias makes it


@each_way
@pytest.mark.parametrize("dtype", FLOATS[1:])
def test_storing_rounds_once(dtype: DType, isa: str, way: Way) -> None:
    """Halfway cases through the C, sums exact in float32: numbers of every size, down to the
    subnormal ones (where halves of the last place are cut) and up to those that overflow."""
    needs(isa, way)
    element = ELEMENTS[dtype]
    spec = ConvSpec("edge", 1, 512, 1, 19, 1, 1, dtype=dtype, bias=False)
    rng = np.random.default_rng(0)
    most = 16 if dtype is DType.FLOAT16 else 127
    least = -14 if dtype is DType.FLOAT16 else -125
    sizes = 2.0 ** rng.integers(least - 10, most + 1, 512)
    numbers = (1 + rng.integers(0, 2**7, 512) / 2.0**7) * sizes * rng.choice([-1, 1], 512)
    x = stored(numbers, element).reshape(spec.x_shape)
    w = stored(1 + rng.integers(0, 2**7, 19) / 2.0**7, element).reshape(spec.w_shape)
    plan = planned(spec, target_of(isa))
    lib = ctypes.CDLL(str(compiled("edge", render_c(plan), way)))
    y, packed = np.zeros(spec.y_shape, x.dtype), np.zeros(plan.packed_bytes // 4, np.float32)
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
    from convgen.package.emit.selftests import selftest_file

    spec = replace(with_activation(act), dtype=dtype)
    plan = planned(spec, PLAIN)
    files, test = render_c(plan), selftest_file(plan, None)
    program = compiled("edge", files, GCC, main=test)
    done = subprocess.run([program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0 and ": ok, " in done.stdout, done.stdout
    files["edge.c"] = files["edge.c"].replace("row[lane] = oc <", "row[lane] = oc + 9 <")
    program = compiled("edge", files, GCC, main=test)
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

"""The plain C model of the 8-bit operations against the instructions themselves, bit for bit.

What is proved or verified of the model holds for the instructions because of this. Operands are
random, and the extremes where products of bytes saturate elsewhere.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from dot_ways import X86, way_of
from kernels import COMPILERS, Way, compiled
from numpy.typing import NDArray

from convgen.spec.elements import ELEMENTS, numpy_dtype
from convgen.spec.model import DType
from convgen.target import TARGETS, VectorIsa
from convgen.target.dots import OPTIONAL, DotIsa
from convgen.target.isa import model

VECTORS = 512
BY_LAYERS = OPTIONAL - {"stairs", "stairs_signed"}
ORDER = ("x", "w", "a", "b", "scale", "rest", "half", "factor", "by", "addend")
SOURCE = """\
#include <stdint.h>
#include <string.h>
@include
typedef @ctype @v;
@types
@operations
typedef struct {
  const @x *x;
  const int8_t *w, *a, *b;
  const float *scale, *rest, *half;
  const int32_t *factor, *by;
  const int64_t *addend;
  int32_t *y;
  @x *bytes;
} data;
#define A @v_sums(d->a + 4 * i)
#define B @v_sums(d->b + 4 * i)
#define OPEN(name) \\
  @attribute void @side_##name(const data *d); \\
  @attribute void @side_##name(const data *d) { for (int i = 0; i < @count; i += @lanes)
#define RUN(name, expression) OPEN(name) { const @v r = expression; @v_spill(d->y + i, r); } }
RUN(sub, @v_sub(A, B))
RUN(dot, @v_dot(@v_quad(d->x + 4 * i), @v_weights(d->w + 4 * i), A))
RUN(product, @v_product(@v_each(d->x + i), @v_taps(d->w + i), A))
RUN(rescale, @v_rescale(A, @v_reals(d->scale + i)))
RUN(rescale_within, @v_rescale_within(B, @v_reals(d->scale + i), -100.25f, 91.5f))
RUN(reduce, @v_reduce(A, d->factor + i, d->addend + i, d->by + i))
RUN(reduce_signed, @v_reduce_signed(A, d->factor + i, d->addend + i, d->by + i))
@stairs
RUN(add1, @v_add1(A, -77))
RUN(max1, @v_max1(A, 1000))
RUN(min1, @v_min1(A, -5))
OPEN(narrow) { @v_narrow(d->bytes + i, A); } }
@parts
"""
STAIRS = """
#define REALS @v_reals(d->scale + i), @v_reals(d->rest + i), @v_reals(d->half + i)
RUN(stairs, @v_stairs(B, REALS))
RUN(stairs_signed, @v_stairs_signed(B, REALS))
"""
PART = """
RUN(each_part_@n, @v_product(@v_each_part(d->x + i, @n), @v_taps(d->w + i), A))
OPEN(narrow_part_@n) { @v_narrow_part(d->bytes + i, B, @n); } }
"""


def source(isa: VectorIsa, side: str, x: str) -> str:
    attribute = f"__attribute__(({isa.attribute}))" if isa.attribute else ""
    operations = "\n".join(
        f"{attribute} static inline {op.result} {isa.prefix}_{op.name}({op.params})\n"
        f"{{\n  {op.body}\n}}"
        for op in isa.operations
        if op.name not in BY_LAYERS  # test_dot_kernels.py holds those to the oracle, model and all
    )
    text = SOURCE.replace("@stairs", STAIRS if isa.has("stairs") else "").replace(
        "@parts", "".join(PART.replace("@n", str(n)) for n in range(1, isa.lanes))
    )
    for mark, value in {
        "@include": f"#include <{isa.header}>" if isa.header else "",
        "@types": "\n".join(f"typedef {c} {isa.prefix}_{name};" for name, c in isa.types),
        "@operations": operations,
        "@attribute": attribute,
        "@ctype": isa.ctype,
        "@lanes": str(isa.lanes),
        "@count": str(VECTORS * isa.lanes),
        "@side": side,
        "@x": x,
        "@v": isa.prefix,
    }.items():
        text = text.replace(mark, value)
    return text


@cache
def arrays(lanes: int, dtype: DType) -> dict[str, NDArray[np.generic]]:
    """Operands of every operation: a quarter of the sums and all of the first bytes are extreme."""
    rng, n = np.random.default_rng(lanes), VECTORS * lanes
    low, high = ELEMENTS[dtype].limits
    x, w = rng.integers(low, high + 1, 4 * n), rng.integers(-128, 128, 4 * n)
    x[:n], w[:n] = rng.choice([low, high], n), rng.choice([-128, 127], n)
    a, b = rng.integers(-(2**31), 2**31, n), rng.integers(-2000, 2000, n)
    a[: n // 4] = rng.choice([-(2**31), 2**31 - 1, 0, -1, 255, 256, -129, 128, 65536], n // 4)
    right = rng.integers(1, 22, n)
    addend = 2**30 + (1 << (30 + right)) + rng.integers(-128, 128, n) * (1 << (31 + right))
    by = (right - 1).reshape(-1, lanes)
    addend = np.hstack([addend.reshape(-1, lanes)[:, k::2] for k in (0, 1)])
    return {
        "x": x.astype(numpy_dtype(ELEMENTS[dtype])), "w": w.astype(np.int8),
        "a": a.astype("<i4"), "b": b.astype("<i4"),
        "scale": rng.choice(np.array([0.5, 0.25, 0.3, 2**-8, 2**-20], np.float32), n),
        "rest": rng.integers(-2048, 2048, n).astype(np.float32) * np.float32(2**-40),
        "half": rng.uniform(0.5, 1.0, n).astype(np.float32),
        "factor": rng.integers(2**30, 2**31, n).astype(np.int32),
        "by": by.astype(np.int32).reshape(-1), "addend": addend.reshape(-1),
    }  # fmt: skip


Run = Callable[[str, str], tuple[NDArray[np.int32], NDArray[np.generic]]]


def runner(isa: DotIsa, dtype: DType, way: Way) -> Run:
    x = f"{dtype}_t"
    files = {"real.c": source(isa, "real", x), "model.c": source(model(isa), "model", x)}
    library = ctypes.CDLL(str(compiled("dots", files, way)))

    def run(side: str, name: str) -> tuple[NDArray[np.int32], NDArray[np.generic]]:
        given, n = arrays(isa.lanes, dtype), VECTORS * isa.lanes
        y, bytes_ = np.zeros(n, np.int32), np.zeros(n, numpy_dtype(ELEMENTS[dtype]))
        order = [given[k] for k in ORDER]
        pointers = [array.ctypes.data for array in (*order, y, bytes_)]
        library[f"{side}_{name}"]((ctypes.c_void_p * len(pointers))(*pointers))
        return y, bytes_

    return run


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8])
@pytest.mark.parametrize("target", X86)
def test_every_operation(target: str, dtype: DType, cc: str) -> None:
    way = way_of(target, model=False, cc=cc)
    (isa,) = TARGETS[target].dot_isas(dtype)
    run = runner(isa, dtype, way)
    names = ["sub", "dot", "product", "rescale", "rescale_within", "reduce", "reduce_signed",
             "add1", "max1", "min1", "narrow"]  # fmt: skip
    read = {"sums", "spill", "quad", "weights", "each", "taps", "reals"}
    there = {op.name for op in isa.operations} - BY_LAYERS
    names += ["stairs", "stairs_signed"] if isa.has("stairs") else []
    assert {*names, *read, "each_part", "narrow_part"} == there
    for name in [*names, *(f"{k}_{n}" for k in ("each_part", "narrow_part")
                           for n in range(1, isa.lanes))]:  # fmt: skip
        for real, modelled in zip(run("real", name), run("model", name), strict=True):
            np.testing.assert_array_equal(real, modelled, f"{isa.name} {name}")


@pytest.mark.parametrize("target", X86)
def test_the_sums_are_those_of_numpy(target: str) -> None:
    """No saturation on the way, whatever the bytes."""
    (isa,) = TARGETS[target].dot_isas(DType.UINT8)
    given = arrays(isa.lanes, DType.UINT8)
    x = given["x"].astype(np.int64).reshape(VECTORS, isa.lanes, 4)[:, :1]  # the first lane's
    w = given["w"].astype(np.int64).reshape(VECTORS, isa.lanes, 4)
    want = given["a"].astype(np.int64).reshape(VECTORS, isa.lanes) + (x * w).sum(axis=2)
    way = way_of(target, model=False)
    got = runner(isa, DType.UINT8, way)("real", "dot")[0]
    np.testing.assert_array_equal(got, want.reshape(-1).astype(np.int32))

"""bfloat16 layers on products of pairs (AVX512-BF16): the ladder, the model, what counts as 0."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from edge_layers import ACTIVATIONS, EDGES, LAYER
from kernels import COMPILERS, Part, Way, compiled, needs, planned, prove_right, target_of
from numpy.typing import NDArray

from convgen.choose.roofline import work_of
from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.kernels.pairs import lowering as bf16
from convgen.kernels.tiled.walk import walk
from convgen.oracle.floats import Points, accumulate, flush_bound
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.elements import ELEMENTS, stored, widened
from convgen.spec.model import Accuracy, ConvSpec, DType, Layout
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS
from convgen.target.isa import model
from convgen.target.x86.bf16 import AVX512_BF16, PLAIN_BF16
from convgen.verify.bound import judge_bounded, judge_single
from convgen.verify.fills import Fill, bounded_fill
from convgen.verify.tiling import NO_LEEWAY, Leeway, leeway_of

ISA = "avx512bf16"
TARGET, WIDENING = target_of(ISA), target_of("avx512")
FLUSHES = Leeway(flushes=True)
BRAIN = ELEMENTS["bfloat16"]
TILES = ((1, 13, 2), (2, 3, 3), (1, 1, 1), (3, 2, 4), (1, 6, 4), (7, 4, 1))


def paired(spec: ConvSpec, more: int = 0) -> ConvSpec:
    """A layer of the same shape that takes pairs: twice as many input channels to a group, and
    ``more``, side by side."""
    return replace(
        spec, name="edge", c=spec.groups * (2 * spec.icg + more), dtype=DType.BFLOAT16,
        accuracy=Accuracy.FAST, layout=Layout.NHWC,
    )  # fmt: skip


def tile(index: int) -> Schedule:
    return Schedule(Family.DIRECT, 16, *TILES[index % len(TILES)])


EDGE_NAMES = list(EDGES)


@pytest.mark.parametrize("name", EDGE_NAMES)
def test_edges(name: str) -> None:
    index = EDGE_NAMES.index(name)
    way = Way(COMPILERS[index % 4 == 0])
    needs(ISA, way)
    plan = lower(paired(EDGES[name], index % 2), tile(index), TARGET)
    assert plan.body.isa is AVX512_BF16 and plan.plain.isa is PLAIN_BF16
    prove_right(plan, way)


@pytest.mark.parametrize("part", [Part.PLAIN, Part.MODEL])
@pytest.mark.parametrize("name", EDGE_NAMES[2::7])
def test_other_bodies_of_the_file(name: str, part: Part) -> None:
    index = EDGE_NAMES.index(name)
    plan = lower(paired(EDGES[name], index % 2), tile(index), TARGET)
    prove_right(plan, Way(part=part))


@pytest.mark.parametrize("act", ACTIVATIONS)
def test_activations(act: str) -> None:
    needs(ISA)
    prove_right(planned(replace(paired(LAYER), activation=ACTIVATIONS[act]), TARGET))


@pytest.mark.parametrize("part", [Part.OWN, Part.PLAIN])
@pytest.mark.parametrize("name", EDGE_NAMES[1::9])
def test_baked_weights_are_what_pack_writes(name: str, part: Part) -> None:
    way = Way(part=part)
    needs(ISA, way)
    spec = paired(EDGES[name], EDGE_NAMES.index(name) % 2)
    fill = bounded_fill(spec, 3)
    plan = lower(spec, tile(0), TARGET)
    prove_right(plan, way, Weights(fill.w, fill.b))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"accuracy": Accuracy.STRICT}, "strict: nothing counts as 0"),
        ({"c": 1}, "no pair"),
        ({"c": 32, "groups": 32, "oc": 32}, "depthwise: one channel to a filter"),
        ({"dtype": DType.FLOAT16}, "another type"),
    ],
)
def test_all_others_are_widened(change: dict[str, object], why: str) -> None:
    spec = replace(paired(LAYER), c=8, oc=32)
    assert bf16.serves(spec, TARGET) and planned(spec, TARGET).body.isa is AVX512_BF16
    other = replace(spec, **change)  # type: ignore[arg-type]
    assert not bf16.serves(other, TARGET), why
    plan = planned(other, TARGET)
    assert not plan.body.isa.flushes and leeway_of(plan).flushes is False
    assert plan.schedule == planned(other, WIDENING).schedule


@pytest.mark.parametrize("part", [Part.PLAIN, Part.MODEL])
@pytest.mark.parametrize("name", [*EDGE_NAMES[1::13], "pointwise_strided", "transposed_planes"])
def test_planes_are_turned_into_pairs_or_widened(name: str, part: Part) -> None:
    """Two channels that lie a plane apart are no pair."""
    index = EDGE_NAMES.index(name)
    spec = replace(paired(EDGES[name], index % 2), layout=Layout.NCHW)
    plan = lower(spec, tile(index), TARGET)
    view, _ = walk(spec, tile(index))
    assert plan.body.isa.flushes is (view.x_channel == 1)  # turned, or of one pixel
    prove_right(plan, Way(part=part))


def test_other_targets_are_widened() -> None:
    for target in TARGETS.values():
        plan = planned(paired(LAYER), target)
        assert leeway_of(plan).flushes is (target is TARGET), target.name
    assert bf16.lanes(WIDENING) == 0


def test_too_large_a_tile_is_refused() -> None:
    with pytest.raises(ScheduleError, match="a 7x4 tile of 2 vectors does not fit 32 registers"):
        lower(paired(LAYER), Schedule(Family.DIRECT, 16, 7, 4, 2), TARGET)


def test_half_the_steps_half_the_bytes() -> None:
    spec = replace(paired(LAYER), c=64, oc=64)
    pairs, floats = (lower(spec, tile(0), target) for target in (TARGET, WIDENING))
    assert work_of(pairs).fmas * 2 == work_of(floats).fmas
    assert pairs.packed_bytes == (2 + pairs.packing.depth) * 2 * 64
    assert floats.packed_bytes == (1 + pairs.packing.depth) * 4 * 64


def test_the_file_says_what_it_does() -> None:
    head = render_c(planned(paired(LAYER), TARGET))["edge.c"].partition("*/")[0]
    assert "Numbers below 2^-126 count as 0:\n" in head
    assert "2^-126 * (sum of |x| + |w| + 2K+4)" in head
    strict = render_c(planned(replace(paired(LAYER), accuracy=Accuracy.STRICT), TARGET))["edge.c"]
    assert "count as 0" not in strict


# -- numbers below 2^-126 ------------------------------------------------------------------------


def one_pixel(x: float, w: float, b: float = 0.0) -> tuple[ConvSpec, Fill, Points]:
    """y = x * w + b, beside a channel of zeros."""
    spec = ConvSpec("edge", 1, 1, 2, 1, 1, 1, dtype=DType.BFLOAT16)
    image = stored(np.array([[[[x, 0.0]]]]), BRAIN)
    weights = stored(np.array([[[[w], [0.0]]]]), BRAIN)
    return spec, Fill(image, weights, stored(np.array([b]), BRAIN)), Points.every(spec, 1)


def test_a_lost_subnormal_is_only_right_where_numbers_may_be_flushed() -> None:
    """2^-130 * 2^100 is far from small, and is 0 by the instruction's rule."""
    for x, w in ((2.0**-130, 2.0**100), (2.0**100, -(2.0**-133))):
        spec, fill, points = one_pixel(x, w)
        zero = np.zeros(spec.y_shape, np.uint16)
        for judge in (judge_bounded, judge_single):
            assert judge(spec, fill, zero, points, FLUSHES).passed
            assert not judge(spec, fill, zero, points, NO_LEEWAY).passed
        wrong = stored(np.full(spec.y_shape, 2.5 * x * w), BRAIN)
        assert not judge_bounded(spec, fill, wrong, points, FLUSHES).passed


def test_normal_numbers_have_no_more_leeway_than_before() -> None:
    spec, fill, points = one_pixel(1.5, 2.0**-20)
    zero = np.zeros(spec.y_shape, np.uint16)
    assert not judge_bounded(spec, fill, zero, points, FLUSHES).passed
    assert flush_bound(spec, fill.x, fill.w, points).max() == 8 * 2.0**-126


def test_the_flush_bound_is_what_the_file_says() -> None:
    """Of any numbers: no more than 2^-126 * (sum of |x| + sum of |w| + 2K + 4)."""
    rng = np.random.default_rng(5)
    spec = replace(paired(EDGES["pad_top_only"]), bias=False)
    sizes = [2.0 ** rng.integers(-133, -100, shape) for shape in (spec.x_shape, spec.w_shape)]
    x, w = (stored(size, BRAIN) for size in sizes)
    points = Points.every(spec, 1)
    one = stored(np.ones(1), BRAIN)[0]
    sums = [
        accumulate(spec, widened(a, BRAIN), widened(b, BRAIN), None, points, np.dtype(np.float64))
        for a, b in ((x, np.full_like(w, one)), (np.full_like(x, one), w))
    ]
    most = 2.0**-126 * (sums[0] + sums[1] + 2 * spec.kh * spec.kw * spec.icg + 4)
    found = flush_bound(spec, x, w, points)
    assert (found <= most).all() and (found > 2.0**-126).all()


# -- the model, bit for bit ----------------------------------------------------------------------

COUNT = 4096
SOURCE = """\
#include <stdint.h>
#include <string.h>
@include
typedef @ctype v16;
@types
@operations
@attribute void @side_dot(const uint16_t *x, const uint16_t *w, const uint16_t *b, float *y);
@attribute void @side_dot(const uint16_t *x, const uint16_t *w, const uint16_t *b, float *y)
{
  for (int i = 0; i < @count; ++i) {
    v16 c = v16_load(b + 32 * i);
    for (int k = 0; k < 2; ++k) {
      c = v16_dot(v16_pair(x + 6 * i + 2 * k), v16_weights(w + 96 * i + 32 * k), c);
    }
    c = v16_dot(v16_single(x + 6 * i + 4), v16_weights(w + 96 * i + 64), c);
    memcpy(y + 16 * i, &c, sizeof c);
  }
}
@attribute void @side_store(const float *a, uint16_t *y, int part);
@attribute void @side_store(const float *a, uint16_t *y, int part)
{
  for (int i = 0; i < @count; ++i) {
    v16 c;
    memcpy(&c, a + 16 * i, sizeof c);
    if (part) v16_store_part(y + 16 * i, c, 11);
    else v16_store(y + 16 * i, c);
  }
}
"""


def source(side: str) -> str:
    isa = AVX512_BF16 if side == "real" else model(AVX512_BF16)
    attribute = f"__attribute__(({isa.attribute}))" if isa.attribute else ""
    names = ("load", "pair", "single", "weights", "dot", "store", "store_part")
    text = SOURCE
    for mark, value in {
        "@include": f"#include <{isa.header}>" if isa.header else "",
        "@types": "\n".join(f"typedef {c} v16_{name};" for name, c in isa.types),
        "@operations": "\n".join(
            f"{attribute} static inline {op.result} v16_{op.name}({op.params})\n{{\n  {op.body}\n}}"
            for op in isa.closed(names)
        ),
        "@attribute": attribute,
        "@ctype": isa.ctype,
        "@count": str(COUNT),
        "@side": side,
    }.items():
        text = text.replace(mark, value)
    return text


def brains(rng: np.random.Generator, count: int, spread: int, middle: int) -> NDArray[np.uint16]:
    """Random bits with exponents about ``middle``, as stored."""
    exponents = np.clip(rng.integers(middle - spread, middle + spread + 1, count), 0, 255)
    bits = rng.integers(0, 2**16, count) & 0x807F | exponents << 7
    return bits.astype(np.uint16)


KINDS: dict[str, Callable[[np.random.Generator, int], NDArray[np.uint16]]] = {
    "alike": lambda rng, n: brains(rng, n, 2, 127),
    "apart": lambda rng, n: brains(rng, n, 30, 127),
    "products about 2^-126": lambda rng, n: brains(rng, n, 6, 64),
    "subnormal": lambda rng, n: brains(rng, n, 5, 2),
    "near overflow": lambda rng, n: brains(rng, n, 3, 190),
    "any": lambda rng, n: rng.integers(0, 2**16, n).astype(np.uint16),
}


def same(real: NDArray[np.generic], modelled: NDArray[np.generic], nan: NDArray[np.bool_]) -> None:
    """To the bit, but for the bits of a NaN."""
    assert (nan[0] == nan[1]).all()
    bits = [np.where(nan[0], 0, a) for a in (real, modelled)]
    np.testing.assert_array_equal(*bits)


@pytest.mark.parametrize("cc", COMPILERS)
def test_the_model_is_the_instructions(cc: str) -> None:
    needs(ISA, Way(cc))
    files = {"real.c": source("real"), "model.c": source("model")}
    library = ctypes.CDLL(str(compiled("pairs", files, Way(cc))))
    rng = np.random.default_rng(7)

    def both(name: str, *given: NDArray[np.generic], out: NDArray[np.generic], more: object = ()):  # type: ignore[no-untyped-def]
        results = []
        for side in ("real", "model"):
            y = np.zeros_like(out)
            pointers = [ctypes.c_void_p(a.ctypes.data) for a in (*given, y)]
            library[f"{side}_{name}"](*pointers, *more)  # type: ignore[misc]
            results.append(y)
        return results

    sums = np.zeros(16 * COUNT, np.float32)
    for kind, draw in KINDS.items():
        x, w, b = draw(rng, 6 * COUNT), draw(rng, 96 * COUNT), draw(rng, 32 * COUNT)
        b[::2] = 0  # as biases are packed
        found = both("dot", x, w, b, out=sums)
        nan = np.stack([np.isnan(y) for y in found])
        assert nan.mean() < 0.5 and len(np.unique(found[0])) > 1000, kind
        same(found[0].view(np.uint32), found[1].view(np.uint32), nan)
    floats = rng.integers(0, 2**32, 16 * COUNT, dtype=np.uint32)
    floats[: 8 * COUNT] &= 0x81FFFFFF  # small ones, subnormal ones among them
    floats[: 4 * COUNT] = floats[: 4 * COUNT] & 0xFFFF0000 | 0x8000  # ties
    for part in (0, 1):
        found = both("store", floats, out=np.zeros(16 * COUNT, np.uint16), more=(part,))
        nan = np.stack([np.isnan(widened(y, BRAIN)) for y in found])
        same(*found, nan)
        assert nan.any()

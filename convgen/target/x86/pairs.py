"""8-bit products on x86-64 CPUs without VNNI: pairs of 16-bit ones, of any width.

Bytes at even and odd places are widened apart and multiplied apart, so nothing saturates, as
products of bytes do there (pmaddubsw).
"""

from __future__ import annotations

from dataclasses import dataclass

from convgen.spec.model import DType
from convgen.target.dot_model import model
from convgen.target.dots import DotIsa, table
from convgen.target.x86.dots import (
    FIRST,
    epilogue_256,
    epilogue_512,
    singles_256,
    singles_512,
)
from convgen.target.x86.vectors import _X86


@dataclass(frozen=True)
class _Width:
    """The spelling of one vector width's intrinsics; in assembly, of its addition and registers."""

    mm: str
    si: str
    add: str = "vpaddd %1, %0, %0"
    register: str = "x"

    @property
    def type(self) -> str:
        return f"__m{self.mm[3:] or '128'}i"

    def load(self, p: str) -> str:
        return f"{self.mm}_loadu_{self.si}((const {self.type} *){p})"


_512 = _Width("_mm512", "si512", register="v")
_256 = _Width("_mm256", "si256")
_128 = _Width("_mm", "si128", "paddd %1, %0")


def _pairs(at: _Width, signed: bool) -> dict[str, str]:
    """What the widths share. Halves of depthwise layers, one product a lane, are alike."""
    mm = at.mm
    first = f"{mm}_srai_epi16({mm}_slli_epi16(q, 8), 8)"
    second = f"{mm}_srai_epi16(q, 8)"
    of_input = f"  r.even = {first};\n  r.odd = {second};\n  return r;"
    if not signed:
        of_input = (
            f"  r.even = {mm}_and_{at.si}(q, {mm}_set1_epi32(0x00ff00ff));\n"
            f"  r.odd = {mm}_srli_epi16(q, 8);\n  return r;"
        )
    product = f"{mm}_madd_epi16(a.even, b.even)"
    both = f"{mm}_add_epi32({product}, {mm}_madd_epi16(a.odd, b.odd))"
    # The intrinsic would copy accumulators: gcc does not see that they may be overwritten.
    add = f'__asm__("{at.add}" : "+{at.register}"(c) : "{at.register}"(m));\n  return c;'
    return {
        "quad": "int32_t four;\n  memcpy(&four, p, sizeof four);\n"
        f"  const {at.type} q = {mm}_set1_epi32(four);\n  IN r;\n{of_input}",
        "weights": f"const {at.type} q = {at.load('p')};\n  W r;\n"
        f"  r.even = {first};\n  r.odd = {second};\n  return r;",
        "dot": f"const {at.type} m = {both};\n  {add}",
        "product": f"const {at.type} m = {product};\n  {add}",
    }


def _alike(at: _Width, bodies: dict[str, str], **before: str) -> dict[str, str]:
    """Single products, from expressions of inputs and weights and what stands ``before`` them."""
    kinds = {"each": "IN", "each_part": "IN", "taps": "W"}
    return {
        name: f"{before.get(name, '')}const {at.type} q = {body};\n"
        f"  {kinds[name]} r;\n  r.even = q;\n  r.odd = q;\n  return r;"
        for name, body in bodies.items()
    }


def _isa(
    name: str, prefix: str, lanes: int, at: _Width, bodies: dict[str, str], dtype: DType,
    features: tuple[str, ...], *, header: str = "immintrin.h", registers: int = 16,
    operands: int = 3,
) -> DotIsa:  # fmt: skip
    halves = f"struct {{\n  {at.type} even, odd;\n}}"
    return DotIsa(
        name=name,
        lanes=lanes,
        prefix=prefix,
        ctype=at.type,
        header=header,
        condition=_X86,
        attribute=f'target("{",".join(features)}")',
        features=features,
        registers=registers,
        operations=table(prefix, f"{dtype}_t", bodies),
        fused=False,
        shuffled=operands == 2,
        depth=4,
        types=(("in", halves), ("w", halves), ("r", f"__m{32 * lanes}")),
        modelled=model(prefix, lanes, 4, dtype, 0),
        halves=2,
        taking_apart=3,
        operands=operands,
    )


def avx512_pairs(dtype: DType) -> DotIsa:
    """AVX-512 without VNNI: Skylake-X."""
    bodies = (
        epilogue_512(dtype) | _pairs(_512, dtype is DType.INT8) | _alike(_512, singles_512(dtype))
    )
    features = ("avx512f", "avx512bw", "avx512vl")
    return _isa("avx512bw", "v16", 16, _512, bodies, dtype, features, registers=32)


def avx2_pairs(dtype: DType) -> DotIsa:
    """AVX2: Haswell, Zen."""
    bodies = (
        epilogue_256(dtype)
        | _pairs(_256, dtype is DType.INT8)
        | _alike(_256, singles_256(dtype), each_part=FIRST)
    )
    return _isa("avx2", "v8", 8, _256, bodies, dtype, ("avx2",))


def sse2_pairs(dtype: DType) -> DotIsa:
    """Every x86-64 CPU. SSE2 cannot shift lanes by different counts: that goes one by one."""
    signed = dtype is DType.INT8
    four = "int32_t four{};\n  memcpy(&four, p, {});\n  __m128i b = _mm_cvtsi32_si128(four);\n  "
    whole = four.format("", "sizeof four")
    twice = "b = _mm_unpacklo_epi8(b, b);\n  "
    none = "_mm_setzero_si128()"
    wide = f"b = _mm_unpacklo_epi8(b, {none});\n  "
    each = twice if signed else wide
    widened = f"_mm_unpacklo_epi16(b, {none})"
    single = {
        "each": "_mm_srai_epi32(_mm_unpacklo_epi16(b, b), 24)" if signed else widened,
        "taps": f"_mm_unpacklo_epi16(_mm_srai_epi16(b, 8), {none})",
    }
    before = {
        "each": whole + each,
        "each_part": four.format(" = 0", "(size_t)n") + each,
        "taps": whole + twice,
    }
    single["each_part"] = single["each"]
    bodies = _epilogue_128(signed) | _pairs(_128, signed) | _alike(_128, single, **before)
    return _isa("sse2", "v4", 4, _128, bodies, dtype, ("sse2",), header="emmintrin.h", operands=2)


def _epilogue_128(signed: bool) -> dict[str, str]:
    product = "_mm_mul_ps(_mm_cvtepi32_ps(a), s)"
    packed = "_mm_pack{}_epi16(b, b)".format("s" if signed else "us")
    narrow = (
        "const __m128i b = _mm_packs_epi32(a, a);\n"
        f"  const int32_t four = _mm_cvtsi128_si32({packed});\n  memcpy(p, &four, {{}});"
    )
    chosen = (
        "const __m128i b = _mm_set1_epi32(s), from_a = {};\n"
        "  return _mm_or_si128(_mm_and_si128(from_a, a), _mm_andnot_si128(from_a, b));"
    )
    return {
        "sums": _128.load("p"),
        "sub": "_mm_sub_epi32(a, b)",
        "add1": "_mm_add_epi32(a, _mm_set1_epi32(s))",
        "spill": "_mm_storeu_si128((__m128i *)p, a)",
        "reals": "_mm_loadu_ps(p)",
        "rescale": f"_mm_cvtps_epi32({product})",
        "rescale_within": f"__m128 f = {product};\n"
        "  f = _mm_min_ps(_mm_max_ps(f, _mm_set1_ps(low)), _mm_set1_ps(high));\n"
        "  return _mm_cvtps_epi32(f);",
        "reduce": _REDUCE_4.format(less=""),
        "reduce_signed": _REDUCE_4.format(less=" - (s[i] < 0 ? 2147483648 : 0)"),
        "max1": chosen.format("_mm_cmpgt_epi32(a, b)"),
        "min1": chosen.format("_mm_cmpgt_epi32(b, a)"),
        "narrow": narrow.format("sizeof four"),
        "narrow_part": narrow.format("(size_t)n"),
    }


_REDUCE_4 = (
    "int32_t s[4];\n  _mm_storeu_si128((__m128i *)s, a);\n  for (int i = 0; i < 4; ++i) {{\n"
    "    const int64_t v = (int64_t)s[i] * f[i] + t[i / 2 + i % 2 * 2]{less};\n"
    "    s[i] = (int32_t)(v >> 32) >> by[i];\n  }}\n"
    "  return _mm_loadu_si128((const __m128i *)s);"
)

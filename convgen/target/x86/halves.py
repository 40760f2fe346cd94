"""16-bit conversions by instructions: F16C and AVX-512's own, integer shifts for bfloat16, NEON's
half precision; and vectors of GNU C for SSE2 and whatever else has 128-bit registers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from convgen.spec.model import DType
from convgen.target.halves import Quick

_NEAREST = "_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC"  # whatever MXCSR says
# AVX-512 on halves of its vectors: parts of 16-bit elements need BW and VL.
_512 = 'target("avx512f,avx512bw,avx512vl")'
_BW = ("avx512bw", "avx512vl")
_PART_16 = "_mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1u), p)"
_STORED_16 = "_mm256_mask_storeu_epi16(\n      p, (__mmask16)((1u << n) - 1u), {});"
# The number of lanes is a constant wherever these are called: a few moves.
_PART_8 = "uint16_t t[8] = {{0}};\n  memcpy(t, p, (size_t)n * sizeof *p);\n  return {};"
_STORED_8 = "const __m128i h = {};\n  memcpy(p, &h, (size_t)n * sizeof *p);"


def _x86_half(mm: str, load: str, part: str, store: str, store_part: str) -> dict[str, str]:
    """float16: ``load``, ``part`` give the integers, the stores take them."""
    repeated = "_mm256" if mm == "_mm512" else "_mm"
    halves = f"{mm}_cvtps_ph(a, {_NEAREST})"
    return {
        "repeat": f"{mm}_cvtph_ps({repeated}_set1_epi16((short)p[0]))",
        "each": f"{mm}_cvtph_ps({load})",
        "each_part": part.format(f"{mm}_cvtph_ps({load.replace('p)', 't)')})")
        if "{}" in part
        else f"{mm}_cvtph_ps({part})",
        "store": store.format(halves),
        "store_part": store_part.format(halves),
    }


def _x86_brain(
    mm: str, si: str, load: str, part: str, store: str, store_part: str, rounded: str
) -> dict[str, str]:
    """bfloat16: the upper half of a float. ``rounded``: its bits from u, NaN told apart, as 16-bit
    integers; the sum of the odd bit and nearly half a unit rounds to even."""
    whole = f"__m{mm[3:] or '128'}i"
    widened = f"{mm}_cast{si}_ps({mm}_slli_epi32({mm}_cvtepu16_epi32({{}}), 16))"
    return {
        "repeat": f"{mm}_cast{si}_ps({mm}_slli_epi32({mm}_set1_epi16((short)p[0]), 16))",
        "each": widened.format(load),
        "each_part": part.format(widened.format(load.replace("p)", "t)")))
        if "{}" in part
        else widened.format(part),
        "shrink": f"const {whole} u = {mm}_castps_{si}(a), high = {mm}_srli_epi32(u, 16);\n"
        f"  const {whole} odd = {mm}_and_{_WORD[mm]}(high, {mm}_set1_epi32(1));\n"
        f"  const {whole} half = {mm}_add_epi32(odd, {mm}_set1_epi32(0x7fff));\n"
        f"  const {whole} near = {mm}_srli_epi32({mm}_add_epi32(u, half), 16);\n"
        f"  const {whole} quiet = {mm}_or_{_WORD[mm]}(high, {mm}_set1_epi32(0x40));\n"
        f"{rounded}",
        "store": store,
        "store_part": store_part,
    }


_WORD = {"_mm512": "epi32", "_mm256": "si256", "_mm": "si128"}
_UNORDERED = "(a, a, _CMP_UNORD_Q)"
_LOAD_16 = "_mm256_loadu_si256((const __m256i *)p)"
_LOAD_8 = "_mm_loadu_si128((const __m128i *)p)"
_LOAD_4 = "_mm_loadl_epi64((const __m128i *)p)"


def _bits(ctype: str) -> tuple[tuple[str, str], ...]:
    return (("bits", ctype),)


# -- vectors of GNU C ----------------------------------------------------------------------------

# Lanes written one by one as 16 bits are what gcc 12 -O2 loses stores of (its SLP vectoriser).
_CONVERTS = "(defined(__clang__) || __GNUC__ >= 9)"
_GNU = {
    "repeat": "const BITS u = {p[0], p[0], p[0], p[0]};\n  return {v}_expand(u);",
    "each": "{v}_short s;\n  memcpy(&s, p, sizeof s);\n"
    "  return {v}_expand(__builtin_convertvector(s, {v}_bits));",
    "each_part": "{v}_short s = {0, 0, 0, 0};\n  memcpy(&s, p, (size_t)n * sizeof *p);\n"
    "  return {v}_expand(__builtin_convertvector(s, {v}_bits));",
    "store": "const {v}_short s = __builtin_convertvector({v}_shrink(a), {v}_short);\n"
    "  memcpy(p, &s, sizeof s);",
    "store_part": "const {v}_short s = __builtin_convertvector({v}_shrink(a), {v}_short);\n"
    "  memcpy(p, &s, (size_t)n * sizeof *p);",
}
_GNU_CONVERSIONS = {
    DType.FLOAT16: {
        "expand": "const V r = (V )((u & 0x7fffu) << 13) * 5.192296858534828e33f; /* 2^112 */\n"
        "  const BITS top = (BITS )((u & 0x7c00u) == 0x7c00u) & 0x7f800000u;\n"
        "  return (V )((BITS )r | top | (u & 0x8000u) << 16);",
        "shrink": "const BITS u = (BITS )a & 0x7fffffffu, sign = ((BITS )a >> 16) & 0x8000u;\n"
        "  const BITS near = (u + 0xc8000fffu + ((u >> 13) & 1u)) >> 13;\n"
        "  const BITS tiny = (BITS )((V )u + 0.5f) - 0x3f000000u; /* below 2^-14 */\n"
        "  const BITS small = (BITS )(u < 0x38800000u), large = (BITS )(u >= 0x477ff000u);\n"
        "  const BITS top = ((BITS )(u > 0x7f800000u) & 0x200u) | 0x7c00u;\n"
        "  const BITS finite = (tiny & small) | (near & ~small);\n"
        "  return sign | (finite & ~large) | (top & large);",
    },
    DType.BFLOAT16: {
        "expand": "return (V )(u << 16);",
        "shrink": "const BITS u = (BITS )a, nan = (BITS )((u & 0x7fffffffu) > 0x7f800000u);\n"
        "  const BITS near = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;\n"
        "  return (near & ~nan) | ((u >> 16 | 0x40u) & nan);",
    },
}


_SSE2 = {
    "repeat": _GNU["repeat"],
    "each": "return {v}_expand((BITS )_mm_unpacklo_epi16(\n"
    f"      {_LOAD_4}, _mm_setzero_si128()));",
    "each_part": "uint16_t t[4] = {0};\n  memcpy(t, p, (size_t)n * sizeof *p);\n"
    "  return {v}_each(t);",
    # Packing saturates signed numbers: the upper bits become the sign's.
    "pack": "const __m128i u = (__m128i){v}_shrink(a);\n"
    "  const __m128i s = _mm_srai_epi32(_mm_slli_epi32(u, 16), 16);\n"
    "  return (BITS )_mm_packs_epi32(s, s);",
    "store": "_mm_storel_epi64((__m128i *)p, (__m128i){v}_pack(a));",
    "store_part": "const BITS h = {v}_pack(a);\n  memcpy(p, &h, (size_t)n * sizeof *p);",
}


def _gnu(dtype: DType, reading: Mapping[str, str]) -> Quick:
    # A cast to the vector type itself ends in ")", which the table's own marks do not.
    texts = {**reading, **_GNU_CONVERSIONS[dtype]}
    bodies = {
        name: text.replace("{v}", "v4").replace("(V )", "(v4)").replace("(BITS )", "(v4_bits)")
        for name, text in texts.items()
    }
    widening = 7 if dtype is DType.FLOAT16 else 1
    types = _bits("uint32_t __attribute__((vector_size(16)))")
    if reading is _SSE2:
        return Quick(bodies, widening, types=types)
    short = ("short", "uint16_t __attribute__((vector_size(8)))")
    return Quick(bodies, widening, types=(*types, short), condition=_CONVERTS)


# -- NEON of AArch64 -----------------------------------------------------------------------------

_NEON_PART = (
    "uint16x4_t u = vld1_lane_u16(p, vdup_n_u16(0), 0);\n"
    "  if (n > 1) u = vld1_lane_u16(p + 1, u, 1);\n"
    "  if (n > 2) u = vld1_lane_u16(p + 2, u, 2);\n"
    "  return {};"
)
_NEON_STORED = (
    "const uint16x4_t u = {};\n"
    "  vst1_lane_u16(p, u, 0);\n"
    "  if (n > 1) vst1_lane_u16(p + 1, u, 1);\n"
    "  if (n > 2) vst1_lane_u16(p + 2, u, 2);"
)


def _neon(widened: str, narrowed: str) -> dict[str, str]:
    return {
        "repeat": widened.format("vld1_dup_u16(p)"),
        "each": widened.format("vld1_u16(p)"),
        "each_part": _NEON_PART.format(widened.format("u")),
        "store": f"vst1_u16(p, {narrowed})",
        "store_part": _NEON_STORED.format(narrowed),
    }


_NEON_HALF = _neon(
    "vcvt_f32_f16(vreinterpret_f16_u16({}))", "vreinterpret_u16_f16(vcvt_f16_f32(a))"
)
_NEON_BRAIN = _neon("vreinterpretq_f32_u32(vshll_n_u16({}, 16))", "v4_shrink(a)") | {
    "shrink": "const uint32x4_t u = vreinterpretq_u32_f32(a), high = vshrq_n_u32(u, 16);\n"
    "  const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));\n"
    "  const uint32x4_t half = vaddq_u32(odd, vdupq_n_u32(0x7fff));\n"
    "  const uint32x4_t near = vshrq_n_u32(vaddq_u32(u, half), 16);\n"
    "  const uint32x4_t quiet = vorrq_u32(high, vdupq_n_u32(0x40));\n"
    "  return vmovn_u32(vbslq_u32(vceqq_f32(a, a), near, quiet));",
}

# -- by instruction set and lanes ----------------------------------------------------------------

_HALF_PART_4 = "uint16_t t[4] = {{0}};\n  memcpy(t, p, (size_t)n * sizeof *p);\n  return {};"
QUICK: Mapping[tuple[str, DType], Quick] = MappingProxyType(
    {
        ("avx512x16", DType.FLOAT16): Quick(
            _x86_half(
                "_mm512", _LOAD_16, _PART_16, "_mm256_storeu_si256((__m256i *)p, {});", _STORED_16
            ),
            1, _512, _BW,
        ),
        ("avx512x16", DType.BFLOAT16): Quick(
            _x86_brain(
                "_mm512", "si512", _LOAD_16, _PART_16,
                "_mm256_storeu_si256((__m256i *)p, v16_shrink(a));",
                _STORED_16.format("v16_shrink(a)"),
                f"  const __mmask16 nan = _mm512_cmp_ps_mask{_UNORDERED};\n"
                "  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(near, nan, quiet));",
            ),
            1, _512, _BW, _bits("__m256i"),
        ),
        ("avx2x8", DType.FLOAT16): Quick(
            _x86_half(
                "_mm256", _LOAD_8, _PART_8, "_mm_storeu_si128((__m128i *)p, {});", _STORED_8
            ),
            1, 'target("avx2,fma,f16c")', ("f16c",),
        ),
        ("avx2x8", DType.BFLOAT16): Quick(
            _x86_brain(
                "_mm256", "si256", _LOAD_8, _PART_8,
                "_mm_storeu_si128((__m128i *)p, v8_shrink(a));",
                _STORED_8.format("v8_shrink(a)"),
                f"  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps{_UNORDERED});\n"
                "  const __m256i r = _mm256_blendv_epi8(near, quiet, nan);\n"
                "  return _mm_packus_epi32(_mm256_castsi256_si128(r), "
                "_mm256_extracti128_si256(r, 1));",
            ),
            1, types=_bits("__m128i"),
        ),
        ("avx2x4", DType.FLOAT16): Quick(
            _x86_half(
                "_mm", _LOAD_4, _HALF_PART_4, "_mm_storel_epi64((__m128i *)p, {});", _STORED_8
            ),
            1, 'target("avx2,fma,f16c")', ("f16c",),
        ),
        ("avx2x4", DType.BFLOAT16): Quick(
            _x86_brain(
                "_mm", "si128", _LOAD_4, _HALF_PART_4,
                "_mm_storel_epi64((__m128i *)p, v4_shrink(a));",
                _STORED_8.format("v4_shrink(a)"),
                f"  const __m128i nan = _mm_castps_si128(_mm_cmp_ps{_UNORDERED});\n"
                "  const __m128i r = _mm_blendv_epi8(near, quiet, nan);\n"
                "  return _mm_packus_epi32(r, r);",
            ),
            1, types=_bits("__m128i"),
        ),
        ("neonx4", DType.FLOAT16): Quick(_NEON_HALF, 1),
        ("neonx4", DType.BFLOAT16): Quick(_NEON_BRAIN, 1, types=_bits("uint16x4_t")),
        **{
            (name, dtype): _gnu(dtype, reading)
            for name, reading in (("sse2x4", _SSE2), ("plainx4", _GNU))
            for dtype in (DType.FLOAT16, DType.BFLOAT16)
        },
    }
)  # fmt: skip

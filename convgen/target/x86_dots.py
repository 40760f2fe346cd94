"""8-bit products on x86-64. Inputs count as unsigned there: int8 ones get 128 added."""

from __future__ import annotations

from convgen.spec.model import DType
from convgen.target.dot_model import model
from convgen.target.dots import DotIsa, table
from convgen.target.x86 import _X86

_PRODUCT_512 = "_mm512_mul_ps(_mm512_cvtepi32_ps(a), _mm512_loadu_ps(s))"
_ROUND_512 = "_mm512_cvt_roundps_epi32(f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)"
_512 = {
    "sums": "_mm512_loadu_si512(p)",
    "sub": "_mm512_sub_epi32(a, b)",
    "weights": "_mm512_loadu_si512(p)",
    # The intrinsic would copy accumulators: gcc does not see that they may be overwritten.
    "dot": '__asm__("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));\n  return c;',
    "deep": '__asm__("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));\n  return c;',
    "taps": "_mm512_and_si512(\n      _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)), "
    "_mm512_set1_epi32(0xffff))",
    "product": '__asm__("vpdpwssd %2, %1, %0" : "+v"(c) : "v"(a), "v"(b));\n  return c;',
    "rescale": f"const __m512 f = {_PRODUCT_512};\n  return {_ROUND_512};",
    "rescale_within": f"__m512 f = {_PRODUCT_512};\n"
    "  f = _mm512_min_ps(_mm512_max_ps(f, _mm512_set1_ps(low)), _mm512_set1_ps(high));\n"
    f"  return {_ROUND_512};",
    "add1": "_mm512_add_epi32(a, _mm512_set1_epi32(s))",
    "max1": "_mm512_max_epi32(a, _mm512_set1_epi32(s))",
    "min1": "_mm512_min_epi32(a, _mm512_set1_epi32(s))",
    "spill": "_mm512_storeu_si512(p, a)",
}


def _reduce_512(signed: bool) -> str:
    """Even and odd lanes multiplied apart, 64 bits each; what counts are the upper halves."""
    less = ""
    if signed:
        for name in ("even", "odd"):
            less += (
                f"  {name} = _mm512_mask_sub_epi64(\n      {name}, _mm512_cmplt_epi64_mask({name}, "
                f"_mm512_setzero_si512()), {name}, _mm512_set1_epi64(2147483648));\n"
            )
    return (
        "const __m512i g = _mm512_loadu_si512(f);\n"
        "  const __m512i upper = _mm512_setr_epi32(\n"
        "      1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);\n"
        "  __m512i even = _mm512_mul_epi32(a, g);\n"
        "  __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(g, 32));\n"
        f"{less}"
        "  even = _mm512_add_epi64(even, _mm512_loadu_si512(t));\n"
        "  odd = _mm512_add_epi64(odd, _mm512_loadu_si512(t + 8));\n"
        "  return _mm512_srav_epi32(\n"
        "      _mm512_permutex2var_epi32(even, upper, odd), _mm512_loadu_si512(by));"
    )


def _tall_512(load: str, signed: bool) -> str:
    """Four rows one after another, then the four bytes of each channel side by side."""
    rows = [load.format(p) for p in "pqrs"]
    flip = "  v = _mm512_xor_si512(v, _mm512_set1_epi8(-128));\n" if signed else ""
    inserted = "".join(
        f"  v = _mm512_inserti32x4(v, {row}, {i});\n" for i, row in enumerate(rows[1:], 1)
    )
    return (
        "const __m512i columns = _mm512_setr_epi32(\n"
        "      0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);\n"
        "  const __m512i bytes = _mm512_set4_epi32(\n"
        "      0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400);\n"
        f"  __m512i v = _mm512_castsi128_si512({rows[0]});\n{inserted}{flip}"
        "  return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(columns, v), bytes);"
    )


def _narrow_512(signed: bool) -> str:
    """Packing takes four lanes of each vector in turn; the last step brings them together."""
    pack, kind = ("packs", "epi8") if signed else ("packus", "epu8")
    low, high = (-128, 127) if signed else (0, 255)
    stores = "".join(
        f"\n  _mm_storeu_si128((__m128i *){p}, _mm512_extracti32x4_epi32(v, {i}));"
        for i, p in enumerate("pqrs")
    )
    return (
        "__m512i v = _mm512_packs_epi32(a, b), w = _mm512_packs_epi32(c, d);\n"
        "  const __m512i columns = _mm512_setr_epi32(\n"
        "      0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);\n"
        "  if (zero != 0) {\n"
        "    v = _mm512_adds_epi16(v, _mm512_set1_epi16((short)zero));\n"
        "    w = _mm512_adds_epi16(w, _mm512_set1_epi16((short)zero));\n"
        "  }\n"
        f"  v = _mm512_{pack}_epi16(v, w);\n"
        f"  if (low > {low}) v = _mm512_max_{kind}(v, _mm512_set1_epi8((char)low));\n"
        f"  if (high < {high}) v = _mm512_min_{kind}(v, _mm512_set1_epi8((char)high));\n"
        f"  v = _mm512_permutexvar_epi32(columns, v);{stores}"
    )


def avx512_vnni(dtype: DType) -> DotIsa:
    """AVX-512 with VNNI: Ice Lake, Zen 4 and later."""
    signed = dtype is DType.INT8
    x, offset = f"{dtype}_t", 128 if signed else 0
    quad = "_mm512_set1_epi32(q)"
    if signed:
        quad = f"_mm512_xor_si512({quad}, _mm512_set1_epi8(-128))"
    widen = "_mm512_cvtepi8_epi32" if signed else "_mm512_cvtepu8_epi32"
    narrow = "_mm512_cvtsepi32_epi8(a)"
    if not signed:
        narrow = "_mm512_cvtusepi32_epi8(_mm512_max_epi32(a, _mm512_setzero_si512()))"
    part = "_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1u), p)"
    bodies = {
        **_512,
        "quad": f"int32_t q;\n  memcpy(&q, p, sizeof q);\n  return {quad};",
        "each": f"{widen}(_mm_loadu_si128((const __m128i *)p))",
        "each_part": f"{widen}({part})",
        "reduce": _reduce_512(signed=False),
        "reduce_signed": _reduce_512(signed=True),
        "tall": _tall_512("_mm_loadu_si128((const __m128i *){})", signed),
        "tall_part": _tall_512("_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1u), {})", signed),
        "narrow4": _narrow_512(signed),
        "narrow": f"_mm_storeu_si128((__m128i *)p, {narrow})",
        "narrow_part": f"_mm_mask_storeu_epi8(p, (__mmask16)((1u << n) - 1u), {narrow})",
    }
    return DotIsa(
        name="avx512vnni",
        lanes=16,
        prefix="v16",
        ctype="__m512i",
        header="immintrin.h",
        condition=_X86,
        attribute='target("avx512f,avx512bw,avx512vl,avx512vnni")',
        features=("avx512f", "avx512bw", "avx512vl", "avx512vnni"),
        registers=32,
        operations=table("v16", x, bodies),
        depth=4,
        types=(("in", "__m512i"), ("w", "__m512i")),
        modelled=model("v16", 16, 4, dtype, offset),
        offset=offset,
    )

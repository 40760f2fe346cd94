"""8-bit products on x86-64 CPUs with VNNI. Inputs count as unsigned there: int8 ones get 128 added.

How lanes are read and what becomes of sums is here as well, for vectors of 512 and of 256 bits.
"""

from __future__ import annotations

from convgen.spec.model import DType
from convgen.target.dot_model import model
from convgen.target.dots import DotIsa, table
from convgen.target.x86.vectors import _X86

# "{vex}" is newer than the instructions it keeps from an AVX-512 encoding.
_KNOWS_VEX = "(defined(__clang__) ? __clang_major__ >= 13 : __GNUC__ >= 11)"


def _common(mm: str, si: str) -> dict[str, str]:
    """What both widths share: sums, rounding in float32, clamps."""
    bits = mm.removeprefix("_mm")
    whole, real = f"__m{bits}i", f"__m{bits}"
    product = f"{mm}_mul_ps({mm}_cvtepi32_ps(a), s)"
    nearest = f"{mm}_cvtps_epi32(f)"
    if bits == "512":
        nearest = f"{mm}_cvt_roundps_epi32(f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)"
    return {
        "sums": f"{mm}_loadu_{si}((const {whole} *)p)",
        "sub": f"{mm}_sub_epi32(a, b)",
        "weights": f"{mm}_loadu_{si}((const {whole} *)p)",
        "reals": f"{mm}_loadu_ps(p)",
        "rescale": f"const {real} f = {product};\n  return {nearest};",
        "rescale_within": f"{real} f = {product};\n"
        f"  f = {mm}_min_ps({mm}_max_ps(f, {mm}_set1_ps(low)), {mm}_set1_ps(high));\n"
        f"  return {nearest};",
        "add1": f"{mm}_add_epi32(a, {mm}_set1_epi32(s))",
        "max1": f"{mm}_max_epi32(a, {mm}_set1_epi32(s))",
        "min1": f"{mm}_min_epi32(a, {mm}_set1_epi32(s))",
        "spill": f"{mm}_storeu_{si}(({whole} *)p, a)",
    }


def _quads(mm: str, si: str, signed: bool) -> dict[str, str]:
    """Four inputs side by side, as unsigned bytes."""
    quad = f"{mm}_set1_epi32(q)"
    if signed:
        quad = f"{mm}_xor_{si}({quad}, {mm}_set1_epi8(-128))"
    return {"quad": f"int32_t q;\n  memcpy(&q, p, sizeof q);\n  return {quad};"}


def _products(prefix: str, register: str) -> dict[str, str]:
    """The intrinsics would copy accumulators: gcc does not see that they may be overwritten."""
    operands = f'"+{register}"(c) : "{register}"(a), "{register}"(b)'
    names = {"dot": "vpdpbusd", "product": "vpdpwssd"}
    return {
        operation: f'__asm__("{prefix}{name} %2, %1, %0" : {operands});\n  return c;'
        for operation, name in names.items()
    }


def singles_512(dtype: DType) -> dict[str, str]:
    """One input or weight a lane: expressions."""
    widen = "_mm512_cvtepi8_epi32" if dtype is DType.INT8 else "_mm512_cvtepu8_epi32"
    part = "_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1u), p)"
    return {
        "each": f"{widen}(_mm_loadu_si128((const __m128i *)p))",
        "each_part": f"{widen}({part})",
        "taps": "_mm512_and_si512(\n      _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)"
        "), _mm512_set1_epi32(0xffff))",
    }


def singles_256(dtype: DType) -> dict[str, str]:
    """The same; a part by way of an integer, for there are no masks of bytes."""
    widen = "_mm256_cvtepi8_epi32" if dtype is DType.INT8 else "_mm256_cvtepu8_epi32"
    return {
        "each": f"{widen}(_mm_loadl_epi64((const __m128i *)p))",
        "each_part": f"{widen}(_mm_cvtsi64_si128(first))",
        "taps": "_mm256_and_si256(\n      _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)"
        "), _mm256_set1_epi32(0xffff))",
    }


FIRST = "int64_t first = 0;\n  memcpy(&first, p, (size_t)n);\n  "  # before each_part of 256 bits


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


def _stairs_512(signed: bool) -> str:
    """Rounded down: what the last sum's 24 bits cannot hold changes no floor."""
    down = "_MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC"
    less = ""
    if signed:
        less = (
            "  const __mmask16 below = _mm512_cmplt_epi32_mask(a, _mm512_setzero_si512());\n"
            "  t = _mm512_mask_sub_ps(t, below, _mm512_set1_ps(1.0f), t);\n"
        )
    return (
        "const __m512 s = _mm512_cvtepi32_ps(a);\n"
        f"{less}"
        "  const __m512 rest = _mm512_fmadd_ps(s, b, t);\n"
        f"  const __m512 real = _mm512_fmadd_round_ps(s, f, rest, {down});\n"
        f"  return _mm512_cvt_roundps_epi32(real, {down});"
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


def _reduce_256(signed: bool) -> str:
    less = ""
    if signed:
        less = "  const __m256i none = _mm256_setzero_si256();\n"
        for name in ("even", "odd"):
            less += (
                f"  {name} = _mm256_sub_epi64({name}, _mm256_and_si256(\n"
                f"      _mm256_cmpgt_epi64(none, {name}), _mm256_set1_epi64x(2147483648)));\n"
            )
    return (
        "const __m256i g = _mm256_loadu_si256((const __m256i *)f);\n"
        "  __m256i even = _mm256_mul_epi32(a, g);\n"
        "  __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(g, 32));\n"
        f"{less}"
        "  even = _mm256_add_epi64(even, _mm256_loadu_si256((const __m256i *)t));\n"
        "  odd = _mm256_add_epi64(odd, _mm256_loadu_si256((const __m256i *)(t + 4)));\n"
        "  return _mm256_srav_epi32(\n"
        "      _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa),\n"
        "      _mm256_loadu_si256((const __m256i *)by));"
    )


def epilogue_512(dtype: DType) -> dict[str, str]:
    """From sums to outputs."""
    narrow = "_mm512_cvtsepi32_epi8(a)"
    if dtype is DType.UINT8:
        narrow = "_mm512_cvtusepi32_epi8(_mm512_max_epi32(a, _mm512_setzero_si512()))"
    return _common("_mm512", "si512") | {
        "stairs": _stairs_512(signed=False),
        "stairs_signed": _stairs_512(signed=True),
        "reduce": _reduce_512(signed=False),
        "reduce_signed": _reduce_512(signed=True),
        "narrow": f"_mm_storeu_si128((__m128i *)p, {narrow})",
        "narrow_part": f"_mm_mask_storeu_epi8(p, (__mmask16)((1u << n) - 1u), {narrow})",
    }


def epilogue_256(dtype: DType) -> dict[str, str]:
    """Saturated to 16 bits first, which changes nothing."""
    pack = "_mm_packs_epi16" if dtype is DType.INT8 else "_mm_packus_epi16"
    narrow = (
        "const __m128i b = _mm_packs_epi32(\n"
        "      _mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));\n"
    )
    part = f"  const int64_t first = _mm_cvtsi128_si64({pack}(b, b));\n"
    return _common("_mm256", "si256") | {
        "reduce": _reduce_256(signed=False),
        "reduce_signed": _reduce_256(signed=True),
        "narrow": f"{narrow}  _mm_storel_epi64((__m128i *)p, {pack}(b, b));",
        "narrow_part": f"{narrow}{part}  memcpy(p, &first, (size_t)n);",
    }


def avx512_vnni(dtype: DType) -> DotIsa:
    """AVX-512 with VNNI: Ice Lake, Zen 4 and later."""
    signed, products = dtype is DType.INT8, _products("", "v")
    bodies = (
        epilogue_512(dtype)
        | singles_512(dtype)
        | _quads("_mm512", "si512", signed)
        | products
        | {
            "tall": _tall_512("_mm_loadu_si128((const __m128i *){})", signed),
            "tall_part": _tall_512("_mm_maskz_loadu_epi8((__mmask16)((1u << n) - 1u), {})", signed),
            "deep": products["dot"],
            "narrow4": _narrow_512(signed),
        }
    )
    features = ("avx512f", "avx512bw", "avx512vl", "avx512vnni")
    return _vnni("avx512vnni", 16, bodies, dtype, features, _X86)


def avx_vnni(dtype: DType) -> DotIsa:
    """VNNI in 256 bits for CPUs without AVX-512: Alder Lake and later; Zen 5 has both."""
    singles = singles_256(dtype)
    bodies = (
        epilogue_256(dtype)
        | singles
        | {"each_part": f"{FIRST}return {singles['each_part']};"}
        | _quads("_mm256", "si256", dtype is DType.INT8)
        | _products("%{vex%} ", "x")  # braces have a meaning in assembly templates
    )
    condition = f"{_X86} && {_KNOWS_VEX}"
    return _vnni("avxvnni", 8, bodies, dtype, ("avx2", "avxvnni"), condition)


def _vnni(
    name: str,
    lanes: int,
    bodies: dict[str, str],
    dtype: DType,
    features: tuple[str, ...],
    condition: str,
) -> DotIsa:
    prefix, whole = f"v{lanes}", f"__m{32 * lanes}i"
    offset = 128 if dtype is DType.INT8 else 0
    return DotIsa(
        name=name,
        lanes=lanes,
        prefix=prefix,
        ctype=whole,
        header="immintrin.h",
        condition=condition,
        attribute=f'target("{",".join(features)}")',
        features=features,
        registers=2 * lanes,
        operations=table(prefix, f"{dtype}_t", bodies),
        depth=4,
        types=(("in", whole), ("w", whole), ("r", f"__m{32 * lanes}")),
        modelled=model(prefix, lanes, 4, dtype, offset),
        offset=offset,
    )

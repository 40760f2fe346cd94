"""x86-64: SSE2, AVX2 with FMA, AVX-512."""

from __future__ import annotations

from convgen.target.isa import VectorIsa, spread_groups, table

# Where CPUID says it: leaf and its part, register (eax ebx ecx edx), bit; and the registers that
# the operating system must save when it switches, as bits of XCR0 (Intel's manual, volume 1,
# chapters 13 to 15).
CPUID = {
    "sse2": (1, 0, 3, 26, 0),
    "fma": (1, 0, 2, 12, 0x06),
    "f16c": (1, 0, 2, 29, 0x06),
    "avx2": (7, 0, 1, 5, 0x06),
    "avx512f": (7, 0, 1, 16, 0xE6),
    "avx512bw": (7, 0, 1, 30, 0xE6),
    "avx512vl": (7, 0, 1, 31, 0xE6),
    "avx512vnni": (7, 0, 2, 11, 0xE6),
    "avxvnni": (7, 1, 0, 4, 0x06),
    "avx512bf16": (7, 1, 0, 5, 0xE6),
}


def x86_bodies(mm: str, ps: str, si: str, part: dict[str, str], fma: str) -> dict[str, str]:
    """The snippets that the x86 widths share; ``mm``: _mm, _mm256 or _mm512."""
    whole = "__m128i" if mm == "_mm" else f"__m{mm[3:]}i"
    exp2i = (
        f"const {whole} n = {mm}_slli_epi32({mm}_castps_{si}(t), 23);\n"
        f"  return {mm}_cast{si}_ps({mm}_add_epi32(n, {mm}_set1_epi32(0x3f800000)));"
    )
    return {
        "load": f"{mm}_loadu_{ps}(p)",
        "store": f"{mm}_storeu_{ps}(p, a)",
        "set1": f"{mm}_set1_{ps}(s)",
        "add": f"{mm}_add_{ps}(a, b)",
        "sub": f"{mm}_sub_{ps}(a, b)",
        "mul": f"{mm}_mul_{ps}(a, b)",
        "div": f"{mm}_div_{ps}(a, b)",
        "fma": fma,
        "max": f"{mm}_max_{ps}(a, b)",
        "min": f"{mm}_min_{ps}(a, b)",
        "exp2i": exp2i,
        "keep": '__asm__("" : "+v"(a));\n  return a;',
        **part,
    }


# The number of lanes is a constant wherever these are called, so the tests vanish. AVX's masked
# store would be one line, but several AMD cores run it as dozens of micro-operations (Agner Fog,
# instruction tables); AVX-512's has no such trouble.
_STORE_4 = (
    "  if (n & 2) {\n"
    "    _mm_storel_pi((__m64 *)p, q);\n"
    "    q = _mm_movehl_ps(q, q);\n"
    "    p += 2;\n"
    "  }\n"
    "  if (n & 1) _mm_store_ss(p, q);"
)
_STORE_8 = (
    "  __m128 q = _mm256_castps256_ps128(h);\n"
    "  if (n & 4) {\n"
    "    _mm_storeu_ps(p, q);\n"
    "    q = _mm256_extractf128_ps(h, 1);\n"
    "    p += 4;\n"
    "  }\n"
    "  if (n & 2) {\n"
    "    _mm_storel_pi((__m64 *)p, q);\n"
    "    q = _mm_movehl_ps(q, q);\n"
    "    p += 2;\n"
    "  }\n"
    "  if (n & 1) _mm_store_ss(p, q);"
)


# SSE2 has no blend: the mask is a constant, as n is.
_JOIN_4 = (
    "const __m128 first = _mm_castsi128_ps(\n"
    "      _mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3)));\n"
    "  return _mm_or_ps(_mm_and_ps(first, a), _mm_andnot_ps(first, b));"
)


# Pairs of elements, then of pairs, then the halves change places.
_TRANSPOSE_4 = (
    "__m128 a = _mm_loadu_ps(p), b = _mm_loadu_ps(p + step);\n"
    "  __m128 c = _mm_loadu_ps(p + 2 * step), d = _mm_loadu_ps(p + 3 * step);\n"
    "  _MM_TRANSPOSE4_PS(a, b, c, d);\n"
    "  _mm_storeu_ps(q, a);\n"
    "  _mm_storeu_ps(q + to, b);\n"
    "  _mm_storeu_ps(q + 2 * to, c);\n"
    "  _mm_storeu_ps(q + 3 * to, d);"
)


_ALTERNATE_8 = (
    "const __m256d t = _mm256_castps_pd(_mm256_shuffle_ps(a, b, {imm}));\n"
    "  return _mm256_castpd_ps(_mm256_permute4x64_pd(t, 0xd8));"
)
_ALTERNATE_16 = "_mm512_permutex2var_ps(\n      a, _mm512_setr_epi32({places}), b)"


def _transpose_8() -> str:
    """Rows come as halves, the fifth beside the first: no shuffle crosses 128 bits."""
    lines = []
    for half in (0, 4):
        for i in range(4):
            low, high = (f"p{_steps(j, 'step')}{f' + {half}' if half else ''}" for j in (i, i + 4))
            lines.append(
                f"const __m256 r_{half + i} = _mm256_insertf128_ps(\n"
                f"      _mm256_castps128_ps256(_mm_loadu_ps({low})), _mm_loadu_ps({high}), 1);"
            )
    for half in (0, 4):
        a, b, c, d = (f"r_{half + i}" for i in range(4))
        for name, x, y in (("s", a, b), ("t", c, d)):
            for part in ("lo", "hi"):
                value = f"_mm256_unpack{part}_ps({x}, {y})"
                lines.append(f"const __m256 {name}_{half}_{part} = {value};")
        for i, (part, mask) in enumerate((p, m) for p in ("lo", "hi") for m in ("0x44", "0xee")):
            value = f"_mm256_shuffle_ps(s_{half}_{part}, t_{half}_{part}, {mask})"
            lines.append(f"_mm256_storeu_ps(q{_steps(half + i, 'to')}, {value});")
    return "\n  ".join(lines)


def _steps(count: int, step: str) -> str:
    return "" if count == 0 else f" + {step}" if count == 1 else f" + {count} * {step}"


def _transpose_16() -> str:
    """Four squares of 8 x 8, by AVX's instructions, which AVX-512 has."""
    square = _transpose_8().replace("\n", "\n    ")
    return (
        "for (int k = 0; k < 4; ++k, p += 8, q += 8 * to) {\n"
        "    if (k == 2) {\n"
        "      p += 8 * step - 16;\n"
        "      q += 8 - 16 * to;\n"
        "    }\n"
        f"    {square}\n  }}"
    )


def _spreads(lanes: int, within_four: str, within_eight: str) -> dict[str, str]:
    """Spreads by an immediate inside 128 bits, by a vector of indices across them."""
    found = {}
    for w, i in spread_groups(lanes):
        places = [lane // w * w + i for lane in range(lanes)]
        immediate = sum(place % 4 << 2 * lane for lane, place in enumerate(places[:4]))
        form = within_four if w <= 4 else within_eight
        indices = ", ".join(map(str, places))
        found[f"spread_{w}_{i}"] = form.format(imm=f"0x{immediate:02x}", indices=indices)
    return found


# clang would make the spreads of many inputs early, and spill accumulators to keep them: half as
# slow again. It does not move them over this.
KEPT = 'V e = {};\n  __asm__("" : "+v"(e));\n  return e;'
_X86 = "defined(__GNUC__) && defined(__x86_64__)"

AVX512 = VectorIsa(
    name="avx512",
    lanes=16,
    prefix="v16",
    ctype="__m512",
    header="immintrin.h",
    condition=_X86,
    attribute='target("avx512f")',
    features=("avx512f",),
    registers=32,
    operations=table(
        "v16",
        x86_bodies(
            "_mm512",
            "ps",
            "si512",
            {
                "load_part": "_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p)",
                "store_part": "_mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), a)",
                "join": "_mm512_mask_mov_ps(b, (__mmask16)((1u << n) - 1u), a)",
                "pick": "_mm512_permutex2var_ps(a, _mm512_loadu_si512(from), b)",
                "transpose": _transpose_16(),
                "evens": _ALTERNATE_16.format(places=", ".join(str(2 * i) for i in range(16))),
                "odds": _ALTERNATE_16.format(places=", ".join(str(2 * i + 1) for i in range(16))),
                **_spreads(
                    16,
                    KEPT.format("_mm512_permute_ps(a, {imm})"),
                    KEPT.format("_mm512_permutexvar_ps(\n      _mm512_setr_epi32({indices}), a)"),
                ),
            },
            "_mm512_fmadd_ps(a, b, c)",
        ),
    ),
)

AVX2 = VectorIsa(
    name="avx2",
    lanes=8,
    prefix="v8",
    ctype="__m256",
    header="immintrin.h",
    condition=_X86,
    attribute='target("avx2,fma")',
    features=("avx2", "fma"),
    registers=16,
    operations=table(
        "v8",
        x86_bodies(
            "_mm256",
            "ps",
            "si256",
            {
                "load_part": "_mm256_maskload_ps(\n"
                "      p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), "
                "_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)))",
                "store_part": "__m256 h = a;\n" + _STORE_8,
                "join": "_mm256_blendv_ps(b, a, _mm256_castsi256_ps(_mm256_cmpgt_epi32(\n"
                "      _mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))))",
                "transpose": _transpose_8(),
                "evens": _ALTERNATE_8.format(imm="0x88"),
                "odds": _ALTERNATE_8.format(imm="0xdd"),
                **_spreads(
                    8,
                    "_mm256_permute_ps(a, {imm})",
                    "_mm256_permutevar8x32_ps(a, _mm256_setr_epi32({indices}))",
                ),
            },
            "_mm256_fmadd_ps(a, b, c)",
        ),
    ),
)

AVX2_HALF = VectorIsa(
    name="avx2",
    lanes=4,
    prefix="v4",
    ctype="__m128",
    header="immintrin.h",
    condition=_X86,
    attribute='target("avx2,fma")',
    features=("avx2", "fma"),
    registers=16,
    operations=table(
        "v4",
        x86_bodies(
            "_mm",
            "ps",
            "si128",
            {
                "load_part": "_mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32(n), "
                "_mm_setr_epi32(0, 1, 2, 3)))",
                "store_part": "__m128 q = a;\n" + _STORE_4,
                "join": _JOIN_4,
                "transpose": _TRANSPOSE_4,
                "evens": "_mm_shuffle_ps(a, b, 0x88)",
                "odds": "_mm_shuffle_ps(a, b, 0xdd)",
                **_spreads(4, "_mm_shuffle_ps(a, a, {imm})", ""),
            },
            "_mm_fmadd_ps(a, b, c)",
        ),
    ),
)

SSE2 = VectorIsa(
    name="sse2",
    lanes=4,
    prefix="v4",
    ctype="__m128",
    header="emmintrin.h",
    condition=_X86,
    attribute='target("sse2")',
    features=("sse2",),
    registers=16,
    operations=table(
        "v4",
        x86_bodies(
            "_mm",
            "ps",
            "si128",
            {
                "load_part": "_mm_setr_ps(p[0], n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, 0.0f)",
                "store_part": "__m128 q = a;\n" + _STORE_4,
                "join": _JOIN_4,
                "transpose": _TRANSPOSE_4,
                "evens": "_mm_shuffle_ps(a, b, 0x88)",
                "odds": "_mm_shuffle_ps(a, b, 0xdd)",
                **_spreads(4, "_mm_shuffle_ps(a, a, {imm})", ""),
            },
            "_mm_add_ps(_mm_mul_ps(a, b), c)",
        ),
    ),
    fused=False,
    operands=2,
    shuffled=True,
)

"""Vector instruction sets as data: each operation is a named C snippet with one meaning.

A kernel template only ever calls these operations, so a new instruction set is a new table here,
never a new template. The meaning of each operation, lane by lane:

    load(p)           p[0 .. lanes-1], any alignment
    load_part(p, n)   p[0 .. n-1], the other lanes 0; touches nothing beyond p[n-1]
    store(p, a)       the reverse of load
    store_part(p, a, n)
    set1(s)           s in every lane
    add sub mul div   as in C
    fma(a, b, c)      a * b + c; fused where the instruction set has it
    max(a, b)         a > b ? a : b, so a NaN in b comes through
    min(a, b)         a < b ? a : b, likewise
    spread_W_I(a)     lane i of the result is lane i / W * W + I of a: lane I of every W lanes
    exp2i(t)          2^n, where t = n + 1.5 * 2^23 and n is an integer in -126..127
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One vector operation: C parameters, result type and body, with ``V`` for the vector type."""

    name: str
    params: str
    result: str
    body: str


@dataclass(frozen=True)
class VectorIsa:
    """One vector width of one instruction set.

    ``prefix`` names the type and its operations in C. ``condition``: the preprocessor test under
    which a compiler can take it. ``attribute``: GNU function attributes that switch it on, so that
    speed does not hang on the embedder's flags. ``features``: what the CPU must have, in the names
    of ``__builtin_cpu_supports``. ``registers``: architectural vector registers.
    """

    name: str
    lanes: int
    prefix: str
    ctype: str
    header: str
    condition: str
    attribute: str
    features: tuple[str, ...]
    registers: int
    operations: tuple[Operation, ...]

    def operation(self, name: str) -> Operation:
        return next(op for op in self.operations if op.name == name)


_SHAPES = {
    "load": ("const float *p", "V"),
    "load_part": ("const float *p, int n", "V"),
    "store": ("float *p, V a", "void"),
    "store_part": ("float *p, V a, int n", "void"),
    "set1": ("float s", "V"),
    "add": ("V a, V b", "V"),
    "sub": ("V a, V b", "V"),
    "mul": ("V a, V b", "V"),
    "div": ("V a, V b", "V"),
    "fma": ("V a, V b, V c", "V"),
    "max": ("V a, V b", "V"),
    "min": ("V a, V b", "V"),
    "exp2i": ("V t", "V"),
}
OPERATIONS = tuple(_SHAPES)


def _table(prefix: str, bodies: dict[str, str]) -> tuple[Operation, ...]:
    assert set(_SHAPES) <= set(bodies)
    table = []
    for name in bodies:
        params, result = _SHAPES.get(name, ("V a", "V"))
        text = bodies[name]
        body = text if text.endswith((";", "}")) else f"return {text};"
        if result == "void" and not text.endswith((";", "}")):
            body = f"{text};"
        table.append(
            Operation(
                name,
                params.replace("V ", f"{prefix} "),
                prefix if result == "V" else result,
                body.replace("V ", f"{prefix} "),
            )
        )
    return tuple(table)


def _x86(mm: str, ps: str, si: str, part: dict[str, str], fma: str) -> dict[str, str]:
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


def _groups(lanes: int) -> list[tuple[int, int]]:
    """(W, I) of every spread within vectors of this many lanes."""
    return [(w, i) for w in (2, 4, 8) if w <= lanes for i in range(w)]


def _spreads(lanes: int, within_four: str, within_eight: str) -> dict[str, str]:
    """Spreads by an immediate inside 128 bits, by a vector of indices across them."""
    found = {}
    for w, i in _groups(lanes):
        places = [lane // w * w + i for lane in range(lanes)]
        immediate = sum(place % 4 << 2 * lane for lane, place in enumerate(places[:4]))
        form = within_four if w <= 4 else within_eight
        indices = ", ".join(map(str, places))
        found[f"spread_{w}_{i}"] = form.format(imm=f"0x{immediate:02x}", indices=indices)
    return found


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
    operations=_table(
        "v16",
        _x86(
            "_mm512",
            "ps",
            "si512",
            {
                "load_part": "_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p)",
                "store_part": "_mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), a)",
                **_spreads(
                    16,
                    "_mm512_permute_ps(a, {imm})",
                    "_mm512_permutexvar_ps(\n      _mm512_setr_epi32({indices}), a)",
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
    operations=_table(
        "v8",
        _x86(
            "_mm256",
            "ps",
            "si256",
            {
                "load_part": "_mm256_maskload_ps(\n"
                "      p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), "
                "_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)))",
                "store_part": "__m256 h = a;\n" + _STORE_8,
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
    operations=_table(
        "v4",
        _x86(
            "_mm",
            "ps",
            "si128",
            {
                "load_part": "_mm_maskload_ps(p, _mm_cmpgt_epi32(_mm_set1_epi32(n), "
                "_mm_setr_epi32(0, 1, 2, 3)))",
                "store_part": "__m128 q = a;\n" + _STORE_4,
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
    operations=_table(
        "v4",
        _x86(
            "_mm",
            "ps",
            "si128",
            {
                "load_part": "_mm_setr_ps(p[0], n > 1 ? p[1] : 0.0f, n > 2 ? p[2] : 0.0f, 0.0f)",
                "store_part": "__m128 q = a;\n" + _STORE_4,
                **_spreads(4, "_mm_shuffle_ps(a, a, {imm})", ""),
            },
            "_mm_add_ps(_mm_mul_ps(a, b), c)",
        ),
    ),
)

PLAIN = VectorIsa(
    name="plain",
    lanes=1,
    prefix="v1",
    ctype="float",
    header="",
    condition="",
    attribute="",
    features=(),
    registers=16,
    operations=_table(
        "v1",
        {
            "load": "p[0]",
            "load_part": "n > 0 ? p[0] : 0.0f",
            "store": "p[0] = a",
            "store_part": "if (n > 0) p[0] = a;",
            "set1": "s",
            "add": "a + b",
            "sub": "a - b",
            "mul": "a * b",
            "div": "a / b",
            "fma": "a * b + c",
            "max": "a > b ? a : b",
            "min": "a < b ? a : b",
            "exp2i": "uint32_t u;\n  float r;\n  memcpy(&u, &t, sizeof u);\n"
            "  u = (u << 23) + 0x3f800000u;\n  memcpy(&r, &u, sizeof r);\n  return r;",
        },
    ),
)


def model(isa: VectorIsa) -> VectorIsa:
    """The scalar model of ``isa``: same widths and names, plain C, for provers and other compilers.

    frama-c knows no vector types; under ``<NAME>_MODEL`` the generated file swaps its block of
    vector operations for this one and keeps every other line.
    """
    n = isa.lanes
    each = f"for (int i = 0; i < {n}; ++i)"

    def lanewise(expression: str, start: str = "a") -> str:
        # A result that starts whole needs no unrolled loop to be seen as initialised by a prover.
        return f"V r = {start};\n  {each} r.lane[i] = {expression};\n  return r;"

    return VectorIsa(
        name=f"{isa.name}_model",
        lanes=n,
        prefix=isa.prefix,
        ctype=f"struct {{\n  float lane[{n}];\n}}",
        header="",
        condition="",
        attribute="",
        features=(),
        registers=isa.registers,
        operations=_table(
            isa.prefix,
            {
                "load": "V r;\n  memcpy(r.lane, p, sizeof r.lane);\n  return r;",
                "load_part": "V r = {{0.0f}};\n  memcpy(r.lane, p, (size_t)n * sizeof *p);\n"
                "  return r;",
                "store": "memcpy(p, a.lane, sizeof a.lane);",
                "store_part": "memcpy(p, a.lane, (size_t)n * sizeof *p);",
                "set1": lanewise("s", "{{s}}"),
                **{
                    f"spread_{w}_{i}": lanewise(f"a.lane[i / {w} * {w}{f' + {i}' if i else ''}]")
                    for w, i in _groups(n)
                },
                "add": lanewise("a.lane[i] + b.lane[i]"),
                "sub": lanewise("a.lane[i] - b.lane[i]"),
                "mul": lanewise("a.lane[i] * b.lane[i]"),
                "div": lanewise("a.lane[i] / b.lane[i]"),
                "fma": lanewise("a.lane[i] * b.lane[i] + c.lane[i]"),
                "max": lanewise("a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]"),
                "min": lanewise("a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]"),
                "exp2i": f"V r = t;\n  {each} {{\n    uint32_t u;\n"
                "    memcpy(&u, &t.lane[i], sizeof u);\n"
                "    u = (u << 23) + 0x3f800000u;\n"
                "    memcpy(&r.lane[i], &u, sizeof u);\n  }\n  return r;",
            },
        ),
    )

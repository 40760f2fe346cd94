"""Vectors of doubles: half as many lanes as the same registers have floats.

Activations that take more than comparisons and products go lane by lane through double arithmetic
(``templates/activation_double.j2``), so there is no ``exp2i``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from convgen.target.arm.vectors import NEON
from convgen.target.isa import SHAPES as FLOAT_SHAPES
from convgen.target.isa import VectorIsa, model, shaped, spread_groups
from convgen.target.portable import PORTABLE
from convgen.target.x86.vectors import AVX2, AVX2_HALF, AVX512, KEPT, SSE2, x86_bodies

SHAPES = {
    name: (params.replace("float ", "double "), result)
    for name, (params, result) in FLOAT_SHAPES.items()
}


def _of(isa: VectorIsa, lanes: int, ctype: str, bodies: Mapping[str, str]) -> VectorIsa:
    """The instruction set of ``isa`` with vectors of doubles."""
    prefix = f"v{lanes}"
    kept = {name: body for name, body in bodies.items() if name != "exp2i"}
    made = replace(
        isa, lanes=lanes, prefix=prefix, ctype=ctype, number="double",
        operations=shaped(prefix, kept, SHAPES),
    )  # fmt: skip
    return replace(made, modelled=scalar(replace(model(made), operations=tuple(
        op for op in model(made).operations if made.has(op.name)
    ))))  # fmt: skip


def scalar(isa: VectorIsa) -> VectorIsa:
    """Plain C on floats, said of doubles: plain C itself, or a model of vectors."""
    operations = tuple(
        replace(
            op,
            params=op.params.replace("float ", "double "),
            result=op.result.replace("float", "double"),
            body=op.body.replace("0.0f", "0.0").replace("float ", "double "),
        )
        for op in isa.operations
        if op.name != "exp2i"
    )
    ctype = isa.ctype.replace("float", "double")
    return replace(isa, ctype=ctype, operations=operations, number="double")


def _spreads(lanes: int, by_width: dict[int, str]) -> dict[str, str]:
    """``by_width``: the text for every width, with the immediate of a shuffle inside ``W`` lanes:
    one bit a lane for pairs, two for fours; or indices across the whole vector."""
    found = {}
    for w, i in spread_groups(lanes):
        pairs = sum(i << lane for lane in range(lanes))
        fours = sum((lane // w * w + i) << 2 * lane for lane in range(4)) & 0xFF
        indices = ", ".join(str(lane // w * w + i) for lane in range(lanes))
        text = by_width[w].format(pairs=f"0x{pairs:02x}", fours=f"0x{fours:02x}", indices=indices)
        found[f"spread_{w}_{i}"] = text
    return found


_HALVES = {
    "spread_2_0": "_mm_unpacklo_pd(a, a)",
    "spread_2_1": "_mm_unpackhi_pd(a, a)",
    # Of two lanes a part is one; the parameter has its name from wider vectors.
    "load_part": "(void)n;\n  return _mm_load_sd(p);",
    "store_part": "(void)n;\n  _mm_store_sd(p, a);",
}
_PORTABLE_CHOICE = (
    "typedef uint64_t bits __attribute__((vector_size(16)));\n"
    "  const bits first = (bits)(a {sign} b);\n"
    "  return (v2)(((bits)a & first) | ((bits)b & ~first));"
)

AVX512_F64 = _of(
    AVX512,
    8,
    "__m512d",
    x86_bodies(
        "_mm512",
        "pd",
        "si512",
        {
            "load_part": "_mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1u), p)",
            "store_part": "_mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1u), a)",
            **_spreads(
                8,
                {
                    2: KEPT.format("_mm512_permute_pd(a, {pairs})"),
                    4: KEPT.format("_mm512_permutex_pd(a, {fours})"),
                    8: KEPT.format(
                        "_mm512_permutexvar_pd(\n      _mm512_setr_epi64({indices}), a)"
                    ),
                },
            ),
        },
        "_mm512_fmadd_pd(a, b, c)",
    ),
)

AVX2_F64 = _of(
    AVX2,
    4,
    "__m256d",
    x86_bodies(
        "_mm256",
        "pd",
        "si256",
        {
            "load_part": "_mm256_maskload_pd(\n"
            "      p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3)))",
            "store_part": "__m128d q = _mm256_castpd256_pd128(a);\n"
            "  if (n & 2) {\n"
            "    _mm_storeu_pd(p, q);\n"
            "    q = _mm256_extractf128_pd(a, 1);\n"
            "    p += 2;\n"
            "  }\n"
            "  if (n & 1) _mm_store_sd(p, q);",
            **_spreads(
                4, {2: "_mm256_permute_pd(a, {pairs})", 4: "_mm256_permute4x64_pd(a, {fours})"}
            ),
        },
        "_mm256_fmadd_pd(a, b, c)",
    ),
)

AVX2_HALF_F64 = _of(
    AVX2_HALF, 2, "__m128d", x86_bodies("_mm", "pd", "si128", _HALVES, "_mm_fmadd_pd(a, b, c)")
)

SSE2_F64 = _of(
    SSE2,
    2,
    "__m128d",
    x86_bodies("_mm", "pd", "si128", _HALVES, "_mm_add_pd(_mm_mul_pd(a, b), c)"),
)

NEON_F64 = _of(
    NEON,
    2,
    "float64x2_t",
    {
        "load": "vld1q_f64(p)",
        "store": "vst1q_f64(p, a)",
        "set1": "vdupq_n_f64(s)",
        "add": "vaddq_f64(a, b)",
        "sub": "vsubq_f64(a, b)",
        "mul": "vmulq_f64(a, b)",
        "div": "vdivq_f64(a, b)",
        "fma": "vfmaq_f64(c, a, b)",
        "max": "vbslq_f64(vcgtq_f64(a, b), a, b)",
        "min": "vbslq_f64(vcltq_f64(a, b), a, b)",
        "load_part": "(void)n;\n  return vld1q_lane_f64(p, vdupq_n_f64(0.0), 0);",
        "store_part": "(void)n;\n  vst1q_lane_f64(p, a, 0);",
        "spread_2_0": "vdupq_laneq_f64(a, 0)",
        "spread_2_1": "vdupq_laneq_f64(a, 1)",
    },
)

PORTABLE_F64 = _of(
    PORTABLE,
    2,
    "double __attribute__((vector_size(16)))",
    {
        "load": "V r;\n  memcpy(&r, p, sizeof r);\n  return r;",
        "load_part": "V r = {0.0, 0.0};\n  memcpy(&r, p, (size_t)n * sizeof *p);\n  return r;",
        "store": "memcpy(p, &a, sizeof a);",
        "store_part": "memcpy(p, &a, (size_t)n * sizeof *p);",
        "set1": "const V r = {s, s};\n  return r;",
        "add": "a + b",
        "sub": "a - b",
        "mul": "a * b",
        "div": "a / b",
        "fma": "a * b + c",
        "max": _PORTABLE_CHOICE.format(sign=">"),
        "min": _PORTABLE_CHOICE.format(sign="<"),
        "spread_2_0": "const V r = {a[0], a[0]};\n  return r;",
        "spread_2_1": "const V r = {a[1], a[1]};\n  return r;",
    },
)


VECTORS: Mapping[str, VectorIsa] = MappingProxyType(  # by name and lanes of the vectors of floats
    {
        "avx512x16": AVX512_F64,
        "avx2x8": AVX2_F64,
        "avx2x4": AVX2_HALF_F64,
        "sse2x4": SSE2_F64,
        "neonx4": NEON_F64,
        "plainx4": PORTABLE_F64,
    }
)

"""Vectors of four floats in GNU C, for every machine whose gcc or clang has 128-bit registers.

Nothing is left to vectorisers, whose results hang on version and flags (gcc 12 at -O2 and at -O3
makes of scalar tiles a quarter of what these give); where the condition does not hold, the plain C
body behind it does. Comparing vectors gives a mask, all ones where it holds.
"""

from __future__ import annotations

from convgen.target.isa import VectorIsa, spread_groups, table

_CHOOSE = (
    "typedef uint32_t bits __attribute__((vector_size(16)));\n"
    "  const bits first = (bits)(a {sign} b);\n"
    "  return (v4)(((bits)a & first) | ((bits)b & ~first));"
)


def _spread(width: int, lane: int) -> str:
    places = ", ".join(f"a[{i // width * width + lane}]" for i in range(4))
    return f"const V r = {{{places}}};\n  return r;"


PORTABLE = VectorIsa(
    name="plain",
    lanes=4,
    prefix="v4",
    ctype="float __attribute__((vector_size(16)))",
    header="",
    condition="defined(__GNUC__) \\\n"
    "    && (defined(__SSE2__) || (defined(__aarch64__) && defined(__ARM_NEON)) \\\n"
    "    || defined(__ALTIVEC__) || defined(__wasm_simd128__))",
    attribute="",
    features=(),
    registers=16,
    operations=table(
        "v4",
        {
            "load": "V r;\n  memcpy(&r, p, sizeof r);\n  return r;",
            "load_part": "V r = {0.0f, 0.0f, 0.0f, 0.0f};\n"
            "  memcpy(&r, p, (size_t)n * sizeof *p);\n  return r;",
            "store": "memcpy(p, &a, sizeof a);",
            "store_part": "memcpy(p, &a, (size_t)n * sizeof *p);",
            "set1": "const V r = {s, s, s, s};\n  return r;",
            "add": "a + b",
            "sub": "a - b",
            "mul": "a * b",
            "div": "a / b",
            "fma": "a * b + c",
            "max": _CHOOSE.format(sign=">"),
            "min": _CHOOSE.format(sign="<"),
            **{f"spread_{w}_{i}": _spread(w, i) for w, i in spread_groups(4)},
            "exp2i": "typedef uint32_t bits __attribute__((vector_size(16)));\n"
            "  return (v4)(((bits)t << 23) + 0x3f800000u);",
        },
    ),
    fused=False,
    operands=2,
    shuffled=True,
)

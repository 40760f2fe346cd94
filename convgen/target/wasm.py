"""WebAssembly with 128-bit vectors. Multiply-add rounds twice: the standard has no fused one."""

from __future__ import annotations

from convgen.target.isa import VectorIsa, spread_groups, table


def _spread(width: int, lane: int) -> str:
    places = ", ".join(str(i // width * width + lane) for i in range(4))
    return f"wasm_i32x4_shuffle(a, a, {places})"


SIMD128 = VectorIsa(
    name="simd128",
    lanes=4,
    prefix="v4",
    ctype="v128_t",
    header="wasm_simd128.h",
    condition="defined(__wasm_simd128__)",
    attribute="",
    features=(),
    registers=16,
    operations=table(
        "v4",
        {
            "load": "wasm_v128_load(p)",
            # The number of lanes is a constant wherever these are called, so the tests vanish.
            "load_part": "V r = n > 1 ? wasm_v128_load64_zero(p) : wasm_v128_load32_zero(p);\n"
            "  if (n > 2) r = wasm_v128_load32_lane(p + 2, r, 2);\n"
            "  return r;",
            "store": "wasm_v128_store(p, a)",
            "store_part": "V q = a;\n"
            "  if (n & 2) {\n"
            "    wasm_v128_store64_lane(p, q, 0);\n"
            "    q = wasm_i32x4_shuffle(q, q, 2, 3, 2, 3);\n"
            "    p += 2;\n"
            "  }\n"
            "  if (n & 1) wasm_v128_store32_lane(p, q, 0);",
            "set1": "wasm_f32x4_splat(s)",
            "add": "wasm_f32x4_add(a, b)",
            "sub": "wasm_f32x4_sub(a, b)",
            "mul": "wasm_f32x4_mul(a, b)",
            "div": "wasm_f32x4_div(a, b)",
            "fma": "wasm_f32x4_add(wasm_f32x4_mul(a, b), c)",
            # pmax(b, a) is b < a ? a : b, pmin(b, a) is a < b ? a : b.
            "max": "wasm_f32x4_pmax(b, a)",
            "min": "wasm_f32x4_pmin(b, a)",
            "exp2i": "wasm_i32x4_add(wasm_i32x4_shl(t, 23), wasm_i32x4_splat(0x3f800000))",
            **{f"spread_{w}_{i}": _spread(w, i) for w, i in spread_groups(4)},
        },
    ),
    fused=False,
    operands=2,
)

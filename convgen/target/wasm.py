"""WebAssembly with 128-bit vectors. Multiply-add rounds twice: the standard has no fused one.

8-bit products are those of 16-bit pairs, as on an x86-64 CPU without VNNI (``x86/pairs.py``): bytes
at even and odd places are widened apart and multiplied apart.
"""

from __future__ import annotations

from convgen.spec.model import DType
from convgen.target import dots
from convgen.target.dot_model import model
from convgen.target.isa import VectorIsa, spread_groups, table

_CONDITION = "defined(__wasm_simd128__)"


def _spread(width: int, lane: int) -> str:
    places = ", ".join(str(i // width * width + lane) for i in range(4))
    return f"wasm_i32x4_shuffle(a, a, {places})"


SIMD128 = VectorIsa(
    name="simd128",
    lanes=4,
    prefix="v4",
    ctype="v128_t",
    header="wasm_simd128.h",
    condition=_CONDITION,
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


# -- 8-bit products --------------------------------------------------------------------------------

_NEAREST = "wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest({}))"
_SCALED = "wasm_f32x4_mul(wasm_f32x4_convert_i32x4(a), s)"
_WITHIN = (
    f"wasm_f32x4_pmin(wasm_f32x4_splat(high),\n"
    f"      wasm_f32x4_pmax(wasm_f32x4_splat(low), {_SCALED}))"
)


def simd128_pairs(dtype: DType) -> dots.DotIsa:
    """Pairs of 16-bit products, for inputs of this element type."""
    signed = dtype is DType.INT8
    halves = "struct {\n  v128_t even, odd;\n}"
    return dots.DotIsa(
        name="simd128",
        lanes=4,
        prefix="v4",
        ctype="v128_t",
        header="wasm_simd128.h",
        condition=_CONDITION,
        attribute="",
        features=(),
        registers=16,
        operations=dots.table("v4", f"{dtype}_t", _products(signed) | _ends(signed)),
        fused=False,
        depth=4,
        types=(("in", halves), ("w", halves), ("r", "v128_t")),
        modelled=model("v4", 4, 4, dtype, 0),
        halves=2,
        taking_apart=3,
    )


def _products(signed: bool) -> dict[str, str]:
    first, second = "wasm_i16x8_shr(wasm_i16x8_shl(q, 8), 8)", "wasm_i16x8_shr(q, 8)"
    of_weights = f"  r.even = {first};\n  r.odd = {second};\n  return r;"
    of_input = of_weights
    if not signed:
        of_input = (
            "  r.even = wasm_v128_and(q, wasm_i16x8_splat(0xff));\n"
            "  r.odd = wasm_u16x8_shr(q, 8);\n  return r;"
        )
    product = "wasm_i32x4_dot_i16x8(a.even, b.even)"
    both = f"wasm_i32x4_add({product}, wasm_i32x4_dot_i16x8(a.odd, b.odd))"
    kind = "i" if signed else "u"
    one = (
        f"const v128_t q = wasm_{kind}32x4_extend_low_{kind}16x8(\n"
        f"      wasm_{kind}16x8_extend_low_{kind}8x16({{}}));\n"
        "  IN r;\n  r.even = q;\n  r.odd = q;\n  return r;"
    )
    part = "int32_t four = 0;\n  memcpy(&four, p, (size_t)n);\n  "
    return {
        "quad": f"const v128_t q = wasm_v128_load32_splat(p);\n  IN r;\n{of_input}",
        "weights": f"const v128_t q = wasm_v128_load(p);\n  W r;\n{of_weights}",
        "dot": f"wasm_i32x4_add(c, {both})",
        "each": one.format("wasm_v128_load32_zero(p)"),
        "each_part": part + one.format("wasm_i32x4_splat(four)"),
        # The upper half of a lane is 0: pairs then have one product.
        "taps": "const v128_t q = wasm_u32x4_extend_low_u16x8(\n"
        "      wasm_i16x8_extend_low_i8x16(wasm_v128_load32_zero(p)));\n"
        "  W r;\n  r.even = q;\n  r.odd = q;\n  return r;",
        "product": f"wasm_i32x4_add(c, {product})",
    }


def _ends(signed: bool) -> dict[str, str]:
    """What becomes of sums."""
    bytes_ = f"wasm_{'i' if signed else 'u'}8x16_narrow_i16x8(h, h)"
    narrow = f"const v128_t h = wasm_i16x8_narrow_i32x4(a, a);\n  const v128_t b = {bytes_};\n"
    return {
        "sums": "wasm_v128_load(p)",
        "sub": "wasm_i32x4_sub(a, b)",
        "reals": "wasm_v128_load(p)",
        "rescale": _NEAREST.format(_SCALED),
        "rescale_within": _NEAREST.format(_WITHIN),
        "reduce": _reduce(""),
        "reduce_signed": _reduce(
            "  const v128_t less = wasm_v128_and(a, wasm_i32x4_splat(INT32_MIN));\n"
            "  low = wasm_i64x2_add(low, wasm_i64x2_extend_low_i32x4(less));\n"
            "  high = wasm_i64x2_add(high, wasm_i64x2_extend_high_i32x4(less));\n"
        ),
        "add1": "wasm_i32x4_add(a, wasm_i32x4_splat(s))",
        "max1": "wasm_i32x4_max(a, wasm_i32x4_splat(s))",
        "min1": "wasm_i32x4_min(a, wasm_i32x4_splat(s))",
        "narrow": f"{narrow}  wasm_v128_store32_lane(p, b, 0);",
        "narrow_part": f"{narrow}  const int32_t four = wasm_i32x4_extract_lane(b, 0);\n"
        "  memcpy(p, &four, (size_t)n);",
        "spill": "wasm_v128_store(p, a)",
    }


def _reduce(less: str) -> str:
    """Products of the lower and the upper lanes apart; what counts are the upper halves."""
    shifted = ", ".join(f"wasm_i32x4_extract_lane(r, {i}) >> by[{i}]" for i in range(4))
    return (
        "const v128_t g = wasm_v128_load(f);\n"
        "  v128_t low = wasm_i64x2_add(wasm_i64x2_extmul_low_i32x4(a, g), "
        "wasm_i64x2_make(t[0], t[2]));\n"
        "  v128_t high = wasm_i64x2_add(wasm_i64x2_extmul_high_i32x4(a, g), "
        "wasm_i64x2_make(t[1], t[3]));\n"
        f"{less}"
        "  const v128_t r = wasm_i32x4_shuffle(low, high, 1, 3, 5, 7);\n"
        f"  return wasm_i32x4_make({shifted});"
    )

"""8-bit products on Arm: SDOT of AArch64, and 16-bit products of NEON where there is none."""

from __future__ import annotations

from convgen.spec.model import DType
from convgen.target.dot_model import model
from convgen.target.dots import DotIsa, table

# The bit by which Linux tells a program of it (arch/arm64/include/uapi/asm/hwcap.h).
HWCAP = {"dotprod": 20}

_AARCH64 = "defined(__aarch64__) && defined(__ARM_NEON) && !defined(__ARM_BIG_ENDIAN)"
_ARMV7 = "defined(__ARM_NEON) && !defined(__aarch64__) && !defined(__ARM_BIG_ENDIAN)"
# From these versions on a function's attribute is enough. Whether the CPU has the instructions can
# be asked on Linux; elsewhere the compiler's flags must promise it.
_SDOT = (
    f"{_AARCH64} \\\n"
    "    && (defined(__linux__) || defined(__ARM_FEATURE_DOTPROD)) \\\n"
    "    && ((defined(__clang__) && __clang_major__ >= 16) \\\n"
    "    || (!defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 8))"
)
# gcc 12 and clang make one load of it, and of a float alone.
_FOUR = "vreinterpret_s8_f32(vset_lane_f32(four, vdup_n_f32(0.0f), 0))"
_WORD = "float four;\n  memcpy(&four, p, sizeof four);\n  "
_SOME = "float four = 0.0f;\n  memcpy(&four, p, (size_t)n);\n  "


def _widened(signed: bool) -> str:
    """Four bytes as numbers of 16 bits."""
    if signed:
        return f"vget_low_s16(vmovl_s8({_FOUR}))"
    return f"vget_low_s16(vreinterpretq_s16_u16(vmovl_u8(vreinterpret_u8_s8({_FOUR}))))"


def _shared(signed: bool) -> dict[str, str]:
    """What both kinds of products have in common, on AArch64 and Armv7."""
    halves = "const int16x4_t h = vqmovn_s32(a);\n  "
    bytes_ = "vqmovn_s16(vcombine_s16(h, h))"
    if not signed:
        bytes_ = "vreinterpret_s8_u8(vqmovun_s16(vcombine_s16(h, h)))"
    four = (
        f"{halves}const int32_t four = vget_lane_s32(\n      vreinterpret_s32_s8({bytes_}), 0);\n  "
    )
    return {
        "sums": "vreinterpretq_s32_s8(vld1q_s8(p))",
        "sub": "vsubq_s32(a, b)",
        "each": f"{_WORD}return {_widened(signed)};",
        "each_part": f"{_SOME}return {_widened(signed)};",
        "add1": "vaddq_s32(a, vdupq_n_s32(s))",
        "max1": "vmaxq_s32(a, vdupq_n_s32(s))",
        "min1": "vminq_s32(a, vdupq_n_s32(s))",
        "narrow": f"{four}memcpy(p, &four, sizeof four);",
        "narrow_part": f"{four}memcpy(p, &four, (size_t)n);",
        "spill": "vst1q_s32(p, a)",
    }


_SCALED = "vmulq_f32(vcvtq_f32_s32(a), s)"
_WITHIN = "vminq_f32(vmaxq_f32({}, vdupq_n_f32(low)), vdupq_n_f32(high))"


def _reduce(signed: bool) -> str:
    """Products of the lower and the upper lanes apart; what counts are the upper halves."""
    less = ""
    if signed:
        less = (
            "  const int32x4_t less = vandq_s32(a, vdupq_n_s32(INT32_MIN));\n"
            "  low = vaddw_s32(low, vget_low_s32(less));\n"
            "  high = vaddw_s32(high, vget_high_s32(less));\n"
        )
    return (
        "const int32x4_t g = vld1q_s32(f);\n"
        "  int64x2_t low = vcombine_s64(vld1_s64(t), vld1_s64(t + 2));\n"
        "  int64x2_t high = vcombine_s64(vld1_s64(t + 1), vld1_s64(t + 3));\n"
        "  low = vmlal_s32(low, vget_low_s32(a), vget_low_s32(g));\n"
        "  high = vmlal_s32(high, vget_high_s32(a), vget_high_s32(g));\n"
        f"{less}"
        "  return vshlq_s32(\n      vcombine_s32(vshrn_n_s64(low, 32), vshrn_n_s64(high, 32)), "
        "vnegq_s32(vld1q_s32(by)));"
    )


def _scaling(rounded: str) -> dict[str, str]:
    """``rounded``: of a vector r of floats, to the nearest int32, halves to the even one."""
    return {
        "reals": "vld1q_f32(p)",
        "rescale": f"const float32x4_t r = {_SCALED};\n  {rounded}",
        "rescale_within": f"const float32x4_t r = {_WITHIN.format(_SCALED)};\n  {rounded}",
        "reduce": _reduce(signed=False),
        "reduce_signed": _reduce(signed=True),
    }


# There is one instruction for it in AArch64. Armv7 rounds towards 0: where what is left is over a
# half, or is a half beside an odd number, one more is taken, away from 0.
_NEAREST = "return vcvtnq_s32_f32(r);"
_NEAREST_V7 = (
    "const int32x4_t q = vcvtq_s32_f32(r);\n"
    "  const float32x4_t rest = vabsq_f32(vsubq_f32(r, vcvtq_f32_s32(q)));\n"
    "  const uint32x4_t odd = vtstq_s32(q, vdupq_n_s32(1));\n"
    "  const uint32x4_t more = vorrq_u32(vcgtq_f32(rest, vdupq_n_f32(0.5f)),\n"
    "      vandq_u32(odd, vceqq_f32(rest, vdupq_n_f32(0.5f))));\n"
    "  const int32x4_t sign = vshrq_n_s32(vreinterpretq_s32_f32(r), 31);\n"
    "  const int32x4_t away = vorrq_s32(sign, vdupq_n_s32(1));\n"
    "  return vaddq_s32(q, vandq_s32(vreinterpretq_s32_u32(more), away));"
)


def aarch64_sdot(dtype: DType) -> DotIsa:
    """Four products a lane at once: Cortex-A55 and A75, Neoverse, Apple's M1, and later ones."""
    signed = dtype is DType.INT8
    offset = 0 if signed else -128
    four = _FOUR if signed else f"veor_s8({_FOUR}, vdup_n_s8(-128))"
    bodies = {
        **_shared(signed),
        **_scaling(_NEAREST),
        "quad": f"{_WORD}return vreinterpret_s16_s8({four});",
        "weights": "vld1q_s8(p)",
        "dot": "vdotq_lane_s32(c, b, vreinterpret_s8_s16(a), 0)",
        "taps": f"{_WORD}return vreinterpretq_s8_s16(vmovl_s8({_FOUR}));",
        "product": "vmlal_s16(c, a, vget_low_s16(vreinterpretq_s16_s8(b)))",
    }
    return DotIsa(
        name="neon-dotprod",
        lanes=4,
        prefix="v4",
        ctype="int32x4_t",
        header="arm_neon.h",
        condition=_SDOT,
        attribute='target("arch=armv8.2-a+dotprod")',
        features=("dotprod",),
        registers=32,
        operations=table("v4", f"{dtype}_t", bodies),
        depth=4,
        types=(("in", "int16x4_t"), ("w", "int8x16_t"), ("r", "float32x4_t")),
        modelled=model("v4", 4, 4, dtype, offset),
        unpacking=(0 if signed else 1, 0),
        offset=offset,
    )


# Weights by their places in a step: the first of four lanes in one half of a register and the
# second in the other, the third and the fourth likewise.
_BY_PLACE = (
    "const int16x8_t q = vreinterpretq_s16_s8(vld1q_s8(p));\n"
    "  const int16x8_t even = vshrq_n_s16(vshlq_n_s16(q, 8), 8), odd = vshrq_n_s16(q, 8);\n"
)
_AARCH64_PLACES = (
    f"{_BY_PLACE}  W r;\n  r.first = vuzp1q_s16(even, odd);\n  r.second = vuzp2q_s16(even, odd);\n"
    "  return r;"
)
_V7_PLACES = (
    f"{_BY_PLACE}  const int16x8x2_t both = vuzpq_s16(even, odd);\n"
    "  W r;\n  r.first = both.val[0];\n  r.second = both.val[1];\n  return r;"
)
_FOUR_PRODUCTS = (
    "V r = vmlal_lane_s16(c, vget_low_s16(b.first), a, 0);\n"
    "  r = vmlal_lane_s16(r, vget_high_s16(b.first), a, 1);\n"
    "  r = vmlal_lane_s16(r, vget_low_s16(b.second), a, 2);\n"
    "  return vmlal_lane_s16(r, vget_high_s16(b.second), a, 3);"
)


def _neon(
    dtype: DType, name: str, condition: str, registers: int, places: str, rounded: str
) -> DotIsa:
    """Products of 16 bits, which no byte overflows: uint8_t needs no other zero."""
    signed = dtype is DType.INT8
    bodies = {
        **_shared(signed),
        **_scaling(rounded),
        "quad": f"{_WORD}return {_widened(signed)};",
        "weights": places,
        "dot": _FOUR_PRODUCTS,
        "taps": f"{_WORD}W r;\n  r.first = vmovl_s8({_FOUR});\n  r.second = r.first;\n  return r;",
        "product": "vmlal_s16(c, a, vget_low_s16(b.first))",
    }
    return DotIsa(
        name=name,
        lanes=4,
        prefix="v4",
        ctype="int32x4_t",
        header="arm_neon.h",
        condition=condition,
        attribute="",
        features=(),
        registers=registers,
        operations=table("v4", f"{dtype}_t", bodies),
        depth=4,
        types=(
            ("in", "int16x4_t"),
            ("w", "struct {\n  int16x8_t first, second;\n}"),
            ("r", "float32x4_t"),
        ),
        modelled=model("v4", 4, 4, dtype, 0),
        products=4,
        unpacking=(1, 5),
        weight_registers=2,
    )


def aarch64_neon(dtype: DType) -> DotIsa:
    """Every AArch64 CPU."""
    return _neon(dtype, "neon", _AARCH64, 32, _AARCH64_PLACES, _NEAREST)


def armv7_neon(dtype: DType) -> DotIsa:
    """Armv7 with NEON."""
    return _neon(dtype, "neon-v7", _ARMV7, 16, _V7_PLACES, _NEAREST_V7)

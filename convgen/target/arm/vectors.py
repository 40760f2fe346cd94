"""Arm: NEON of AArch64 and of Armv7, and Helium (MVE) of the Cortex-M55.

None needs a function attribute: which of them a compiler may use follows from its target and flags,
which the condition asks for. NEON's own maximum gives a NaN whichever operand holds it, so max and
min are a comparison and a choice.
"""

from __future__ import annotations

from convgen.target.arm.core import CoreStep
from convgen.target.arm.core import table as step_table
from convgen.target.isa import VectorIsa, table


def _arm(extra: dict[str, str]) -> dict[str, str]:
    """The snippets that all three share; names are those of Arm's C language extensions."""
    return {
        "load": "vld1q_f32(p)",
        "store": "vst1q_f32(p, a)",
        "set1": "vdupq_n_f32(s)",
        "add": "vaddq_f32(a, b)",
        "sub": "vsubq_f32(a, b)",
        "mul": "vmulq_f32(a, b)",
        "fma": "vfmaq_f32(c, a, b)",
        "exp2i": "const int32x4_t n = vshlq_n_s32(vreinterpretq_s32_f32(t), 23);\n"
        "  return vreinterpretq_f32_s32(vaddq_s32(n, vdupq_n_s32(0x3f800000)));",
        **extra,
    }


# The number of lanes is a constant wherever these are called, so the tests vanish.
_NEON_PART = {
    "load_part": "V r = vld1q_lane_f32(p, vdupq_n_f32(0.0f), 0);\n"
    "  if (n > 1) r = vld1q_lane_f32(p + 1, r, 1);\n"
    "  if (n > 2) r = vld1q_lane_f32(p + 2, r, 2);\n"
    "  return r;",
    "store_part": "float32x2_t q = vget_low_f32(a);\n"
    "  if (n & 2) {\n"
    "    vst1_f32(p, q);\n"
    "    q = vget_high_f32(a);\n"
    "    p += 2;\n"
    "  }\n"
    "  if (n & 1) vst1_lane_f32(p, q, 0);",
}

NEON = VectorIsa(
    name="neon",
    lanes=4,
    prefix="v4",
    ctype="float32x4_t",
    header="arm_neon.h",
    condition="defined(__aarch64__) && defined(__ARM_NEON)",
    attribute="",
    features=(),
    registers=32,
    operations=table(
        "v4",
        _arm(
            {
                "div": "vdivq_f32(a, b)",
                "max": "vbslq_f32(vcgtq_f32(a, b), a, b)",
                "min": "vbslq_f32(vcltq_f32(a, b), a, b)",
                **_NEON_PART,
                "spread_2_0": "vtrn1q_f32(a, a)",
                "spread_2_1": "vtrn2q_f32(a, a)",
                **{f"spread_4_{i}": f"vdupq_laneq_f32(a, {i})" for i in range(4)},
            }
        ),
    ),
)


def _chosen(larger: str, smaller: str) -> str:
    """a where one operand is larger than the other, else b. As an intrinsic the comparison would
    be taken apart by gcc, lane by lane: these vectors know no subnormals, which C's floats do."""
    return (
        "uint32x4_t m;\n"
        f'  __asm__("vcgt.f32 %q0, %q1, %q2" : "=w"(m) : "w"({larger}), "w"({smaller}));\n'
        "  return vbslq_f32(m, a, b);"
    )


NEON_V7 = VectorIsa(
    name="neon-v7",
    lanes=4,
    prefix="v4",
    ctype="float32x4_t",
    header="arm_neon.h",
    condition="defined(__ARM_NEON) && !defined(__aarch64__)",
    attribute="",
    features=(),
    registers=15,  # of sixteen: with none to spare gcc spills
    operations=table(
        "v4",
        _arm(
            {
                # Multiply-add in one rounding came with VFPv4.
                "fma": "V r;\n#ifdef __ARM_FEATURE_FMA\n  r = vfmaq_f32(c, a, b);\n"
                "#else\n  r = vmlaq_f32(c, a, b);\n#endif\n  return r;",
                "max": _chosen("a", "b"),
                "min": _chosen("b", "a"),
                # There is no vector division.
                "div": "float s[4], d[4];\n  vst1q_f32(s, a);\n  vst1q_f32(d, b);\n"
                "  for (int i = 0; i < 4; ++i) s[i] /= d[i];\n  return vld1q_f32(s);",
                **_NEON_PART,
                "spread_2_0": "vtrnq_f32(a, a).val[0]",
                "spread_2_1": "vtrnq_f32(a, a).val[1]",
                **{
                    f"spread_4_{i}": f"vdupq_lane_f32(vget_{half}_f32(a), {i % 2})"
                    for i, half in enumerate(("low", "low", "high", "high"))
                },
            }
        ),
    ),
)


def _from_lanes(lanes: tuple[int, int, int, int]) -> str:
    """Every lane of the result from the named one of a: through scalar registers."""
    first = f"V r = vdupq_n_f32(vgetq_lane_f32(a, {lanes[0]}));\n"
    others = (
        f"  r = vsetq_lane_f32(vgetq_lane_f32(a, {lane}), r, {i});\n"
        for i, lane in enumerate(lanes)
        if lane != lanes[0]
    )
    return first + "".join(others) + "  return r;"


MVE = VectorIsa(
    name="mve",
    lanes=4,
    prefix="v4",
    ctype="float32x4_t",
    header="arm_mve.h",
    condition="defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)",
    attribute="",
    features=(),
    registers=8,
    operations=table(
        "v4",
        _arm(
            {
                "load_part": "vldrwq_z_f32(p, vctp32q((uint32_t)n))",
                "store_part": "vstrwq_p_f32(p, a, vctp32q((uint32_t)n));",
                "max": "vpselq_f32(a, b, vcmpgtq_f32(a, b))",
                # Beside a NaN this machine's "less than" holds, its "greater than" does not.
                "min": "vpselq_f32(a, b, vcmpgtq_f32(b, a))",
                "div": "float s[4], d[4];\n  vst1q_f32(s, a);\n  vst1q_f32(d, b);\n"
                "  for (int i = 0; i < 4; ++i) s[i] /= d[i];\n  return vld1q_f32(s);",
                "spread_2_0": _from_lanes((0, 0, 2, 2)),
                "spread_2_1": _from_lanes((1, 1, 3, 3)),
                **{f"spread_4_{i}": f"vdupq_n_f32(vgetq_lane_f32(a, {i}))" for i in range(4)},
            }
        ),
    ),
)


def _halves(instruction: str, zero: str, change: str = "") -> str:
    """The bytes 0 and 2, and 1 and 3, as two numbers of 16 bits each, by one instruction a pair."""
    first = f"{instruction} %0, {zero}"
    inputs = '"r"(z), "r"(v)' if zero else '"r"(v)'
    v = "%2" if zero else "%1"
    return (
        f"uint32_t v;\n  D r;\n  memcpy(&v, p, sizeof v);\n{change}"
        f'  __asm__("{first}{v}" : "=r"(r.even) : {inputs});\n'
        f'  __asm__("{first}{v}, ror #8" : "=r"(r.odd) : {inputs});\n'
        "  return r;"
    )


# Cortex-M4 and M7, and all that call themselves DSP: pairs of 16-bit products. The instruction that
# widens two bytes also adds to them, so that zero points, negated, cost nothing.
SMLAD = CoreStep(
    name="smlad",
    depth=4,
    prefix="d4",
    ctype="struct {\n  int32_t even, odd;\n}",
    header="arm_acle.h",
    condition="defined(__GNUC__) && defined(__ARM_FEATURE_DSP) \\\n"
    "    && defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN)",
    centred=True,
    offset=0,
    least=4,
    held=2,
    sums=6,
    load=3,
    product=2,
    operations=step_table(
        "d4",
        {
            "zeros": "(int32_t)((uint32_t)(-z & 0xffff) * UINT32_C(0x10001))",
            "load_s8": _halves("sxtb16", ""),
            "load_u8": _halves("uxtb16", ""),
            "load_s8_less": _halves("sxtab16", "%1, "),
            "load_u8_less": _halves("uxtab16", "%1, "),
            "tail_s8": _halves("sxtb16", "", "  v &= UINT32_MAX << 8 * (4 - n);\n"),
            "dot": "__smlad(a.odd, b.odd, __smlad(a.even, b.even, acc))",
        },
    ),
)

# Helium: sixteen products at once, and as many bytes as there are under a mask. Bytes of uint8_t
# become signed ones by their highest bit.
MVE_STEP = CoreStep(
    name="mve",
    depth=16,
    prefix="d16",
    ctype="int8x16_t",
    header="arm_mve.h",
    condition="defined(__ARM_FEATURE_MVE)",
    centred=False,
    offset=128,
    least=4,
    held=0,
    sums=4,  # accumulators are even registers
    load=1,
    product=1,
    operations=step_table(
        "d16",
        {
            "load_s8": "vldrbq_s8(p)",
            "load_u8": "veorq_s8(vreinterpretq_s8_u8(vldrbq_u8(p)), vdupq_n_s8(-128))",
            "part_s8": "vldrbq_z_s8(p, vctp8q((uint32_t)n))",
            "part_u8": "const uint8x16_t v = vldrbq_z_u8(p, vctp8q((uint32_t)n));\n"
            "  return veorq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8(-128));",
            "dot": "vmladavaq_s8(acc, a, b)",
            "total": "vaddvaq_s8(acc, a)",
        },
    ),
)

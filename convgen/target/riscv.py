"""RISC-V's vector extension, used as vectors of four: every register holds 128 bits at least.

The type has no size that C knows, so it lives in named variables only, never in an array or a
structure. What lies beyond the fourth lane of a longer register is never looked at.
"""

from __future__ import annotations

from convgen.target.isa import VectorIsa, spread_groups, table

_INTEGERS = "__riscv_vreinterpret_v_f32m1_i32m1"
_FLOATS = "__riscv_vreinterpret_v_i32m1_f32m1"


def _spread(width: int, lane: int) -> str:
    """Gathered by index: lane i comes from i / width * width + lane."""
    return (
        f"const vuint32m1_t first = __riscv_vand_vx_u32m1(__riscv_vid_v_u32m1(4), {4 - width}u, 4);"
        f"\n  return __riscv_vrgather_vv_f32m1(\n"
        f"      a, __riscv_vadd_vx_u32m1(first, {lane}u, 4), 4);"
    )


RVV = VectorIsa(
    name="rvv",
    lanes=4,
    prefix="v4",
    ctype="vfloat32m1_t",
    header="riscv_vector.h",
    condition="defined(__riscv_v_intrinsic) && __riscv_v_min_vlen >= 128 \\\n"
    "    && __riscv_v_elen_fp >= 32",
    attribute="",
    features=(),
    registers=32,
    operations=table(
        "v4",
        {
            "load": "__riscv_vle32_v_f32m1(p, 4)",
            "load_part": "__riscv_vle32_v_f32m1_tu(\n"
            "      __riscv_vfmv_v_f_f32m1(0.0f, 4), p, (size_t)n)",
            "store": "__riscv_vse32_v_f32m1(p, a, 4)",
            "store_part": "__riscv_vse32_v_f32m1(p, a, (size_t)n)",
            "set1": "__riscv_vfmv_v_f_f32m1(s, 4)",
            "add": "__riscv_vfadd_vv_f32m1(a, b, 4)",
            "sub": "__riscv_vfsub_vv_f32m1(a, b, 4)",
            "mul": "__riscv_vfmul_vv_f32m1(a, b, 4)",
            "div": "__riscv_vfdiv_vv_f32m1(a, b, 4)",
            "fma": "__riscv_vfmacc_vv_f32m1(c, a, b, 4)",
            # The instructions of these names give the other operand for a NaN.
            "max": "__riscv_vmerge_vvm_f32m1(b, a, __riscv_vmfgt_vv_f32m1_b32(a, b, 4), 4)",
            "min": "__riscv_vmerge_vvm_f32m1(b, a, __riscv_vmflt_vv_f32m1_b32(a, b, 4), 4)",
            "exp2i": f"const vint32m1_t n = __riscv_vsll_vx_i32m1({_INTEGERS}(t), 23, 4);\n"
            f"  return {_FLOATS}(__riscv_vadd_vx_i32m1(n, 0x3f800000, 4));",
            **{f"spread_{w}_{i}": _spread(w, i) for w, i in spread_groups(4)},
        },
    ),
)

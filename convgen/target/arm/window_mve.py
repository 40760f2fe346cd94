"""Gathered windows on Cortex-M55: Helium, sixteen products at once."""

from __future__ import annotations

from convgen.target.arm.windows import Bodies, Numbers, WindowKernel, asm, held, saturated


def _mve_take(n: Numbers) -> str:
    change = ["veor q0, q0, %q[m]"] if n.unsigned else []
    lines = [
        "wlstp.8 lr, %[n], 2f",
        "1: vldrb.8 q0, [%[from]], #16",
        *change,
        "vstrb.8 q0, [%[to]], #16",
        "letp lr, 1b",
        "2:",
    ]
    outputs = '[to] "+r"(to), [from] "+r"(from)'
    inputs = '[n] "r"(n)' + (', [m] "w"(vdupq_n_u8(128))' if n.unsigned else "")
    return asm(lines, outputs, inputs, '"q0", "lr", "memory"')


def _mve_dots(n: Numbers) -> str:
    """One window times four filters, their weights sixteen by sixteen in turn; sums are even
    registers, and what lies behind the window's end is neither read nor multiplied."""
    lines = ["wlstp.8 lr, %[n], 2f", "1: vldrb.8 q0, [%[x]], #16", "vldrb.8 q1, [%[w]], #16"]
    lines.append("vldrb.8 q2, [%[w]], #16")
    for f, (q, more) in enumerate((("q1", "q1"), ("q2", "q2"), ("q1", ""), ("q2", ""))):
        lines.append(f"vmladava.s8 %[s{f}], q0, {q}")
        if more:
            lines.append(f"vldrb.8 {more}, [%[w]], #16")
    lines += ["letp lr, 1b", "2:"]
    outputs = ", ".join(f'[s{f}] "+Te"(s{f})' for f in range(4))
    outputs += ', [x] "+r"(x), [w] "+r"(w)'
    text = asm(lines, outputs, '[n] "r"(n)', '"q0", "q1", "q2", "lr", "memory"')
    return "const int8_t *w = t->w;\n  " + held(4, text) + "\n  t->w = w;"


def _mve_scaled(n: Numbers, v: str, at: str, load: str) -> str:
    """A vector of sums v, scaled; without its zero point."""
    factor, shift = load.format("f" + at, "s" + at).split("; ")
    text = f"  {v} = vqrdmulhq_s32({v}, {factor});\n"
    if n.positive:
        return text + (f"  {v} = vrshlq_s32(vmaxq_s32({v}, vdupq_n_s32(0)), {shift});\n")
    # It rounds halves up: those below 0 go down a bit first.
    return text + (
        f"  {v} = vrshlq_s32(vaddq_s32({v}, vshrq_n_s32(vandq_s32({v}, {shift}), 31)), {shift});\n"
    )


def _mve_out_tile(n: Numbers) -> str:
    store = "vstrbq_u32(y, vreinterpretq_u32_s32(v));" if n.y == "uint8_t" else "vstrbq_s32(y, v);"
    low = (
        f"  v = vmaxq_s32(v, vdupq_n_s32({n.low}));\n"
        if n.low > n.out_zero or not n.positive
        else ""
    )
    zero = f"  v = vaddq_n_s32(v, {n.out_zero});\n" if n.out_zero else ""
    return (
        "int32x4_t v;\n"
        '  __asm__("vmov %e0, %1, %2\\n\\tvmov %f0, %3, %4"\n'
        '    : "=&w"(v) : "r"(t->sum[0]), "r"(t->sum[1]), "r"(t->sum[2]), "r"(t->sum[3]));\n'
        + _mve_scaled(n, "v", "", "vldrwq_s32({0}); vldrbq_s32({1})")
        + zero + low
        + f"  v = vminq_s32(v, vdupq_n_s32({n.high}));\n  {store}"
    )  # fmt: skip


def _mve_out_lanes(n: Numbers) -> str:
    low = (
        f"  r = vmaxq_s16(r, vdupq_n_s16({n.low}));\n"
        if n.low > n.out_zero or not n.positive
        else ""
    )
    zero = f"  r = vqaddq_n_s16(r, {n.out_zero});\n" if n.out_zero else ""
    store = "vstrbq_u16(y, vreinterpretq_u16_s16(r));" if n.y == "uint8_t" else "vstrbq_s16(y, r);"
    return (
        "const int32x4x2_t factor = vld2q_s32(f);\n"
        "  const int16x8_t shift = vldrbq_s16(s);\n"
        "  int32x4_t a = t->even, b = t->odd;\n"
        + _mve_scaled(n, "a", "", "factor.val[0]; vmovlbq_s16(shift)")
        + _mve_scaled(n, "b", "", "factor.val[1]; vmovltq_s16(shift)")
        + "  int16x8_t r = vqmovnbq_s32(vdupq_n_s16(0), a);\n"
        "  r = vqmovntq_s32(r, b);\n" + zero + low
        + f"  r = vminq_s16(r, vdupq_n_s16({n.high}));\n  {store}"
    )  # fmt: skip


def _mve_window(n: Numbers) -> str:
    """As one piece: a compiler that moves the loads of all taps to the front spills them."""
    less = ["vadd.i16 q0, q0, %[z]"] if n.zero else []
    width = "u16" if n.unsigned else "s16"
    lines = []
    for at, then in zip(n.taps, (*n.taps[1:], n.taps[-1]), strict=True):
        step = then - at
        near = step and -128 < step < 128
        lines.append(f"vldrb.{width} q0, [%[x]]" + (f", #{step}" if near else ""))
        lines += ["vldrb.s16 q1, [%[w]], #8", *less]
        lines += [_moved(step)] if step and not near else []
        lines += ["vmullb.s16 q2, q0, q1", "vadd.i32 %q[a], %q[a], q2"]
        lines += ["vmullt.s16 q2, q0, q1", "vadd.i32 %q[b], %q[b], q2"]
    far = any(abs(b - a) > 4095 for a, b in zip(n.taps, n.taps[1:], strict=False))
    outputs = '[a] "+w"(t->even), [b] "+w"(t->odd), [x] "+l"(x), [w] "+l"(w)'
    clobbers = '"q0", "q1", "q2"' + (', "r12"' if far else "") + ', "memory"'
    return asm(lines, outputs, f'[z] "r"({-n.zero})' if n.zero else "", clobbers)


def _moved(step: int) -> str:
    """The address of inputs, moved by a constant."""
    if abs(step) <= 4095:
        return f"{'add' if step > 0 else 'sub'}w %[x], %[x], #{abs(step)}"
    low, high = step & 0xFFFF, step >> 16 & 0xFFFF
    return f"movw r12, #{low}\\n\\tmovt r12, #{high}\\n\\tadd %[x], %[x], r12"


def _mve(n: Numbers) -> Bodies:
    load = "vreinterpretq_s16_u16(vldrbq_u16(x))" if n.unsigned else "vldrbq_s16(x)"
    less = f"vaddq_n_s16({load}, {-n.zero})" if n.zero else load
    return {
        "number": "int32_t v;\n  memcpy(&v, p, sizeof v);\n  return v;",
        "take": _mve_take(n),
        "fill": f"memset(to, {n.outside}, (size_t)n);",
        "dots": _mve_dots(n),
        "start": "const int32x4x2_t b = vld2q_s32((const int32_t *)(const void *)p);\n"
        "  t->even = b.val[0];\n  t->odd = b.val[1];",
        "tap": f"const int16x8_t a = {less}, b = vldrbq_s16(w);\n"
        "  t->even = vaddq_s32(t->even, vmullbq_int_s16(a, b));\n"
        "  t->odd = vaddq_s32(t->odd, vmulltq_int_s16(a, b));",
        "window": _mve_window(n) if n.taps else "",
        "spill": "const int32x4x2_t b = {{t->even, t->odd}};\n  vst2q_s32(p, b);",
        "scaled": saturated(n, "a + (int64_t)s * f"),
        "scaled_signed": saturated(n, "a + (int64_t)s * f + (int64_t)(s >> 31) * d"),
        "out_tile": _mve_out_tile(n),
        "out_lanes": _mve_out_lanes(n),
    }


MVE_WINDOWS = WindowKernel(
    name="mve",
    prefix="d16",
    header="arm_mve.h",
    condition="defined(__GNUC__) && defined(__ARM_FEATURE_MVE) && !defined(__ARM_BIG_ENDIAN)",
    depth=16,
    item="int8_t",
    item_size=1,
    centred=False,
    tiles=((1, 4),),
    lanes=8,
    looped=True,
    vector_ends=True,
    lane_type="struct {\n  int32x4_t even, odd;\n}",
    bodies=_mve,
)

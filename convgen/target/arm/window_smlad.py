"""Gathered windows on Cortex-M4, M7 and M33: pairs of 16-bit products."""

from __future__ import annotations

from convgen.target.arm.windows import (
    Bodies,
    Numbers,
    WindowKernel,
    asm,
    held,
    saturated,
    window_of_taps,
)

SMLAD_ITEM = "int16_t"  # of a window
_HELD = ("r4", "r5", "r6", "r8")  # r7 may be the frame pointer


def _smlad_steps(n: Numbers, count: int) -> str:
    """Inputs lie as pairs (0, 2) and (1, 3) of 16 bits, pixel beside pixel: one load of several
    registers for all. Weights are bytes, a word of each filter, taken apart here."""
    pixels, filters = n.tile
    inputs = _HELD[: 2 * pixels]
    pair = ["%[w0]", "%[w1]"][:filters]
    load = f"ldrd {', '.join(pair)}, [%[w]], #8" if filters > 1 else "ldr %[w0], [%[w]], #4"
    lines = []
    for _ in range(count):
        lines.append(f"ldmia %[x]!, {{{', '.join(inputs)}}}")
        for f in range(filters):
            word = pair[f % 2]
            lines += [load] if f % 2 == 0 else []
            lines += [f"sxtb16 %[t], {word}", f"sxtb16 {word}, {word}, ror #8"]
            for half, weight in enumerate(("%[t]", word)):
                for p in range(pixels):
                    s = f"%[s{p * filters + f}]"
                    lines.append(f"smlad {s}, {inputs[2 * p + half]}, {weight}, {s}")
    loaded = [word[2:-1] for word in pair]
    sums = pixels * filters
    outputs = [f'[s{i}] "+r"(s{i})' for i in range(sums)]
    outputs += ['[x] "+r"(x)', '[w] "+r"(w)', '[t] "=&r"(even)']
    outputs += [f'[{name}] "=&r"({name})' for name in loaded]
    clobbers = ", ".join(f'"{register}"' for register in inputs) + ', "memory"'
    text = asm(lines, ", ".join(outputs), "", clobbers)
    pointers = f"const {SMLAD_ITEM} *x = t->x;\n  const int8_t *w = t->w;\n  "
    return (
        f"uint32_t {', '.join(['even', *loaded])};\n  {pointers}"
        + held(sums, text)
        + "\n  t->x = x;\n  t->w = w;"
    )


def _smlad_take(n: Numbers) -> str:
    """Four bytes to two words, widened and counted from the zero point by one instruction each."""
    widen = "uxtab16" if n.unsigned else "sxtab16"
    step = 8 * n.tile[0]

    def word(a: str, b: str) -> list[str]:
        return [
            f"{widen} %[{b}], %[z], %[{a}]",
            f"{widen} %[{a}], %[z], %[{a}], ror #8",
            f"strd %[{b}], %[{a}], [%[to]], #{step}",
        ]

    lines = [
        "lsrs %[n], %[n], #3",
        "bcc 2f",
        "ldr %[a], [%[from]], #4",
        *word("a", "b"),
        "2: beq 3f",
        "1: ldr %[a], [%[from]], #4",
        "ldr %[c], [%[from]], #4",
        *word("a", "b"),
        *word("c", "b"),
        "subs %[n], %[n], #1",
        "bne 1b",
        "3:",
    ]
    outputs = '[to] "+r"(to), [from] "+r"(from), [n] "+r"(n), '
    outputs += '[a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c)'
    return "uint32_t a, b, c;\n  " + asm(
        lines, outputs, f'[z] "r"({_pair(-n.zero)})', '"cc", "memory"'
    )


def _pair(value: int) -> str:
    """A number of 16 bits twice in a word."""
    return f"0x{(value & 0xFFFF) * 0x10001:08x}"


def _smlad_tap(n: Numbers) -> str:
    widen = "uxtab16" if n.unsigned else "sxtab16"
    lines = [
        "ldr %[a], %[x]",
        "ldr %[c], %[w]",
        f"{widen} %[b], %[z], %[a]",
        f"{widen} %[a], %[z], %[a], ror #8",
        "sxtb16 %[d], %[c]",
        "sxtb16 %[c], %[c], ror #8",
        "smlabb %[s0], %[b], %[d], %[s0]",
        "smlatt %[s2], %[b], %[d], %[s2]",
        "smlabb %[s1], %[a], %[c], %[s1]",
        "smlatt %[s3], %[a], %[c], %[s3]",
    ]
    outputs = ", ".join(f'[s{i}] "+r"(s{i})' for i in range(4))
    outputs += "".join(f', [{name}] "=&r"({name})' for name in "abcd")
    inputs = f'[x] "m"(*(const {n.x}(*)[4])x), [w] "m"(*(const int8_t(*)[4])w), '
    inputs += f'[z] "r"({_pair(-n.zero)})'
    return "uint32_t a, b, c, d;\n  " + held(4, asm(lines, outputs, inputs, ""))


def _smlad(n: Numbers) -> Bodies:
    return {
        "number": "int32_t v;\n  memcpy(&v, p, sizeof v);\n  return v;",
        "take": _smlad_take(n),
        "fill": f"for (; n > 0; n -= 4, to += {4 * n.tile[0]}) memset(to, 0, 8);",
        **{f"steps_{count}": _smlad_steps(n, count) for count in n.counts},
        "start": "int32_t a, b, c, d;\n"
        "  memcpy(&a, p, 4), memcpy(&b, p + 4, 4), memcpy(&c, p + 8, 4), memcpy(&d, p + 12, 4);\n"
        "  t->sum[0] = a, t->sum[1] = b, t->sum[2] = c, t->sum[3] = d;",
        "window": window_of_taps(n, 4),
        "tap": _smlad_tap(n),
        "spill": "p[0] = t->sum[0], p[1] = t->sum[1], p[2] = t->sum[2], p[3] = t->sum[3];",
        "scaled": saturated(n, "a + (int64_t)s * f"),
        "scaled_signed": saturated(n, "a + (int64_t)s * f + (int64_t)(s >> 31) * d"),
    }


SMLAD_WINDOWS = WindowKernel(
    name="smlad",
    prefix="d4",
    header="arm_acle.h",
    # Unoptimised code keeps more in registers than these pieces of assembly leave.
    condition="defined(__GNUC__) && defined(__OPTIMIZE__) && defined(__ARM_FEATURE_DSP) \\\n"
    "    && defined(__ARM_FEATURE_SIMD32) && defined(__thumb2__) && !defined(__ARM_BIG_ENDIAN)",
    depth=4,
    item=SMLAD_ITEM,
    item_size=2,
    centred=True,
    tiles=((2, 2), (1, 4), (1, 2), (2, 1), (1, 1)),
    lanes=4,
    looped=False,
    vector_ends=False,
    lane_type="struct {\n  int32_t sum[4];\n}",
    bodies=_smlad,
)

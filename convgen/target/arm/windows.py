"""Kernels of gathered windows on Cortex-M as data: SMLAD in core registers, and Helium (MVE).

A window's inputs are copied side by side first, in the order in which the products take them, and
serve every filter; a depthwise layer is read as it lies, several channels at a time. The operations
(``D``: the kernel's prefix), each a C snippet with one meaning and a model in plain C:

    number(p)                  the int32 that the four bytes p[0..3] hold, the lowest first
    take(to, from, n)          n inputs less ``zero`` to a window; the next one's places lie between
    fill(to, n)                as many that lie outside the image
    steps_N(t)                 N steps: every pixel's next ``depth`` inputs times every filter's next
                               weights are added to t->sum[pixel * filters + filter]
    dots(t, x, n)              the same for one pixel's n inputs, in whole steps of weights
    start(t, p)                sums of ``lanes`` channels from the int32 biases at p
    window(t, x, w)            the products of a whole window, its taps ``taps`` from x
    tap(t, x, w)               and the products of a tap: x[i] less ``zero``, times w[i]
    spill(p, t)                the sums to p[0 ..]
    scaled(s, f, a)            floor((s * f + a) / 2^(32 + down)), saturated to an output
    out(y, t, f, s)            TFLite's scaling of all sums: factors f[i], shifts s[i] below 0, each
                               after the zero point is added kept to the limits

Loops that must keep to the registers are whole in one piece of assembly. It names no frame pointer,
and leaves a register to the loop around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from convgen.target.isa import Operation


@dataclass(frozen=True)
class Numbers:
    """What a layer's operations have as constants. ``tile``: pixels and filters of a tile;
    ``counts``: the N of ``steps_N``; ``zero``: what inputs count from; ``outside``: what an input
    outside the image is in a window; ``unsigned``: the inputs are uint8_t; ``out``: the zero point
    and the limits of outputs; ``taps``: where the taps of a
    depthwise window lie; ``down``: how far ``scaled`` shifts; ``y``: an output's C type."""

    tile: tuple[int, int]
    counts: tuple[int, ...]
    zero: int
    outside: int
    unsigned: bool
    out_zero: int = 0
    low: int = 0
    high: int = 0
    down: int = 0
    taps: tuple[int, ...] = ()
    y: str = "int8_t"

    @property
    def x(self) -> str:
        return "uint8_t" if self.unsigned else "int8_t"

    @property
    def type_low(self) -> int:
        return 0 if self.unsigned else -128

    @property
    def type_high(self) -> int:
        return 255 if self.unsigned else 127

    @property
    def positive(self) -> bool:
        """Sums below 0 end at the least output."""
        return self.low >= self.out_zero


Bodies = dict[str, str]


@dataclass(frozen=True)
class WindowKernel:
    """``depth``: inputs to a step, ``item``: the C type of one in a window, ``item_size``: its bytes.
    ``centred``: inputs count from their zero point, else the biases allow for it, and those of
    uint8_t from 128. ``tiles``: pixels and filters of the tiles there are. ``lanes``: channels of a
    depthwise step. ``looped``: one operation takes a whole window. ``vector_ends``: ``out`` is
    there. ``tile_type``, ``lane_type``: C structures; ``bodies``: C of the operations.
    """

    name: str
    prefix: str
    header: str
    condition: str
    depth: int
    item: str
    item_size: int
    centred: bool
    tiles: tuple[tuple[int, int], ...]
    lanes: int
    looped: bool
    vector_ends: bool
    lane_type: str
    bodies: Callable[[Numbers], Bodies]


def _params(kernel: WindowKernel, n: Numbers, name: str) -> tuple[str, str]:
    """Parameters and result of an operation."""
    of = "D_tile" if name in ("dots", "out_tile") or name.startswith("steps") else "D_lanes"
    table = {
        "number": ("const int8_t *p", "int32_t"),
        "take": (f"{kernel.item} *to, const {n.x} *from, ptrdiff_t n", "void"),
        "fill": (f"{kernel.item} *to, ptrdiff_t n", "void"),
        "dots": (f"{of} *t, const {kernel.item} *x, int32_t n", "void"),
        "start": (f"{of} *t, const int8_t *p", "void"),
        "window": (f"{of} *t, const {n.x} *x, const int8_t *w", "void"),
        "tap": (f"{of} *t, const {n.x} *x, const int8_t *w", "void"),
        "spill": (f"int32_t *p, const {of} *t", "void"),
        "scaled": ("int32_t s, int32_t f, int64_t a", "int32_t"),
        "out_tile": (f"{n.y} *y, const {of} *t, const int32_t *f, const int8_t *s", "void"),
        "out_lanes": (f"{n.y} *y, const {of} *t, const int32_t *f, const int8_t *s", "void"),
    }
    return (f"{of} *t", "void") if name.startswith("steps") else table[name]


def operations(
    kernel: WindowKernel, n: Numbers, names: Iterable[str], *, model: bool
) -> tuple[Operation, ...]:
    """The named operations, in instructions or in plain C."""
    bodies = model_bodies(kernel, n) if model else kernel.bodies(n)
    found = []
    for name in names:
        params, result = _params(kernel, n, name)
        body = bodies[name]
        body = body if body.endswith((";", "}")) else f"return {body};"
        d = kernel.prefix
        params, body = (text.replace("D_", f"{d}_") for text in (params, body))
        found.append(Operation(name, params, result, body))
    return tuple(found)


def tile_type(kernel: WindowKernel, n: Numbers) -> str:
    """A tile's sums, and where its next inputs and weights lie."""
    x = "" if kernel.looped else f"\n  const {kernel.item} *x;"
    return f"struct {{\n  int32_t sum[{n.tile[0] * n.tile[1]}];{x}\n  const int8_t *w;\n}}"


def model_bodies(kernel: WindowKernel, n: Numbers) -> Bodies:
    """Every operation in plain C. Sums wrap, as the instructions do; ``pack`` promises that the
    last one is right."""
    pixels, filters = n.tile
    depth, lanes = kernel.depth, kernel.lanes
    less = f" - {n.zero}" if n.zero > 0 else f" + {-n.zero}" if n.zero else ""
    place = f"i / {depth} * {depth * pixels} + i % {depth}" if pixels > 1 else "i"
    # An output of each sum, as TFLite's reference makes it.
    out = f"""\
for (int i = 0; i < @n; ++i) {{
    /* Twice the high half, rounded; 2^62 more and it is never negative. */
    const int64_t product = (int64_t)t->sum[i] * f[i];
    const uint64_t raised = (uint64_t)(product + ((int64_t)1 << 62) + ((int64_t)1 << 30));
    const int32_t high = (int32_t)((int64_t)(raised >> 31) - 2147483648);
    /* Divided by 2^-shift, halves away from 0. */
    const uint32_t size = (((uint32_t)(high < 0 ? -high : high) >> (-s[i] - 1)) + 1) >> 1;
    int32_t q = (high < 0 ? -(int32_t)size : (int32_t)size) + {_signed(n.out_zero)};
    if (q < {n.low}) q = {n.low};
    if (q > {n.high}) q = {n.high};
    y[i] = ({n.y})q;
  }}"""

    def steps(count: int) -> str:
        at = f"(i * {pixels} + p) * {depth} + k" if pixels > 1 else f"i * {depth} + k"
        return f"""\
for (int i = 0; i < {count}; ++i) {{
    for (int k = 0; k < {depth}; ++k) {{
      for (int p = 0; p < {pixels}; ++p) {{
        for (int f = 0; f < {filters}; ++f) {{
          uint32_t *const sum = (uint32_t *)&t->sum[p * {filters} + f];
          *sum += (uint32_t)(t->x[{at}] * t->w[(i * {filters} + f) * {depth} + k]);
        }}
      }}
    }}
  }}
  t->x += {count * depth * pixels};
  t->w += {count * depth * filters};"""

    def each(text: str, step: int) -> str:
        """Lane by lane: a prover that unrolls no loop sees all of them written."""
        return "\n  ".join(text.format(i, i * step) for i in range(lanes))

    value = f"from[i]{less}" if kernel.centred else "from[i]"
    if not kernel.centred and n.unsigned:
        value = "from[i] - 128"
    return {
        "number": "const uint32_t low = (uint32_t)(unsigned char)p[0] | (uint32_t)(unsigned char)p[1] << 8;\n"
        "  return (int32_t)(low | (uint32_t)(unsigned char)p[2] << 16) + p[3] * 16777216;",
        "take": f"for (ptrdiff_t i = 0; i < n; ++i) to[{place}] = ({kernel.item})({value});",
        "fill": f"for (ptrdiff_t i = 0; i < n; ++i) to[{place}] = {n.outside};",
        **{f"steps_{count}": steps(count) for count in n.counts},
        "dots": f"""\
for (int32_t k = 0; k < n; ++k) {{
    for (int f = 0; f < {filters}; ++f) {{
      uint32_t *const sum = (uint32_t *)&t->sum[f];
      *sum += (uint32_t)(x[k] * t->w[(k / {depth} * {filters} + f) * {depth} + k % {depth}]);
    }}
  }}
  t->w += (n + {depth - 1}) / {depth} * {depth * filters};""",
        "start": each("t->sum[{0}] = D_number(p + {1});", 4),
        "window": _window_of_taps(n, lanes),
        "tap": f"for (int i = 0; i < {lanes}; ++i) {{\n"
        "    uint32_t *const sum = (uint32_t *)&t->sum[i];\n"
        f"    *sum += (uint32_t)((x[i]{less}) * w[i]);\n  }}",
        "spill": each("p[{0}] = t->sum[{0}];", 1),
        # 2^63 more and it is never negative, so any compiler shifts it alike.
        "scaled": "const uint64_t raised = (uint64_t)(a + (int64_t)s * f) + ((uint64_t)1 << 63);\n"
        f"  const int64_t q = (int64_t)(raised >> {32 + n.down}) - ((int64_t)1 << {31 - n.down});\n"
        f"  return (int32_t)(q < {n.type_low} ? {n.type_low} : q > {n.type_high} ? {n.type_high} : q);",
        "out_tile": out.replace("@n", str(filters)),
        "out_lanes": out.replace("@n", str(lanes)),
    }


def _window_of_taps(n: Numbers, lanes: int) -> str:
    """One tap after the other, of ``lanes`` weights each."""
    calls = (f"D_tap(t, x + {at}, w + {i * lanes});" for i, at in enumerate(n.taps))
    return "\n  ".join(calls)


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)


def _asm(lines: Iterable[str], outputs: str, inputs: str, clobbers: str) -> str:
    text = "\n".join(f'    "{line}\\n\\t"' for line in lines)
    lists = [outputs, inputs, clobbers] if clobbers else [outputs, inputs]
    return f"__asm__ volatile(\n{text}" + "".join(f"\n    : {x}".rstrip() for x in lists) + ");"


# -- Cortex-M4, M7, M33: pairs of 16-bit products ------------------------------------------------

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
    text = _asm(lines, ", ".join(outputs), "", clobbers)
    pointers = f"const {SMLAD_ITEM} *x = t->x;\n  const int8_t *w = t->w;\n  "
    return (
        f"uint32_t {', '.join(['even', *loaded])};\n  {pointers}"
        + _held(sums, text)
        + "\n  t->x = x;\n  t->w = w;"
    )


def _held(sums: int, text: str) -> str:
    """Assembly whose sums are variables before and after, wherever the structure is."""
    names = ", ".join(f"s{i} = t->sum[{i}]" for i in range(sums))
    back = "".join(f"\n  t->sum[{i}] = s{i};" for i in range(sums))
    return f"int32_t {names};\n  {text}{back}"


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
    return "uint32_t a, b, c;\n  " + _asm(
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
    return "uint32_t a, b, c, d;\n  " + _held(4, _asm(lines, outputs, inputs, ""))


def _saturated(n: Numbers) -> str:
    """The high word needs no instruction, its shift none beside the saturation."""
    saturate = "usat" if n.unsigned else "ssat"
    shift = f", asr #{n.down}" if n.down else ""
    return (
        "const int32_t high = (int32_t)((a + (int64_t)s * f) >> 32);\n  int32_t q;\n"
        f'  __asm__("{saturate} %0, #8, %1{shift}" : "=r"(q) : "r"(high));\n  return q;'
    )


def _smlad(n: Numbers) -> Bodies:
    return {
        "number": "int32_t v;\n  memcpy(&v, p, sizeof v);\n  return v;",
        "take": _smlad_take(n),
        "fill": f"for (; n > 0; n -= 4, to += {4 * n.tile[0]}) memset(to, 0, 8);",
        **{f"steps_{count}": _smlad_steps(n, count) for count in n.counts},
        "start": "int32_t a, b, c, d;\n  memcpy(&a, p, 4), memcpy(&b, p + 4, 4), memcpy(&c, p + 8, 4), memcpy(&d, p + 12, 4);\n"
        "  t->sum[0] = a, t->sum[1] = b, t->sum[2] = c, t->sum[3] = d;",
        "window": _window_of_taps(n, 4),
        "tap": _smlad_tap(n),
        "spill": "p[0] = t->sum[0], p[1] = t->sum[1], p[2] = t->sum[2], p[3] = t->sum[3];",
        "scaled": _saturated(n),
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


# -- Cortex-M55: Helium --------------------------------------------------------------------------


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
    return _asm(lines, outputs, inputs, '"q0", "lr", "memory"')


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
    text = _asm(lines, outputs, '[n] "r"(n)', '"q0", "q1", "q2", "lr", "memory"')
    return "const int8_t *w = t->w;\n  " + _held(4, text) + "\n  t->w = w;"


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
    return _asm(lines, outputs, f'[z] "r"({-n.zero})' if n.zero else "", clobbers)


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
        "scaled": _saturated(n),
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

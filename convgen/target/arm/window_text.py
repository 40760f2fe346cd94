"""Operations of gathered windows as C text, and their model in plain C."""

from __future__ import annotations

from collections.abc import Iterable

from convgen.target.arm.windows import Bodies, Numbers, WindowKernel, window_of_taps
from convgen.target.isa import Operation


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
        "scaled_signed": ("int32_t s, int32_t f, int64_t a, int32_t d", "int32_t"),
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

    def each(text: str, step: int) -> str:
        """Lane by lane: a prover that unrolls no loop sees all of them written."""
        return "\n  ".join(text.format(i, i * step) for i in range(lanes))

    value = f"from[i]{less}" if kernel.centred else "from[i]"
    if not kernel.centred and n.unsigned:
        value = "from[i] - 128"
    return {
        "number": "const uint32_t first = (unsigned char)p[0], second = (unsigned char)p[1];\n"
        "  const uint32_t low = first | second << 8;\n"
        "  return (int32_t)(low | (uint32_t)(unsigned char)p[2] << 16) + p[3] * 16777216;",
        "take": f"for (ptrdiff_t i = 0; i < n; ++i) to[{place}] = ({kernel.item})({value});",
        "fill": f"for (ptrdiff_t i = 0; i < n; ++i) to[{place}] = {n.outside};",
        **{f"steps_{count}": _steps_model(kernel, n, count) for count in n.counts},
        "dots": f"""\
for (int32_t k = 0; k < n; ++k) {{
    for (int f = 0; f < {filters}; ++f) {{
      uint32_t *const sum = (uint32_t *)&t->sum[f];
      *sum += (uint32_t)(x[k] * t->w[(k / {depth} * {filters} + f) * {depth} + k % {depth}]);
    }}
  }}
  t->w += (n + {depth - 1}) / {depth} * {depth * filters};""",
        "start": each("t->sum[{0}] = D_number(p + {1});", 4),
        "window": window_of_taps(n, lanes),
        "tap": f"for (int i = 0; i < {lanes}; ++i) {{\n"
        "    uint32_t *const sum = (uint32_t *)&t->sum[i];\n"
        f"    *sum += (uint32_t)((x[i]{less}) * w[i]);\n  }}",
        "spill": each("p[{0}] = t->sum[{0}];", 1),
        "scaled": _scaled_model(n, "a"),
        "scaled_signed": _scaled_model(n, "(s < 0 ? a - d : a)"),
        "out_tile": _out_model(n, filters),
        "out_lanes": _out_model(n, lanes),
    }


def _out_model(n: Numbers, count: int) -> str:
    """An output of each sum, as TFLite's reference makes it."""
    return f"""\
for (int i = 0; i < {count}; ++i) {{
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


def _steps_model(kernel: WindowKernel, n: Numbers, count: int) -> str:
    """Products of all pixels and filters; no loop goes round once."""
    (pixels, filters), depth = n.tile, kernel.depth
    loops = [("i", count), ("k", depth), ("p", pixels), ("f", filters)]
    counted = [(name, most) for name, most in loops if most > 1]
    lines = [
        "  " * d + f"for (int {v} = 0; {v} < {m}; ++{v}) {{" for d, (v, m) in enumerate(counted)
    ]
    x = _index(("i", depth * pixels, count), ("p", depth, pixels), ("k", 1, depth))
    w = _index(("i", depth * filters, count), ("f", depth, filters), ("k", 1, depth))
    at = _index(("p", filters, pixels), ("f", 1, filters))
    inner = "  " * len(counted)
    lines.append(f"{inner}uint32_t *const sum = (uint32_t *)&t->sum[{at}];")
    lines.append(f"{inner}*sum += (uint32_t)(t->x[{x}] * t->w[{w}]);")
    lines += ["  " * d + "}" for d in reversed(range(len(counted)))]
    lines += [f"t->x += {count * depth * pixels};", f"t->w += {count * depth * filters};"]
    return "\n  ".join(lines)


def _scaled_model(n: Numbers, addend: str) -> str:
    """One multiply-add of 64 bits, shifted and saturated."""
    # 2^63 more and it is never negative, so any compiler shifts it alike.
    low, high = n.type_low, n.type_high
    return (
        f"const uint64_t raised = (uint64_t)({addend} + (int64_t)s * f) + ((uint64_t)1 << 63);\n"
        f"  const int64_t q = (int64_t)(raised >> {32 + n.down}) - ((int64_t)1 << {31 - n.down});\n"
        f"  return (int32_t)(q < {low} ? {low} : q > {high} ? {high} : q);"
    )


def _index(*parts: tuple[str, int, int]) -> str:
    """A sum of variable * step, without those that count to 1."""
    terms = (var if step == 1 else f"{var} * {step}" for var, step, most in parts if most > 1)
    return " + ".join(terms) or "0"


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)

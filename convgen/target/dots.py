"""Vector operations of 8-bit kernels, in the manner of ``isa.py``: C snippets with one meaning.

V holds one int32 sum a lane. Sums wrap: what a layer's weights promise is that the last one is in
range (``convgen/spec/requantize.py``), so those before it may leave int32 and come back.

    sums(p)            V: int32 numbers as four bytes each, the least significant first
    sub(a, b)          V, as in C
    quad(p)            IN: the ``depth`` inputs from p on, each plus ``offset``, for every lane
    weights(p)         W: ``depth`` weights of every lane, [lane][depth]
    dot(a, b, c)       V: c plus the ``depth`` products of each lane
    each(p)            IN: input p[i] for lane i; each_part(p, n): the lanes from n on 0
    taps(p)            W: one weight for each lane
    product(a, b, c)   V: c plus the one product of each lane, of each(p) and taps(p)
    rescale(a, s)      V: lane i times s[i] in float32, rounded half to even
    rescale_within(a, s, low, high)
                       the same, no less than low and no more than high before it is rounded
    reduce(a, f, t, by)
                       V: lane i times f[i], plus t of it, in 64 bits; the floor of its 2^-32, then
                       the floor of that times 2^-by[i]. t holds the even lanes' addends first.
                       ``reduce_signed``: 2^31 is taken from what is added to lanes below 0
    add1(a, s) max1(a, s) min1(a, s)
                       V: every lane with s
    narrow(p, a)       the lanes as bytes, saturated; narrow_part(p, a, n): n of them
    spill(p, a)        the lanes as they are
"""

from __future__ import annotations

from dataclasses import dataclass

from convgen.spec.elements import ELEMENTS
from convgen.spec.model import DType
from convgen.target.isa import Operation, VectorIsa

FLOOR = (
    "const int64_t p = (int64_t)s * f[i] + t[i / 2 + i % 2 * {half}]{less};\n"
    "    const int64_t high = (p >= 0 ? p : p - 4294967295) / 4294967296;\n"
    "    const int64_t unit = (int64_t)1 << by[i];\n"
    "    r.lane[i] = (uint32_t)(int32_t)((high >= 0 ? high : high - unit + 1) / unit);"
)


@dataclass(frozen=True)
class DotIsa(VectorIsa):
    """Of one element type of the input. ``offset``: what ``quad`` adds to it."""

    offset: int = 0


def shapes(x: str) -> dict[str, tuple[str, str]]:
    """Parameters and result of every operation, for inputs of C type ``x``."""
    return {
        "sums": ("const int8_t *p", "V"),
        "sub": ("V a, V b", "V"),
        "quad": (f"const {x} *p", "IN"),
        "weights": ("const int8_t *p", "W"),
        "dot": ("IN a, W b, V c", "V"),
        "each": (f"const {x} *p", "IN"),
        "each_part": (f"const {x} *p, int n", "IN"),
        "taps": ("const int8_t *p", "W"),
        "product": ("IN a, W b, V c", "V"),
        "rescale": ("V a, const float *s", "V"),
        "rescale_within": ("V a, const float *s, float low, float high", "V"),
        "reduce": ("V a, const int32_t *f, const int64_t *t, const int32_t *by", "V"),
        "reduce_signed": ("V a, const int32_t *f, const int64_t *t, const int32_t *by", "V"),
        "add1": ("V a, int32_t s", "V"),
        "max1": ("V a, int32_t s", "V"),
        "min1": ("V a, int32_t s", "V"),
        "narrow": (f"{x} *p, V a", "void"),
        "narrow_part": (f"{x} *p, V a, int n", "void"),
        "spill": ("int32_t *p, V a", "void"),
    }


def table(prefix: str, x: str, bodies: dict[str, str]) -> tuple[Operation, ...]:
    """Operations by name and body: an expression, or statements that end with ; or }."""
    names = {"V": prefix, "IN": f"{prefix}_in", "W": f"{prefix}_w"}
    found = []
    for name, (params, result) in shapes(x).items():
        text = bodies[name]
        done = text.endswith((";", "}"))
        body = text if done else f"{text};" if result == "void" else f"return {text};"
        for word, full in names.items():
            params = params.replace(f"{word} ", f"{full} ")
            body = body.replace(f"{word} ", f"{full} ")
        found.append(Operation(name, params, names.get(result, result), body))
    return tuple(found)


def model(prefix: str, lanes: int, depth: int, dtype: DType, offset: int) -> VectorIsa:
    """What stands in for the instructions with any other compiler, and before provers."""
    x, n = f"{dtype}_t", lanes
    each = f"for (int i = 0; i < {n}; ++i)"
    plus = f" + {offset}" if offset > 0 else f" - {-offset}" if offset else ""

    def lanewise(expression: str, start: str = "a") -> str:
        return f"V r = {start};\n  {each} r.lane[i] = {expression};\n  return r;"

    def floors(less: str) -> str:
        return (
            f"V r = a;\n  {each} {{\n    const int32_t s = (int32_t)a.lane[i];\n"
            f"    {FLOOR.format(half=n // 2, less=less)}\n  }}\n  return r;"
        )

    def rounded(clamps: str) -> str:
        return (
            f"V r = a;\n  {each} {{\n"
            f"    {'float' if clamps else 'const float'} real = (float)(int32_t)a.lane[i] * s[i];\n"
            f"{clamps}"
            "    int32_t q = (int32_t)real; /* towards 0; then to the nearest, halves to the even "
            "one */\n"
            "    const float rest = real - (float)q;\n"
            "    if (rest > 0.5f || (rest >= 0.5f && q % 2 != 0)) ++q;\n"
            "    if (rest < -0.5f || (rest <= -0.5f && q % 2 != 0)) --q;\n"
            "    r.lane[i] = (uint32_t)q;\n  }\n  return r;"
        )

    low, high = ELEMENTS[dtype].limits
    saturated = (
        f"{{\n    const int32_t q = (int32_t)a.lane[i];\n"
        f"    p[i] = ({x})(q < {low} ? {low} : q > {high} ? {high} : q);\n  }}"
    )
    bodies = {
        "sums": f"V r = {{{{0}}}};\n  {each} {{\n"
        "    const uint32_t low = (uint32_t)(uint8_t)p[4 * i] | "
        "(uint32_t)(uint8_t)p[4 * i + 1] << 8;\n"
        "    const uint32_t high = (uint32_t)(uint8_t)p[4 * i + 2] | "
        "(uint32_t)(uint8_t)p[4 * i + 3] << 8;\n"
        "    r.lane[i] = low | high << 16;\n  }\n  return r;",
        "sub": lanewise("a.lane[i] - b.lane[i]"),
        "quad": f"IN r = {{{{0}}}};\n  for (int d = 0; d < {depth}; ++d) "
        f"r.value[d] = (int16_t)(p[d]{plus});\n  return r;",
        "weights": "W r;\n  memcpy(r.value, p, sizeof r.value);\n  return r;",
        "dot": f"V r = c;\n  {each} {{\n    for (int d = 0; d < {depth}; ++d) {{\n"
        f"      r.lane[i] += (uint32_t)(a.value[d] * b.value[{depth} * i + d]);\n"
        "    }\n  }\n  return r;",
        "each": f"IN r = {{{{0}}}};\n  {each} r.value[i] = (int16_t)p[i];\n  return r;",
        "each_part": "IN r = {{0}};\n  for (int i = 0; i < n; ++i) r.value[i] = (int16_t)p[i];\n"
        "  return r;",
        "taps": f"W r = {{{{0}}}};\n  memcpy(r.value, p, {n});\n  return r;",
        "product": f"V r = c;\n  {each} r.lane[i] += (uint32_t)(a.value[i] * b.value[i]);\n"
        "  return r;",
        "rescale": rounded(""),
        "rescale_within": rounded(
            "    if (real < low) real = low;\n    if (real > high) real = high;\n"
        ),
        "reduce": floors(""),
        "reduce_signed": floors(" - (s < 0 ? 2147483648 : 0)"),
        "add1": lanewise("a.lane[i] + (uint32_t)s"),
        "max1": lanewise("(int32_t)a.lane[i] > s ? a.lane[i] : (uint32_t)s"),
        "min1": lanewise("(int32_t)a.lane[i] < s ? a.lane[i] : (uint32_t)s"),
        "narrow": f"{each} {saturated}",
        "narrow_part": f"for (int i = 0; i < n; ++i) {saturated}",
        "spill": f"{each} p[i] = (int32_t)a.lane[i];",
    }
    return VectorIsa(
        name="plain",
        lanes=n,
        prefix=prefix,
        ctype=f"struct {{\n  uint32_t lane[{n}];\n}}",
        header="",
        condition="",
        attribute="",
        features=(),
        registers=16,
        operations=table(prefix, x, bodies),
        depth=depth,
        types=(
            ("in", f"struct {{\n  int16_t value[{max(n, depth)}];\n}}"),
            ("w", f"struct {{\n  int8_t value[{n * depth}];\n}}"),
        ),
    )

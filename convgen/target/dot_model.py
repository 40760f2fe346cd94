"""The operations of 8-bit kernels in plain C, for provers and for any other compiler."""

from __future__ import annotations

from convgen.spec.elements import ELEMENTS
from convgen.spec.model import DType
from convgen.target.dots import table
from convgen.target.isa import VectorIsa

FLOOR = (
    "const int64_t p = (int64_t)s * f[i] + t[i / 2 + i % 2 * {half}]{less};\n"
    "    const int64_t high = (p >= 0 ? p : p - 4294967295) / 4294967296;\n"
    "    const int64_t unit = (int64_t)1 << by[i];\n"
    "    r.lane[i] = (uint32_t)(int32_t)((high >= 0 ? high : high - unit + 1) / unit);"
)


ROUND = (
    "    int32_t q = (int32_t)real; /* towards 0; then to the nearest, halves to the even one */\n"
    "    const float rest = real - (float)q;\n"
    "    if (rest > 0.5f || (rest >= 0.5f && q % 2 != 0)) ++q;\n"
    "    if (rest < -0.5f || (rest <= -0.5f && q % 2 != 0)) --q;\n"
    "    r.lane[i] = (uint32_t)q;\n  }\n  return r;"
)


def model(prefix: str, lanes: int, depth: int, dtype: DType, offset: int) -> VectorIsa:
    """What stands in for the instructions with any other compiler, and before provers."""
    bodies = _products(lanes, depth, offset) | _roundings(lanes) | _stores(lanes, dtype)
    return VectorIsa(
        name="plain",
        lanes=lanes,
        prefix=prefix,
        ctype=f"struct {{\n  uint32_t lane[{lanes}];\n}}",
        header="",
        condition="",
        attribute="",
        features=(),
        registers=16,
        operations=table(prefix, f"{dtype}_t", bodies),
        depth=depth,
        types=(
            ("in", f"struct {{\n  int16_t value[{lanes * depth}];\n}}"),
            ("w", f"struct {{\n  int8_t value[{lanes * depth}];\n}}"),
            ("r", f"struct {{\n  float value[{lanes}];\n}}"),
        ),
    )


def _each(lanes: int) -> str:
    return f"for (int i = 0; i < {lanes}; ++i)"


def _lanewise(lanes: int, expression: str) -> str:
    # A result that starts whole needs no unrolled loop to be seen as initialised by a prover.
    return f"V r = a;\n  {_each(lanes)} r.lane[i] = {expression};\n  return r;"


def _products(lanes: int, depth: int, offset: int) -> dict[str, str]:
    """Reading, and sums of products; unsigned, so that sums wrap."""
    each = _each(lanes)
    plus = f" + {offset}" if offset > 0 else f" - {-offset}" if offset else ""
    word = "(uint32_t)(uint8_t)p[4 * i + {}]"

    def tall(count: str) -> str:
        rows = "".join(
            f"    all.value[4 * i{f' + {d}' if d else ''}] = (int16_t)({p}[i]{plus});\n"
            for d, p in enumerate("pqrs")
        )
        start = f"IN all = {{{{0}}}};\n  for (int i = 0; i < {count}; ++i) {{\n"
        return f"{start}{rows}  }}\n  return all;"

    return {
        "sums": f"V r = {{{{0}}}};\n  {each} {{\n"
        f"    const uint32_t low = (uint32_t)(uint8_t)p[4 * i] | {word.format(1)} << 8;\n"
        f"    const uint32_t high = {word.format(2)} | {word.format(3)} << 8;\n"
        "    r.lane[i] = low | high << 16;\n  }\n  return r;",
        "sub": _lanewise(lanes, "a.lane[i] - b.lane[i]"),
        "quad": f"IN r = {{{{0}}}};\n  for (int d = 0; d < {depth}; ++d) "
        f"r.value[d] = (int16_t)(p[d]{plus});\n  return r;",
        "weights": "W r;\n  memcpy(r.value, p, sizeof r.value);\n  return r;",
        "dot": f"V r = c;\n  {each} {{\n    for (int d = 0; d < {depth}; ++d) {{\n"
        f"      r.lane[i] += (uint32_t)(a.value[d] * b.value[{depth} * i + d]);\n"
        "    }\n  }\n  return r;",
        "each": f"IN r = {{{{0}}}};\n  {each} r.value[i] = (int16_t)p[i];\n  return r;",
        "each_part": "IN r = {{0}};\n  for (int i = 0; i < n; ++i) r.value[i] = (int16_t)p[i];\n"
        "  return r;",
        "taps": f"W r = {{{{0}}}};\n  memcpy(r.value, p, {lanes});\n  return r;",
        "tall": tall(str(lanes)),
        "tall_part": tall("n"),
        "deep": f"V r = c;\n  {each} {{\n    for (int d = 0; d < 4; ++d) {{\n"
        "      r.lane[i] += (uint32_t)(a.value[4 * i + d] * b.value[4 * i + d]);\n"
        "    }\n  }\n  return r;",
        "product": f"V r = c;\n  {each} r.lane[i] += (uint32_t)(a.value[i] * b.value[i]);\n"
        "  return r;",
    }


def _roundings(lanes: int) -> dict[str, str]:
    def fixed(less: str) -> str:
        return (
            f"V r = a;\n  {_each(lanes)} {{\n    const int32_t s = (int32_t)a.lane[i];\n"
            f"    {FLOOR.format(half=lanes // 2, less=less)}\n  }}\n  return r;"
        )

    def stairs(addend: str) -> str:
        return (
            f"V r = a;\n  {_each(lanes)} {{\n"
            "    const double s = (double)(float)(int32_t)a.lane[i];\n"
            f"    const float rest = (float)(s * (double)b.value[i] + (double){addend});\n"
            "    const double real = s * (double)f.value[i] + (double)rest;\n"
            "    int32_t q = (int32_t)real; /* towards 0; then down */\n"
            "    if ((double)q > real) --q;\n"
            "    r.lane[i] = (uint32_t)q;\n  }\n  return r;"
        )

    product = "real = (float)(int32_t)a.lane[i] * s.value[i];\n"
    clamps = "    if (real < low) real = low;\n    if (real > high) real = high;\n"
    start = f"V r = a;\n  {_each(lanes)} {{\n"
    return {
        "reals": "R r;\n  memcpy(r.value, p, sizeof r.value);\n  return r;",
        "rescale": f"{start}    const float {product}{ROUND}",
        "rescale_within": f"{start}    float {product}{clamps}{ROUND}",
        "stairs": stairs("t.value[i]"),
        "stairs_signed": stairs("(s < 0.0 ? 1.0f - t.value[i] : t.value[i])"),
        "reduce": fixed(""),
        "reduce_signed": fixed(" - (s < 0 ? 2147483648 : 0)"),
    }


def _stores(lanes: int, dtype: DType) -> dict[str, str]:
    """What happens to sums that are scaled, up to the bytes of y."""
    low, high = ELEMENTS[dtype].limits
    each = _each(lanes)
    four = (
        f"{each} {{\n"
        + "".join(
            f"    int64_t {v} = (int64_t)(int32_t){a}.lane[i] + zero;\n"
            f"    {v} = {v} < low ? low : {v} > high ? high : {v};\n"
            f"    {p}[i] = ({dtype}_t){v};\n"
            for p, a, v in zip("pqrs", "abcd", "tuvw", strict=True)
        )
        + "  }"
    )
    saturated = (
        "{\n    const int32_t q = (int32_t)a.lane[i];\n"
        f"    p[i] = ({dtype}_t)(q < {low} ? {low} : q > {high} ? {high} : q);\n  }}"
    )
    return {
        "add1": _lanewise(lanes, "a.lane[i] + (uint32_t)s"),
        "max1": _lanewise(lanes, "(int32_t)a.lane[i] > s ? a.lane[i] : (uint32_t)s"),
        "min1": _lanewise(lanes, "(int32_t)a.lane[i] < s ? a.lane[i] : (uint32_t)s"),
        "narrow": f"{each} {saturated}",
        "narrow_part": f"for (int i = 0; i < n; ++i) {saturated}",
        "narrow4": four,
        "spill": f"{each} p[i] = (int32_t)a.lane[i];",
    }

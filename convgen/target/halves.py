"""16-bit elements on vectors of floats: widened as they are read, rounded as they are stored.

Any instruction set can do it lane by lane; those with something quicker have it in ``quick``.
Every 16-bit number is exact as a float. Rounding is once, half to even, beyond the range to
infinity, below it through the subnormal numbers; a NaN stays one. AVX512-BF16's instructions, which
take subnormal numbers for 0, are in ``bf16``: layers of ``accuracy: fast`` may use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from convgen.spec.model import DType
from convgen.target.isa import SHAPES, Operation, VectorIsa, model, shaped

SIXTEEN = {
    "widen": ("uint16_t bits", "float"),
    "narrow": ("float real", "uint16_t"),
    "repeat": ("const uint16_t *p", "V"),
    "each": ("const uint16_t *p", "V"),
    "each_part": ("const uint16_t *p, int n", "V"),
    "spill": SHAPES["store"],
    "store": ("uint16_t *p, V a", "void"),
    "store_part": ("uint16_t *p, V a, int n", "void"),
    "expand": ("BITS u", "V"),
    "shrink": ("V a", "BITS"),
    "pack": ("V a", "BITS"),
}
WIDEN = {
    DType.FLOAT16: "float real;\n"
    "  uint32_t u = (uint32_t)(bits & 0x7fffu) << 13;\n"
    "  memcpy(&real, &u, sizeof real);\n"
    "  real *= 5.192296858534828e33f; /* 2^112, the distance of the exponents' biases */\n"
    "  memcpy(&u, &real, sizeof u);\n"
    "  if ((bits & 0x7c00u) == 0x7c00u) u |= 0x7f800000u; /* infinity, NaN */\n"
    "  u |= (uint32_t)(bits & 0x8000u) << 16;\n"
    "  memcpy(&real, &u, sizeof real);\n"
    "  return real;",
    DType.BFLOAT16: "float real;\n"
    "  const uint32_t u = (uint32_t)bits << 16;\n"
    "  memcpy(&real, &u, sizeof real);\n"
    "  return real;",
}
NARROW = {
    DType.FLOAT16: "uint32_t u;\n"
    "  memcpy(&u, &real, sizeof u);\n"
    "  const uint32_t sign = (u >> 16) & 0x8000u;\n"
    "  u &= 0x7fffffffu;\n"
    "  if (u > 0x7f800000u) return (uint16_t)(sign | 0x7e00u); /* NaN */\n"
    "  if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more */\n"
    "  if (u < 0x38800000u) { /* below 2^-14: added to a half, the rest is cut at 2^-24 */\n"
    "    memcpy(&real, &u, sizeof real);\n"
    "    real += 0.5f;\n"
    "    memcpy(&u, &real, sizeof u);\n"
    "    return (uint16_t)(sign | (u - 0x3f000000u));\n"
    "  }\n"
    "  u += 0xc8000fffu + ((u >> 13) & 1u); /* the other bias, and nearly half a unit */\n"
    "  return (uint16_t)(sign | u >> 13);",
    DType.BFLOAT16: "uint32_t u;\n"
    "  memcpy(&u, &real, sizeof u);\n"
    "  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u); /* NaN */\n"
    "  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);",
}


@dataclass(frozen=True)
class Quick:
    """What an instruction set has for one 16-bit type: bodies of operations by name, further C
    types, instructions that widen an input, and what else the compiler and the CPU must have;
    ``condition`` beside that of the vectors of floats."""

    bodies: Mapping[str, str]
    widening: int
    attribute: str | None = None
    features: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    condition: str = ""


def sixteen(isa: VectorIsa, dtype: DType, quick: Quick | None) -> VectorIsa:
    """The vectors of floats ``isa`` with 16-bit inputs and outputs of this type."""
    base = _lane_by_lane(isa, dtype)
    if isa.lanes == 1:
        return base
    base = replace(base, modelled=_lane_by_lane(model(isa), dtype))
    if quick is None:
        return base
    v = isa.prefix
    bodies = {name: text.replace("BITS ", f"{v}_bits ") for name, text in quick.bodies.items()}
    own = _shaped(v, bodies)
    names = {op.name for op in own} | {"widen", "narrow", "spill"}
    return replace(
        base,
        operations=(*(op for op in base.operations if op.name not in names), *own),
        widening=quick.widening,
        attribute=isa.attribute if quick.attribute is None else quick.attribute,
        features=(*isa.features, *quick.features),
        types=(*isa.types, *quick.types),
        condition=" \\\n    && ".join(c for c in (isa.condition, quick.condition) if c),
    )


def _shaped(v: str, bodies: Mapping[str, str]) -> tuple[Operation, ...]:
    return tuple(
        replace(
            op,
            params=op.params.replace("BITS ", f"{v}_bits "),
            result=f"{v}_bits" if op.result == "BITS" else op.result,
        )
        for op in shaped(v, bodies, SIXTEEN)
    )


def _lane_by_lane(isa: VectorIsa, dtype: DType) -> VectorIsa:
    """Through arrays of floats, and the scalar conversions."""
    v, n = isa.prefix, isa.lanes
    kept = [op for op in isa.operations if op.name not in (*SIXTEEN, *_OF_FLOATS)]
    bodies = {"widen": WIDEN[dtype], "narrow": NARROW[dtype]}
    if n == 1:
        bodies |= {
            "repeat": f"{v}_widen(p[0])",
            "each": f"{v}_widen(p[0])",
            "each_part": f"n > 0 ? {v}_widen(p[0]) : 0.0f",
            "store": f"p[0] = {v}_narrow(a)",
            "store_part": f"if (n > 0) p[0] = {v}_narrow(a);",
        }
        return replace(isa, operations=(*kept, *_shaped(v, bodies)), widening=_SCALAR[dtype])
    spill = replace(isa.operation("store"), name="spill")

    def read(count: str) -> str:
        return (
            f"float t[{n}] = {{0.0f}};\n"
            f"  for (int i = 0; i < {count}; ++i) t[i] = {v}_widen(p[i]);\n"
            f"  return {v}_load(t);"
        )

    def write(count: str) -> str:
        return (
            f"float t[{n}] = {{0.0f}};\n  {v}_spill(t, a);\n"
            f"  for (int i = 0; i < {count}; ++i) p[i] = {v}_narrow(t[i]);"
        )

    bodies |= {
        "repeat": f"{v}_set1({v}_widen(p[0]))",
        "each": read(str(n)),
        "each_part": read("n"),
        "store": write(str(n)),
        "store_part": write("n"),
    }
    operations = (*kept, spill, *_shaped(v, bodies))
    return replace(isa, operations=operations, widening=_SCALAR[dtype])


_OF_FLOATS = ("join", "pick", "evens", "odds", "transpose", "keep")  # have no 16-bit form
_SCALAR = {DType.FLOAT16: 8, DType.BFLOAT16: 2}  # instructions of ``widen``

"""Plain C99: one float at a time, for any compiler and any machine."""

from __future__ import annotations

from dataclasses import replace

from convgen.target.isa import VectorIsa, table

PLAIN = VectorIsa(
    name="plain",
    lanes=1,
    prefix="v1",
    ctype="float",
    header="",
    condition="",
    attribute="",
    features=(),
    registers=16,
    operations=table(
        "v1",
        {
            "load": "p[0]",
            "load_part": "n > 0 ? p[0] : 0.0f",
            "store": "p[0] = a",
            "store_part": "if (n > 0) p[0] = a;",
            "set1": "s",
            "add": "a + b",
            "sub": "a - b",
            "mul": "a * b",
            "div": "a / b",
            "fma": "a * b + c",
            "max": "a > b ? a : b",
            "min": "a < b ? a : b",
            "exp2i": "uint32_t u;\n  float r;\n  memcpy(&u, &t, sizeof u);\n"
            "  u = (u << 23) + 0x3f800000u;\n  memcpy(&r, &u, sizeof r);\n  return r;",
        },
    ),
    fused=False,
    operands=2,
)

# The same text on a machine with 32 registers for floats. Products that are not fused and constants
# take some of them: with larger tiles gcc spills in the innermost loops.
PLAIN_32 = replace(PLAIN, registers=24)

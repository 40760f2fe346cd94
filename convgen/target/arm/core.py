"""Steps of several products as data: inputs times weights of one filter, summed in an int32.

A kernel of integers whose channels lie side by side takes ``depth`` of them at a time. Each
operation is a C snippet with one meaning, so another instruction set is another table; the plain C
model of the same operations stands in for a compiler without the instructions, and for provers.
``D`` is the type of ``depth`` numbers, and an element i of them is meant:

    zeros(z)             z in the form in which the loads take it
    load_s8(p)           p[i], of int8_t
    load_u8(p)           p[i] - offset, of uint8_t
    load_s8_less(p, z)   p[i] - z, where z came from ``zeros``; likewise load_u8_less
    part_s8(p, n)        load_s8 of p[0 .. n-1], and of zeros behind them; touches nothing beyond
    part_u8(p, n)        likewise
    tail_s8(p, n)        load_s8, but zeros before the last n; 0 < n < depth
    dot(acc, a, b)       acc + the sum of a[i] * b[i], which wraps
    total(acc, a)        acc + the sum of a[i], which wraps

``zeros``, ``tail_s8`` and the loads that subtract are there where ``centred``, ``part_*`` and
``total`` where not: then the zero point of the inputs goes through the sum of the weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from convgen.target.isa import Operation


@dataclass(frozen=True)
class CoreStep:
    """``condition``: the preprocessor test under which a compiler has the instructions.

    ``offset``: what load_u8 subtracts. ``least``: fewer inputs than this had better go one by one.
    What a tile costs: core registers that a loaded value takes, ``held``; the most that can be
    accumulators, ``sums``; instructions of a load, ``load``, and of a step's products, ``product``.
    """

    name: str
    depth: int
    prefix: str
    ctype: str
    header: str
    condition: str
    centred: bool
    offset: int
    least: int
    held: int
    sums: int
    load: int
    product: int
    operations: tuple[Operation, ...]


_SHAPES = {
    "zeros": ("int z", "int32_t"),
    "load_s8": ("const int8_t *p", "D"),
    "load_u8": ("const uint8_t *p", "D"),
    "load_s8_less": ("const int8_t *p, int32_t z", "D"),
    "load_u8_less": ("const uint8_t *p, int32_t z", "D"),
    "part_s8": ("const int8_t *p, int n", "D"),
    "part_u8": ("const uint8_t *p, int n", "D"),
    "tail_s8": ("const int8_t *p, int n", "D"),
    "dot": ("int32_t acc, D a, D b", "int32_t"),
    "total": ("int32_t acc, D a", "int32_t"),
}


def table(prefix: str, bodies: dict[str, str]) -> tuple[Operation, ...]:
    """Operations by name and body: an expression, or statements that end with ``;``."""
    found = []
    for name, text in bodies.items():
        params, result = _SHAPES[name]
        body = text if text.endswith(";") else f"return {text};"
        found.append(
            Operation(
                name,
                params.replace("D ", f"{prefix} "),
                prefix if result == "D" else result,
                body.replace("D ", f"{prefix} "),
            )
        )
    return tuple(found)


def model(step: CoreStep) -> CoreStep:
    """The same operations in plain C, for any compiler and for provers."""
    n = step.depth
    each = f"for (int i = 0; i < {n}; ++i)"
    less = f" - {step.offset}" if step.offset else ""

    def filled(value: str) -> str:
        # Starting whole, r is seen as initialised by a prover that unrolls no loop.
        return f"D r = {{{{0}}}};\n  {each} r.value[i] = {value};\n  return r;"

    def summed(value: str) -> str:
        # It wraps, as the instructions do; a layer's weights promise that the last sum is right.
        return (
            "uint32_t sum = (uint32_t)acc;\n"
            f"  {each} sum += (uint32_t)({value});\n  return (int32_t)sum;"
        )

    bodies = {
        "zeros": "z",
        "load_s8": filled("p[i]"),
        "load_u8": filled(f"p[i]{less}"),
        "load_s8_less": filled("p[i] - z"),
        "load_u8_less": filled("p[i] - z"),
        "part_s8": filled("i < n ? p[i] : 0"),
        "part_u8": filled(f"(i < n ? p[i] : 0){less}"),
        "tail_s8": filled(f"i < {n} - n ? 0 : p[i]"),
        "dot": summed("a.value[i] * b.value[i]"),
        "total": summed("a.value[i]"),
    }
    mine = {op.name for op in step.operations}
    return replace(
        step,
        name=f"{step.name}_model",
        ctype=f"struct {{\n  int32_t value[{n}];\n}}",
        header="",
        condition="",
        operations=table(step.prefix, {name: bodies[name] for name in bodies if name in mine}),
    )

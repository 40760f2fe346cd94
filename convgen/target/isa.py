"""Vector instruction sets as data: each operation is a named C snippet with one meaning.

A kernel template only ever calls these operations, so a new instruction set is a new table here,
never a new template. The meaning of each operation, lane by lane:

    load(p)           p[0 .. lanes-1], any alignment
    load_part(p, n)   p[0 .. n-1], the other lanes 0; touches nothing beyond p[n-1]
    store(p, a)       the reverse of load
    store_part(p, a, n)
    set1(s)           s in every lane
    add sub mul div   as in C
    fma(a, b, c)      a * b + c; fused where the instruction set has it
    max(a, b)         a > b ? a : b, so a NaN in b comes through
    min(a, b)         a < b ? a : b, likewise
    spread_W_I(a)     lane i of the result is lane i / W * W + I of a: lane I of every W lanes
    join(a, b, n)     lanes 0 .. n-1 of a, the others of b; 0 < n < lanes
    pick(a, b, from)  lane i is lane from[i] of a, or from[i] - lanes of b if that is not negative
    exp2i(t)          2^n, where t = n + 1.5 * 2^23 and n is an integer in -126..127
    evens(a, b)       lanes 0, 2, .. of a, then of b; odds(a, b) lanes 1, 3, ..
    transpose(p, step, q, to)
                      q[i * to + j] = p[j * step + i] for i and j below the number of lanes
    keep(a)           a, in a register: gcc would rather read memory again for each use

Layers of 16-bit elements have vectors of floats, and these operations beside them; ``load`` is for
packed weights, which are floats, and ``store`` and ``store_part`` round to 16 bits:

    repeat(p)         p[0] in every lane
    each(p)           p[0 .. lanes-1]; each_part(p, n) as load_part

The spreads, join, pick, evens, odds and transpose are there where the instruction set has a quick
way; a family that wants them asks with ``has``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One vector operation: C parameters, result type and body, with ``V`` for the vector type."""

    name: str
    params: str
    result: str
    body: str


@dataclass(frozen=True)
class VectorIsa:
    """One vector width of one instruction set.

    ``prefix`` names the type and its operations in C. ``condition``: the preprocessor test under
    which a compiler can take it, "" for any compiler. ``attribute``: GNU function attributes that
    switch it on, so that speed does not hang on the embedder's flags; "" where a compiler's target
    and flags decide (``Target.flags``). ``features``: what the CPU must have, in the names
    of ``__builtin_cpu_supports``. ``registers``: architectural vector registers.
    ``fused``: a multiply-add is one instruction, else two, the first of which overwrites a factor.
    ``shuffled``: ``set1`` takes a shuffle besides its load. ``depth``: products that a multiply-add
    sums into one lane. ``types``: further C types, (what follows the prefix, definition);
    ``modelled``: the scalar model, where ``model`` does not make it from the number of lanes.
    ``halves``: registers that an input or a vector of weights takes, each of which is multiplied
    and added apart; where there are several, ``taking_apart`` instructions make them of one.
    ``operands``: 2 where a result overwrites one of its factors, else 3.
    ``products``: instructions of a multiply-add; ``unpacking``: those that make an input, and a
    vector of weights, of what was loaded; ``weight_registers``: what the latter then takes.
    ``number``: the C type of a lane. ``widening``: instructions that bring an input to it.
    ``latency``: cycles until a sum can be added to again, 0 where it is the target's. ``flushes``:
    numbers below the least normal one count as 0.
    """

    name: str
    lanes: int
    prefix: str
    ctype: str
    header: str
    condition: str
    attribute: str
    features: tuple[str, ...]
    registers: int
    operations: tuple[Operation, ...]
    fused: bool = True
    shuffled: bool = False
    depth: int = 1
    types: tuple[tuple[str, str], ...] = ()
    modelled: VectorIsa | None = None
    halves: int = 1
    taking_apart: int = 0
    operands: int = 3
    products: int = 1
    unpacking: tuple[int, int] = (0, 0)
    weight_registers: int = 1
    number: str = "float"
    widening: int = 0
    latency: int = 0
    flushes: bool = False

    @property
    def keeps(self) -> bool:
        """Whether a value can be pinned to a register."""
        return any(op.name == "keep" for op in self.operations)

    def operation(self, name: str) -> Operation:
        return next(op for op in self.operations if op.name == name)

    def closed(self, names: Iterable[str]) -> tuple[Operation, ...]:
        """These operations, behind those that their bodies call."""
        found: dict[str, Operation] = {}

        def add(name: str) -> None:
            op = self.operation(name)
            for callee in re.findall(rf"\b{self.prefix}_(\w+)\(", op.body):
                if callee not in found:
                    add(callee)
            found.setdefault(name, op)

        for name in names:
            add(name)
        return tuple(found.values())

    @property
    def inlined(self) -> str:
        """How C declares a function that is always inlined; plain C leaves it to the compiler."""
        return self._declared("static inline", "always_inline")

    @property
    def apart(self) -> str:
        """How C declares a function that stays one."""
        return self._declared("static", "noinline")

    def _declared(self, storage: str, *attributes: str) -> str:
        if not self.condition:
            return storage
        both = (*attributes, self.attribute) if self.attribute else attributes
        return f"{storage} __attribute__(({', '.join(both)}))"

    def has(self, name: str) -> bool:
        return any(op.name == name for op in self.operations)


SHAPES = {
    "load": ("const float *p", "V"),
    "load_part": ("const float *p, int n", "V"),
    "store": ("float *p, V a", "void"),
    "store_part": ("float *p, V a, int n", "void"),
    "set1": ("float s", "V"),
    "add": ("V a, V b", "V"),
    "sub": ("V a, V b", "V"),
    "mul": ("V a, V b", "V"),
    "div": ("V a, V b", "V"),
    "fma": ("V a, V b, V c", "V"),
    "max": ("V a, V b", "V"),
    "min": ("V a, V b", "V"),
    "exp2i": ("V t", "V"),
}
_OPTIONAL = {
    "join": ("V a, V b, int n", "V"),
    "pick": ("V a, V b, const int32_t *from", "V"),
    "evens": ("V a, V b", "V"),
    "odds": ("V a, V b", "V"),
    "transpose": ("const float *p, ptrdiff_t step, float *q, ptrdiff_t to", "void"),
}
OPERATIONS = tuple(SHAPES)


def table(prefix: str, bodies: Mapping[str, str]) -> tuple[Operation, ...]:
    """Operations by name and body: an expression, or statements that end with ; or }."""
    assert set(SHAPES) <= set(bodies)
    return shaped(prefix, bodies, {**SHAPES, **_OPTIONAL})


def shaped(
    prefix: str, bodies: Mapping[str, str], shapes: Mapping[str, tuple[str, str]] = SHAPES
) -> tuple[Operation, ...]:
    """The same with other parameters and results by name; of one vector where none are given."""
    found = []
    for name in bodies:
        params, result = shapes.get(name, ("V a", "V"))
        text = bodies[name]
        body = text if text.endswith((";", "}")) else f"return {text};"
        if result == "void" and body != text:
            body = f"{text};"
        found.append(
            Operation(
                name,
                params.replace("V ", f"{prefix} "),
                prefix if result == "V" else result,
                body.replace("V ", f"{prefix} "),
            )
        )
    return tuple(found)


def spread_groups(lanes: int) -> list[tuple[int, int]]:
    """(W, I) of every spread within vectors of this many lanes."""
    return [(w, i) for w in (2, 4, 8) if w <= lanes for i in range(w)]


def _picked(n: int) -> str:
    """Both vectors in one array, so that an interval of lanes is all a prover needs to know."""
    return (
        f"V r = a;\n  float both[{2 * n}];\n  memcpy(both, &a, sizeof a);\n"
        f"  memcpy(both + {n}, &b, sizeof b);\n"
        f"  for (int i = 0; i < {n}; ++i) r.lane[i] = both[from[i]];\n  return r;"
    )


def _alternate(n: int, first: int) -> str:
    half = n // 2
    return (
        f"V r = a;\n  for (int i = 0; i < {half}; ++i) r.lane[i] = a.lane[2 * i + {first}];\n"
        f"  for (int i = {half}; i < {n}; ++i) r.lane[i] = b.lane[2 * i - {n - first}];\n"
        "  return r;"
    )


def model(isa: VectorIsa) -> VectorIsa:
    """The scalar model of ``isa``: same widths and names, plain C, for provers and other compilers.

    frama-c knows no vector types; under ``<NAME>_MODEL`` the generated file swaps its block of
    vector operations for this one and keeps every other line.
    """
    if isa.modelled is not None:
        return isa.modelled
    n = isa.lanes
    each = f"for (int i = 0; i < {n}; ++i)"

    def lanewise(expression: str, start: str = "a") -> str:
        # A result that starts whole needs no unrolled loop to be seen as initialised by a prover.
        return f"V r = {start};\n  {each} r.lane[i] = {expression};\n  return r;"

    return VectorIsa(
        name=f"{isa.name}_model",
        lanes=n,
        prefix=isa.prefix,
        ctype=f"struct {{\n  float lane[{n}];\n}}",
        header="",
        condition="",
        attribute="",
        features=(),
        registers=isa.registers,
        operations=table(
            isa.prefix,
            {
                "load": "V r;\n  memcpy(r.lane, p, sizeof r.lane);\n  return r;",
                "load_part": "V r = {{0.0f}};\n  memcpy(r.lane, p, (size_t)n * sizeof *p);\n"
                "  return r;",
                "store": "memcpy(p, a.lane, sizeof a.lane);",
                "store_part": "memcpy(p, a.lane, (size_t)n * sizeof *p);",
                "set1": lanewise("s", "{{s}}"),
                **{
                    f"spread_{w}_{i}": lanewise(f"a.lane[i / {w} * {w}{f' + {i}' if i else ''}]")
                    for w, i in spread_groups(n)
                },
                "join": lanewise("i < n ? a.lane[i] : b.lane[i]"),
                "pick": _picked(n),
                **({"evens": _alternate(n, 0), "odds": _alternate(n, 1)} if n > 1 else {}),
                "transpose": f"for (ptrdiff_t i = 0; i < {n}; ++i) {{\n"
                f"    for (ptrdiff_t j = 0; j < {n}; ++j) q[i * to + j] = p[j * step + i];\n  }}",
                "add": lanewise("a.lane[i] + b.lane[i]"),
                "sub": lanewise("a.lane[i] - b.lane[i]"),
                "mul": lanewise("a.lane[i] * b.lane[i]"),
                "div": lanewise("a.lane[i] / b.lane[i]"),
                "fma": lanewise("a.lane[i] * b.lane[i] + c.lane[i]"),
                "max": lanewise("a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]"),
                "min": lanewise("a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]"),
                **({"keep": "a"} if isa.keeps else {}),
                "exp2i": f"V r = t;\n  {each} {{\n    uint32_t u;\n"
                "    memcpy(&u, &t.lane[i], sizeof u);\n"
                "    u = (u << 23) + 0x3f800000u;\n"
                "    memcpy(&r.lane[i], &u, sizeof u);\n  }\n  return r;",
            },
        ),
    )

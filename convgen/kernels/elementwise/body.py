"""One loop over contiguous runs of elements; what stands around it is addressed by one index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convgen.kernels.nest import Runs, nest
from convgen.spec.model import Act, Activation

CHUNK = 1024  # elements of a unit where the arrays are one run: fits the first cache, and divides
OPERATIONS = {
    "add": ("add",),
    "sub": ("sub",),
    "mul": ("mul",),
    "div": ("div",),
    "max": ("max",),
    "min": ("min",),
    "prelu": ("max", "min", "mul", "add", "set1"),
    "copy": (),
    "abs": ("set1", "sub", "max"),
    "neg": ("set1", "sub"),
    "square": ("mul",),
    "reciprocal": ("set1", "div"),
    "exp": (),
    "elu": ("set1", "sub", "max", "min", "mul", "add"),
    "selu": ("set1", "sub", "max", "min", "mul", "add"),
    "hard_sigmoid": ("set1", "mul", "add", "max", "min"),
}
EXPONENTIAL = ("exp", "elu", "selu")


@dataclass(frozen=True)
class EachBody:
    """``op`` of one or two operands, then ``act``; ``loops`` walks a, b (if there is one) and y.

    ``alpha``, ``beta``: constants of a function of one number.
    """

    op: str
    act: Activation
    loops: Runs
    binary: bool
    alpha: float = 1.0
    beta: float = 0.0

    template = "kernels/elementwise/each.j2"
    types = ("float", "float", "float")

    @property
    def inputs(self) -> int:
        return 2 if self.binary else 1

    @property
    def functions(self) -> tuple[str, ...]:
        return ("exp",) if self.op in EXPONENTIAL else ()

    def literal(self, value: float) -> str:
        from convgen.ctext.activations import float_literal

        return float_literal(value)

    def operations(self, lanes: int) -> tuple[str, ...]:
        """Vector operations that the template calls, the activation's aside."""
        used = set(OPERATIONS[self.op])
        steps = [self.loops.step(i) for i in range(self.inputs + 1)]
        reads, y = steps[:-1], steps[-1]
        whole, rest = self.loops.run >= lanes, self.loops.last % lanes
        used |= {"set1"} if 0 in reads else set()
        used |= {"load"} if any(s not in (0, 1) or (s == 1 and whole) for s in reads) else set()
        used |= {"load_part"} if rest and 1 in reads else set()
        used |= {"store"} if whole or y != 1 else set()
        used |= {"store_part"} if rest and y == 1 else set()
        return tuple(sorted(used))

    @property
    def words(self) -> str:
        what = WORDS[self.op]
        return what if self.act.kind is Act.NONE else f"{self.act.kind}({what})"


WORDS = {
    "add": "a + b",
    "sub": "a - b",
    "mul": "a * b",
    "div": "a / b",
    "max": "max(a, b)",
    "min": "min(a, b)",
    "prelu": "a > 0 ? a : a * b",
    "copy": "a",
    "abs": "|a|",
    "neg": "-a",
    "square": "a * a",
    "reciprocal": "1 / a",
    "exp": "e^a",
    "elu": "a > 0 ? a : alpha * (e^a - 1)",
    "selu": "beta * (a > 0 ? a : alpha * (e^a - 1))",
    "hard_sigmoid": "alpha * a + beta within 0 and 1",
}


def each_body(
    op: str,
    act: Activation,
    shape: Sequence[int],
    strides: Sequence[Sequence[int]],
    alpha: float = 1.0,
    beta: float = 0.0,
) -> EachBody:
    """``strides``: of a, of b for operations of two, and of y, in elements, all over ``shape``."""
    assert op in OPERATIONS, op
    loops = Runs(nest(shape, *strides), CHUNK)
    return EachBody(op, act, loops, len(strides) == 3, alpha, beta)

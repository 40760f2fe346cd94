"""Loops over several arrays of one shape: dimensions that lie behind one another become one.

Strides count elements; a stride of 0 repeats an operand along that dimension.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Dim:
    """One loop: how often, and how far each operand moves on every turn."""

    size: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Nest:
    """Loops from the outermost to the innermost; none for a single element."""

    dims: tuple[Dim, ...]

    @property
    def outer(self) -> tuple[Dim, ...]:
        return self.dims[:-1]

    @property
    def inner(self) -> Dim:
        """The innermost loop; of a single element one turn."""
        return self.dims[-1] if self.dims else Dim(1, ())

    @property
    def units(self) -> int:
        """Turns of all loops but the innermost."""
        return math.prod(dim.size for dim in self.outer)

    def address(self, operand: int, unit: str = "u") -> str:
        """The C expression of an operand's element at the start of a unit: ``""`` for 0, else it
        begins with " + ". The last dimension of ``outer`` varies fastest."""
        terms = []
        below = 1
        for place, dim in reversed(list(enumerate(self.outer))):
            step = dim.steps[operand]
            if step:
                index = unit if below == 1 else f"{unit} / {below}"
                if place:
                    index = f"{index} % {dim.size}"
                terms.append(index if step == 1 else f"{index} * {step}")
            below *= dim.size
        return "".join(f" + {term}" for term in reversed(terms))


@dataclass(frozen=True)
class Runs:
    """A nest as units of work: each is one run of the innermost loop, ``i`` counts in it.

    A nest of one loop is cut into units of ``chunk`` elements; where the last one has fewer, ``i``
    counts from the array's start, so that no address hangs on how long a unit is.
    """

    loops: Nest
    chunk: int

    @property
    def flat(self) -> int:
        """Elements of the arrays where all are one run, else 0."""
        return self.loops.inner.size if len(self.loops.dims) <= 1 else 0

    @property
    def units(self) -> int:
        return -(-self.flat // self.chunk) if self.flat else self.loops.units

    @property
    def run(self) -> int:
        """Elements of a unit; of the last one perhaps fewer."""
        return min(self.flat, self.chunk) if self.flat else self.loops.inner.size

    @property
    def last(self) -> int:
        """Elements of the last unit."""
        return self.flat - (self.units - 1) * self.chunk if self.flat else self.run

    @property
    def uneven(self) -> bool:
        return self.last != self.run

    @property
    def first(self) -> str:
        """The C of a unit's first ``i``."""
        return f"u * {self.run}" if self.uneven else "0"

    @property
    def end(self) -> str:
        """The C of where ``i`` ends: a name that ``bounds`` declares, or a number."""
        return "stop" if self.uneven else str(self.run)

    @property
    def bounds(self) -> str:
        """The C that declares ``stop``, where units are not of one length."""
        if not self.uneven:
            return ""
        return f"const ptrdiff_t stop = u < {self.units - 1} ? (u + 1) * {self.run} : {self.flat};"

    def step(self, operand: int) -> int:
        """How far an operand moves from element to element."""
        return self.loops.inner.steps[operand] if self.loops.dims else 1

    def address(self, operand: int) -> str:
        """What C adds to an operand's pointer at the start of unit ``u``."""
        if not self.flat:
            return self.loops.address(operand)
        if self.units == 1 or self.uneven:
            return ""
        step = self.step(operand) * self.run
        return f" + u * {step if step > 0 else f'({step})'}" if step else ""

    def element(self, operand: int, pointer: str, index: str = "i") -> str:
        """The C of an operand's element ``index``, which may be a sum."""
        step = self.step(operand)
        factor = f"({index})" if " " in index else index
        by = {0: "0", 1: index}.get(step, f"{factor} * {step if step > 0 else f'({step})'}")
        return f"{pointer}[{by}]"


@dataclass(frozen=True)
class Walk(Runs):
    """Loops over one to three inputs and y."""

    inputs: int


def nest(shape: Sequence[int], *strides: Sequence[int]) -> Nest:
    """The fewest loops that walk ``shape`` in its order, for operands with these strides."""
    dims: list[Dim] = []
    for size, *steps in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        last = dims[-1] if dims else None
        if last is not None and all(a == b * size for a, b in zip(last.steps, steps, strict=True)):
            dims[-1] = Dim(last.size * size, tuple(steps))
        else:
            dims.append(Dim(size, tuple(steps)))
    return Nest(tuple(dims))


def dense(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides of an array without gaps, the last dimension fastest."""
    found: list[int] = []
    step = 1
    for size in reversed(shape):
        found.append(step)
        step *= size
    return tuple(reversed(found))


def broadcast(shape: Sequence[int], strides: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides of an operand that is repeated to the shape ``to``, as NumPy does."""
    missing = len(to) - len(shape)
    assert missing >= 0, (shape, to)
    found = [0] * missing
    for size, step, wanted in zip(shape, strides, to[missing:], strict=True):
        assert size in (1, wanted), (shape, to)
        found.append(0 if size == 1 else step)
    return tuple(found)

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

"""y[i, j, ...] = x[f(i) + g(j) + ...]: each axis an even step or a table of offsets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from convgen.kernels.nest import nest

OUTSIDE = -1  # an entry of a table: no element of x, the fill


@dataclass(frozen=True)
class Axis:
    """``size`` elements of y, ``y_step`` apart. In x they are ``x_step`` apart, or at the offsets
    of ``table`` (``OUTSIDE`` stands for the fill) where there is one."""

    size: int
    y_step: int
    x_step: int = 0
    table: tuple[int, ...] = ()


@dataclass(frozen=True)
class CopyBody:
    """``axes`` from the outermost to the innermost; ``element``: the C type; ``fill``: a literal of
    it; ``start``: offset of the first element in x. ``constant``: there is no x, y is the fill."""

    axes: tuple[Axis, ...]
    element: str
    size: int
    fill: str
    start: int = 0
    constant: bool = False

    template = "kernels/copy/copy.j2"
    act = None

    @property
    def types(self) -> tuple[str, ...]:
        """Without the input where everything is the fill."""
        return (self.element,) if self.constant else (self.element, self.element)

    @property
    def outer(self) -> tuple[Axis, ...]:
        return self.axes[:-1]

    @property
    def inner(self) -> Axis:
        return self.axes[-1]

    @property
    def whole(self) -> bool:
        """Whether a unit is one block of bytes."""
        return not self.inner.table and self.inner.x_step == self.inner.y_step == 1

    @property
    def units(self) -> int:
        return math.prod(axis.size for axis in self.outer)

    @property
    def filled(self) -> bool:
        """Whether some unit has no element of x at all."""
        return any(OUTSIDE in axis.table for axis in self.outer)

    def index(self, place: int) -> str:
        """The C expression of an outer axis's index in a unit ``u``."""
        below = math.prod(axis.size for axis in self.axes[place + 1 : -1])
        text = "u" if below == 1 else f"u / {below}"
        return f"{text} % {self.axes[place].size}" if place else text

    @property
    def words(self) -> str:
        total = self.units * self.inner.size
        if self.constant:
            return f"y = {self.fill}, {total} times"
        return f"y = {total} elements of x" + (f", or {self.fill}" if self.padded else "")

    @property
    def padded(self) -> bool:
        return any(OUTSIDE in axis.table for axis in self.axes)


def copy_body(
    shape: Sequence[int],
    x: Sequence[int],
    y: Sequence[int],
    element: str,
    size: int,
    start: int = 0,
) -> CopyBody:
    """Every axis in even steps; ``x`` and ``y`` are strides, ``size`` bytes of an element."""
    order = sorted(range(len(shape)), key=lambda at: -abs(y[at]))
    loops = nest(*([seq[at] for at in order] for seq in (shape, x, y)))
    axes = [Axis(dim.size, dim.steps[1], dim.steps[0]) for dim in loops.dims]
    return CopyBody(_with_runs(axes), element, size, "0", start)


def mapped_body(
    axes: Sequence[Axis],
    element: str,
    size: int,
    fill: str,
    start: int = 0,
    *,
    constant: bool = False,
) -> CopyBody:
    """Axes in y's order in memory; those in even steps that lie behind one another become one."""
    done: list[Axis] = []
    for axis in axes:
        last = done[-1] if done else None
        even = last is not None and not last.table and not axis.table
        if axis.size == 1 and not axis.table:
            continue
        if (
            last is not None
            and even
            and last.y_step == axis.y_step * axis.size
            and last.x_step == axis.x_step * axis.size
        ):
            done[-1] = Axis(last.size * axis.size, axis.y_step, axis.x_step)
        else:
            done.append(axis)
    return CopyBody(_with_runs(done), element, size, fill, start, constant)


def _with_runs(axes: list[Axis]) -> tuple[Axis, ...]:
    """The last axis is a run; a flat copy is cut, so that parts can share it."""
    if not axes:
        return (Axis(1, 1, 1),)
    if len(axes) == 1 and not axes[0].table:
        (only,) = axes
        for pieces in (64, 32, 16, 8, 4, 2):
            if only.size % pieces == 0 and only.size // pieces >= 256:
                run = only.size // pieces
                outer = Axis(pieces, only.y_step * run, only.x_step * run)
                return outer, Axis(run, only.y_step, only.x_step)
    return tuple(axes)


def even(offsets: Sequence[int]) -> int | None:
    """The step of offsets that are even, else None."""
    if OUTSIDE in offsets:
        return None
    if len(offsets) < 2:
        return 0
    step = offsets[1] - offsets[0]
    return step if all(b - a == step for a, b in pairwise(offsets)) else None

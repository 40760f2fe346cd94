"""y = x * (bias + alpha * sum of squares)^-beta; the power through logarithm and exponential."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels.nest import Nest


@dataclass(frozen=True)
class LrnBody:
    """``loops``: the other axes, closed by a loop of one turn. The neighbours of c are c -
    ``before`` .. c + ``after``, inside the axis. ``alpha``: by the window's size already."""

    n: int
    loops: Nest
    x_step: int
    y_step: int
    before: int
    after: int
    alpha: float
    beta: float
    bias: float

    template = "kernels/norm/lrn.j2"
    types = ("float", "float")
    act = None
    functions = ("exp", "log")

    @property
    def units(self) -> int:
        return self.loops.units

    @property
    def span(self) -> tuple[int, int]:
        """The elements whose neighbours all lie inside, [first, end)."""
        first, end = self.before, self.n - self.after
        return (first, end) if end > first else (0, 0)

    def whole(self, lanes: int) -> int:
        """Where the last vector of them ends, where the axis lies element by element."""
        first, end = self.span
        return first + (end - first) // lanes * lanes if self.x_step == self.y_step == 1 else first

    def literal(self, value: float) -> str:
        from convgen.ctext.activations import float_literal

        return float_literal(value)

    def operations(self, lanes: int) -> tuple[str, ...]:
        return ("fma", "load", "mul", "set1", "store")

    @property
    def words(self) -> str:
        return (
            f"y = x / ({self.bias:.9g} + {self.alpha:.9g} * squares of {self.before} before to "
            f"{self.after} behind)^{self.beta:.9g}"
        )

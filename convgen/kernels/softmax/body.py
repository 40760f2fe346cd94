"""A unit is one row along the axis, or one row of such rows where these lie side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convgen.kernels.nest import Nest, nest


@dataclass(frozen=True)
class SoftmaxBody:
    """y = e^(beta*(x - max)) / sum of it over ``n`` elements.

    ``loops``: the other axes, of x and y. ``x_step``, ``y_step``: along the axis. ``beside``: how
    many rows lie side by side and go into the lanes of vectors; 0 where the axis itself does.
    """

    n: int
    beta: float
    loops: Nest
    x_step: int
    y_step: int
    beside: int

    template = "kernels/softmax/softmax.j2"
    types = ("float", "float")
    inputs = 1
    act = None

    @property
    def along(self) -> bool:
        """Whether the axis itself goes into lanes."""
        return self.beside == 0

    @property
    def units(self) -> int:
        return self.loops.units

    @property
    def run(self) -> int:
        """Elements of one vector loop."""
        return self.beside or self.n

    def operations(self, lanes: int) -> tuple[str, ...]:
        used = {"load", "store", "max", "sub", "mul", "add", "set1", "div"}
        if lanes > 1 and self.run % lanes:
            used |= {"load_part", "store_part"}
        return tuple(sorted(used))

    functions = ("exp",)

    @property
    def words(self) -> str:
        scale = "" if self.beta == 1 else f"{self.beta:.9g} * "
        return f"y = softmax({scale}x) over {self.n} elements"


def softmax_body(
    shape: Sequence[int], axis: int, beta: float, x: Sequence[int], y: Sequence[int]
) -> SoftmaxBody:
    """``x``, ``y``: strides of the arrays, in elements."""
    rest = [at for at in range(len(shape)) if at != axis]
    if x[axis] == y[axis] == 1 or shape[axis] == 1:
        rest = sorted(rest, key=lambda at: -y[at])
        loops = nest([*(shape[at] for at in rest), 1], [*(x[at] for at in rest), 0],
                     [*(y[at] for at in rest), 0])  # fmt: skip
        # Every one of these axes is a loop of units: the innermost is a loop over nothing.
        units = Nest((*loops.dims, *nest((), (), ()).dims))
        return SoftmaxBody(shape[axis], beta, _closed(units), 1, 1, 0)
    beside = [at for at in rest if x[at] == y[at] == 1 and shape[at] > 1]
    rest = sorted(rest, key=lambda at: (at in beside, -y[at]))
    loops = nest(*([seq[at] for at in rest] for seq in (shape, x, y)))
    if not loops.dims or loops.inner.steps != (1, 1):
        return SoftmaxBody(shape[axis], beta, _closed(loops), x[axis], y[axis], 1)
    return SoftmaxBody(shape[axis], beta, loops, x[axis], y[axis], loops.inner.size)


def _closed(loops: Nest) -> Nest:
    """With a last loop of one turn, so that all others count units."""
    from convgen.kernels.nest import Dim

    return Nest((*loops.dims, Dim(1, (0, 0))))

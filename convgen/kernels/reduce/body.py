"""Kept elements side by side go into lanes; else the reduced ones do and lanes are joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convgen.kernels.nest import Dim, Nest, nest
from convgen.spec.model import Activation

MOST = 4  # vectors that are reduced side by side


@dataclass(frozen=True)
class ReduceBody:
    """``kept``: loops of x and y; the innermost is the run of ``lanes_of`` "kept". ``folded``:
    loops of x over what is reduced, ``count`` elements; the innermost is the run of "folded".

    ``lanes_of``: which run goes into the lanes of vectors, "none" where neither lies side by side.
    """

    fn: str
    kept: Nest
    folded: Nest
    count: int
    lanes_of: str
    act: Activation

    template = "kernels/reduce/reduce.j2"
    types = ("float", "float")
    inputs = 1

    @property
    def run(self) -> int:
        """Elements that go through vectors together."""
        inner = self.kept.inner if self.lanes_of == "kept" else self.folded.inner
        return inner.size if self.lanes_of != "none" else 1

    def pieces(self, lanes: int) -> tuple[tuple[int, int, int, int], ...]:
        """The kept run cut into pieces: (how many, first element, vectors, lanes of the last one
        that are elements), the full ones of four vectors first."""
        step = lanes * MOST
        full, rest = divmod(self.run, step)
        found = [(full, 0, MOST, lanes)] if full else []
        if rest:
            vectors = -(-rest // lanes)
            found.append((1, full * step, vectors, rest - (vectors - 1) * lanes))
        return tuple(found)

    @property
    def units(self) -> int:
        return self.kept.units

    @property
    def op(self) -> str:
        return {"max": "max", "min": "min"}.get(self.fn, "add")

    def operations(self, lanes: int) -> tuple[str, ...]:
        used = {self.op, "load", "store"}
        if self.fn in ("sum", "mean") or self.lanes_of != "kept":
            used.add("set1")
        if self.fn == "mean":
            used |= {"div", "set1"}
        if lanes > 1 and self.lanes_of == "kept" and self.run % lanes:
            used |= {"load_part", "store_part"}
        return tuple(sorted(used))

    @property
    def words(self) -> str:
        return f"y = the {self.fn} of {self.count} elements each"


def reduce_body(
    fn: str,
    shape: Sequence[int],
    axes: Sequence[int],
    x: Sequence[int],
    y: Sequence[int],
    act: Activation,
) -> ReduceBody:
    """``shape``: of x; ``axes``: what is reduced; ``x``, ``y``: strides in elements."""
    folded = [at for at in range(len(shape)) if at in axes]
    kept = [at for at in range(len(shape)) if at not in axes]
    folded.sort(key=lambda at: -x[at])
    kept.sort(key=lambda at: -y[at])
    outer = nest(*([seq[at] for at in kept] for seq in (shape, x, y)))
    inner = nest(*([seq[at] for at in folded] for seq in (shape, x)))
    count = 1
    for at in folded:
        count *= shape[at]
    if outer.dims and outer.inner.steps == (1, 1):
        return ReduceBody(fn, outer, inner, count, "kept", act)
    closed = Nest((*outer.dims, Dim(1, (0, 0))))  # every kept axis is a loop of units
    if inner.dims and inner.inner.steps == (1,):
        return ReduceBody(fn, closed, inner, count, "folded", act)
    return ReduceBody(fn, closed, inner, count, "none", act)

"""y[m][n] = sum over k of a[m][k] * b[k][n], for each of a stack of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convgen.kernels.nest import Dim, Nest, nest

ACROSS = 4  # vectors of a row that are summed side by side


@dataclass(frozen=True)
class MatMulBody:
    """``rows`` walks every row of y, with a's and b's beside it, and is closed by a loop of one
    turn. ``a_k``, ``b_k``, ``b_n``, ``y_n``: strides in elements."""

    rows: Nest
    k: int
    n: int
    a_k: int
    b_k: int
    b_n: int
    y_n: int

    template = "kernels/matmul/matmul.j2"
    types = ("float", "float", "float")
    act = None
    across = ACROSS

    @property
    def units(self) -> int:
        return self.rows.units

    def vectors(self, lanes: int) -> bool:
        """Whether a row of b and of y can be taken in vectors."""
        return lanes > 1 and self.b_n == 1 and self.y_n == 1

    def operations(self, lanes: int) -> tuple[str, ...]:
        if not self.vectors(lanes):
            return ()
        whole = ("load", "store") if self.n >= lanes else ()
        rest = ("load_part", "store_part") if self.n % lanes else ()
        return ("set1", "fma", *whole, *rest)

    def times(self, index: str, stride: int) -> str:
        """The C of ``index`` times a stride."""
        if stride == 1:
            return index
        return f"{index} * {stride if stride >= 0 else f'({stride})'}"

    @property
    def words(self) -> str:
        return f"y = a b of matrices, {self.units} rows of {self.n}, sums of {self.k}"


def matmul_body(shape: Sequence[int], depth: int, strides: Sequence[Sequence[int]]) -> MatMulBody:
    """``shape``: of y, [..., M, N]; ``strides``: of a [..., M, K], b [..., K, N] and y."""
    a, b, y = strides
    outer = nest(shape[:-1], a[:-1], (*b[:-2], 0), y[:-1])
    rows = Nest((*outer.dims, Dim(1, (0, 0, 0))))
    return MatMulBody(rows, depth, shape[-1], a[-1], b[-2], b[-1], y[-1])

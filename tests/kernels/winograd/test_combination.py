"""Linear combinations: straight-line programs that equal their matrices, in fewer operations."""

from __future__ import annotations

from fractions import Fraction

import pytest

from convgen.kernels.winograd.body import ERROR_FACTORS
from convgen.kernels.winograd.combination import Combination, Program, program
from convgen.kernels.winograd.matrices import matrices

TRANSFORMS = [
    (m, r, name, getattr(matrices(m, r), name))
    for m, r in sorted(ERROR_FACTORS)
    for name in ("bt", "at")
]


def run(found: Program, values: list[Fraction]) -> list[Fraction]:
    """What the program makes of d_0 .., in exact fractions."""
    known = {f"d_{k}": value for k, value in enumerate(values)}
    for line in (*found.shared, *found.rows):
        assert line.name not in known, "every name is set once"
        known[line.name] = sum((f * known[symbol] for f, symbol in line.terms), Fraction(0))
    return [known[f"r_{i}"] for i in range(len(found.rows))]


@pytest.mark.parametrize(("m", "r", "name", "matrix"), TRANSFORMS, ids=str)
def test_program_equals_its_matrix(
    m: int, r: int, name: str, matrix: tuple[tuple[Fraction, ...], ...]
) -> None:
    width = len(matrix[0])
    for basis in range(width):
        values = [Fraction(int(k == basis)) for k in range(width)]
        assert run(program(matrix), values) == [row[basis] for row in matrix]


def test_points_and_their_negatives_share_even_and_odd_parts() -> None:
    """F(6, 3): 24 operations inward instead of 36, 20 outward instead of 32."""
    mats = matrices(6, 3)
    assert len(program(mats.bt).operations) == 24
    assert len(program(mats.at).operations) == 20


def test_one_is_no_multiplication() -> None:
    half, one = Fraction(1, 2), Fraction(1)
    assert Combination("r_0", ((one, "d_0"), (-one, "d_1"), (half, "d_2"))).operations == (
        "sub",
        "fma",
    )
    assert Combination("r_0", ((half, "d_0"), (one, "d_1"))).operations == ("mul", "add")


def test_rows_without_a_common_sum_stay_as_they_are() -> None:
    matrix = ((Fraction(1), Fraction(2)), (Fraction(1), Fraction(3)))
    found = program(matrix)
    assert found.shared == ()
    assert [line.terms for line in found.rows] == [
        ((Fraction(1), "d_0"), (Fraction(2), "d_1")),
        ((Fraction(1), "d_0"), (Fraction(3), "d_1")),
    ]

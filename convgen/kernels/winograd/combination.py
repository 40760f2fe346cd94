"""Linear combinations as straight-line code: a matrix times a vector in few additions.

Sums of two terms that several rows share, up to a factor, are found once: again and again the most
frequent one is given a name and put in their place (Paar, "Optimized Arithmetic for Reed-Solomon
Encoders", 1997, in exact fractions instead of bits). For the points a and -a of Winograd's
transforms that comes to their even and odd parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import permutations

Term = tuple[Fraction, str]


@dataclass(frozen=True)
class Combination:
    """``name`` = the sum of factor * symbol; a term with factor 1, if any, comes first."""

    name: str
    terms: tuple[Term, ...]

    @property
    def operations(self) -> tuple[str, ...]:
        """Vector operations, one a term; none for a first term with factor 1."""
        (first, _), *others = self.terms
        found = [] if first == 1 else ["mul"]
        for factor, _ in others:
            found.append("add" if factor == 1 else "sub" if factor == -1 else "fma")
        return tuple(found)


@dataclass(frozen=True)
class Program:
    """r = matrix times d: first what rows share (``s_0`` ..), then the rows (``r_0`` ..)."""

    shared: tuple[Combination, ...]
    rows: tuple[Combination, ...]

    @property
    def operations(self) -> tuple[str, ...]:
        """All vector operations, in order, with repetition."""
        return tuple(op for line in (*self.shared, *self.rows) for op in line.operations)


Row = dict[str, Fraction]
Pair = tuple[str, str, Fraction]  # first + ratio * second


@cache  # a handful of matrices, asked for by every candidate
def program(matrix: tuple[tuple[Fraction, ...], ...]) -> Program:
    """The rows of ``matrix`` as combinations of ``d_0`` .., with what they share taken out."""
    rows: list[Row] = [{f"d_{k}": f for k, f in enumerate(row) if f} for row in matrix]
    shared: list[Combination] = []
    while (pair := _most_frequent(rows)) is not None:
        first, second, ratio = pair
        name = f"s_{len(shared)}"
        shared.append(Combination(name, _ordered({first: Fraction(1), second: ratio})))
        for row in rows:
            if _holds(row, pair):
                scale = row.pop(first)
                del row[second]
                row[name] = scale
    lines = (Combination(f"r_{i}", _ordered(row)) for i, row in enumerate(rows))
    return Program(tuple(shared), tuple(lines))


def _pairs(row: Row) -> Iterator[Pair]:
    for first, second in permutations(row, 2):
        yield first, second, row[second] / row[first]


def _holds(row: Row, pair: Pair) -> bool:
    first, second, ratio = pair
    return first in row and second in row and row[second] == ratio * row[first]


def _most_frequent(rows: list[Row]) -> Pair | None:
    """The pair that most rows hold, two at least; then the one that needs no factors.

    What stands for the pair takes over the factor of its first symbol, so one that rows hold as it
    is saves them a multiplication.
    """
    count = Counter(pair for row in rows for pair in _pairs(row))
    plain = Counter(pair for row in rows for pair in _pairs(row) if row[pair[0]] == 1)
    often = [pair for pair, n in count.items() if n > 1]
    if not often:
        return None
    return min(often, key=lambda p: (-count[p], abs(p[2]) != 1, -plain[p], p))


def _ordered(row: Row) -> tuple[Term, ...]:
    terms = [(factor, symbol) for symbol, factor in row.items()]
    return tuple(sorted(terms, key=lambda term: (term[0] != 1, term[1])))

"""Rows of inputs in fours, as vectors of bytes hold them side by side."""

from __future__ import annotations

from dataclasses import dataclass

Pattern = tuple[int, int, int, int]


@dataclass(frozen=True)
class Quad:
    """Four rows of x that one vector holds side by side, counted from a tile's first; which rows of
    taps they meet in each row of outputs, by the place of that pattern among the tile's."""

    rows: tuple[int, int, int, int]
    uses: tuple[tuple[int, int], ...]


def quads_of(
    height: int, taps: int, stride: int, dilation: int
) -> tuple[tuple[Quad, ...], tuple[Pattern, ...]]:
    """The rows that windows of a tile's column lie on, in fours, and the patterns they meet.

    Patterns count from the tile's first row of taps; a row that is not needed repeats another.
    """
    rows = sorted({r * stride + k * dilation for r in range(height) for k in range(taps)})
    quads, patterns = [], []
    for start in range(0, len(rows), 4):
        four = rows[start : start + 4]
        uses = []
        for r in range(height):
            met = {r * stride + k * dilation: k for k in range(taps)}
            found = [met.get(row, -1) for row in four] + [-1] * (4 - len(four))
            if max(found) < 0:
                continue
            pattern = (found[0], found[1], found[2], found[3])
            if pattern not in patterns:
                patterns.append(pattern)
            uses.append((r, patterns.index(pattern)))
        full = four + [four[-1]] * (4 - len(four))
        quads.append(Quad((full[0], full[1], full[2], full[3]), tuple(uses)))
    return tuple(quads), tuple(patterns)

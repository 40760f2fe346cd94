"""The output, cut into rectangles whose windows meet the same taps, and those into tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from convgen.plan.tile import Rectangle


@dataclass(frozen=True)
class Stretch:
    """Consecutive outputs along one axis whose windows meet the same taps."""

    first: int
    count: int
    tap: int
    taps: int


def stretches(size: int, out: int, before: int, taps: int, dil: int, step: int) -> list[Stretch]:
    """Cut one axis where the set of taps inside the input changes.

    Output ``o`` reads input ``o*step - before + k*dil`` for tap ``k``; that lies in 0..size-1 for
    one run of consecutive taps, found by division; no tap at all gives ``taps`` 0.
    """
    inside = range(-(-before // step), (size - 1 + before - (taps - 1) * dil) // step + 1)
    whole = range(max(inside.start, 0), min(inside.stop, out))
    found: list[Stretch] = []

    def append(o: int, count: int, tap: int, run: int) -> None:
        if found and (found[-1].tap, found[-1].taps) == (tap, run):
            found[-1] = Stretch(found[-1].first, found[-1].count + count, tap, run)
        else:
            found.append(Stretch(o, count, tap, run))

    o = 0
    while o < out:
        if o in whole:
            append(o, len(whole), 0, taps)
            o = whole.stop
            continue
        origin = o * step - before
        first = max(0, -(origin // dil))  # the least k with origin + k*dil >= 0
        last = min(taps, (size - 1 - origin) // dil + 1)
        append(o, 1, *((first, last - first) if last > first else (0, 0)))
        o += 1
    return found


def rectangles(rows: Iterable[Stretch], cols: Iterable[Stretch]) -> list[Rectangle]:
    """Every pair of a row stretch and a column stretch; no taps on one axis means none at all."""
    found = []
    columns = list(cols)
    for r in rows:
        for c in columns:
            taps = (r.tap, r.taps, c.tap, c.taps) if r.taps and c.taps else (0, 0, 0, 0)
            found.append(Rectangle(r.first, r.count, c.first, c.count, *taps))
    return found


Piece = tuple[int, int, int, int, int, int]  # row, rows, col, cols, tile height, tile width


def cover(rows: int, cols: int, shape: tuple[int, int], strip: Callable[[int], int]) -> list[Piece]:
    """Cover rows x cols exactly: the main tile, then a strip at the right, then one at the bottom.

    ``strip(width)`` gives the most pixels that a strip's tile may have along its long side.
    """
    th, tw = min(shape[0], rows), min(shape[1], cols)
    main_rows, main_cols = rows - rows % th, cols - cols % tw
    pieces = [(0, main_rows, 0, main_cols, th, tw)]
    if main_cols < cols:
        pieces += _strip_down(rows, main_cols, cols - main_cols, strip(cols - main_cols))
    if main_rows < rows:
        rest = rows - main_rows
        pieces += _strip_across(main_rows, rest, main_cols, strip(rest))
    return pieces


def _strip_down(rows: int, col: int, width: int, most: int) -> list[Piece]:
    height = _step(rows, most)
    whole = rows - rows % height
    pieces = [(0, whole, col, width, height, width)]
    if whole < rows:
        pieces.append((whole, rows - whole, col, width, rows - whole, width))
    return pieces


def _strip_across(row: int, height: int, cols: int, most: int) -> list[Piece]:
    width = _step(cols, most)
    whole = cols - cols % width
    pieces = [(row, height, 0, whole, height, width)]
    if whole < cols:
        pieces.append((row, height, whole, cols - whole, height, cols - whole))
    return pieces


def _step(length: int, most: int) -> int:
    """A tile side of at most ``most`` that covers ``length`` in the fewest, most equal tiles."""
    tiles = -(-length // max(1, min(most, length)))
    return -(-length // tiles)

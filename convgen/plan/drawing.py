"""Small drawings in text, side by side."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 100  # columns of the page


def beside(panels: Sequence[Sequence[str]], gap: int = 4, width: int = WIDTH) -> list[str]:
    """Panels side by side as far as they fit in ``width``, then the next row of panels."""
    lines: list[str] = []
    shelf: list[Sequence[str]] = []
    used = 0
    for one in panels:
        need = max(map(len, one))
        if shelf and used + gap + need > width:
            lines += [*_shelf(shelf, gap), ""]
            shelf, used = [], 0
        used += need + (gap if shelf else 0)
        shelf.append(one)
    return lines + _shelf(shelf, gap)


def _shelf(panels: Sequence[Sequence[str]], gap: int) -> list[str]:
    widths = [max(map(len, one)) for one in panels]
    lines = []
    for index in range(max(map(len, panels))):
        cells = [
            (one[index] if index < len(one) else "").ljust(w)
            for one, w in zip(panels, widths, strict=True)
        ]
        lines.append((" " * gap).join(cells).rstrip())
    return lines

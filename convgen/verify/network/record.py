"""Which steps an earlier build judged, and whether the code splits into parts: one line each, added
as soon as it is known.

A build that is interrupted goes on from there, and one whose weights changed in one layer judges
that layer alone. A line that is cut off or damaged counts for nothing.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

DIGITS = 64  # of a SHA-256


def known_steps(path: str) -> dict[str, tuple[float, float]]:
    """By the keys of steps that passed: the largest error, and the largest error / bound.

    ``path``: "" for a record of nothing, as is a file that cannot be read.
    """
    found: dict[str, tuple[float, float]] = {}
    try:
        text = Path(path).read_bytes().decode("ascii", "replace") if path else ""
    except OSError:
        return found
    for line in text.splitlines(keepends=True):
        words = line.split()
        if len(words) != 3 or len(words[0]) != DIGITS or not line.endswith("\n"):
            continue
        with contextlib.suppress(ValueError):
            error, ratio = float(words[1]), float(words[2])
            if math.isfinite(error) and 0 <= ratio <= 1:
                found[words[0]] = error, ratio
    return found


def remember_step(path: str, key: str, error: float, ratio: float) -> None:
    """Add a step that is right. A file that cannot be written costs time, nothing else.

    The line stands apart from what is before it, which a killed build may have cut off.
    """
    if path and key:
        with contextlib.suppress(OSError), Path(path).open("a", encoding="ascii") as file:
            file.write(f"\n{key} {float(error)!r} {float(ratio)!r}\n")

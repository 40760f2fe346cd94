"""What one call of a kernel asks of a core: instructions, and bytes between levels of memory."""

from __future__ import annotations

from dataclasses import dataclass, field

ITEM = 4  # bytes of a float
LINE = 64  # bytes of a line of a cache
PAGE = 4096  # bytes after which addresses share a set of the first cache


@dataclass
class Work:
    """What one call asks of a core. ``fmas``, ``loads``: vector instructions, loads of a single
    input among them; ``chain``: multiply-adds that wait for one another; ``near``: bytes between
    registers and the first cache; ``crowded``: bytes of lines that other lines of the same tile
    push out of it; ``streams``: (bytes moved, reach) of everything that comes from further away."""

    fmas: float = 0.0
    loads: float = 0.0
    chain: float = 0.0
    near: float = 0.0
    crowded: float = 0.0
    streams: list[tuple[float, float]] = field(default_factory=list)


def bytes_of(shape: tuple[int, ...], item: int = ITEM) -> int:
    count = item
    for size in shape:
        count *= size
    return count

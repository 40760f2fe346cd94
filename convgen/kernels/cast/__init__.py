"""The same numbers as elements of another type: C's conversions."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels.nest import Walk

__all__ = ["CastBody"]


@dataclass(frozen=True)
class CastBody:
    """``truth``: y is a truth value, 1 for every number but 0."""

    walk: Walk
    types: tuple[str, str]
    truth: bool

    template = "kernels/cast/cast.j2"
    act = None

    @property
    def words(self) -> str:
        return f"y = x as {self.types[1]}"

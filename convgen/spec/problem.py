"""A broken rule across keys, before it is told where the file breaks it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """``key``: the canonical key that it is told at; ``under``: the path inside its value."""

    code: str
    key: str
    text: str
    under: tuple[str | int, ...] = ()

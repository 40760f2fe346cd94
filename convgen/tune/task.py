"""What a measuring process is asked to do: plain values that travel as a pickle."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.spec.model import ConvSpec

NAME = "candidate"  # of every layer while it is tuned: what it is called decides nothing


@dataclass(frozen=True)
class Entrant:
    """A compiled kernel; sizes in bytes. ``packing``: those of one number read the same weights."""

    library: str
    packed_bytes: int
    workspace_bytes: int
    align: int
    packing: int


@dataclass(frozen=True)
class Task:
    """``rounds`` at most, and no new one after ``seconds``. ``number``: of the pass, it moves the
    arrays. ``cold_bytes``: walked before every call, 0 for warm weights."""

    spec: ConvSpec
    entrants: tuple[Entrant, ...]
    rounds: int
    seconds: float
    number: int
    cold_bytes: int

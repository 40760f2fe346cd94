"""What binds one step of a register tile: MR*NV multiply-adds, MR inputs, NV vectors of weights."""

from __future__ import annotations

from convgen.target import Target, VectorIsa


def limits(
    target: Target, isa: VectorIsa, pixels: int, vectors: int, load_cost: float = 1.0
) -> dict[str, float]:
    """Cycles that each part of the core needs for one step; the longest binds.

    ``load_cost``: of one load, in loads from the first cache.
    """
    loads = load_cost * _loads(isa, pixels, vectors)
    return {
        "FMA": pixels * vectors / target.fma_ports,
        "loads": loads / target.load_ports,
        # A chain advances once per latency; chains that just fill the units leave no slack.
        "FMA latency": 1.1 * target.fma_latency,
        "instructions": _instructions(isa, pixels, vectors) / target.issue,
    }


def most_vectors(isa: VectorIsa) -> int:
    """The most vectors of a tile that are worth a look.

    A shuffle costs as much as a multiplication, so it had better serve many of them.
    """
    return 6 if isa.shuffled else 4


def _loads(isa: VectorIsa, pixels: int, vectors: int) -> int:
    """What a fused multiply-add can take from memory, gcc loads twice rather than once where two of
    them use it."""
    return pixels + vectors * (2 if isa.fused and pixels == 2 < vectors else 1)


def _instructions(isa: VectorIsa, pixels: int, vectors: int) -> int:
    """Of one step, three of the loop included.

    A product without an addition overwrites one of its factors: what streams through is copied for
    each of those held but the last.
    """
    held, streamed = sorted((pixels, vectors))
    copies = 0 if isa.fused else streamed * (held - 1)
    inputs = pixels * (2 if isa.shuffled else 1)
    return pixels * vectors * (1 if isa.fused else 2) + inputs + vectors + copies + 3

"""What binds one step of a register tile: MR*NV multiply-adds, MR inputs, NV vectors of weights."""

from __future__ import annotations

from convgen.target import Target, VectorIsa

_IN_FLIGHT = 8  # multiply-adds that two pipes of a latency of four keep under way


def limits(
    target: Target, isa: VectorIsa, pixels: int, vectors: int, load_cost: float = 1.0
) -> dict[str, float]:
    """Cycles that each part of the core needs for one step; the longest binds.

    ``load_cost``: of one load, in loads from the first cache.
    """
    loads = load_cost * _loads(isa, pixels, vectors)
    unpacking = pixels * isa.unpacking[0] + vectors * isa.unpacking[1]  # in the units of products
    instructions = _instructions(isa, pixels, vectors)
    # Where inputs and weights are taken apart, nearly all is arithmetic, for which there are fewer
    # units than instructions can start.
    width = target.issue if isa.halves == 1 else min(target.issue, 2 * target.fma_ports)
    products = pixels * vectors * isa.halves * isa.products
    return {
        "FMA": (products + unpacking) / target.fma_ports,
        "loads": loads / target.load_ports,
        # A chain advances once per latency; chains that just fill the units leave no slack.
        "FMA latency": 1.1 * latency(target, isa),
        "instructions": instructions / width,
    }


def latency(target: Target, isa: VectorIsa) -> float:
    """Cycles after which a sum can be added to again; halves are added to each other before."""
    return (isa.latency or target.fma_latency) if isa.halves == 1 else 1


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

    Where a product overwrites one of its factors, what streams through is copied for each of those
    held but the last.
    """
    held, streamed = sorted((pixels, vectors))
    copies = 0 if isa.fused or isa.operands == 3 else streamed * (held - 1) * isa.halves
    products = pixels * vectors * isa.halves * (1 if isa.fused else 2)
    inputs = pixels * ((2 if isa.shuffled else 1) + isa.widening)
    return products + inputs + vectors + (pixels + vectors) * isa.taking_apart + copies + 3


def strands_of(isa: VectorIsa, taps: int) -> int:
    """Stretches of a row that are walked side by side: an input of a group meets ``taps`` outputs,
    and multiply-adds of one output, which wait for each other, must lie a latency apart. Sixteen
    registers are needed for accumulators."""
    return max(1, -(-_IN_FLIGHT // max(1, taps))) if isa.registers >= 32 and isa.lanes > 1 else 1

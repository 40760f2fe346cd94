"""What a kernel runs into: the least time that each part of a core needs for one call of it.

Multiply-adds, loads and chains of dependent multiply-adds are counted from the plan, with wasted
lanes and padded tiles. Bytes are counted between levels of the memory: an array that is read again
comes from the smallest cache that holds everything touched in between (its *reach*). Nothing here
says how fast a kernel is; the largest of these times says how fast it could be at best.
"""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels import kind_of
from convgen.kernels.work import PAGE, Work, bytes_of
from convgen.plan.kernel import KernelPlan
from convgen.spec.elements import arrays_of
from convgen.target import Target

FMA, LOADS, LATENCY, ALIASING = "FMA", "loads", "FMA latency", "aliasing (4 KiB)"
LEVELS = ("L1 bandwidth", "L2 bandwidth", "L3 bandwidth", "DRAM bandwidth")


@dataclass(frozen=True)
class Rates:
    """How much a core does in a unit of time, whatever that unit is.

    ``bandwidth``: bytes from the first, second and third cache and from memory; ``sizes``: bytes of
    the caches; ``latency``: units until the result of a multiply-add can be used.
    """

    fmas: float
    loads: float
    latency: float
    bandwidth: tuple[float, float, float, float]
    sizes: tuple[int, int, int]


@dataclass(frozen=True)
class Limit:
    """One part of the core, and the time it needs at least, in the unit of the rates."""

    name: str
    time: float


def target_rates(target: Target) -> Rates:
    """In cycles, from the target's data."""
    return Rates(
        target.fma_ports,
        target.load_ports,
        target.fma_latency,
        target.bytes_per_cycle,
        (target.l1, target.l2, target.l3),
    )


def limits(plan: KernelPlan, rates: Rates) -> tuple[Limit, ...]:
    """Every limit that one call on one core meets, the one that binds first."""
    work = work_of(plan, ways=max(1, rates.sizes[0] // PAGE))
    beyond = [0.0] * len(LEVELS)
    beyond[0] = work.near
    for moved, reach in work.streams:
        level = next((i for i, size in enumerate(rates.sizes) if reach <= size), len(rates.sizes))
        for i in range(1, level + 1):
            beyond[i] += moved
    found = [
        Limit(FMA, work.fmas / rates.fmas),
        Limit(LOADS, work.loads / rates.loads),
        Limit(LATENCY, work.chain * rates.latency),
        Limit(ALIASING, work.crowded / rates.bandwidth[1]),
        *(Limit(*pair) for pair in zip(LEVELS, map(_over, beyond, rates.bandwidth), strict=True)),
    ]
    return tuple(sorted((x for x in found if x.time > 0), key=lambda x: -x.time))


def _over(size: float, rate: float) -> float:
    return size / rate


def work_of(plan: KernelPlan, ways: int = 8) -> Work:
    """What the plan's own body does. ``ways``: lines of one set of the first cache."""
    work = kind_of(plan.body).work(plan, plan.body, ways)
    of = arrays_of(plan.spec)
    arrays = bytes_of(plan.spec.x_shape, of.x.size) + plan.packed_bytes
    results = bytes_of(plan.spec.y_shape, of.y.size)
    everything = arrays + results + plan.workspace_bytes
    # A line of y is fetched before the first store to it, and written back.
    work.streams.append((arrays + 2 * results, everything))
    return work

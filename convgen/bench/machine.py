"""What this machine can do at most: multiply-adds a second, and bytes a second per cache level.

Measured with small C loops, generated for the target's own instruction set and compiled with the
user's compiler. The best of many short bursts counts: other programs only ever take away.
"""

from __future__ import annotations

import ctypes
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convgen.bench.products import Products, compiled, pairs_of, products_of
from convgen.choose.roofline import Rates
from convgen.target import Target, VectorIsa

BURST = 0.4e-3  # seconds
BURSTS = 60
STREAMS = 8  # vectors in flight when reading
MOST_ACCUMULATORS = 16
SPARE_REGISTERS = 2  # the factor and the summand
MEMORY_BYTES = 256 << 20  # at most, for the level behind the caches
MEMORY_BURSTS = 5


@dataclass(frozen=True)
class Level:
    """A level of memory: ``size`` in bytes (None: main memory), GB/s of a read and of a copy.

    A copy counts the bytes read and those written.
    """

    name: str
    size: int | None
    read: float
    copy: float


@dataclass(frozen=True)
class Machine:
    """``peak``: GFLOP/s of fused multiply-adds (two operations each) on ``threads`` threads.

    ``int8_peak``: GOP/s of 8-bit products added up in int32, by the instructions ``int8_by``; None
    and "" where neither is known. ``bf16_peak``, ``bf16_by``: the same of bfloat16 products.
    """

    cpu: str
    isa: str
    threads: int
    peak: float
    levels: tuple[Level, ...]
    int8_peak: float | None = None
    int8_by: str = ""
    bf16_peak: float | None = None
    bf16_by: str = ""


def measured_rates(machine: Machine, target: Target) -> Rates:
    """What ``machine`` was seen to do on one thread, in microseconds, for ``limits``."""
    cycle = target.isa.lanes * 2 * target.fma_ports / (machine.peak / machine.threads) / 1e3
    l1, l2, l3, memory = (max(level.read, level.copy) * 1e3 for level in machine.levels)
    sizes = [level.size or 0 for level in machine.levels]
    return Rates(
        fmas=target.fma_ports / cycle,
        loads=max(target.load_ports / cycle, l1 / (4 * target.isa.lanes)),
        latency=target.fma_latency * cycle,
        bandwidth=(l1, l2, l3, memory),
        sizes=(sizes[0], sizes[1], sizes[2]),
    )


class Loops:
    """The compiled loops of one instruction set."""

    def __init__(self, isa: VectorIsa, cc: str | None = None) -> None:
        """Compile them. Raises ``ToolchainError``."""
        from convgen.toolchain import Unit, compile_shared, find_compiler

        self.isa, self.accumulators = isa, accumulators(isa)
        with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as folder:
            (Path(folder) / "machine.c").write_text(source(isa), encoding="utf-8")
            made = compile_shared(
                find_compiler(cc), Path(folder), [Unit("machine.c")], "machine.so"
            )
            library = ctypes.CDLL(str(made.library))
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        self._fma, self._read, self._copy = (
            getattr(library, f"machine_{name}") for name in ("fma", "read", "copy")
        )
        self._fma.argtypes = (pointer, ctypes.c_long)
        self._read.argtypes = (pointer, size, ctypes.c_long)
        self._copy.argtypes = (pointer, pointer, size, ctypes.c_long)
        self._fma.restype = self._read.restype = ctypes.c_float
        self._copy.restype = None
        # Factor and summand keep every sum at 1, far from overflow and from subnormal numbers.
        values = [0.5, 0.5, *[1.0] * self.accumulators]
        self._values = (ctypes.c_float * len(values))(*values)

    def peak(self, threads: int = 1, bursts: int = BURSTS) -> float:
        """GFLOP/s of the best burst, over all threads."""
        flops = 2 * self.isa.lanes * self.accumulators
        return rate(lambda count: self._fma(self._values, count), flops, threads, bursts)

    def bandwidth(self, size: int, bursts: int = BURSTS) -> tuple[float, float]:
        """GB/s of reading ``size`` bytes again and again, and of copying half of them to the rest.

        Bytes are those read and those written.
        """
        import numpy as np

        step = 4 * self.isa.lanes * STREAMS
        half = max(step, size // 2 // step * step)
        block = np.empty(2 * half + 4096, np.uint8)
        block.fill(0)  # np.zeros would map one and the same page everywhere
        start = block.ctypes.data + -block.ctypes.data % 4096
        read = best_seconds(lambda n: self._read(start, half // 2, n), bursts)
        copy = best_seconds(lambda n: self._copy(start, start + half, half // 4, n), bursts)
        return 2 * half / read / 1e9, 2 * half / copy / 1e9


def measure_machine(target: Target, threads: int = 1, cc: str | None = None) -> Machine:
    """Half a second's look at this machine, with the instructions of ``target``.

    Raises ``ToolchainError``. Bandwidths are those of one thread.
    """
    from convgen.target.host import cpu_name

    loops, bytes_by, pairs_by = Loops(target.isa, cc), products_of(target), pairs_of(target)
    sizes = cache_sizes(target)
    levels = [
        Level(f"L{i}", size, *loops.bandwidth(size * 3 // 4 if i == 1 else size // 2))
        for i, size in enumerate(sizes, 1)
    ]
    memory = min(MEMORY_BYTES, 4 * sizes[-1])
    levels.append(Level("memory", None, *loops.bandwidth(memory, MEMORY_BURSTS)))
    peak = loops.peak(threads)
    narrow = {
        name: (products_peak(way, threads, cc=cc), way.name)
        for name, way in (("int8", bytes_by), ("bf16", pairs_by))
        if way is not None
    }
    none = (None, "")
    return Machine(
        cpu_name(), target.isa.name, threads, peak, tuple(levels),
        *narrow.get("int8", none), *narrow.get("bf16", none),
    )  # fmt: skip


def products_peak(
    way: Products, threads: int = 1, bursts: int = BURSTS, cc: str | None = None
) -> float:
    """GOP/s of these products, two operations each, over all threads. Raises ``ToolchainError``."""
    loop, factors = compiled(way, cc), ctypes.create_string_buffer(bytes(2 * way.bytes))
    own = threading.local()  # every thread has sums of its own

    def burst(count: int) -> None:
        if not hasattr(own, "sums"):
            own.sums = ctypes.create_string_buffer(way.sums * way.bytes)
        loop(factors, own.sums, count)

    return rate(burst, 2 * way.products * way.sums, threads, bursts)


def source(isa: VectorIsa) -> str:
    """The C of the loops."""
    from convgen.render.environment import environment

    template = environment().get_template("bench/machine.c.j2")
    return template.render(isa=isa, accumulators=accumulators(isa), streams=STREAMS)


def accumulators(isa: VectorIsa) -> int:
    """Enough to hide the latency of two multiply-adds a cycle, as far as registers go."""
    return min(MOST_ACCUMULATORS, isa.registers - SPARE_REGISTERS)


def cache_sizes(target: Target) -> tuple[int, int, int]:
    """Bytes of this machine's data caches where the system tells, else the target's model."""
    model = (target.l1, target.l2, target.l3)
    found: dict[int, int] = {}
    for entry in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = (
                (entry / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction" and size.endswith("K"):
            found[int(level)] = int(size[:-1]) << 10
    l1, l2, l3 = (found.get(i, size) for i, size in enumerate(model, 1))
    return l1, l2, l3


def rate(burst: Callable[[int], Any], operations: int, threads: int, bursts: int) -> float:
    """1e9 operations a second of the best burst, over all threads; so many a repetition."""
    if threads == 1:
        return operations / best_seconds(burst, bursts) / 1e9
    count = per_burst(burst, 5 * BURST)
    with ThreadPoolExecutor(threads) as pool:
        return max(
            operations * count * threads / _together(pool, threads, lambda: burst(count)) / 1e9
            for _ in range(bursts)
        )


def best_seconds(burst: Callable[[int], Any], bursts: int = BURSTS) -> float:
    """Seconds of one repetition in the best of some bursts."""
    count = per_burst(burst, BURST)
    return min(_seconds(burst, count) for _ in range(bursts)) / count


def per_burst(burst: Callable[[int], Any], seconds: float) -> int:
    """How many repetitions fill a burst; found by doubling, which warms up as well.

    The least of three times counts: one that another program interrupted would say far too few.
    """
    count = 1
    while (took := min(_seconds(burst, count) for _ in range(3))) < seconds and count < 1 << 30:
        count *= 2
    return max(1, int(count * seconds / took))


def _seconds(burst: Callable[[int], Any], count: int) -> float:
    start = time.perf_counter()
    burst(count)
    return time.perf_counter() - start


def _together(pool: ThreadPoolExecutor, threads: int, work: Callable[[], None]) -> float:
    """Seconds from the moment when all threads are there until the last one is done."""
    gate = threading.Barrier(threads)
    begun: list[float] = []

    def run() -> float:
        gate.wait()
        begun.append(time.perf_counter())
        work()
        return time.perf_counter()

    ends = [future.result() for future in [pool.submit(run) for _ in range(threads)]]
    return max(ends) - min(begun)

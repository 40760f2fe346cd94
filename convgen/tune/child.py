"""The measuring process: one task pickled on stdin, JSON lines on stdout, pinned to one core.

Kernels take turns, round after round; a line is printed after each round, so what a kill cuts off
is at most the round under way. A kernel that crashes takes this process down and nothing else.
"""

from __future__ import annotations

import ctypes
import json
import math
import pickle
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convgen.bench.measure import pinned
from convgen.spec.elements import ELEMENTS, Element, arrays_of, stored
from convgen.tune.task import NAME, Entrant, Task
from convgen.verify.kernel import Kernel, load_kernel

SLICES = 3  # of one turn, the least of which counts: another program seldom disturbs all
SLICE = 0.002  # seconds
COLD_CALLS = 3  # of one turn with cold weights
HOPELESS = 1.5  # times the best: no third turn
LINE = 64  # bytes


Turn = Callable[[], float]  # microseconds per call


def turns_of(task: Task, say: Callable[[Any], None]) -> list[Turn]:
    """Load every kernel and call it once; ``say(["begin", i])`` names the one under way.

    A turn keeps the arrays alive whose addresses it uses.
    """
    rng = np.random.default_rng(7)
    spec, spare = task.spec, _Memory(task.number)
    scale = (spec.taps * spec.icg) ** -0.5
    of = arrays_of(spec)
    x = spare.array(spec.x_shape, of.x)
    x[...] = _random(rng, 1.0, spec.x_shape, of.x)
    w = _random(rng, scale, spec.w_shape, of.w)
    b = _random(rng, 0.2, (spec.oc,), of.b)
    y = spare.array(spec.y_shape, of.y)
    workspace = spare.array(max(e.workspace_bytes for e in task.entrants) // 4 + 1)
    wall = np.zeros(task.cold_bytes, np.uint8)
    packed: dict[int, Any] = {}
    turns = []
    for i, entrant in enumerate(task.entrants):
        say(["begin", i])
        sizes = entrant.packed_bytes, entrant.workspace_bytes, entrant.align
        kernel = load_kernel(Path(entrant.library), spec, *sizes, False)
        if entrant.packing not in packed:
            packed[entrant.packing] = spare.array(-(-entrant.packed_bytes // 4))
            _pack(kernel, w, b, packed[entrant.packing])
        arrays = (x, packed[entrant.packing], y, workspace)
        turns.append(_cold_turn(kernel, arrays, wall) if len(wall) else _turn(entrant, arrays))
        kernel.run(*(array.ctypes.data for array in arrays))
    return turns


def race(turns: list[Turn], task: Task, say: Callable[[Any], None]) -> None:
    """Let everyone take turns; the slow ones drop out after the second.

    In every round the order is another: whoever comes first meets what storing the round before
    costs, whoever follows a large kernel its leavings in the caches.
    """
    order = random.Random(task.number)
    start = time.perf_counter()
    least = [math.inf] * len(turns)
    for number in range(task.rounds):
        limit = HOPELESS * min(least) if number > 1 else math.inf
        field = [i for i, known in enumerate(least) if known <= limit]
        order.shuffle(field)
        times = {i: turns[i]() for i in field}
        say(["round", list(times.items())])
        least = [min(known, times.get(i, math.inf)) for i, known in enumerate(least)]
        if time.perf_counter() - start > task.seconds:
            break


def _random(
    rng: np.random.Generator, reach: float, shape: tuple[int, ...], element: Element
) -> np.ndarray[Any, Any]:
    """Numbers up to ``reach`` in size; integers small enough that no sum leaves int32."""
    if element.is_float:
        return stored(rng.uniform(-reach, reach, shape), element)
    return rng.integers(0, 8, shape, np.dtype(element.storage))


class _Memory:
    """Arrays that start at a line of the cache, in every pass at another place in their page."""

    def __init__(self, number: int) -> None:
        self._next = 1 + 7 * number

    def array(self, shape: Any, element: Element = ELEMENTS["float32"]) -> Any:
        size = element.size * int(np.prod(shape))
        raw = np.zeros(size + 2 * 4096, np.uint8)
        first = -raw.ctypes.data % 4096 + LINE * (self._next % 61)
        self._next += 13
        return raw[first : first + size].view(element.storage).reshape(shape)


def _pack(kernel: Kernel, w: Any, b: Any, packed: Any) -> None:
    assert kernel.pack is not None, "tuned kernels take their weights at run time"
    kernel.pack(w.ctypes.data, b.ctypes.data, packed.ctypes.data)


def _turn(entrant: Entrant, arrays: tuple[Any, ...]) -> Turn:
    """As many calls as fill a slice, counted in C: Python's own cost would blur tiny layers."""
    repeat = ctypes.CDLL(entrant.library)[f"{NAME}_repeat"]
    repeat.restype, repeat.argtypes = None, [ctypes.c_void_p] * 4 + [ctypes.c_long]
    addresses = [array.ctypes.data for array in arrays]

    def seconds(calls: int, alive: tuple[Any, ...] = arrays) -> float:
        start = time.perf_counter()
        repeat(*addresses, calls)
        return time.perf_counter() - start

    def turn() -> float:
        once = min(seconds(1), seconds(1))
        calls = max(1, int(SLICE / max(once, 1e-7)))
        return min(seconds(calls) for _ in range(SLICES)) / calls * 1e6

    return turn


def _cold_turn(kernel: Kernel, arrays: tuple[Any, ...], wall: Any) -> Turn:
    """Single calls, each after a walk that leaves weights in no cache; the input is read again."""
    addresses = [array.ctypes.data for array in arrays]

    def call() -> float:
        wall[::LINE] += 1
        arrays[0].sum()  # the layer before has just written it
        start = time.perf_counter()
        kernel.run(*addresses)
        return (time.perf_counter() - start) * 1e6

    return lambda: statistics.median(call() for _ in range(COLD_CALLS))


def main() -> None:
    # Python's own handler would wait for the kernel to return, which it may never do.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    task = pickle.load(sys.stdin.buffer)

    def say(event: Any) -> None:
        print(json.dumps(event), flush=True)

    with pinned(1):
        race(turns_of(task, say), task, say)


if __name__ == "__main__":
    main()

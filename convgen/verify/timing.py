"""A quick look at the speed, for the build's summary; ``bench`` measures properly."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.verify.guard import Bytes, Placement, place
from convgen.verify.kernel import Kernel

TOTAL = 0.04  # seconds
BATCH = 200e-6  # long enough that reading the clock does not count
WARM_BATCHES = 2


def microseconds_per_call(kernel: Kernel, x: NDArray[Any], packed: Bytes) -> float:
    """Median over batches of calls within about 40 ms, one call at least."""
    y = np.empty(kernel.spec.y_shape, kernel.dtype)
    weights = place(packed.size, kernel.align, Placement.START)
    weights.data[:] = packed
    work = place(kernel.workspace_bytes, kernel.align, Placement.START)
    source = np.ascontiguousarray(x)
    arguments = (source.ctypes.data, weights.address, y.ctypes.data, work.address)

    def batch(calls: int) -> float:
        begin = time.perf_counter()
        for _ in range(calls):
            kernel.run(*arguments)
        return time.perf_counter() - begin

    once = min(batch(1) for _ in range(2))
    calls = max(1, int(BATCH / max(once, 1e-7)))
    count = int(TOTAL / max(once * calls, 1e-7)) - WARM_BATCHES
    if count < 3:
        return once * 1e6
    times = [batch(calls) / calls for _ in range(count)][WARM_BATCHES:]
    return float(np.median(times)) * 1e6

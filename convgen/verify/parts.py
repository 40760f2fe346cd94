"""run_part: however the work is split, the parts make the whole, and no two write one output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.spec.model import ConvSpec
from convgen.verify.guard import Bytes, Placement
from convgen.verify.kernel import Call, Kernel, call

Array = NDArray[Any]
LARGE, HUGE = 50e6, 500e6  # multiply-adds from which fewer splits are run
MANY = 1000  # more parts than this are not tried: each is a call
WORKSPACE = 1 << 28  # bytes of workspace poisoned over all parts of a split


def splits(kernel: Kernel) -> tuple[tuple[int, bool], ...]:
    """(parts, in reverse order): 1, 2, 3, 7 and more parts than there are output places."""
    few = max(8, WORKSPACE // max(1, kernel.workspace_bytes))
    surplus = min(_places(kernel.spec) + 3, MANY, few)
    if kernel.spec.macs > HUGE:
        return (3, True), (surplus, False)
    if kernel.spec.macs > LARGE:
        return (2, False), (7, True), (surplus, True)
    both = tuple((parts, back) for parts in (2, 3, 7, surplus) for back in (False, True))
    return (1, False), *both


def run_splits(kernel: Kernel, x: Array, packed: Bytes) -> Iterator[tuple[str, Call]]:
    """Every split as (its description, the whole output it gave)."""
    for index, (parts, back) in enumerate(splits(kernel)):
        order = range(parts)[::-1] if back else range(parts)
        placement = (Placement.END, Placement.START, Placement.SHIFTED)[index % 3]
        made = call(kernel, x, packed, placement, garbage=0x7F, split=(parts, order))
        yield f"{parts} parts{' in reverse order' if back else ''}", made


def written_twice(kernel: Kernel, x: Array, packed: Bytes, parts: int) -> int:
    """How many outputs more than one part writes: a data race, even where the values agree."""
    writers = np.zeros(kernel.spec.y_shape, np.uint8)
    for part in range(parts):
        alone = call(kernel, x, packed, Placement.END, split=(parts, (part,)))
        writers += ~alone.unwritten
    return int((writers > 1).sum())


def _places(spec: ConvSpec) -> int:
    return spec.batch * spec.od * spec.oh * spec.ow

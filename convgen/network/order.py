"""In which order the steps run: the one whose most live bytes are fewest.

A greedy order and the file's own are always tried. Where neither reaches the bound that no order
can beat, a best-first search over sets of finished steps looks for one, up to a fixed number of
sets, so that the result depends on the network alone and never on the machine.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from convgen.network.plan import Buffer, Room, Slot, Step

STATES = 20_000  # sets of finished steps that the search may look at, and
LOOKS = 1_000_000  # steps that it may ask, over all sets


@dataclass(frozen=True)
class Flow:
    """Steps as numbers. ``needs[i]``: steps that must be done before step i. ``made[i]``,
    ``used[i]``: arena buffers that it is the first to write, and all that it touches.
    ``readers[b]``: the steps that touch buffer b. ``over[i]``: (input buffer, output buffer) pairs
    that may share memory. ``extra[i]``: bytes of its workspace.
    """

    needs: tuple[frozenset[int], ...]
    made: tuple[tuple[str, ...], ...]
    used: tuple[tuple[str, ...], ...]
    readers: Mapping[str, tuple[int, ...]]
    over: tuple[tuple[tuple[str, str], ...], ...]
    extra: tuple[int, ...]
    sizes: Mapping[str, int]


def flow_of(
    steps: Sequence[Step], buffers: Mapping[str, Buffer], workspace: Callable[[Step], int]
) -> Flow:
    """Who depends on whom. A step follows the ones that wrote, before it in the given order, what
    it reads or writes.
    """
    needs: list[frozenset[int]] = []
    made, used, over = [], [], []
    writers: dict[str, list[tuple[int, Slot]]] = {}
    readers: dict[str, list[int]] = {}
    for at, step in enumerate(steps):
        names = _names(step)
        needs.append(
            frozenset(
                i
                for slot in (*step.reads, *step.writes)
                for i, other in writers.get(slot.buffer, ())
                if not _apart(slot, other)
            )
        )
        arena = [name for name in names if buffers[name].room is Room.ARENA]
        writes = list(dict.fromkeys(slot.buffer for slot in step.writes))
        made.append(tuple(name for name in writes if name in arena and name not in writers))
        used.append(tuple(arena))
        over.append(_pairs(step, buffers, made[-1]))
        for slot in step.writes:
            writers.setdefault(slot.buffer, []).append((at, slot))
        for name in arena:
            readers.setdefault(name, []).append(at)
    return Flow(
        tuple(needs),
        tuple(made),
        tuple(used),
        {name: tuple(who) for name, who in readers.items()},
        tuple(over),
        tuple(workspace(step) for step in steps),
        {name: b.bytes for name, b in buffers.items() if b.room is Room.ARENA},
    )


def _apart(one: Slot, two: Slot) -> bool:
    """Do two slots of a buffer surely share nothing: channels of the same pixels, side by side?"""
    if one.dtype is not two.dtype or min((*one.strides, *two.strides), default=0) < 0:
        return False
    spans, period = [], 0
    for slot in (one, two):
        width = 1
        for size, stride in zip(slot.shape, slot.strides, strict=True):
            if size == 1:
                continue
            if stride == 1:
                width = size
            else:
                period = gcd(period, stride)
        spans.append((slot.offset, width))
    if period < 2:
        return False
    (a, m), (b, n) = ((offset % period, width) for offset, width in spans)
    return a + m <= period and b + n <= period and (a + m <= b or b + n <= a)


def _names(step: Step) -> list[str]:
    """Every buffer of a step, once."""
    return list(dict.fromkeys(slot.buffer for slot in (*step.reads, *step.writes)))


def _pairs(
    step: Step, buffers: Mapping[str, Buffer], made: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Inputs that the output may lie over: nothing else of the step reads them otherwise."""
    found = []
    for at in step.over:
        slot, out = step.inputs[at], step.outputs[0]
        assert slot is not None
        others = [
            s for i, s in enumerate(step.inputs) if i != at and s is not None
            and s.buffer == slot.buffer and (s.strides, s.offset) != (slot.strides, slot.offset)
        ]  # fmt: skip
        fits = buffers[out.buffer].bytes <= buffers[slot.buffer].bytes
        if out.buffer in made and not others and fits and slot.buffer != out.buffer:
            found.append((slot.buffer, out.buffer))
    return tuple(found)


def best_order(flow: Flow) -> list[int]:
    """The numbers of the steps, in the order to run them."""
    given = list(range(len(flow.needs)))
    found = min((given, _greedy(flow)), key=lambda order: peak(flow, order))
    floor = max((_alone(flow, at) for at in given), default=0)
    if peak(flow, found) > floor:
        searched = _search(flow, peak(flow, found))
        found = searched or found
    return found


def _alone(flow: Flow, at: int) -> int:
    """What one step needs in any order: its operands and workspace, less what it may share."""
    total = sum(flow.sizes[name] for name in flow.used[at]) + flow.extra[at]
    shared = max((flow.sizes[out] for _, out in flow.over[at]), default=0)
    return total - shared


class _Live:
    """The bytes that are live, step by step."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.left = {name: len(who) for name, who in flow.readers.items()}
        self.live = 0

    def cost(self, at: int) -> tuple[int, int]:
        """(bytes during the step, bytes after it)."""
        flow = self.flow
        new = sum(flow.sizes[name] for name in flow.made[at])
        done = [name for name in flow.used[at] if self.left[name] == 1]
        shared = max(
            (flow.sizes[out] for one, out in flow.over[at] if self.left[one] == 1), default=0
        )
        during = self.live + new - shared + flow.extra[at]
        return during, self.live + new - sum(flow.sizes[name] for name in done)

    def run(self, at: int) -> None:
        _, after = self.cost(at)
        for name in self.flow.used[at]:
            self.left[name] -= 1
        self.live = after


def loads(flow: Flow, order: Sequence[int]) -> list[int]:
    """The bytes that are live during each step."""
    live, found = _Live(flow), []
    for at in order:
        found.append(live.cost(at)[0])
        live.run(at)
    return found


def peak(flow: Flow, order: Sequence[int]) -> int:
    """The most bytes that are live at once."""
    return max(loads(flow, order), default=0)


def _greedy(flow: Flow) -> list[int]:
    """Of the steps that can run, always the one that leaves the fewest bytes live."""
    live, order = _Live(flow), []
    waiting = {at: set(needs) for at, needs in enumerate(flow.needs)}
    while waiting:
        ready = [at for at, needs in waiting.items() if not needs]

        def key(at: int) -> tuple[int, int, int]:
            during, after = live.cost(at)
            return after - live.live, during, at

        best = min(ready, key=key)
        live.run(best)
        order.append(best)
        del waiting[best]
        for needs in waiting.values():
            needs.discard(best)
    return order


def _search(flow: Flow, bound: int) -> list[int] | None:
    """The order with the least peak below ``bound``, or None: best first over finished sets."""
    total = len(flow.needs)
    full = (1 << total) - 1
    need = [sum(1 << i for i in needs) for needs in flow.needs]
    touch = {name: sum(1 << i for i in who) for name, who in flow.readers.items()}
    first = {name: min(who) for name, who in flow.readers.items()}
    heap: list[tuple[int, int, int]] = [(0, -0, 0)]
    best = {0: 0}
    came: dict[int, tuple[int, int]] = {}
    looked, most = 0, min(STATES, LOOKS // max(1, total))
    while heap and looked < most:
        top, _, done = heapq.heappop(heap)
        if top > best.get(done, top):
            continue
        if done == full:
            return _trace(came, full)
        looked += 1
        live = {name for name, who in touch.items() if done >> first[name] & 1 and (who & ~done)}
        held = sum(flow.sizes[name] for name in live)
        for at in range(total):
            if done >> at & 1 or need[at] & ~done:
                continue
            new = sum(flow.sizes[name] for name in flow.made[at])
            shared = max(
                (flow.sizes[out] for one, out in flow.over[at] if touch[one] & ~done == 1 << at),
                default=0,
            )
            reached = max(top, held + new - shared + flow.extra[at])
            after = done | 1 << at
            if reached < bound and reached < best.get(after, bound):
                best[after] = reached
                came[after] = (done, at)
                heapq.heappush(heap, (reached, -after.bit_count(), after))
    return None


def _trace(came: Mapping[int, tuple[int, int]], full: int) -> list[int]:
    order, state = [], full
    while state:
        state, at = came[state]
        order.append(at)
    return order[::-1]

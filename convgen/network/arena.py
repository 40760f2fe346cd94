"""Where every buffer lies in the arena, and what each step needs of it.

Buffers that are never live together may share bytes. Placing them is bin packing with time as the
second axis; several greedy orders are tried, then exchanges between neighbours in the best of them,
up to a fixed number of trials: the same network gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from convgen.network.lower import Lowered
from convgen.network.order import Flow, best_order, flow_of, loads, peak
from convgen.network.plan import (
    ALIGN,
    Arena,
    Buffer,
    Needs,
    NetworkPlan,
    Room,
    Step,
    WeightItem,
)

TRIALS = 4_000  # placements that the search may try, and
LOOKS = 2_000_000  # neighbours that it may ask, over all trials
_WORK = "workspace of "


@dataclass(frozen=True)
class Span:
    """One block of the arena: buffers that lie over each other, from their first step to their
    last. ``bytes`` is a multiple of ``ALIGN``.
    """

    names: tuple[str, ...]
    bytes: int
    first: int
    last: int

    def meets(self, other: Span) -> bool:
        """Are both live at some step?"""
        return self.first <= other.last and other.first <= self.last


def plan(lowered: Lowered, needs: Callable[[Step], Needs]) -> NetworkPlan:
    """Steps in their order, every buffer in its place. ``needs``: what a step's kernel asks for."""
    asked = {step.name: needs(step) for step in lowered.steps}
    flow = flow_of(lowered.steps, lowered.buffers, lambda step: asked[step.name].workspace)
    order = best_order(flow)
    steps = tuple(lowered.steps[at] for at in order)
    touched = {s.buffer for step in steps for s in (*step.reads, *step.writes)}
    buffers = {name: b for name, b in lowered.buffers.items() if name in touched or _fixed(b)}
    spans = _spans(flow, order, steps)
    offsets, total = place(spans)
    places = {name: offsets[at] for at, span in enumerate(spans) for name in span.names}
    work = {n.removeprefix(_WORK): at for n, at in places.items() if n.startswith(_WORK)}
    most = max((need.workspace for need in asked.values()), default=0)
    arena = Arena(
        MappingProxyType({n: at for n, at in places.items() if not n.startswith(_WORK)}),
        MappingProxyType(work),
        total,
        _up(most),
        peak(flow, order),
        _peak_step(flow, order, lowered.steps),
    )
    found = NetworkPlan(
        lowered.graph,
        steps,
        MappingProxyType(buffers),
        arena,
        _weights(steps, buffers, asked),
        MappingProxyType(asked),
    )
    check_plan(found)
    return found


def _fixed(buffer: Buffer) -> bool:
    """Inputs and outputs stay even where no step touches them."""
    return buffer.room in (Room.INPUT, Room.OUTPUT)


def _up(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _spans(flow: Flow, order: Sequence[int], steps: Sequence[Step]) -> list[Span]:
    """Arena buffers with their times; an output that may lie over a dying input joins its block."""
    when = {step: at for at, step in enumerate(order)}
    times = {n: sorted(when[i] for i in who) for n, who in flow.readers.items()}
    block = {name: name for name in times}
    for at, step in enumerate(order):
        for one, out in flow.over[step]:
            if times[one][-1] == at and block[out] == out:
                block[out] = block[one]
                break
    members: dict[str, list[str]] = {}
    for name in sorted(times, key=lambda name: (times[name][0], name)):
        members.setdefault(block[name], []).append(name)
    spans = [
        Span(
            tuple(names),
            max(_up(flow.sizes[name]) for name in names),
            min(times[name][0] for name in names),
            max(times[name][-1] for name in names),
        )
        for names in members.values()
    ]
    for at, step in enumerate(order):
        if flow.extra[step]:
            spans.append(Span((_WORK + steps[at].name,), _up(flow.extra[step]), at, at))
    return spans


def place(spans: Sequence[Span]) -> tuple[list[int], int]:
    """An offset for each span, and the arena's size."""
    everyone = list(range(len(spans)))
    meets = [[j for j in everyone if j != i and spans[i].meets(spans[j])] for i in everyone]
    orders = [
        sorted(everyone, key=lambda i: (-spans[i].bytes, spans[i].first, i)),
        sorted(everyone, key=lambda i: (spans[i].first, -spans[i].bytes, i)),
        sorted(everyone, key=lambda i: (-spans[i].last, -spans[i].bytes, i)),
        sorted(everyone, key=lambda i: (spans[i].first - spans[i].last, -spans[i].bytes, i)),
        sorted(everyone, key=lambda i: (-spans[i].bytes * (spans[i].last - spans[i].first + 1), i)),
    ]
    found = [(*_first_fit(spans, meets, order), order) for order in orders]
    offsets, total, order = min(found, key=lambda f: f[1])
    floor = _floor(spans)
    if total > floor:
        offsets, total = _exchanged(spans, meets, order, offsets, total, floor)
    return offsets, total


def _floor(spans: Sequence[Span]) -> int:
    """The most bytes live at one step: no placement takes less."""
    times = sorted({span.first for span in spans})
    return max((sum(s.bytes for s in spans if s.first <= t <= s.last) for t in times), default=0)


def _first_fit(
    spans: Sequence[Span], meets: Sequence[Sequence[int]], order: Iterable[int]
) -> tuple[list[int], int]:
    """Each span at the lowest place that is free for all of its time."""
    offsets = [-1] * len(spans)
    total = 0
    for i in order:
        taken = sorted(
            (offsets[j], offsets[j] + spans[j].bytes) for j in meets[i] if offsets[j] >= 0
        )
        at = 0
        for start, end in taken:
            if start - at >= spans[i].bytes:
                break
            at = max(at, end)
        offsets[i] = at
        total = max(total, at + spans[i].bytes)
    return offsets, total


def _exchanged(
    spans: Sequence[Span],
    meets: Sequence[Sequence[int]],
    order: Sequence[int],
    offsets: list[int],
    total: int,
    floor: int,
) -> tuple[list[int], int]:
    """Other orders of placing: spans that end highest move forward. Numbers come from a fixed
    sequence.
    """
    best, state = list(order), 1
    asked = sum(map(len, meets)) + len(spans)
    for _ in range(min(TRIALS, LOOKS // asked)):
        top = [at for at, i in enumerate(best) if offsets[i] + spans[i].bytes == total]
        state = (state * 1103515245 + 12345) % 2**31
        source = top[state % len(top)] if state & 64 else state % len(best)
        state = (state * 1103515245 + 12345) % 2**31
        target = state % (source + 1) if state & 32 else state % len(best)
        tried = list(best)
        tried.insert(target, tried.pop(source))
        made, size = _first_fit(spans, meets, tried)
        if size <= total:
            best, offsets, total = tried, made, size
        if total == floor:
            break
    return offsets, total


def _peak_step(flow: Flow, order: Sequence[int], steps: Sequence[Step]) -> str:
    """The first step at which the most bytes are live."""
    during = loads(flow, order)
    return steps[order[during.index(max(during))]].name if during else ""


def _weights(
    steps: Sequence[Step], buffers: Mapping[str, Buffer], asked: Mapping[str, Needs]
) -> tuple[WeightItem, ...]:
    """Packed weights in the order of the steps, raw constants where they are first read."""
    items: list[WeightItem] = []
    at, seen = 0, set()
    for step in steps:
        if asked[step.name].packed:
            items.append(WeightItem(at, asked[step.name].packed, step=step.name))
            at += _up(items[-1].bytes)
        for slot in step.reads:
            buffer = buffers[slot.buffer]
            if buffer.room is Room.WEIGHTS and buffer.name not in seen:
                seen.add(buffer.name)
                items.append(WeightItem(at, buffer.bytes, constant=buffer.name))
                at += _up(buffer.bytes)
    return tuple(items)


def check_plan(plan: NetworkPlan) -> None:
    """Asserts that every access lies in its buffer and that no two live buffers share bytes, save
    an output over an input that its step allows.
    """
    _check_slots(plan)
    times = _times(plan)
    ranges = _ranges(plan, times)
    for i, (name, first, last, start, end) in enumerate(ranges):
        assert start % ALIGN == 0 and end <= plan.arena.bytes, f"{name} leaves the arena"
        for other, first2, last2, start2, end2 in ranges[i + 1 :]:
            apart = last < first2 or last2 < first or end <= start2 or end2 <= start
            assert apart or _shared(plan, name, other, times), f"{name} and {other} share bytes"


def _check_slots(plan: NetworkPlan) -> None:
    for step in plan.steps:
        for slot in (*step.reads, *step.writes):
            low, high = slot.reach
            room = plan.buffers[slot.buffer].bytes // slot.dtype.size
            assert 0 <= low <= high <= room, f"{step.name} leaves {slot.buffer}: {slot}"
        for slot in step.writes:
            room_kind = plan.buffers[slot.buffer].room
            assert room_kind in (Room.ARENA, Room.OUTPUT), f"{step.name} writes {slot.buffer}"


def _times(plan: NetworkPlan) -> dict[str, tuple[int, int]]:
    """Buffer -> its first and last step."""
    times: dict[str, tuple[int, int]] = {}
    written: set[str] = set()
    for at, step in enumerate(plan.steps):
        for slot in step.reads:
            kind = plan.buffers[slot.buffer].room
            known = kind in (Room.INPUT, Room.WEIGHTS) or slot.buffer in written
            assert known, f"{step.name} reads {slot.buffer} before it is written"
        for slot in (*step.reads, *step.writes):
            first, _ = times.get(slot.buffer, (at, at))
            times[slot.buffer] = (first, at)
        written.update(slot.buffer for slot in step.writes)
    return times


def _ranges(
    plan: NetworkPlan, times: Mapping[str, tuple[int, int]]
) -> list[tuple[str, int, int, int, int]]:
    """(name, first step, last step, first byte, byte behind the last) of all in the arena."""
    found = []
    for name, at in plan.arena.places.items():
        found.append((name, *times[name], at, at + plan.buffers[name].bytes))
    for number, step in enumerate(plan.steps):
        size = plan.needs[step.name].workspace
        if size:
            at = plan.arena.workspace_at[step.name]
            found.append((_WORK + step.name, number, number, at, at + size))
    return found


def _shared(plan: NetworkPlan, one: str, two: str, times: Mapping[str, tuple[int, int]]) -> bool:
    """Does one end at the step that makes the other over it, element on element?"""
    if one.startswith(_WORK) or two.startswith(_WORK):
        return False
    if times[one][0] > times[two][0]:
        one, two = two, one
    if times[one][1] != times[two][0] or plan.arena.places[one] != plan.arena.places[two]:
        return False
    step = plan.steps[times[two][0]]
    outputs = {slot.buffer for slot in step.outputs}
    inputs = {slot.buffer for at in step.over if (slot := step.inputs[at]) is not None}
    return one in inputs and two in outputs

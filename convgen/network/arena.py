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
    search = _Search(spans)
    everyone = range(len(spans))
    load = search.loads()
    orders = [
        sorted(everyone, key=lambda i: (-spans[i].bytes, spans[i].first, i)),
        sorted(everyone, key=lambda i: (-load[i], -spans[i].bytes, spans[i].first, i)),
        sorted(everyone, key=lambda i: (spans[i].first, -spans[i].bytes, i)),
        sorted(everyone, key=lambda i: (-spans[i].last, -spans[i].bytes, i)),
        sorted(everyone, key=lambda i: (spans[i].first - spans[i].last, -spans[i].bytes, i)),
        sorted(everyone, key=lambda i: (-spans[i].bytes * (spans[i].last - spans[i].first + 1), i)),
    ]
    turns = sorted(everyone, key=lambda i: (spans[i].first, i))
    alternate = frozenset(turns[1::2])
    tries = [search.tried(order, high) for order in orders for high in (frozenset(), alternate)]
    best = min(tries, key=lambda found: found.total)
    return search.improved(best)


@dataclass(frozen=True)
class _Placed:
    """What an order of placing gives. ``high``: spans that go to the top instead of the bottom."""

    order: tuple[int, ...]
    high: frozenset[int]
    offsets: tuple[int, ...]
    total: int


class _Search:
    """Placements of one set of spans."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        everyone = range(len(spans))
        self.meets = [
            [j for j in everyone if j != i and spans[i].meets(spans[j])] for i in everyone
        ]
        self.floor = max(self.loads(), default=0)  # no placement takes less

    def loads(self) -> list[int]:
        """For each span the most bytes that are live while it is."""
        at = {
            s.first: sum(t.bytes for t in self.spans if t.first <= s.first <= t.last)
            for s in self.spans
        }
        return [
            max(load for time, load in at.items() if s.first <= time <= s.last) for s in self.spans
        ]

    def tried(self, order: Iterable[int], high: frozenset[int]) -> _Placed:
        """Each span in turn at the lowest place that is free for all of its time, or the highest
        below the floor.
        """
        order = tuple(order)
        offsets = [-1] * len(self.spans)
        total = 0
        for i in order:
            taken = [(offsets[j], offsets[j] + self.spans[j].bytes) for j in self.meets[i]]
            gaps = _gaps(sorted(t for t in taken if t[0] >= 0), self.floor)
            size = self.spans[i].bytes
            fits = [(start, end) for start, end in gaps if end - start >= size]
            offsets[i] = fits[-2][1] - size if i in high and len(fits) > 1 else fits[0][0]
            total = max(total, offsets[i] + size)
        return _Placed(order, high, tuple(offsets), total)

    def improved(self, best: _Placed) -> tuple[list[int], int]:
        """Spans that end highest, and some others, change their turn or their end. The numbers come
        from a fixed sequence.
        """
        state = 1
        asked = sum(map(len, self.meets)) + len(self.spans)
        for _ in range(min(TRIALS, LOOKS // max(1, asked))):
            if best.total <= self.floor:
                break
            ends = [at + self.spans[i].bytes for i, at in enumerate(best.offsets)]
            top = [at for at, i in enumerate(best.order) if ends[i] == best.total]
            picks = []
            for _ in range(3):
                state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
                picks.append(state >> 33)
            source = top[picks[0] % len(top)] if picks[0] & 64 else picks[0] % len(best.order)
            order, high = list(best.order), best.high
            i = order.pop(source)
            target = picks[1] % (source + 1) if picks[1] & 64 else picks[1] % (len(order) + 1)
            order.insert(target, i)
            if picks[2] & 1:
                high = high ^ {i if picks[2] & 2 else (picks[2] >> 2) % len(order)}
            found = self.tried(order, high)
            best = found if found.total <= best.total else best
        return list(best.offsets), best.total


def _gaps(taken: Sequence[tuple[int, int]], top: int) -> list[tuple[int, int]]:
    """What is free between sorted ranges: below ``top`` in pieces, and all above them."""
    gaps, at = [], 0
    for start, end in taken:
        if start > at:
            gaps.append((at, start))
        at = max(at, end)
    if at < top:
        gaps.append((at, top))
    return [*gaps, (at, 2**62)]


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

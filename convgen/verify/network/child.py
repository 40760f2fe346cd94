"""The child process of a network's verification: one task pickled on stdin, an event a line out."""

from __future__ import annotations

import ctypes
import json
import pickle
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.verify.child import end_in_time, no_core_file
from convgen.verify.guard import Buffer, Placement, guards_available, place
from convgen.verify.network.judge import Judged, copied, judge
from convgen.verify.network.record import known_steps, remember_step
from convgen.verify.network.task import NetworkTask, StepTask
from convgen.verify.report import Begin, Check, Event, Measure

Bytes = NDArray[np.uint8]
POISON = (0x5A, 0x00, 0x7F)
SPLITS = (2, 3, 7)
SHOWN = 3
SECONDS = 0.2  # of timing


@dataclass
class Arrays:
    """One run's memory: guarded buffers of exact sizes, filled with a pattern."""

    inputs: list[Buffer]
    outputs: list[Buffer]
    arena: Buffer
    weights: Buffer

    @property
    def all(self) -> list[Buffer]:
        return [*self.inputs, *self.outputs, self.arena, self.weights]

    @property
    def io(self) -> list[int]:
        return [buffer.address for buffer in (*self.inputs, *self.outputs)]


@dataclass
class State:
    """``first``: what every step wrote in the first, judged pass, by step."""

    task: NetworkTask
    run: Any
    step: Any
    data: list[Bytes]
    weights: Bytes
    faults: list[str] = field(default_factory=list)
    first: list[list[NDArray[Any]]] = field(default_factory=list)
    results: list[Bytes] = field(default_factory=list)
    held: dict[Placement, Buffer] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)

    def arrays(self, placement: Placement, poison: int, parts: int = 1) -> Arrays:
        t = self.task

        def held(data: Bytes, align: int) -> Buffer:
            buffer = place(len(data), align, placement)
            buffer.data[:] = data
            return buffer

        def blank(size: int, align: int) -> Buffer:
            buffer = place(size, align, placement)
            buffer.data[:] = poison
            return buffer

        arena = t.arena_bytes + (parts - 1) * t.part_bytes
        return Arrays(
            [held(d, s.dtype.size) for d, s in zip(self.data, t.inputs, strict=True)],
            [blank(s.size * s.dtype.size, s.dtype.size) for s in t.outputs],
            blank(arena, t.align),
            self.weights_at(placement),
        )

    def weights_at(self, placement: Placement) -> Buffer:
        """One copy of the weights for all runs with this placement: they can be large."""
        if placement not in self.held:
            self.held[placement] = place(len(self.weights), self.task.align, placement)
            self.held[placement].data[:] = self.weights
        return self.held[placement]

    def looked_after(self, arrays: Arrays, what: str) -> None:
        """Nothing beside the arrays was written, and no input changed."""
        if any(buffer.strayed for buffer in arrays.all):
            self.faults.append(f"{what}: bytes beside an array were written")
        same = all(
            (buffer.data == data).all()
            for buffer, data in zip(arrays.inputs, self.data, strict=True)
        )
        if not same:
            self.faults.append(f"{what}: an input was changed")

    def weights_looked_after(self) -> None:
        """No run changed the weights."""
        if not all((buffer.data == self.weights).all() for buffer in self.held.values()):
            self.faults.append("the weights were changed")


def events(task: NetworkTask) -> Iterator[Event]:
    yield Begin("load")
    try:
        library = ctypes.CDLL(task.library)
        run, step = (getattr(library, f"{task.name}_{word}") for word in ("run", "step"))
        ready = getattr(library, f"{task.name}_cpu_ok")()
    except (OSError, AttributeError) as error:
        yield Check("load", False, str(error))
        return
    yield Check("load", True)
    yield Check("cpu", bool(ready), "" if ready else "this CPU lacks instructions it needs")
    if not ready:
        return
    weights = np.frombuffer(Path(task.weights).read_bytes(), np.uint8)
    state = State(task, run, step, [_data(task, i) for i in range(len(task.inputs))], weights)
    try:
        yield from _steps(state)
        if len(state.results) == len(task.outputs):
            yield from _whole(state)
        state.weights_looked_after()
    except MemoryError:
        yield Check("memory", False, "not enough memory to verify this network")
    shown = "; ".join(dict.fromkeys(state.faults[:SHOWN]))
    if state.faults or guards_available():
        yield Check("outside", not state.faults, shown)
    else:
        yield Check("outside", True, "no guard pages on this system", available=False)


def _whole(state: State) -> Iterator[Event]:
    """The network in one call, and in parts, once every step by itself is right."""
    yield Begin("repeatable")
    detail = _repeatable(state)
    yield Check("repeatable", not detail, detail)
    yield Begin("parts")
    if state.task.key in known_steps(state.task.record):
        yield Check("parts", True, "judged by an earlier build, with other weights")
    else:
        detail = _parts(state)
        yield Check("parts", not detail, detail)
        if not (detail or state.faults):
            remember_step(state.task.record, state.task.key, 0.0, 0.0)
    yield Begin("timing")
    state.measure = Measure(
        state.measure.max_error, state.measure.bound_ratio, _microseconds(state)
    )
    yield state.measure


def _data(task: NetworkTask, index: int) -> Bytes:
    """An input's bytes: normal numbers, or integers over the whole range of 8 bits."""
    rng = np.random.default_rng([task.seed, index])
    slot = task.inputs[index]
    if slot.dtype.is_float:
        values = rng.standard_normal(slot.size).astype(np.float32)
        if slot.dtype == "bfloat16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
        return values.astype(str(slot.dtype)).view(np.uint8)
    if slot.dtype == "bool":
        return rng.integers(0, 2, slot.size).astype(np.uint8)
    if slot.dtype.size == 1:
        return rng.integers(0, 256, slot.size).astype(np.uint8)
    return rng.integers(0, 2, slot.size).astype(str(slot.dtype)).view(np.uint8)


def _steps(state: State) -> Iterator[Event]:
    """Every step by itself on what the steps before it left, judged, and kept to its slots.

    A step that an earlier build judged runs all the same: the next ones need its outputs.
    """
    task = state.task
    earlier = known_steps(task.record)
    arrays = state.arrays(Placement.END, POISON[0])
    io = (ctypes.c_void_p * len(arrays.io))(*arrays.io)
    worst, top = 0.0, 0.0
    for at, step in enumerate(task.steps):
        name = f"step {at} ({step.name})"
        yield Begin(name)
        reads = _reads(state, arrays, step)
        before = arrays.arena.data.copy()
        state.step(at, _p(arrays.weights), io, _p(arrays.arena), 0, 1)
        writes = [_slot(state, arrays, slot) for slot in step.written]
        state.first.append(writes)
        stray = _strayed(state, arrays, before, step)
        known = step.key in earlier
        if known:
            found = Judged(*earlier[step.key], "")
        else:
            found = judge(step, reads, writes, task.rounding, task.seed + at)
        worst, top = max(worst, found.ratio), max(top, found.error)
        detail = stray or found.detail
        said = "exact" if found.error == 0 else f"error/bound {found.ratio:.2f}"
        said += ", judged by an earlier build" if known else ""
        yield Check(name, not detail, detail or said)
        if detail:
            return
        if not known:
            remember_step(task.record, step.key, found.error, found.ratio)
    state.looked_after(arrays, "the steps one by one")
    state.results = [buffer.data.copy() for buffer in arrays.outputs]
    state.measure = Measure(top, worst)
    yield state.measure


def _reads(state: State, arrays: Arrays, step: StepTask) -> list[NDArray[Any] | None]:
    slots = [move.source for move in step.moves] if step.moves else list(step.inputs)
    return [None if slot is None else _slot(state, arrays, slot) for slot in slots]


def _slot(state: State, arrays: Arrays, slot: Any) -> NDArray[Any]:
    room, at = state.task.places[slot.buffer]
    match room:
        case "input":
            return copied(slot, arrays.inputs[at].data, 0)
        case "output":
            return copied(slot, arrays.outputs[at].data, 0)
        case "weights":
            return copied(slot, state.weights, at)
        case _:
            return copied(slot, arrays.arena.data, at)


def _strayed(state: State, arrays: Arrays, before: Bytes, step: StepTask) -> str:
    """The first byte of the arena that a step changed without being entitled to, in words."""
    changed = before != arrays.arena.data
    for slot in step.written:
        room, at = state.task.places[slot.buffer]
        if room != "arena":
            continue
        size = slot.dtype.size
        low, high = slot.reach
        changed[at + low * size : at + high * size] = False
    first, count = step.workspace
    changed[first : first + count] = False
    if not changed.any():
        return ""
    return f"byte {int(np.argmax(changed))} of the arena, which is not the step's, was written"


def _p(buffer: Buffer) -> ctypes.c_void_p:
    return ctypes.c_void_p(buffer.address)


def _call(state: State, arrays: Arrays) -> None:
    pointers = [ctypes.c_void_p(address) for address in arrays.io]
    state.run(_p(arrays.weights), *pointers, _p(arrays.arena))


def _repeatable(state: State) -> str:
    """The same bytes wherever the arrays lie and whatever the arena held."""
    for placement, poison in zip((Placement.START, Placement.END), POISON[1:], strict=True):
        arrays = state.arrays(placement, poison)
        _call(state, arrays)
        state.looked_after(arrays, "the network")
        for at, (buffer, first) in enumerate(zip(arrays.outputs, state.results, strict=True)):
            count = int((buffer.data != first).sum())
            if count:
                return f"{count} bytes of output {at} differ from those of its steps one by one"
    return ""


def _parts(state: State) -> str:
    """Whatever the split, and in any order of its parts, every step writes the same bits.

    Which elements a part computes, and in which order it sums, does not depend on the weights'
    values: what an earlier build found of this code holds for others.
    """
    for parts in SPLITS:
        arrays = state.arrays(Placement.END, POISON[0], parts)
        io = (ctypes.c_void_p * len(arrays.io))(*arrays.io)
        for at, step in enumerate(state.task.steps):
            for part in reversed(range(parts)):
                state.step(at, _p(arrays.weights), io, _p(arrays.arena), part, parts)
            for slot, first in zip(step.written, state.first[at], strict=True):
                again = _slot(state, arrays, slot)
                if again.tobytes() != first.tobytes():
                    return f"step {at} ({step.name}) in {parts} parts writes other bits"
        state.looked_after(arrays, f"{parts} parts")
    return ""


def _microseconds(state: State) -> float:
    """The least of many calls of the whole network."""
    arrays = state.arrays(Placement.START, POISON[1])
    best = float("inf")
    end = time.perf_counter() + SECONDS
    while True:
        begin = time.perf_counter()
        _call(state, arrays)
        now = time.perf_counter()
        best = min(best, now - begin)
        if now > end:
            return best * 1e6


def main() -> None:
    # Python's own handler would wait for the kernel to return, which it may never do.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    no_core_file()
    end_in_time(float(sys.argv[1]))
    task = pickle.load(sys.stdin.buffer)
    for event in events(task):
        print(json.dumps([type(event).__name__, asdict(event)]), flush=True)


if __name__ == "__main__":
    main()

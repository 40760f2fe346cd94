"""A program as a task for the verification: what each step reads, writes and must compute."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from convgen.network.plan import Room, Slot, Step
from convgen.package.network.program import Call, Program, constant_offset, step_weights
from convgen.verify import leeway_of
from convgen.verify.network import NetworkTask, StepTask


def task_of(
    program: Program,
    library: Path,
    weights: Path,
    seed: int = 0,
    *,
    record: Path | None = None,
    code: str = "",
) -> NetworkTask:
    """``weights``: the file of the packed blob. ``record``: the file that remembers verified steps;
    ``code``: a digest of what was compiled, and of what judges it."""
    plan = program.plan
    places = {}
    for name, buffer in plan.buffers.items():
        match buffer.room:
            case Room.ARENA:
                places[name] = ("arena", plan.arena.places[name])
            case Room.WEIGHTS:
                places[name] = ("weights", constant_offset(program, name))
            case room:
                places[name] = (str(room), buffer.index)
    return NetworkTask(
        str(library.resolve()), str(weights.resolve()), program.name,
        tuple(map(_plain, program.inputs)), tuple(map(_plain, program.outputs)),
        tuple(
            _known(_step(program, s, c), at, code)
            for at, (s, c) in enumerate(zip(program.steps, program.calls, strict=True))
        ),
        places, plan.arena.bytes, plan.arena.part_bytes, 64, program.graph.rounding, seed,
        "" if record is None else str(record.resolve()),
        hashlib.sha256(f"{code}\0parts".encode()).hexdigest() if code else "",
    )  # fmt: skip


def _known(step: StepTask, at: int, code: str) -> StepTask:
    """With the key under which its verdict is remembered: of its code, and of its own weights."""
    if not code:
        return step
    digest = hashlib.sha256(f"{code}\0{at}\0".encode())
    digest.update(repr(replace(step, w=None, b=None, constants=())).encode())
    for array in (step.w, step.b, *(array for array, _ in step.constants)):
        digest.update(b"\0" if array is None else array.tobytes())
    return replace(step, key=digest.hexdigest())


def _plain(slot: Slot) -> Slot:
    return replace(slot, value="array")


def _step(program: Program, step: Step, calls: tuple[Call, ...]) -> StepTask:
    found = StepTask(step.name, step.op, step.inputs, step.outputs, step.moves)
    if step.spec is None:
        names = [name for name in (step.weights, step.bias) if name is not None]
        graph = program.graph
        return replace(
            found, constants=tuple((graph.constants[n], graph.values[n].quant) for n in names)
        )
    decided = calls[0].conv
    assert decided is not None
    weights = step_weights(program.graph, step)
    size = decided.plan.workspace_bytes
    place = program.plan.arena.workspace_at.get(step.name, 0)
    return replace(
        found,
        spec=decided.plan.spec,
        w=weights.w,
        b=weights.b,
        leeway=leeway_of(decided.plan),
        workspace=(place, size),
    )

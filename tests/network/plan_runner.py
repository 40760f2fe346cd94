"""Runs a plan in NumPy: every step through its slots, in one arena of bytes that starts as noise.

What a step computes comes from the oracle; where it reads and writes comes from the plan alone, so
a wrong stride, a wrong order or two buffers on the same bytes give wrong numbers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convgen.network.graph import Node, Value
from convgen.network.meaning.run import run_node, wide
from convgen.network.plan import Moves, NetworkPlan, Room, Slot, Step
from convgen.oracle import floats, integers


class Runner:
    """One run of a plan; ``outputs`` holds what the caller's arrays got."""

    def __init__(self, plan: NetworkPlan, inputs: dict[str, Any]) -> None:
        self.plan = plan
        self.rounding = plan.graph.rounding
        rng = np.random.default_rng(7)
        self.arena = rng.integers(0, 256, max(64, plan.arena.bytes)).astype(np.uint8)
        self.memory: dict[str, Any] = {}
        for name, buffer in plan.buffers.items():
            self.memory[name] = self._bytes(buffer, inputs)
        for step in plan.steps:
            self._run(step)
        self.outputs = {
            plan.graph.outputs[b.index]: self.memory[name]
            for name, b in plan.buffers.items()
            if b.room is Room.OUTPUT
        }

    def _bytes(self, buffer: Any, inputs: dict[str, Any]) -> Any:
        graph = self.plan.graph
        match buffer.room:
            case Room.ARENA:
                at = self.plan.arena.places[buffer.name]
                return self.arena[at : at + buffer.bytes]
            case Room.INPUT:
                name = graph.inputs[buffer.index]
                array = np.asarray(inputs[name], str(graph.values[name].dtype))
                return np.frombuffer(array.tobytes(), np.uint8)
            case Room.WEIGHTS:
                return np.frombuffer(graph.constants[buffer.name].tobytes(), np.uint8)
            case _:
                return np.full(buffer.bytes, 0xA5, np.uint8)

    def array(self, slot: Slot) -> Any:
        """The slot's elements, as a view of memory."""
        dtype = np.dtype(str(slot.dtype))
        flat = self.memory[slot.buffer].view(dtype)
        steps = [stride * dtype.itemsize for stride in slot.strides]
        base = flat[slot.offset :] if slot.size else flat[:0]
        return as_strided(base, slot.shape, steps, writeable=flat.flags.writeable)

    # As much of a graph as ``run_node`` looks at: the step's slots under their own shapes.

    def operands(self, node: Node) -> Any:
        return self._operands

    def results(self, node: Node) -> Any:
        return self._results

    def _run(self, step: Step) -> None:
        if isinstance(step.op, Moves):
            for move in step.moves:
                target = self.array(move.target)
                target[...] = move.fill if move.source is None else self.array(move.source)
            return
        (out,) = step.outputs
        target = self.array(out)
        made = self._convolved(step) if step.spec is not None else self._computed(step, out)
        target[...] = np.asarray(made).astype(target.dtype)

    def _convolved(self, step: Step) -> Any:
        spec, constants = step.spec, self.plan.graph.constants
        assert spec is not None and step.inputs[0] is not None and step.weights
        spec = replace(spec, x_pixel=0, y_pixel=0)  # the slots say how they lie
        x = np.ascontiguousarray(self.array(step.inputs[0]))
        w = constants[step.weights].reshape(spec.w_shape)
        b = None if step.bias is None else constants[step.bias]
        oracle = integers.reference if spec.quantized else floats.reference
        return oracle(spec, x, w, b)

    def _computed(self, step: Step, out: Slot) -> Any:
        slots = list(step.inputs)
        arrays = {str(i): wide(np.array(self.array(s))) for i, s in enumerate(slots) if s}
        names = [str(i) if s else "" for i, s in enumerate(slots)]
        values = [
            Value(str(i), s.shape, s.dtype, s.quant) if s else None for i, s in enumerate(slots)
        ]
        graph = self.plan.graph
        for name in (step.weights, step.bias):
            if name is not None:
                arrays[name] = wide(graph.constants[name])
                names.append(name)
                values.append(_as_2d(graph.values[name], arrays, step))
        self._operands = tuple(values)
        self._results = (Value("y", out.shape, out.dtype, out.quant),)
        return run_node(self, Node(step.name, step.op, tuple(names), ("y",)), arrays)[0]


def _as_2d(value: Value, arrays: dict[str, Any], step: Step) -> Value:
    """Weights of a 1-D window get the height that the canonical operator has."""
    kernel = getattr(step.op, "kernel", ())
    if len(value.shape) > 1 and len(value.shape) < len(kernel) + 2:
        arrays[value.name] = arrays[value.name][None]
        return Value(value.name, (1, *value.shape), value.dtype, value.quant)
    return value


def run_plan(plan: NetworkPlan, inputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs, in the graph's shapes and types."""
    found = {}
    for name, raw in Runner(plan, inputs).outputs.items():
        value = plan.graph.values[name]
        found[name] = raw.view(np.dtype(str(value.dtype))).reshape(value.shape)
    return found

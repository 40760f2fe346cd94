"""One step after another as a program, compiled and called through ctypes."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from convgen.network.graph import Builder, Elem, Quantization
from convgen.network.ops.face import Op
from convgen.network.plan import (
    Arena,
    Buffer,
    NetworkPlan,
    Room,
    Slot,
    Step,
    WeightItem,
    contiguous,
)
from convgen.package.network.program import Functions, Program
from convgen.package.network.text import network_files
from convgen.spec.quant import Rounding
from convgen.target import Target

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """One step: its operator and arrays. ``strides``: of each input and of y, None for dense."""

    op: Op
    inputs: tuple[Array, ...]
    y_shape: tuple[int, ...]
    y_dtype: Elem = Elem.FLOAT32
    strides: tuple[tuple[int, ...] | None, ...] = ()
    quants: tuple[Quantization | None, ...] = ()
    constants: tuple[tuple[Array, Quantization | None], ...] = ()


def slots_of(case: Case, at: int) -> tuple[list[Slot], Slot]:
    def slot(place: int, shape: Sequence[int], dtype: Elem, name: str) -> Slot:
        given = case.strides[place] if place < len(case.strides) else None
        quant = case.quants[place] if place < len(case.quants) else None
        strides = contiguous(tuple(shape)) if given is None else given
        return Slot(name, name, tuple(shape), strides, dtype, quant)

    reads = [
        slot(i, a.shape if a.shape != () else (1,), Elem(a.dtype.name), f"x{at}_{i}")
        for i, a in enumerate(case.inputs)
    ]
    return reads, slot(len(reads), case.y_shape, case.y_dtype, f"y{at}")


def program(
    cases: Sequence[Case],
    target: Target,
    name: str = "net",
    rounding: Rounding = Rounding.TFLITE,
) -> Program:
    """Every case a step of its own, on inputs and outputs of its own."""
    builder = Builder(name, rounding=rounding)
    buffers = {}
    steps = []
    outputs = []
    for at, case in enumerate(cases):
        reads, y = slots_of(case, at)
        shapes = [full_shape(case, i, slot) for i, slot in enumerate(reads)]
        for slot, shape in zip(reads, shapes, strict=True):
            builder.input(slot.value, shape, slot.dtype, slot.quant)
            index = len(builder.inputs) - 1
            buffers[slot.buffer] = Buffer(slot.buffer, Room.INPUT, slot.size, index)
        buffers[y.buffer] = Buffer(y.buffer, Room.OUTPUT, y.size, at)
        builder._new(type(builder.values[reads[0].value])(y.value, y.shape, y.dtype, y.quant))
        outputs.append(y.value)
        held = [f"c{at}_{i}" for i in range(len(case.constants))]
        for key, (array, quant) in zip(held, case.constants, strict=True):
            builder.constant(key, array, quant)
        weights, bias = [*held, None, None][:2]
        steps.append(
            Step(f"s{at}", case.op, tuple(reads), (y,), (f"node{at}",), None, weights, bias)
        )
    graph = _loose(builder, outputs)
    functions = Functions(name, target, graph)
    calls = functions.calls(steps)
    arena = Arena(MappingProxyType({}), MappingProxyType({}), 0, 0, 0)
    items = []
    for step in steps:
        if size := functions.needs(step).packed:
            start = items[-1].offset + items[-1].bytes if items else 0
            items.append(WeightItem(-(-start // 64) * 64, size, step.name))
    plan = NetworkPlan(graph, tuple(steps), MappingProxyType(buffers), arena, tuple(items))
    return Program(name, plan, target, tuple(functions.found.values()), calls)


def full_shape(case: Case, place: int, slot: Slot) -> tuple[int, ...]:
    """The array's own shape: what a stride of 0 repeats is there once."""
    del case, place
    return tuple(1 if s == 0 else n for n, s in zip(slot.shape, slot.strides, strict=True))


def _loose(builder: Builder, outputs: Sequence[str]) -> Any:
    """A graph without nodes: what the program needs of it is names and values."""
    from types import SimpleNamespace

    return SimpleNamespace(
        name=builder.name,
        inputs=tuple(builder.inputs),
        outputs=tuple(outputs),
        values=builder.values,
        constants=builder.constants,
        rounding=builder.rounding,
        metadata={},
    )


def compiled(program: Program, folder: Path, flags: Sequence[str] = ()) -> ctypes.CDLL:
    """The program as a shared library; warnings are errors."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in network_files(program).items():
        (folder / file).write_text(text)
    library = folder / "net.so"
    warn = ("-Wall", "-Wextra", "-Werror", "-Wconversion")
    command = ["gcc", "-O1", "-std=c99", *warn, *flags, "-shared", "-fPIC", "-o", str(library)]
    sources = [str(folder / f"{program.name}.c"), str(folder / f"{program.name}_weights.c")]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return ctypes.CDLL(str(library))


def run_step(
    library: ctypes.CDLL, program: Program, step: int, arrays: Sequence[Array], y: Array,
    parts: int = 1,
) -> None:  # fmt: skip
    """Step ``step`` of a program of one-step cases, all parts in turn."""
    count = len(program.inputs) + len(program.outputs)
    io = (ctypes.c_void_p * count)()
    for slot, array in zip(program.steps[step].reads, arrays, strict=True):
        io[[s.value for s in program.inputs].index(slot.value)] = array.ctypes.data
    io[len(program.inputs) + step] = y.ctypes.data
    function = getattr(library, f"{program.name}_step")
    weights = ctypes.c_void_p.in_dll(library, f"{program.name}_weights")
    for part in range(parts):
        function(step, ctypes.byref(weights), io, None, part, parts)

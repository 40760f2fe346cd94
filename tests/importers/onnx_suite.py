"""ONNX's own node tests through generated C: every case that is taken, many in one library."""

from __future__ import annotations

import contextlib
import ctypes
import io
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convgen.errors import ConvgenError
from convgen.importers.onnx import import_onnx
from convgen.importers.task import Task
from convgen.network.graph import Graph
from convgen.package.network.program import Program, program_of
from convgen.package.network.text import network_files
from convgen.target import Target

TOGETHER = 40  # networks in one translation unit
LEAST = (1e-3, 1e-5)  # relative and absolute error that any case may have, as backends are allowed


@dataclass(frozen=True)
class Case:
    """``why``: what keeps the case from being built, "" where nothing does."""

    name: str
    test: Any
    graph: Graph | None
    why: str


def cases() -> Iterator[Case]:
    """Those with a model, imported with whatever shapes it has."""
    from onnx.backend.test.case.node import collect_testcases

    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    for number, test in enumerate(found):
        if test.model is not None:
            yield _imported(f"t{number}", test)


def _imported(name: str, test: Any) -> Case:
    task = Task(path="m", format="ONNX", name=name, folder="", shapes={}, cut=None)
    try:
        done = import_onnx(test.model.SerializeToString(), task)
    except ConvgenError as error:
        return Case(name, test, None, str(error))
    if done.graph is None:
        reasons = dict.fromkeys(f"{one.op}: {one.reason}" for one in done.refused)
        return Case(name, test, None, "; ".join(reasons))
    return Case(name, test, done.graph, "" if done.graph.nodes else "nothing is left to compute")


def programs(taken: Sequence[Case], target: Target) -> tuple[list[Program], dict[str, str]]:
    """A program for each case; why there is none, by the test's name."""
    made, refused = [], {}
    for case in taken:
        assert case.graph is not None
        try:
            made.append(program_of(case.graph, target, case.name))
        except ConvgenError as error:
            refused[case.test.name] = str(error)
    return made, refused


def libraries(made: Sequence[Program], folder: Path) -> dict[str, ctypes.CDLL]:
    """By a program's name the library that holds it."""
    parts = [made[at : at + TOGETHER] for at in range(0, len(made), TOGETHER)]

    def compiled(number: int) -> Path:
        lines = []
        for program in parts[number]:
            for file, text in network_files(program).items():
                (folder / file).write_text(text)
                lines += [f'#include "{file}"'] if file.endswith(".c") else []
        source, library = folder / f"unit{number}.c", folder / f"unit{number}.so"
        source.write_text("\n".join(lines) + "\n")
        command = ["gcc", "-O1", "-std=c11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
                   "-fPIC", "-shared", str(source), "-o", str(library), "-lm"]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:4000]
        return library

    with ThreadPoolExecutor(2) as pool:
        loaded = [ctypes.CDLL(str(path)) for path in pool.map(compiled, range(len(parts)))]
    return {
        program.name: library
        for part, library in zip(parts, loaded, strict=True)
        for program in part
    }


def wrong(program: Program, library: ctypes.CDLL, test: Any) -> str:
    """What differs from what ONNX expects, in words, or ""."""
    inputs, expected = test.data_sets[0]
    given = dict(zip((value.name for value in test.model.graph.input), inputs, strict=False))
    arrays = [_array(given[slot.value]).astype(str(slot.dtype)) for slot in program.inputs]
    arrays = [np.ascontiguousarray(array) for array in arrays]
    outs = [np.zeros(slot.shape, str(slot.dtype)) for slot in program.outputs]
    room = np.zeros(program.plan.arena.bytes + 64, np.uint8)
    arena = room.ctypes.data + -room.ctypes.data % 64
    weights = ctypes.addressof(ctypes.c_char.in_dll(library, f"{program.name}_weights"))
    pointers = [weights, *(array.ctypes.data for array in (*arrays, *outs)), arena]
    getattr(library, f"{program.name}_run")(*map(ctypes.c_void_p, pointers))
    relative, absolute = max(test.rtol, LEAST[0]), max(test.atol, LEAST[1])
    for got, want in zip(outs, map(_array, expected), strict=True):
        a, b = got.reshape(want.shape).astype(np.float64), want.astype(np.float64)
        if not np.allclose(a, b, relative, absolute, equal_nan=True):
            return f"{test.name}: {int((~np.isclose(a, b, relative, absolute)).sum())} of {a.size}"
    return ""


def _array(value: Any) -> Any:
    """An array, whatever ONNX's case holds it as."""
    from onnx import numpy_helper

    return np.asarray(value if not hasattr(value, "data_type") else numpy_helper.to_array(value))

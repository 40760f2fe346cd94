"""Kernels of a network's steps, each against the oracle, for vectors, their model and plain C."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from step_cases import EXACT, FLOATS, INTEGERS, ONNX, Array
from step_kernels import Case, compiled, program, run_step, slots_of

from convgen.spec.quant import Rounding
from convgen.target import TARGETS, host_target
from convgen.verify.network.judge import judge
from convgen.verify.network.task import StepTask

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")

TURNS = [
    (host_target().name, ()),
    ("x86-64-sse2", ()),
    ("generic", ("-DNET_PLAIN",)),
    ("x86-64-avx512", ("-DNET_MODEL",)),
]


def held(case: Case, at: int) -> tuple[list[Array], list[Array]]:
    """The memory of each input (a stride of 0 has one element), and what the step sees of it."""
    reads, _ = slots_of(case, at)
    memory, seen = [], []
    for slot, array in zip(reads, case.inputs, strict=True):
        low, high = slot.reach
        raw = np.ascontiguousarray(array).reshape(-1)[: high - low].copy()
        memory.append(raw)
        strides = tuple(s * raw.itemsize for s in slot.strides)
        seen.append(np.lib.stride_tricks.as_strided(raw, slot.shape, strides).copy())
    return memory, seen


def judged(
    cases: dict[str, Case],
    target: str,
    flags: tuple[str, ...],
    folder: Path,
    rounding: Rounding = Rounding.TFLITE,
) -> list[str]:
    """What is wrong with each kernel, in one part and in three."""
    made = program(list(cases.values()), TARGETS[target], rounding=rounding)
    library = compiled(made, folder, flags)
    return [
        f"{name} in {parts} parts: {found}"
        for at, (name, case) in enumerate(cases.items())
        for parts in (1, 3)
        if (found := _wrong(library, made, at, case, parts))
    ]


def _wrong(library: Any, made: Any, at: int, case: Case, parts: int) -> str:
    memory, seen = held(case, at)
    y = np.full(case.y_shape, 77, str(case.y_dtype))
    run_step(library, made, at, memory, y, parts)
    step = made.steps[at]
    task = StepTask(step.name, step.op, step.inputs, step.outputs, (), constants=case.constants)
    return judge(task, seen, [y], made.graph.rounding, 0).detail


@pytest.mark.parametrize(("target", "flags"), TURNS)
def test_kernels_of_floats_hold_their_bounds(
    target: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    assert judged(FLOATS, target, flags, tmp_path) == []


@pytest.mark.parametrize(
    ("target", "flags"), [*TURNS[:2], ("x86-64", ()), ("x86-64-avx512", ("-DNET_MODEL",)),
                          ("cortex-m4", ())]
)  # fmt: skip
def test_kernels_of_integers_are_exact(target: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    assert judged({**INTEGERS, **EXACT}, target, flags, tmp_path) == []


@pytest.mark.parametrize(("target", "flags"), [*TURNS, ("cortex-m4", ())])
def test_kernels_in_between_real_numbers_are_exact(
    target: str, flags: tuple[str, ...], tmp_path: Path
) -> None:
    """8-bit steps of ONNX graphs, which have no arithmetic of integers alone."""
    assert judged(ONNX, target, flags, tmp_path, Rounding.ONNX) == []


def outputs(case: Case) -> Iterator[tuple[StepTask, list[Array], Array]]:
    made = program([case], host_target())
    (step,) = made.steps
    task = StepTask(step.name, step.op, step.inputs, step.outputs, (), constants=case.constants)
    _, seen = held(case, 0)
    from convgen.verify.network.judge import meaning

    (want,) = meaning(task, seen, Rounding.TFLITE)
    yield task, seen, want


@pytest.mark.parametrize("name", FLOATS)
def test_the_judge_sees_a_wrong_float(name: str) -> None:
    """One output off by a thousandth of the largest is found in every kind of step."""
    for task, seen, want in outputs(FLOATS[name]):
        right = want.astype(np.float32)
        assert judge(task, seen, [right], Rounding.TFLITE, 0).detail == ""
        wrong = right.copy()
        wrong.reshape(-1)[-1] += np.abs(right).max() / 1000
        assert "outputs wrong" in judge(task, seen, [wrong], Rounding.TFLITE, 0).detail


def test_the_judge_sees_a_wrong_integer() -> None:
    for task, seen, want in outputs(INTEGERS["mean"]):
        wrong = want.copy()
        wrong.reshape(-1)[3] ^= 1
        found = judge(task, seen, [wrong], Rounding.TFLITE, 0)
        assert "1 of 200 outputs wrong" in found.detail

"""Compile plans and hold them to the verification ladder: what the kernel tests share.

A *way* is one reading of a generated file: which body, by which compiler, with which flags. Every
compilation treats warnings as errors, as the contract promises for the generated C.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import pytest
from objects import digest, made_once, precompiled, root
from tools import need
from zygote import Zygote

from convgen.choose.chooser import choose
from convgen.kernels import lower
from convgen.plan.kernel import Body, KernelPlan
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.model import ConvSpec
from convgen.spec.schedule import Schedule
from convgen.target import ISA_NAMES, TARGETS, Target
from convgen.target.host import cpu_features
from convgen.verify import Report, leeway_of, verify_plan_in_child

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")
# avx512, avx2, sse2, plain; the others differ in their 8-bit kernels alone.
ISAS = tuple(name for name, target in ISA_NAMES.items() if TARGETS[target].isa.name == name)
COMPILERS = ("gcc", "clang")


class Part(StrEnum):
    """Which body of a generated file is compiled."""

    OWN = "own"  # what the target asks for: its SIMD body, or plain C
    PLAIN = "plain"  # -D<NAME>_PLAIN: the plain C body of a SIMD file
    MODEL = "model"  # -D<NAME>_MODEL: the SIMD body over the scalar model of its operations


@dataclass(frozen=True)
class Way:
    """How a file is compiled. ``cc`` may be any of ``COMPILERS``."""

    cc: str = "gcc"
    part: Part = Part.OWN
    flags: tuple[str, ...] = ("-O2",)

    def command(self, name: str) -> list[str]:
        """The compiler call up to the sources; -Wpedantic is promised for plain C only."""
        define = [] if self.part is Part.OWN else [f"-D{name.upper()}_{self.part.upper()}"]
        pedantic = ["-Wpedantic"] if self.part is Part.PLAIN else []
        return [self.cc, *STRICT, *pedantic, *self.flags, *define]


GCC = Way()
_WARM = Zygote()


def target_of(isa: str) -> Target:
    return TARGETS[ISA_NAMES[isa]]


def body_of(plan: KernelPlan, part: Part) -> Body:
    """The body that this part of the file runs."""
    return plan.plain if part is Part.PLAIN else plan.body


def needs(isa: str, way: Way = GCC) -> None:
    """Skip the test where this machine lacks the instructions or the compiler."""
    need(way.cc)
    target = target_of(isa)
    wanted = {*target.isa.features, *(target.bf16.features if target.bf16 else ())}
    missing = wanted - cpu_features()
    if missing and way.part is Part.OWN:
        pytest.skip(f"this CPU has no {', '.join(sorted(missing))}")


@cache
def planned(spec: ConvSpec, target: Target, schedule: Schedule | None = None) -> KernelPlan:
    """The plan of a pinned schedule, or of the one that the chooser takes."""
    return lower(spec, schedule or _chosen(spec, target), target)


def _chosen(spec: ConvSpec, target: Target) -> Schedule:
    """The chooser's schedule; it thinks once a run, whichever worker asks first."""
    note = root() / f"choice-{digest(spec, target)}"
    if note.exists():
        return Schedule.from_text(note.read_text(encoding="utf-8"))
    schedule = choose(spec, target).schedule
    own = note.with_suffix(f".{os.getpid()}")
    own.write_text(str(schedule), encoding="utf-8")
    own.rename(note)
    return schedule


def compiled(name: str, files: Mapping[str, str], way: Way, *, main: str | None = None) -> Path:
    """A shared library of the layer's C, or with ``main`` (C text) a program. Built once a run.

    Skips the test where the compiler is missing, and fails it with the compiler's words when
    anything, a warning included, is said.
    """
    need(way.cc)
    texts = dict(files) if main is None else {**files, "main.c": main}
    kind = ["-shared", "-fPIC"] if main is None else ["-pthread"]
    command = [*way.command(name), *kind]
    made = "program" if main else f"{name}.so"

    def make(folder: Path) -> None:
        for file, content in texts.items():
            (folder / file).write_text(content, encoding="utf-8")
        sources = [file for file in texts if file.endswith(".c")]
        full = [*command, *precompiled(command, files.values()), *sources, "-o", made]
        run = subprocess.run(
            full, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert run.returncode == 0, f"{' '.join(full)}\n{run.stderr}"

    return made_once(digest(command, sorted(texts.items()), made), make) / made


def report_of(plan: KernelPlan, way: Way = GCC, weights: Weights | None = None) -> Report:
    """Render, compile and climb the verification ladder in a child process."""
    library = compiled(plan.spec.name, render_c(plan, weights), way)
    return verify_plan_in_child(library, plan, weights, processes=_WARM)


def prove_right(plan: KernelPlan, way: Way = GCC, weights: Weights | None = None) -> None:
    """Assert that a plan's kernel passes every check; climbed once a run for the same C."""
    library = compiled(plan.spec.name, render_c(plan, weights), way)
    baked = None if weights is None else (weights.w.tobytes(), weights.b)
    asked = digest(plan.spec, leeway_of(plan), plan.packed_bytes, plan.workspace_bytes, baked)
    passed = library.parent / f"passed-{asked}"
    if passed.exists():
        return
    report = report_of(plan, way, weights)
    failures = "; ".join(f"{check.name}: {check.detail}" for check in report.failures)
    assert report.passed, f"{plan.spec}\n{plan.schedule} on {plan.target.name}, {way}\n{failures}"
    passed.touch()

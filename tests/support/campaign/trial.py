"""Cases compiled, several files a compiler call, and verified in a child that may crash.

Every layer has its name in all its public symbols, so many fit into one library.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from campaign.grid import Case, plan_of
from convgen.errors import ScheduleError
from convgen.numbers.settle import settled
from convgen.render.source import render_c
from convgen.verify import leeway_of
from convgen.verify.child import events
from convgen.verify.report import Begin, Check

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-fPIC")
COMPILE_SECONDS, CLIMB_SECONDS = 300, 60
INTRINSICS = "immintrin.h"  # most of what a compiler reads of a vector layer: gcc reads it once
REFUSED, GENERATE, COMPILE = "refused", "generate", "compile"  # beside the ladder's own checks


@dataclass(frozen=True)
class Outcome:
    """``check``: the first that failed, "" if none did. ``detail``: how."""

    case: Case
    check: str = ""
    detail: str = ""

    @property
    def passed(self) -> bool:
        return not self.check


@dataclass(frozen=True)
class Prepared:
    """``task``: what the ladder is told of the library."""

    case: Case
    files: Mapping[str, str]
    task: dict[str, Any]

    @property
    def intrinsics(self) -> bool:
        return any(f"<{INTRINSICS}>" in text for text in self.files.values())


def try_all(cases: Sequence[Case], folder: Path) -> list[Outcome]:
    """The outcome of each, in order. Files are left under ``folder``, which must exist."""
    found: dict[int, Outcome] = {}
    groups: dict[tuple[str, str, bool], dict[int, Prepared]] = {}
    for at, case in enumerate(cases):
        named = f"{case.spec.name}_{at}"  # candidates of one shrinking share a number
        made = _prepared(replace(case, layer=_named(case, named)))
        if isinstance(made, Outcome):
            found[at] = replace(made, case=case)
        else:
            groups.setdefault((case.cc, case.flag, made.intrinsics), {})[at] = made
    for members in groups.values():
        outcomes = _compiled_and_climbed(list(members.values()), folder)
        for at, outcome in zip(members, outcomes, strict=True):
            found[at] = replace(outcome, case=cases[at])
    return [found[at] for at in range(len(cases))]


def _named(case: Case, name: str) -> Any:
    return replace(case.layer, spec=replace(case.spec, name=name))


def _prepared(case: Case) -> Prepared | Outcome:
    try:
        plan = plan_of(case.spec, case.schedule, case.target)
        weights = settled(case.layer).weights
        files = render_c(plan, weights)
        task = {
            "spec": plan.spec, "packed_bytes": plan.packed_bytes, "align": plan.align,
            "workspace_bytes": plan.workspace_bytes, "leeway": leeway_of(plan), "seed": 0,
            "weights": None if weights is None else (weights.w, weights.b),
        }  # fmt: skip
    except ScheduleError as error:
        return Outcome(case, REFUSED, str(error))
    except Exception:
        return Outcome(case, GENERATE, traceback.format_exc(limit=-4))
    return Prepared(case, files, task)


def _compiled_and_climbed(group: list[Prepared], folder: Path) -> list[Outcome]:
    """One compiler call for all, then one child; alone if something in the group is in the way."""
    library = folder / f"{group[0].case.spec.name}_of_{len(group)}.so"
    said = _compile(group, library, folder)
    if not said:
        return _climbed(group, library)
    if len(group) == 1:
        return [Outcome(group[0].case, COMPILE, said)]
    return [outcome for one in group for outcome in _compiled_and_climbed([one], folder)]


def _compile(group: list[Prepared], library: Path, folder: Path) -> str:
    """What the compiler says; "" where it is content."""
    first = group[0].case
    command = [first.cc, first.flag, *STRICT]
    if first.cc == "gcc" and group[0].intrinsics:
        command += ["-include", str(_prelude(first.flag, folder))]
    for one in group:
        for name, text in one.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        if one.case.part:
            command.append(f"-D{one.case.spec.name.upper()}_{one.case.part}")
    sources = [name for one in group for name in one.files if name.endswith(".c")]
    command += ["-shared", *sources, "-o", library.name]
    try:
        run = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end within {COMPILE_SECONDS} s: {' '.join(command)}"
    if run.returncode == 0 and not run.stderr:
        return ""
    return f"{' '.join(command)}\n{run.stderr}"


def _prelude(flag: str, folder: Path) -> Path:
    """A header with the intrinsics in it, precompiled for this flag."""
    header = folder / f"prelude{flag}.h"
    if not header.exists():
        header.write_text(f"#include <{INTRINSICS}>\n")
        command = ["gcc", flag, *STRICT, header.name, "-o", f"{header.name}.gch"]
        subprocess.run(command, cwd=folder, check=True)
    return header


# -- the ladder, in a child ------------------------------------------------------------------------


def _climbed(group: list[Prepared], library: Path) -> list[Outcome]:
    """A crash ends the child and that case; another child goes on behind it."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(group):
        rest = group[len(outcomes) :]
        lines, status = _child_lines(rest, library)
        begun = ""
        for kind, *words in lines:
            if kind == "begin":
                begun = words[0]
            else:
                outcomes.append(Outcome(rest[0].case, *words))
                rest = rest[1:]
        if rest:
            text = f"the child ended with {_ended(status)} during it"
            outcomes.append(Outcome(rest[0].case, begun or "load", text))
    return outcomes


def _ended(status: int) -> str:
    if not os.WIFSIGNALED(status):
        return f"exit code {os.waitstatus_to_exitcode(status)}"
    name = signal.Signals(os.WTERMSIG(status)).name
    return f"{name}, after {CLIMB_SECONDS} s" if name == "SIGALRM" else name


def _child_lines(group: list[Prepared], library: Path) -> tuple[list[list[str]], int]:
    """What a forked child reports, line by line, and the status that it ended with."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            for one in group:
                signal.alarm(CLIMB_SECONDS)
                for line in _reported(one, library):
                    os.write(writing, (json.dumps(line) + "\n").encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.endswith("\n")]
    _, status = os.waitpid(child, 0)
    return lines, status


def _reported(one: Prepared, library: Path) -> Iterator[list[str]]:
    """The checks that begin, then the first that failed; the timing at the end is left out."""
    failed: Check | None = None
    try:
        for event in events(library=str(library), **one.task):
            if isinstance(event, Begin):
                if event.name == "timing":
                    break
                yield ["begin", event.name]
            if isinstance(event, Check) and not event.passed and failed is None:
                failed = event
    except Exception:
        failed = Check("verification", False, traceback.format_exc(limit=-4))
    yield ["done", failed.name, failed.detail] if failed else ["done", "", ""]

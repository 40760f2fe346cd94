"""A layer or a network on one rig: emitted, compiled, linked with its self test, run, and what came
of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.cross.tools import at_home, called, compiler_of, emulator_of, wanted
from convgen.errors import ConvgenError, Exit, ToolchainError
from convgen.package.emit.files import companion_files, decide, kernel_files
from convgen.render.environment import environment
from convgen.spec.model import Layer
from convgen.target import TARGETS, Target
from convgen.target.rigs import Board, Rig
from convgen.toolchain import Compiler, Finished, Processes, code_size, shell_line

if TYPE_CHECKING:
    from convgen.network.graph import Graph

FLAGS = ("-O2", "-std=c99", "-Wall", "-Wextra")
LACKS_INSTRUCTIONS = 77  # what the self test returns then
VERDICT = re.compile(
    r"^\w+: ok, .*\((?P<isa>[\w-]+)(?:, error (?P<error>\S+))?, bits (?P<bits>[0-9a-f]{16})\)$",
    re.M,
)


class Outcome(StrEnum):
    """How far a trial came; the table's words."""

    OK = "ok"
    WRONG = "FAIL"
    CRASHED = "crashed"
    OTHER_BODY = "plain C ran"
    NOT_COMPILED = "not compiled"
    IMPOSSIBLE = "impossible"
    NO_COMPILER = "no compiler"
    NO_EMULATOR = "no emulator"
    NO_INSTRUCTIONS = "no such CPU"

    @property
    def absent(self) -> bool:
        """Nothing is known: this machine lacks a tool."""
        return self in (Outcome.NO_COMPILER, Outcome.NO_EMULATOR, Outcome.NO_INSTRUCTIONS)

    @property
    def exit_code(self) -> Exit:
        match self:
            case Outcome.IMPOSSIBLE:
                return Exit.SPEC
            case Outcome.WRONG | Outcome.CRASHED | Outcome.OTHER_BODY:
                return Exit.MISMATCH
            case Outcome.NOT_COMPILED:
                return Exit.TOOLCHAIN
            case _:
                return Exit.OK


@dataclass(frozen=True)
class Trial:
    """What came of it. ``text``: bytes of the layer's machine code; ``error``: the largest of the
    self test, as a fraction of the largest output; ``bits``: of all outputs; ``warnings``: what the
    compiler said; ``detail``: why not.
    """

    layer: str
    rig: str
    target: str
    outcome: Outcome
    compiler: str = ""
    isa: str = ""
    text: int | None = None
    error: float | None = None
    bits: str = ""
    warnings: str = ""
    detail: str = ""

    @property
    def compiles(self) -> bool:
        return self.text is not None or bool(self.isa)


@dataclass(frozen=True)
class Bench:
    """What every trial of one run shares. ``cc``: the user's compiler, None for the rig's own."""

    folder: Path
    cc: str | None
    timeout: float
    processes: Processes


@dataclass(frozen=True)
class Subject:
    """What is tried. ``files``: path to text, the self test among them; ``sources``: the C files to
    compile, of which the first is measured; ``isas``: the bodies that may run; ``libraries``: what
    they are linked with."""

    files: Mapping[str, str]
    sources: tuple[str, ...]
    isas: tuple[str, ...]
    libraries: tuple[str, ...] = ()


def of_layer(layer: Layer, target: Target) -> Subject:
    """Raises ``ConvgenError`` where the target cannot carry the layer out."""
    decided = decide(layer, target)
    files = {**kernel_files(decided), **companion_files(decided)}
    return Subject(files, (f"{layer.spec.name}.c",), tuple(decided.plan.isas))


def of_network(graph: Graph, target: Target) -> Subject:
    """The same for a network."""
    from convgen.package.network.files import package_files
    from convgen.package.network.head import libraries
    from convgen.package.network.program import program_of
    from convgen.package.network.text import isa_words, vector_isa

    program = program_of(graph, target)
    name = program.name
    isas = (isa_words(program, vector_isa(program)),)
    sources = (f"{name}.c", f"{name}_weights.c")
    return Subject(package_files(program), sources, isas, libraries(program))


def try_layer(layer: Layer, rig: Rig, bench: Bench) -> Trial:
    """Never raises for what a compiler or a kernel does: that is the outcome."""
    return try_subject(layer.spec.name, partial(of_layer, layer), rig, bench)


def try_network(graph: Graph, rig: Rig, bench: Bench) -> Trial:
    """The same for a network."""
    return try_subject(graph.name, partial(of_network, graph), rig, bench)


def try_subject(name: str, make: Callable[[Target], Subject], rig: Rig, bench: Bench) -> Trial:
    """``make``: the subject for a target; raises ``ConvgenError`` where there is none."""
    target = TARGETS[rig.target]

    def trial(outcome: Outcome, **facts: object) -> Trial:
        return Trial(name, rig.name, rig.target, outcome, **facts)  # type: ignore[arg-type]

    try:
        subject = make(target)
    except ConvgenError as error:
        return trial(Outcome.IMPOSSIBLE, detail=str(error))
    try:
        compiler = compiler_of(rig, bench.cc, bench.processes)
        if compiler is None:
            return trial(Outcome.NO_COMPILER, detail=f"needs {wanted(rig.compilers)}")
        work = bench.folder / rig.name.replace(", ", "-") / name
        _write(work, {**subject.files, **_board_files(rig)})
        warnings = _compile(subject, rig, target, compiler, work, bench)
    except ToolchainError as error:
        return trial(Outcome.NOT_COMPILED, detail=str(error))
    facts = {
        "compiler": _words(compiler),
        "text": code_size(work / f"{name}.o"),
        "warnings": warnings,
    }
    emulator = emulator_of(rig)
    if emulator is None:
        return trial(Outcome.NO_EMULATOR, detail=f"needs {wanted(rig.emulators)}", **facts)
    outcome, said = _run((*emulator, str(_program(rig, work))), subject.isas, bench)
    return trial(outcome, **facts, **said)


def _words(compiler: Compiler) -> str:
    """The program and its version; zig tells that of the clang inside."""
    name = called(compiler.command)
    inside = "clang " if "zig" in name else ""
    return f"{name} {inside}{compiler.version}"


def _program(rig: Rig, work: Path) -> Path:
    return (work / "selftest").absolute()


def _write(work: Path, files: Mapping[str, str]) -> None:
    work.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        (work / file).parent.mkdir(parents=True, exist_ok=True)
        (work / file).write_text(text, encoding="utf-8", newline="\n")


def _board_files(rig: Rig) -> dict[str, str]:
    """What stands before main where no operating system is."""
    return {} if rig.board is None else board_files(rig.board)


def board_files(board: Board) -> dict[str, str]:
    """The start-up code, what printf needs, and the memory map of a bare-metal program."""
    env = environment()
    texts = {file: f"bare-metal/{file}" for file in ("start.c", "printf.c")}
    texts["memory.ld"] = "bare-metal/memory.ld.j2"
    return {file: env.get_template(place).render(board=board) for file, place in texts.items()}


def _compile(
    subject: Subject, rig: Rig, target: Target, compiler: Compiler, work: Path, bench: Bench
) -> str:
    """The first source's object and the program ``selftest``; what the compiler said."""
    flags, (first, *others) = (*FLAGS, *target.flags), subject.sources
    measured = f"{Path(first).stem}.o"
    made = _checked((*compiler.command, *flags, "-c", first, "-o", measured), work, bench)
    linked_with: tuple[str, ...] = (measured, *others, "selftest.c")
    link = () if at_home(rig) else rig.link
    if rig.board is not None:
        linked_with += ("start.c", "printf.c")
        link = (*link, "-nostartfiles", "-T", "memory.ld")
    link = (*link, *subject.libraries)
    command = (*compiler.command, *flags, *linked_with, *link, "-o", "selftest")
    linked = _checked(command, work, bench)
    return "\n".join(run.stderr.strip() for run in (made, linked) if run.stderr.strip())


def _checked(command: Sequence[str], work: Path, bench: Bench) -> Finished:
    line = shell_line(command)
    try:
        run = bench.processes.run(command, timeout=bench.timeout, cwd=work)
    except OSError as error:
        raise ToolchainError(f"the compiler cannot be started: {error.strerror}", line) from None
    if run.timed_out:
        raise ToolchainError(f"the compiler did not finish within {bench.timeout:g} s", line)
    if run.code:
        raise ToolchainError(f"the compiler failed (exit code {run.code})", line, run.stderr)
    return run


def _run(
    command: Sequence[str], isas: Sequence[str], bench: Bench
) -> tuple[Outcome, dict[str, object]]:
    """The self test's outcome, and what it said of itself."""
    try:
        run = bench.processes.run(command, timeout=bench.timeout)
    except OSError as error:
        return Outcome.CRASHED, {"detail": f"{shell_line(command)}: {error.strerror}"}
    words = (run.stdout + run.stderr).strip()
    if run.timed_out:
        return Outcome.CRASHED, {"detail": f"did not end within {bench.timeout:g} s"}
    if run.code == LACKS_INSTRUCTIONS:
        return Outcome.NO_INSTRUCTIONS, {"detail": words}
    found = VERDICT.search(words)  # a debugger's channel may end on either stream
    if run.code == 0 and found is not None:
        said = {"isa": found["isa"], "error": float(found["error"] or 0), "bits": found["bits"]}
        return (Outcome.OK if found["isa"] in isas else Outcome.OTHER_BODY), said
    if run.code == 1 and ": FAIL" in words:
        return Outcome.WRONG, {"detail": words}
    return Outcome.CRASHED, {"detail": f"exit code {run.code}: {words}"}

"""One network's way to disk: look, decide, compile, verify, commit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convgen import __version__
from convgen.errors import ConvgenError, MismatchError, ToolchainError
from convgen.network.graph import Graph
from convgen.package.disk.binding import Bound, bind
from convgen.package.disk.cache import Entry
from convgen.package.disk.commit import (
    Place,
    commit,
    forget_failed,
    keep_failed,
    locked,
    refuse_foreign,
    work_folder,
    writing,
)
from convgen.package.disk.inputs import cffi_identity
from convgen.package.disk.library import Library, refuse_foreign_target
from convgen.package.disk.manifest import NAME as MANIFEST
from convgen.package.disk.manifest import Manifest, current, digests, read_manifest
from convgen.package.disk.result import BuildEvent, BuildOptions, BuildResult, OnEvent, Stage, State
from convgen.package.disk.session import Session
from convgen.package.disk.templates import remember_templates
from convgen.package.network.compiled import compiled_files
from convgen.package.network.files import companion_files
from convgen.package.network.head import libraries
from convgen.package.network.program import Program, program_of
from convgen.package.network.python import glue_files, python_files, weights_name
from convgen.package.network.size import refuse_over
from convgen.package.network.text import code_files, network_text
from convgen.package.network.verification import task_of
from convgen.spec.schedule import Schedule
from convgen.toolchain import COMPILE_FLAGS, Unit, awaited, compile_shared, link_flags
from convgen.verify import Check, Report
from convgen.verify.network import verify_network_in_child
from convgen.verify.report import Event


def build_network(
    graph: Graph, options: BuildOptions, on_event: OnEvent | None = None, name: str | None = None
) -> BuildResult:
    """Bring ``options.out/<name>/`` up to date with the network; ``name``: the graph's by default.

    Raises as ``build_layer``, and ``UsageError`` for steps that no kernel computes.
    """
    session = Session.open(options, on_event)
    prefix = name or graph.name
    start = time.perf_counter()
    try:
        manifest, program, state = _brought_up_to_date(session, graph, prefix)
    except ConvgenError as error:
        _say(session, prefix, Stage.FAILED, error)
        raise
    result = _result(options, graph, manifest, program, state, time.perf_counter() - start)
    _say(session, prefix, Stage.DONE, result)
    return result


def _say(
    session: Session,
    name: str,
    stage: Stage,
    outcome: BuildResult | ConvgenError | None = None,
    *,
    done: int = 0,
    steps: int = 0,
) -> None:
    if session.on_event is not None:
        session.on_event(BuildEvent(name, stage, outcome, done, steps))


def graph_digest(graph: Graph) -> str:
    """SHA-256 of everything that a network is."""
    digest = hashlib.sha256()
    parts = (
        graph.inputs, graph.outputs, graph.nodes, sorted(graph.values.items()), graph.rounding,
        sorted(graph.metadata.items()),
    )  # fmt: skip
    digest.update(repr(parts).encode())
    for name, array in sorted(graph.constants.items()):
        digest.update(f"\0{name}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _inputs(session: Session, graph: Graph, name: str) -> str:
    parts = (
        session.own, name, graph_digest(graph), repr(session.options.target),
        repr(_tuned(session, name)), repr(session.options.limits), *_tools(session),
    )  # fmt: skip
    return _hashed(parts)


def _tuned(session: Session, name: str) -> dict[str, Schedule]:
    """What was measured quickest for this network's convolutions, by their names."""
    found = session.options.tuned.items()
    return {key: how for key, how in sorted(found) if key.startswith(f"{name}_conv")}


def _tools(session: Session) -> tuple[str, ...]:
    return (
        session.compiler.id, repr((COMPILE_FLAGS, link_flags())), session.binding,
        repr(session.python), cffi_identity(),
    )  # fmt: skip


def _hashed(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _brought_up_to_date(
    session: Session, graph: Graph, name: str
) -> tuple[Manifest, Program | None, State]:
    place = Place(session.options.out, name)
    inputs = _inputs(session, graph, name)
    found = current(place.package, inputs, verified=session.options.verify)
    if found is not None:
        return found, None, "unchanged"
    with locked(place):  # another build may have been at it
        found = current(place.package, inputs, verified=session.options.verify)
        if found is not None:
            return found, None, "unchanged"
        refuse_foreign(place)
        with work_folder(place) as work:
            return _rebuilt(session, graph, place, work, inputs)


def _rebuilt(
    session: Session, graph: Graph, place: Place, work: Path, inputs: str
) -> tuple[Manifest, Program, State]:
    name = place.name
    _say(session, name, Stage.GENERATE)
    if session.cache is not None:
        remember_templates(session.cache.templates)
    refuse_foreign_target(session.options.target)
    program = program_of(
        graph,
        session.options.target,
        name,
        tuned=_tuned(session, name),
        memory=session.memory,
        on_step=lambda done, steps: _say(session, name, Stage.GENERATE, done=done, steps=steps),
    )
    refuse_over(program, session.options.limits, session.compiler, session.options.timeout)
    with ThreadPoolExecutor(1) as beside:  # NumPy works while Python prints, and others compile
        packed = beside.submit(_packed, program)
        companions = beside.submit(companion_files, program)  # takes a run of the whole oracle
        text = network_text(program)
        kernel, glue = code_files(text), glue_files(program)
        kernels = compiled_files(text, kernel[f"{name}.c"])
        texts = {**kernel, **kernels, **glue}
        key = _hashed((*(f"{k}\0{v}" for k, v in sorted(texts.items())), *_tools(session)))
        extension = f"_{name}_{key[:12]}"
        bound = bind(name, extension, glue[f"{name}_glue.h"], session.binding, session.python)
        job = Job(
            session, program, place, work, {**texts, **bound.sources()}, tuple(kernels), bound, key,
            weights_name(extension), awaited(packed),
        )  # fmt: skip
        library, state = _library(job)
        companion = awaited(companions)
    package = {**kernel, **companion, **python_files(program, extension), **bound.module}
    files = {file: text.encode() for file, text in package.items()}
    files[bound.library] = library.content
    known = digests(files) | {job.weights: job.weights_digest}
    manifest = _manifest(session, program, library, bound, inputs, known)
    files[MANIFEST] = manifest.to_text().encode()
    earlier = read_manifest(place.package)
    before = earlier.extension if earlier else None
    commit(place, work, files, extension, before, ready=(job.weights,))
    forget_failed(place)
    return manifest, program, state


@dataclass(frozen=True)
class Job:
    """A network on its way through compiler and verification.

    ``texts``: what the work folder gets; ``kernels``: the files among them that hold the network's
    own C; ``key`` names the library in the cache; ``weights``: the file of the packed weights.
    """

    session: Session
    program: Program
    place: Place
    work: Path
    texts: Mapping[str, str]
    kernels: tuple[str, ...]
    bound: Bound
    key: str
    weights: str
    weights_digest: str

    @property
    def name(self) -> str:
        return self.program.name


def _packed(program: Program) -> str:
    """Packs the weights, for everyone who asks from now on; their SHA-256."""
    return hashlib.sha256(program.blob).hexdigest()


def _library(job: Job) -> tuple[Library, State]:
    """The compiled library, from the cache where it is, and its report for these weights."""
    session, work = job.session, job.work
    judged = _hashed((job.key, job.weights_digest, session.own))
    cache = session.cache
    entry = None if cache is None else cache.get(job.key)
    state: State = "built" if entry is None else "cached"
    with writing(work):
        for file, text in job.texts.items():
            (work / file).write_text(text, encoding="utf-8", newline="\n")
        (work / job.weights).write_bytes(job.program.blob)
    if entry is None:
        _say(session, job.name, Stage.COMPILE)
        made = _compiled(job)
        facts: dict[str, Any] = {
            "commands": made.commands, "warnings": made.warnings, "code_bytes": made.code_bytes,
        }  # fmt: skip
        _keep(session, job.key, Entry(made.content, facts))
    else:
        facts = entry.facts
        made = Library(
            entry.library, tuple(facts["commands"]), tuple(facts["warnings"]), facts["code_bytes"],
            None,
        )  # fmt: skip
        (work / job.bound.library).write_bytes(entry.library)
    if not session.options.verify:
        return made, state
    known = None if cache is None else cache.get(judged)
    if known is not None:
        return replace(made, report=Report.from_mapping(known.facts["report"])), state
    _say(session, job.name, Stage.VERIFY)
    report = _verified(job, made)
    _keep(session, judged, Entry(b"", {"report": report.to_mapping()}))
    return replace(made, report=report), state


def _keep(session: Session, key: str, entry: Entry) -> None:
    """A cache that cannot be written costs time at the next build, nothing else."""
    import contextlib

    if session.cache is not None:
        with contextlib.suppress(OSError):
            session.cache.put(key, entry)


def _compiled(job: Job) -> Library:
    session, bound = job.session, job.bound
    units = (*map(Unit, job.kernels), Unit(f"{job.name}_glue.c"), *bound.units)
    try:
        done = compile_shared(
            session.compiler,
            job.work,
            units,
            bound.library,
            counted=len(job.kernels),
            flags=(*COMPILE_FLAGS, *job.program.target.flags),
            link=(*bound.link, *libraries(job.program)),
            timeout=session.options.timeout * 5,
            processes=session.processes,
        )
    except ToolchainError as error:
        kept = keep_failed(job.place, job.work, str(error))
        message, _, _ = str(error).partition("\n")
        raise ToolchainError(f"{message}; {kept}", error.command, error.stderr) from None
    content = done.library.read_bytes()
    return Library(content, done.commands, done.warnings, done.code_bytes, None)


def _verified(job: Job, made: Library) -> Report:
    """Steps that an earlier build judged, of this very code and with these weights, are not judged
    again: an interrupted build goes on where it was."""
    session, program = job.session, job.program
    library, weights = job.work / job.bound.library, job.work / job.weights
    if session.cache is None:
        task = task_of(program, library, weights)
    else:
        record, code = session.cache.steps(job.key), _hashed((job.key, session.own))
        task = task_of(program, library, weights, record=record, code=code)
    steps, judged = len(task.steps), 0

    def heard(event: Event) -> None:
        nonlocal judged
        if isinstance(event, Check) and event.name.startswith("step "):
            judged += 1
            _say(session, program.name, Stage.VERIFY, done=judged, steps=steps)

    report = verify_network_in_child(task, processes=session.processes, on_event=heard)
    if report.passed:
        return report
    lines = [f"{check.name}: {check.detail or 'failed'}" for check in report.failures]
    findings = "\n".join(f"  {line}" for line in lines or ["no check ran"])
    kept = keep_failed(job.place, job.work, f"{findings}\n" + "\n".join(made.commands) + "\n")
    raise MismatchError(
        f"the network {program.name} failed its verification and is not used\n{findings}\n"
        f"This is convgen's fault or the compiler's; {kept}, with a report; an earlier build, if "
        "any, is as it was"
    )


def _manifest(
    session: Session,
    program: Program,
    library: Library,
    bound: Bound,
    inputs: str,
    files: Mapping[str, str],
) -> Manifest:
    from convgen.package.network.text import isa_words, vector_isa

    tuned = {key: str(how) for key, how in program.tuned.items()}
    return Manifest(
        name=program.name,
        version=__version__,
        inputs=inputs,
        files=files,
        extension=bound.extension,
        target=program.target.name,
        isa=isa_words(program, vector_isa(program)),
        schedule=f"{len(program.steps)} steps, {len(program.functions)} functions"
        + (f", {len(tuned)} of them tuned" if tuned else ""),
        reason=f"arena {program.plan.arena.bytes} bytes, {program.macs} multiply-adds",
        binding=session.binding,
        compiler=str(session.compiler),
        commands=library.commands,
        warnings=library.warnings,
        code_bytes=library.code_bytes,
        limits=session.options.limits.to_mapping(),
        notes=(),
        report=library.report,
        tuned=tuned,
    )


def _result(
    options: BuildOptions,
    graph: Graph,
    manifest: Manifest,
    program: Program | None,
    state: State,
    seconds: float,
) -> BuildResult:
    shapes = [graph.values[name].shape for name in graph.outputs]
    return BuildResult(
        name=manifest.name,
        path=options.out / manifest.name,
        state=state,
        report=manifest.report,
        binding=manifest.binding,
        compiler=manifest.compiler,
        warnings=manifest.warnings,
        seconds=seconds,
        code_bytes=manifest.code_bytes,
        schedule=manifest.schedule,
        reason=manifest.reason,
        target=manifest.target,
        isa=manifest.isa,
        macs=graph.total_macs if program is None else program.macs,
        output_shape=shapes[0],
        notes=(),
    )

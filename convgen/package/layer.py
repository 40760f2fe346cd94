"""One layer's way to disk: look, generate, compile, verify, commit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convgen import __version__
from convgen.errors import ConvgenError, MismatchError, ToolchainError, UsageError
from convgen.package.binding import Binding, Bound, Python, bind, choose_binding, this_python
from convgen.package.cache import Cache, Entry, default_cache_root
from convgen.package.commit import (
    Place,
    commit,
    forget_failed,
    keep_failed,
    locked,
    refuse_foreign,
    work_folder,
    writing,
)
from convgen.package.inputs import inputs_digest, own_digest
from convgen.package.manifest import NAME as MANIFEST
from convgen.package.manifest import Manifest, digests, intact, read_manifest
from convgen.package.result import BuildEvent, BuildOptions, BuildResult, OnEvent, Stage, State
from convgen.spec.model import Layer
from convgen.toolchain import Compiler, Processes, Unit, compile_shared, find_compiler
from convgen.verify import Report, tiling_of, verify_in_child

if TYPE_CHECKING:
    from convgen.package.emit import Decided


@dataclass(frozen=True)
class Session:
    """What the layers of one build share; found out once."""

    options: BuildOptions
    compiler: Compiler
    python: Python
    binding: Binding
    own: str
    cache: Cache | None
    processes: Processes
    on_event: OnEvent | None

    @classmethod
    def open(cls, options: BuildOptions, on_event: OnEvent | None = None) -> Session:
        """Raises ``ToolchainError`` (no compiler), ``UsageError`` (API binding, no Python.h)."""
        processes = Processes()
        python = this_python()
        binding = choose_binding(options.binding, python)
        compiler = find_compiler(options.cc, processes)
        cache = Cache(options.cache_root or default_cache_root()) if options.use_cache else None
        return cls(options, compiler, python, binding, own_digest(), cache, processes, on_event)

    def say(self, layer: Layer, stage: Stage, outcome: BuildResult | ConvgenError | None) -> None:
        if self.on_event is not None:
            self.on_event(BuildEvent(layer.spec.name, stage, outcome))


@dataclass(frozen=True)
class Made:
    """A compiled library and what is known of it."""

    library: bytes
    commands: tuple[str, ...]
    warnings: tuple[str, ...]
    code_bytes: int | None
    report: Report | None


def build_in(session: Session, layer: Layer) -> BuildResult:
    """See ``build.build_layer``."""
    start = time.perf_counter()
    try:
        manifest, state, warnings = _brought_up_to_date(session, layer)
    except ConvgenError as error:
        session.say(layer, Stage.FAILED, error)
        raise
    seconds = time.perf_counter() - start
    result = _result(session, layer, manifest, state, warnings, seconds)
    session.say(layer, Stage.DONE, result)
    return result


def _brought_up_to_date(session: Session, layer: Layer) -> tuple[Manifest, State, tuple[str, ...]]:
    """The package's manifest, what had to be done, and what went wrong beside the package."""
    place = Place(session.options.out, layer.spec.name)
    inputs = _inputs(session, layer)
    found = _unchanged(session, place, inputs)
    if found is not None:
        return found, "unchanged", ()
    with locked(place):
        found = _unchanged(session, place, inputs)  # another build may have been at it
        if found is not None:
            return found, "unchanged", ()
        refuse_foreign(place)
        with work_folder(place) as work:
            return _rebuilt(session, layer, place, work, inputs)


def _inputs(session: Session, layer: Layer) -> str:
    s = session
    try:
        return inputs_digest(layer, s.options.target, s.compiler, s.binding, s.python, s.own)
    except OSError:
        return ""  # weights that cannot be read: loading them says so properly


def _unchanged(session: Session, place: Place, inputs: str) -> Manifest | None:
    manifest = read_manifest(place.package)
    if manifest is None or manifest.inputs != inputs:
        return None
    if session.options.verify and (manifest.report is None or not manifest.report.passed):
        return None
    return manifest if intact(place.package, manifest) else None


def _rebuilt(
    session: Session, layer: Layer, place: Place, work: Path, inputs: str
) -> tuple[Manifest, State, tuple[str, ...]]:
    from convgen.package.emit import companion_files, decide, kernel_files
    from convgen.package.python_text import glue_files, python_files

    session.say(layer, Stage.GENERATE, None)
    decided = decide(layer, session.options.target)
    name, plan = layer.spec.name, decided.plan
    kernel, glue = kernel_files(decided), glue_files(plan)
    key = _key(session, {**kernel, **glue}, inputs)
    bound = bind(
        name, f"_{name}_{key[:12]}", glue[f"{name}_glue.h"], session.binding, session.python
    )
    texts = {**kernel, **glue, **bound.sources}
    made, state, warnings = _made(session, decided, place, work, texts, bound, key)
    companions = companion_files(decided)
    package = {**kernel, **companions, **python_files(layer, plan, bound.extension), **bound.module}
    files = {file: text.encode() for file, text in package.items()}
    files[bound.library] = made.library
    manifest = Manifest(
        name=name,
        version=__version__,
        inputs=inputs,
        files=digests(files),
        extension=bound.extension,
        target=plan.target.name,
        isa=plan.body.isa.name,
        schedule=str(plan.schedule),
        reason=decided.reason,
        binding=session.binding,
        compiler=str(session.compiler),
        commands=made.commands,
        warnings=made.warnings,
        code_bytes=made.code_bytes,
        report=made.report,
    )
    files[MANIFEST] = manifest.to_text().encode()
    earlier = read_manifest(place.package)
    commit(place, work, files, bound.extension, earlier.extension if earlier else None)
    forget_failed(place)
    return manifest, state, warnings


def _key(session: Session, texts: Mapping[str, str], inputs: str) -> str:
    """The name of the compiled library: every text and every input stands for itself."""
    digest = hashlib.sha256(inputs.encode())
    for name, text in sorted(texts.items()):
        digest.update(f"\0{name}\0{text}".encode())
    return digest.hexdigest()


def _made(
    session: Session,
    decided: Decided,
    place: Place,
    work: Path,
    texts: Mapping[str, str],
    bound: Bound,
    key: str,
) -> tuple[Made, State, tuple[str, ...]]:
    """The library, from the cache if it is there, verified if that is wanted."""
    layer, verify = decided.layer, session.options.verify
    if verify:
        _refuse_unverifiable(decided)
    made = _cached(session, key)
    state: State = "built" if made is None else "cached"
    if made is not None and (made.report is not None or not verify):
        return made, state, ()
    with writing(work):
        for name, text in texts.items():
            (work / name).write_text(text, encoding="utf-8", newline="\n")
        if made is not None:
            (work / bound.library).write_bytes(made.library)
    if made is None:
        session.say(layer, Stage.COMPILE, None)
        made = _compiled(session, decided, place, work, bound)
    if verify:
        session.say(layer, Stage.VERIFY, None)
        made = _verified(decided, place, work, bound, made)
    return made, state, _stored(session, key, made)


def _refuse_unverifiable(decided: Decided) -> None:
    from convgen.target.cpu import cpu_features

    isa = decided.plan.body.isa
    missing = sorted(set(isa.features) - cpu_features())
    if missing:
        raise UsageError(
            f"layer {decided.layer.spec.name}: this CPU lacks {', '.join(missing)}, so a kernel "
            f"for {isa.name} cannot be verified here; build it with --no-verify, or emit its C "
            "and run selftest.c where it belongs"
        )


def _compiled(session: Session, decided: Decided, place: Place, work: Path, bound: Bound) -> Made:
    name = decided.layer.spec.name
    units = (Unit(f"{name}.c"), Unit(f"{name}_glue.c"), *bound.units)
    try:
        done = compile_shared(
            session.compiler,
            work,
            units,
            bound.library,
            link=bound.link,
            timeout=session.options.timeout,
            processes=session.processes,
        )
    except ToolchainError as error:
        kept = keep_failed(place, work, str(error))
        message, _, _ = str(error).partition("\n")
        raise ToolchainError(
            f"layer {name}: {message}; the generated C is kept in {kept}, where the command can "
            "be run again",
            error.command,
            error.stderr,
        ) from None
    library = done.library.read_bytes()
    return Made(library, done.commands, done.warnings, done.code_bytes, None)


def _verified(decided: Decided, place: Place, work: Path, bound: Bound, made: Made) -> Made:
    plan = decided.plan
    report = verify_in_child(
        work / bound.library,
        plan.spec,
        packed_bytes=plan.packed_bytes,
        workspace_bytes=plan.workspace_bytes,
        align=plan.align,
        weights=decided.weights,
        tiling=tiling_of(plan),
    )
    if report.passed:
        return Made(made.library, made.commands, made.warnings, made.code_bytes, report)
    lines = [f"{check.name}: {check.detail or 'failed'}" for check in report.failures]
    findings = "\n".join(f"  {line}" for line in lines or ["no check ran"])
    text = f"{findings}\nschedule: {plan.schedule}\ncompiler commands:\n"
    kept = keep_failed(place, work, text + "\n".join(made.commands) + "\n")
    raise MismatchError(
        f"layer {plan.spec.name}: the kernel failed its verification and is not used\n"
        f"{findings}\nThis is convgen's fault or the compiler's. The generated C and the report "
        f"are kept in {kept}; an earlier build, if any, is as it was"
    )


def _cached(session: Session, key: str) -> Made | None:
    entry = session.cache.get(key) if session.cache is not None else None
    if entry is None:
        return None
    facts = entry.facts
    report = facts["report"]
    return Made(
        entry.library,
        tuple(facts["commands"]),
        tuple(facts["warnings"]),
        facts["code_bytes"],
        None if report is None else Report.from_mapping(report),
    )


def _stored(session: Session, key: str, made: Made) -> tuple[str, ...]:
    """Put the library into the cache; a cache that cannot be written is worth a warning."""
    if session.cache is None:
        return ()
    facts = {
        "commands": made.commands,
        "warnings": made.warnings,
        "code_bytes": made.code_bytes,
        "report": None if made.report is None else made.report.to_mapping(),
    }
    try:
        session.cache.put(key, Entry(made.library, facts))
    except OSError as error:
        return (f"cache {session.cache.root}: not written ({error.strerror or error})",)
    return ()


def _result(
    session: Session,
    layer: Layer,
    manifest: Manifest,
    state: State,
    warnings: tuple[str, ...],
    seconds: float,
) -> BuildResult:
    return BuildResult(
        name=manifest.name,
        path=session.options.out / layer.spec.name,
        state=state,
        report=manifest.report,
        binding=manifest.binding,
        compiler=manifest.compiler,
        warnings=(*manifest.warnings, *warnings),
        seconds=seconds,
        code_bytes=manifest.code_bytes,
        schedule=manifest.schedule,
        reason=manifest.reason,
        target=manifest.target,
        isa=manifest.isa,
        macs=layer.spec.macs,
        output_shape=layer.spec.y_shape,
    )

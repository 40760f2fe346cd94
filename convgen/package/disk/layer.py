"""One layer's way to disk: look, generate, compile, verify, commit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convgen import __version__
from convgen.errors import ConvgenError
from convgen.package.disk.binding import Bound, bind
from convgen.package.disk.commit import (
    Place,
    commit,
    forget_failed,
    locked,
    refuse_foreign,
    work_folder,
)
from convgen.package.disk.inputs import inputs_digest
from convgen.package.disk.library import DeepStack, Inaccurate, Library, Oversize, make_library
from convgen.package.disk.manifest import NAME as MANIFEST
from convgen.package.disk.manifest import Manifest, current, digests, read_manifest
from convgen.package.disk.result import BuildResult, Stage, State
from convgen.package.disk.session import Session
from convgen.spec.model import Layer

if TYPE_CHECKING:
    from convgen.package.emit.files import Decided
    from convgen.verify import Report


def build_in(session: Session, layer: Layer) -> BuildResult:
    """Bring one layer's package up to date; raises as ``build.build_layer`` says."""
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
    found = current(place.package, inputs, verified=session.options.verify)
    if found is not None:
        return found, "unchanged", ()
    if not inputs:  # files that cannot be read: refused before a folder is made or locked
        from convgen.numbers.settle import settled

        settled(layer)
    with locked(place):  # another build may have been at it
        found = current(place.package, inputs, verified=session.options.verify)
        if found is not None:
            return found, "unchanged", ()
        refuse_foreign(place)
        with work_folder(place) as work:
            return _rebuilt(session, layer, place, work, inputs)


def _inputs(session: Session, layer: Layer) -> str:
    s = session
    try:
        return inputs_digest(
            layer, s.options.target, s.compiler, s.binding, s.python, s.own, s.tuned(layer),
            s.options.limits,
        )  # fmt: skip
    except OSError:
        return ""  # weights that cannot be read: loading them says so properly


def _rebuilt(
    session: Session, layer: Layer, place: Place, work: Path, inputs: str
) -> tuple[Manifest, State, tuple[str, ...]]:
    from convgen.package.emit.files import companion_files, kernel_files
    from convgen.package.emit.python_text import python_files

    done = _made(session, layer, place, work, inputs)
    decided, bound = done.decided, done.bound
    package = {
        **kernel_files(decided),
        **companion_files(decided),
        **python_files(decided.layer, decided.plan, bound.extension),
        **bound.module,
    }
    files = {file: text.encode() for file, text in package.items()}
    files[bound.library] = done.library.content
    manifest = _manifest(session, done, inputs, digests(files))
    files[MANIFEST] = manifest.to_text().encode()
    earlier = read_manifest(place.package)
    commit(place, work, files, bound.extension, earlier.extension if earlier else None)
    forget_failed(place)
    return manifest, done.state, done.warnings


@dataclass(frozen=True)
class Made:
    """A kernel that stood every test. ``notes``: what was tried before it, and why it was left."""

    decided: Decided
    bound: Bound
    library: Library
    state: State
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def _made(session: Session, layer: Layer, place: Place, work: Path, inputs: str) -> Made:
    """Decide, compile and verify; again, without what turned out too large or not accurate."""
    from convgen.choose.fit import NOTHING_OUT
    from convgen.package.emit.files import decide

    limits, out, notes = session.options.limits, NOTHING_OUT, []
    while True:
        session.say(layer, Stage.GENERATE, None)
        tuned = session.tuned(layer)
        decided = decide(
            layer, session.options.target, tuned, limits, out, compiles=True, memory=session.memory
        )
        schedule = decided.plan.schedule
        try:
            bound, library, state, warnings = _attempt(session, decided, place, work, inputs)
        except Oversize as found:
            out = out.without_schedule(schedule, found.size)
        except DeepStack as found:
            out = out.without_stack(schedule, found.stack)
        except Inaccurate as found:
            notes.append(_fallback_note(decided, found.report))
            out = out.without_family(schedule.family)
        else:
            return Made(decided, bound, library, state, warnings, tuple(notes))


def _attempt(
    session: Session, decided: Decided, place: Place, work: Path, inputs: str
) -> tuple[Bound, Library, State, tuple[str, ...]]:
    from convgen.package.emit.files import kernel_files
    from convgen.package.emit.python_text import glue_files

    name = decided.layer.spec.name
    kernel, glue = kernel_files(decided), glue_files(decided.plan)
    key = _key({**kernel, **glue}, inputs)
    bound = bind(
        name, f"_{name}_{key[:12]}", glue[f"{name}_glue.h"], session.binding, session.python
    )
    texts = {**kernel, **glue, **bound.sources}
    return bound, *make_library(session, decided, place, work, texts, bound, key)


def _fallback_note(decided: Decided, report: Report) -> str:
    missed = "; ".join(f"{check.name}: {check.detail}" for check in report.failures)
    return (
        f"the kernel of {decided.plan.schedule} does not hold its error bound "
        f"({report.bound_ratio:.2f} times the bound; {missed}), so another family takes its place"
    )


def _manifest(session: Session, done: Made, inputs: str, files: Mapping[str, str]) -> Manifest:
    from convgen.choose.alternatives import alternatives

    plan, made, findings = done.decided.plan, done.library, done.decided.settled.findings
    return Manifest(
        name=plan.spec.name,
        version=__version__,
        inputs=inputs,
        files=files,
        extension=done.bound.extension,
        target=plan.target.name,
        isa=", ".join(plan.isas),
        schedule=str(plan.schedule),
        reason=done.decided.reason,
        binding=session.binding,
        compiler=str(session.compiler),
        commands=made.commands,
        warnings=made.warnings,
        code_bytes=made.code_bytes,
        limits=session.options.limits.to_mapping(),
        notes=(*done.notes, *map(str, alternatives(plan))),
        report=made.report,
        sqnr=None if findings is None else findings.cost,
    )


def _key(texts: Mapping[str, str], inputs: str) -> str:
    """The name of the compiled library: every text and every input stands for itself."""
    digest = hashlib.sha256(inputs.encode())
    for name, text in sorted(texts.items()):
        digest.update(f"\0{name}\0{text}".encode())
    return digest.hexdigest()


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
        layout=layer.spec.layout,
        notes=manifest.notes,
        sqnr=manifest.sqnr,
        dtype=layer.spec.dtype,
    )

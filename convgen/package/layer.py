"""One layer's way to disk: look, generate, compile, verify, commit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from convgen import __version__
from convgen.errors import ConvgenError
from convgen.package.binding import bind
from convgen.package.commit import (
    Place,
    commit,
    forget_failed,
    locked,
    refuse_foreign,
    work_folder,
)
from convgen.package.inputs import inputs_digest
from convgen.package.library import Library, make_library
from convgen.package.manifest import NAME as MANIFEST
from convgen.package.manifest import Manifest, digests, intact, read_manifest
from convgen.package.result import BuildResult, Stage, State
from convgen.package.session import Session
from convgen.spec.model import Layer

if TYPE_CHECKING:
    from convgen.package.emit import Decided


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
        return inputs_digest(
            layer, s.options.target, s.compiler, s.binding, s.python, s.own, s.tuned(layer)
        )
    except OSError:
        return ""  # weights that cannot be read: loading them says so properly


def _unchanged(session: Session, place: Place, inputs: str) -> Manifest | None:
    manifest = read_manifest(place.package)
    if manifest is None or not inputs or manifest.inputs != inputs:
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
    decided = decide(layer, session.options.target, session.tuned(layer))
    name, plan = layer.spec.name, decided.plan
    kernel, glue = kernel_files(decided), glue_files(plan)
    key = _key({**kernel, **glue}, inputs)
    bound = bind(
        name, f"_{name}_{key[:12]}", glue[f"{name}_glue.h"], session.binding, session.python
    )
    texts = {**kernel, **glue, **bound.sources}
    made, state, warnings = make_library(session, decided, place, work, texts, bound, key)
    companions = companion_files(decided)
    package = {**kernel, **companions, **python_files(layer, plan, bound.extension), **bound.module}
    files = {file: text.encode() for file, text in package.items()}
    files[bound.library] = made.content
    manifest = _manifest(session, decided, made, inputs, bound.extension, digests(files))
    files[MANIFEST] = manifest.to_text().encode()
    earlier = read_manifest(place.package)
    commit(place, work, files, bound.extension, earlier.extension if earlier else None)
    forget_failed(place)
    return manifest, state, warnings


def _manifest(
    session: Session,
    decided: Decided,
    made: Library,
    inputs: str,
    extension: str,
    files: Mapping[str, str],
) -> Manifest:
    plan = decided.plan
    return Manifest(
        name=plan.spec.name,
        version=__version__,
        inputs=inputs,
        files=files,
        extension=extension,
        target=plan.target.name,
        isa=", ".join(plan.isas),
        schedule=str(plan.schedule),
        reason=decided.reason,
        binding=session.binding,
        compiler=str(session.compiler),
        commands=made.commands,
        warnings=made.warnings,
        code_bytes=made.code_bytes,
        report=made.report,
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
    )

"""A layer made anew: generated, compiled, verified, committed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from convgen import __version__
from convgen.choose.alternatives import alternatives
from convgen.choose.fit import NOTHING_OUT
from convgen.package.disk.binding import Bound, bind
from convgen.package.disk.commit import Place, commit, forget_failed
from convgen.package.disk.library import DeepStack, Inaccurate, Library, Oversize, make_library
from convgen.package.disk.manifest import NAME as MANIFEST
from convgen.package.disk.manifest import Manifest, digests, read_manifest
from convgen.package.disk.result import Stage, State
from convgen.package.disk.session import Session
from convgen.package.disk.templates import remember_templates
from convgen.package.emit.files import (
    Decided,
    companion_files,
    decide,
    kernel_bytes,
)
from convgen.package.emit.python_text import glue_files, python_files
from convgen.render.baked import Form
from convgen.spec.model import Layer
from convgen.toolchain import CompilerKind
from convgen.verify import Report

MANY_WEIGHTS = 1 << 16  # beyond these a package has them in a binary file
ASSEMBLING = frozenset({CompilerKind.GCC, CompilerKind.CLANG})


def rebuilt(
    session: Session, layer: Layer, place: Place, work: Path, inputs: str
) -> tuple[Manifest, State, tuple[str, ...]]:
    """Generate, compile, verify and commit: what ``layer.build_in`` does where there is nothing."""
    if session.cache is not None:
        remember_templates(session.cache.templates)
    done = _made(session, layer, place, work, inputs)
    decided, bound, form = done.decided, done.bound, weights_form(session, done.decided)
    package = {
        **companion_files(decided, form=form),
        **python_files(decided.layer, decided.plan, bound.extension),
        **bound.module,
    }
    files = {**done.kernel, **{file: text.encode() for file, text in package.items()}}
    files[bound.library] = done.library.content
    manifest = _manifest(session, done, inputs, digests(files))
    files[MANIFEST] = manifest.to_text().encode()
    earlier = read_manifest(place.package)
    commit(place, work, files, bound.extension, earlier.extension if earlier else None)
    forget_failed(place)
    return manifest, done.state, done.warnings


@dataclass(frozen=True)
class Made:
    """A kernel that stood every test. ``kernel``: its files; ``notes``: what was tried before it,
    and why it was left."""

    decided: Decided
    kernel: Mapping[str, bytes]
    bound: Bound
    library: Library
    state: State
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()


def _made(session: Session, layer: Layer, place: Place, work: Path, inputs: str) -> Made:
    """Decide, compile and verify; again, without what turned out too large or not accurate."""
    limits, out, notes = session.options.limits, NOTHING_OUT, []
    while True:
        session.say(layer, Stage.GENERATE, None)
        tuned = session.tuned(layer)
        decided = decide(
            layer, session.options.target, tuned, limits, out, compiles=True, memory=session.memory
        )
        schedule = decided.plan.schedule
        try:
            made = _attempt(session, decided, place, work, inputs)
        except Oversize as found:
            out = out.without_schedule(schedule, found.size)
        except DeepStack as found:
            out = out.without_stack(schedule, found.stack)
        except Inaccurate as found:
            notes.append(_fallback_note(decided, found.report))
            out = out.without_family(schedule.family)
        else:
            return replace(made, notes=tuple(notes))


def _attempt(session: Session, decided: Decided, place: Place, work: Path, inputs: str) -> Made:
    name = decided.layer.spec.name
    kernel = kernel_bytes(decided, weights_form(session, decided))
    glue = glue_files(decided.plan)
    own = kernel | {file: text.encode() for file, text in glue.items()}
    key = _key(own, inputs)
    bound = bind(
        name, f"_{name}_{key[:12]}", glue[f"{name}_glue.h"], session.binding, session.python
    )

    def files() -> dict[str, bytes]:
        return own | {file: text.encode() for file, text in bound.sources().items()}

    library, state, warnings = make_library(session, decided, place, work, files, bound, key)
    return Made(decided, kernel, bound, library, state, warnings)


def weights_form(session: Session, decided: Decided) -> Form:
    """Many baked weights are taken in by the assembler, where there is one that does so: GCC's and
    clang's on ELF. gcc 12 took 7 s and 350 MB to read a million of them as numbers."""
    made = decided.weights
    compiler = session.compiler
    elf = compiler.kind in ASSEMBLING and "linux" in compiler.machine
    return Form.BIN if elf and made is not None and made.w.size > MANY_WEIGHTS else Form.INSIDE


def _fallback_note(decided: Decided, report: Report) -> str:
    missed = "; ".join(f"{check.name}: {check.detail}" for check in report.failures)
    return (
        f"the kernel of {decided.plan.schedule} does not hold its error bound "
        f"({report.bound_ratio:.2f} times the bound; {missed}), so another family takes its place"
    )


def _manifest(session: Session, done: Made, inputs: str, files: Mapping[str, str]) -> Manifest:
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


def _key(files: Mapping[str, bytes], inputs: str) -> str:
    """The name of the compiled library: every file and every input stands for itself."""
    digest = hashlib.sha256(inputs.encode())
    for name, data in sorted(files.items()):
        digest.update(f"\0{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()

"""One layer's way to disk: found as it should be, or made anew (``making``)."""

from __future__ import annotations

import time

from convgen.errors import ConvgenError
from convgen.package.disk.commit import (
    Place,
    locked,
    refuse_foreign,
    work_folder,
)
from convgen.package.disk.inputs import inputs_digest
from convgen.package.disk.manifest import Manifest, current
from convgen.package.disk.result import BuildResult, Stage, State
from convgen.package.disk.session import Session
from convgen.spec.model import Layer


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
            from convgen.package.disk.making import rebuilt

            return rebuilt(session, layer, place, work, inputs)


def _inputs(session: Session, layer: Layer) -> str:
    s = session
    try:
        return inputs_digest(
            layer, s.options.target, s.compiler, s.binding, s.python, s.own, s.tuned(layer),
            s.options.limits,
        )  # fmt: skip
    except OSError:
        return ""  # weights that cannot be read: loading them says so properly


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

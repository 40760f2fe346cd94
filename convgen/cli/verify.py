"""``convgen verify``: the whole verification ladder again, on packages that are built already."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.cli.files import changed_files, library_of
from convgen.cli.options import Cut, Json, NetName, OutDir, Quiet, Shapes, Specs, Verbose
from convgen.cli.output import session
from convgen.errors import ConvgenError, MismatchError, UsageError

if TYPE_CHECKING:
    from convgen.package.disk.manifest import Manifest
    from convgen.spec.model import Layer
    from convgen.verify import Check, Report

OUT = "build"
HEAD = ("layer", "check", "result", "detail")


def verify(
    specs: Specs,
    out_dir: OutDir = OUT,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run every check on built layers and networks again.

    \b
    Example:  convgen verify layer.yaml
    """
    with session("verify", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.networks import parted, read_networks, reading, verify_network
        from convgen.cli.sources import distinct, read_layers

        out.payload |= {"out": out_dir, "layers": []}
        rows: list[tuple[str, ...]] = []
        failures: list[tuple[str, MismatchError]] = []
        kinds = parted(specs)
        graphs = read_networks(kinds.networks, reading(shape, cut, name), out)
        layers = distinct(read_layers(kinds.layers, out), out)
        jobs: list[tuple[str, Callable[[Path], Report]]] = [
            *((layer.spec.name, partial(verify_layer, layer)) for layer in layers),
            *((graph.name, partial(verify_network, graph)) for graph in graphs),
        ]
        for one, job in jobs:
            place = Path(out_dir) / one
            try:
                report = job(place)
            except ConvgenError as error:
                out.fail(error, one)
                continue
            out.payload["layers"].append(_facts(one, place, report))
            rows += [(one, c.name, _word(c), c.detail) for c in report.checks]
            if not report.passed:
                failures.append((one, _mismatch(report)))
        if rows and not out.quiet:
            out.table(HEAD, rows)
        for one, failure in failures:
            out.fail(failure, one)


def verify_layer(layer: Layer, place: Path) -> Report:
    """The report on the package at ``place``; its first check is that its files are untouched.

    Raises ``UsageError`` when the layer is not built there, or was built from something else.
    """
    from convgen.package.disk.manifest import read_manifest
    from convgen.verify import Check, Report

    manifest = read_manifest(place)
    if manifest is None:
        raise UsageError(f"{place}: not built; run {_build_command(layer, place)} first")
    touched = changed_files(place, manifest)
    if touched:
        detail = f"changed since the build: {', '.join(touched)}; build again"
        nan = float("nan")
        return Report((Check("files", False, detail),), nan, nan, nan)
    report = _run(layer, place, manifest)
    files = Check("files", True, f"{len(manifest.files)} files are as the build wrote them")
    return replace(report, checks=(files, *report.checks))


def _build_command(layer: Layer, place: Path) -> str:
    """What a user types so that the layer stands at ``place``."""
    words = ["convgen", "build", layer.source]
    if place.parent != Path(OUT):
        words += ["-o", str(place.parent)]
    return shlex.join(words)


def _run(layer: Layer, place: Path, manifest: Manifest) -> Report:
    """The ladder on the compiled library, once its C is known to be what the spec gives."""
    from convgen.package.emit.files import decide, kernel_bytes, weights_bin
    from convgen.render.baked import Form
    from convgen.spec.schedule import Schedule
    from convgen.target import TARGETS
    from convgen.verify import verify_plan_in_child

    target = TARGETS.get(manifest.target)
    built = Schedule.from_text(manifest.schedule)  # whatever limits or fallbacks led to it
    decided = None if target is None else decide(layer, target, built)
    form = Form.BIN if weights_bin(layer.spec.name) in manifest.files else Form.INSIDE
    if decided is None or any(
        (place / name).read_bytes() != data for name, data in kernel_bytes(decided, form).items()
    ):
        raise UsageError(
            f"{place} was built from another spec, other weights or another version of convgen "
            f"than these; run {_build_command(layer, place)} first"
        )
    library = place / library_of(manifest)
    return verify_plan_in_child(library, decided.plan, decided.weights)


def _mismatch(report: Report) -> MismatchError:
    wrong = "; ".join(f"{c.name}: {c.detail}" for c in report.failures)
    return MismatchError(f"the built kernel failed {len(report.failures)} of its checks: {wrong}")


def _word(check: Check) -> str:
    if not check.passed:
        return "FAILED"
    return "passed" if check.available else "not possible here"


def _facts(name: str, place: Path, report: Report) -> dict[str, Any]:
    from convgen.cli.reports import report_facts

    return {"name": name, "path": str(place), **report_facts(report)}

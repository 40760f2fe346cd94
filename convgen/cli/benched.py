"""Built packages as ``convgen bench`` measures them: called from Python, as their users do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.cli.output import Output
from convgen.errors import ConvgenError

if TYPE_CHECKING:
    from convgen.bench.run import Subject
    from convgen.package.disk.build import BuildResult
    from convgen.spec.elements import Arrays
    from convgen.spec.model import Layer
    from convgen.target import Target
    from convgen.verify.fills import Fill


def build_subjects(
    layers: Sequence[Layer], folder: Path, target: Target, cc: str | None, out: Output
) -> list[Subject]:
    """The layers that could be built, verified, in order; the others' errors go to ``out``."""
    from convgen.package.disk.build import BuildOptions, build_many

    options = BuildOptions(out=folder, target=target, cc=cc)
    good = []
    for layer, outcome in zip(layers, build_many(layers, options), strict=True):
        if isinstance(outcome, ConvgenError):
            out.fail(outcome, layer.spec.name)
        else:
            good.append(_subject(layer, outcome, target))
    return good


def _subject(layer: Layer, built: BuildResult, target: Target) -> Subject:
    from convgen.bench.run import Subject
    from convgen.choose.roofline import Limit, Rates, limits
    from convgen.package.emit.files import decide
    from convgen.spec.elements import arrays_of
    from convgen.spec.schedule import Schedule
    from convgen.verify import leeway_of

    decided = decide(layer, target, Schedule.from_text(built.schedule))
    weights = decided.weights
    baked = None if weights is None else (weights.w, weights.b)
    start = _starter(built.path, arrays_of(layer.spec), baked is not None)

    def limit(rates: Rates) -> Limit:
        return limits(decided.plan, rates)[0]

    # The decided layer's spec: its scales are read from where they lie.
    return Subject(decided.layer.spec, built.schedule, baked, leeway_of(decided.plan), limit, start)


def _starter(
    path: Path, of: Arrays, baked: bool
) -> Callable[[Fill, int], tuple[Callable[[], Any], Any]]:
    """The quickest way to call a package: ``bind`` with one thread, ``run`` with several."""

    def start(fill: Fill, threads: int) -> tuple[Callable[[], Any], Any]:
        from convgen.api import import_package
        from convgen.spec.elements import held_by_package as held

        layer: Any = import_package(path)
        arguments: tuple[Any, ...] = (held(fill.x, of.x),)
        if not baked:
            b = None if fill.b is None else held(fill.b, of.b)
            arguments = (*arguments, layer.pack(held(fill.w, of.w), b))
        y = layer.run(*arguments, threads=threads)
        if threads == 1:
            return layer.bind(*arguments, out=y), y
        return lambda: layer.run(*arguments, out=y, threads=threads), y

    return start

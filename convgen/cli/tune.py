"""``convgen tune``: measure the schedules that the model thinks best, remember the winners."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from convgen.cli.command import Argument, Option
from convgen.cli.options import (
    Compiler,
    Cut,
    Isa,
    Json,
    NetName,
    Quiet,
    Shapes,
    TargetName,
    Timeout,
    Verbose,
)
from convgen.cli.output import Output, session
from convgen.errors import UsageError

if TYPE_CHECKING:
    from convgen.cli.networks import Reading
    from convgen.cli.tuning import Search
    from convgen.spec.model import Layer
    from convgen.tune import Store, Tuned
    from convgen.tune.session import Timed

BUDGET = 30.0  # seconds for a layer
CANDIDATES = 10
TIMEOUT = 120.0  # seconds for one compiler call

Specs = Annotated[
    list[str] | None,
    Argument("SPEC", "Spec files, folders of them, or - for standard input."),
]
Budget = Annotated[float, Option("--budget", least=0.0, metavar="S", help="Seconds for one layer.")]
Candidates = Annotated[
    int, Option("--candidates", least=1, most=64, metavar="N", help="Kernels to measure.")
]
Cold = Annotated[bool, Option("--cold", help="Measure with weights that no cache holds.")]
Again = Annotated[bool, Option("--again", help="Forget what was measured before.")]
Pin = Annotated[bool, Option("--pin", help="Print only the schedule: lines for the specs.")]
Export = Annotated[
    str | None,
    Option("--export", metavar="FILE", help="Write all winners as JSON lines; - is stdout."),
]
Import = Annotated[
    str | None,
    Option("--import", metavar="FILE", help="Take over exported winners; - is stdin."),
]


def tune(
    specs: Specs = None,
    budget: Budget = BUDGET,
    candidates: Candidates = CANDIDATES,
    cold: Cold = False,
    again: Again = False,
    pin: Pin = False,
    export: Export = None,
    import_file: Import = None,
    isa: Isa = None,
    target: TargetName = None,
    cc: Compiler = None,
    timeout: Timeout = TIMEOUT,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Find the quickest schedules of layers and networks.

    Interrupted, it goes on where it was when run again. Builds use the winners with --tuned.

    \b
    Example:  convgen tune layer.yaml && convgen build --tuned layer.yaml
    """
    with session("tune", json=json, verbose=verbose, quiet=quiet) as out:
        if not (specs or export or import_file):
            raise UsageError("nothing to do: name a SPEC, or --export or --import a file")
        if json and export == "-":
            raise UsageError("--json and --export - both want standard output: name a file")
        from convgen.cli.networks import reading
        from convgen.cli.tuning import read_import, write_export
        from convgen.tune import Store, default_store_path

        path = default_store_path()
        out.payload |= {"store": str(path), "imported": None, "exported": None, "layers": []}
        with Store(path) as store:
            if import_file is not None:
                count = store.import_lines(read_import(import_file), import_file)
                out.payload["imported"] = count
                out.note(f"{count} schedules imported")
            if specs:
                search = _search(budget, candidates, cold, again, isa, target, cc, timeout)
                _tune(specs, reading(shape, cut, name), search, store, pin, out)
            if export is not None:
                lines = store.export_lines()
                write_export(lines, export)
                out.payload["exported"] = len(lines)
                out.note(f"{len(lines)} schedules exported")


def _search(
    budget: float,
    candidates: int,
    cold: bool,
    again: bool,
    isa: str | None,
    target: str | None,
    cc: str | None,
    timeout: float,
) -> Search:
    from convgen.cli.tuning import Search, refuse_foreign
    from convgen.target import resolve_target
    from convgen.toolchain import find_compiler
    from convgen.tune import Setting

    machine = resolve_target(target, isa)
    refuse_foreign(machine)
    setting = Setting(machine, "cold" if cold else "warm", budget, again)
    return Search(setting, find_compiler(cc), candidates, timeout)


def _tune(
    specs: Sequence[str], how: Reading, search: Search, store: Store, pin: bool, out: Output
) -> None:
    from convgen.cli.networks import parted, read_networks
    from convgen.cli.sources import distinct, read_layers
    from convgen.cli.tuning import tune_all
    from convgen.package.network.program import layers_of

    kinds = parted(specs)
    own = read_layers(kinds.layers, out)
    graphs = read_networks(kinds.networks, how, out)
    layers = distinct([*own, *(layer for graph in graphs for layer in layers_of(graph))], out)
    pinnable = {layer.spec.name: layer for layer in own}
    for tuned in tune_all(layers, search, store, out):
        out.payload["layers"].append(tuned_facts(tuned))
        layer = pinnable.get(tuned.name)
        if not pin:
            for line in report_lines(tuned, pinnable=layer is not None):
                out.done(line)
        elif layer is not None:
            for line in pin_lines(layer, tuned):
                out.data(line)
    if pin and graphs:
        out.note("networks have no schedule: lines; build --tuned takes the winners")


def report_lines(tuned: Tuned, *, pinnable: bool = True) -> list[str]:
    """What the chooser took, what won, by how much, and how a build comes to it."""
    timed = [c for c in tuned.candidates if c.microseconds is not None]
    how = f"{len(timed)} candidates, {tuned.mode} weights, {tuned.seconds:.1f} s"
    if tuned.state == "remembered":
        how = f"{len(timed)} candidates, {tuned.mode} weights, measured earlier"
    lines = [
        f"{tuned.name}: {_verdict(tuned)} ({how})",
        f"  chosen   {_us(tuned.chosen):>10} us  {tuned.chosen.schedule}",
        f"  tuned    {_us(tuned.winner):>10} us  {tuned.winner.schedule}",
    ]
    if not tuned.complete:
        lines.append("  not all could be measured in time: run again, or give a longer --budget")
    if not pinnable:
        return lines
    return [*lines, "  to pin it, put into the spec", f"  schedule: {tuned.winner.schedule}"]


def pin_lines(layer: Layer, tuned: Tuned) -> list[str]:
    """YAML for the layer's place in its file, which the user pastes there."""
    return [f"# {tuned.name} ({layer.source})", f"schedule: {tuned.winner.schedule}"]


def tuned_facts(tuned: Tuned) -> dict[str, Any]:
    """One layer under --json; ``candidates`` in the order of their predicted cost."""
    ratio = tuned.ratio
    return {
        "name": tuned.name,
        "ok": True,
        "state": tuned.state,
        "mode": tuned.mode,
        "complete": tuned.complete,
        "seconds": round(tuned.seconds, 3),
        "chosen": _facts(tuned.chosen),
        "winner": _facts(tuned.winner),
        "ratio": None if math.isnan(ratio) else round(ratio, 4),
        "pin": f"schedule: {tuned.winner.schedule}",
        "candidates": [_facts(timed) for timed in tuned.candidates],
    }


def _facts(timed: Timed) -> dict[str, Any]:
    return {
        "schedule": timed.schedule.to_mapping(),
        "microseconds": timed.microseconds,
        "spread": timed.spread,
        "samples": timed.samples,
        "predicted_cycles": timed.cycles,
        "fault": timed.fault,
    }


def _verdict(tuned: Tuned) -> str:
    if tuned.winner.schedule == tuned.chosen.schedule:
        return "the chooser's pick stands"
    ratio = tuned.ratio
    return "tuned" if math.isnan(ratio) else f"{ratio:.2f}x as fast as the chooser's pick"


def _us(timed: Timed) -> str:
    return "-" if timed.microseconds is None else f"{timed.microseconds:.2f}"

"""``convgen build``: generate, compile, verify, write ``build/<name>/``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.cli.options import (
    BuildTuned,
    Compiler,
    Cut,
    Isa,
    Jobs,
    Json,
    MaxCode,
    MaxRam,
    MaxWorkspace,
    NetName,
    NoCache,
    NoVerify,
    OutDir,
    Quiet,
    Shapes,
    Specs,
    TargetName,
    Timeout,
    TogetherName,
    TuneFirst,
    Verbose,
)
from convgen.cli.output import Output, session
from convgen.cli.progress import layer_progress
from convgen.errors import ConvgenError, UsageError

if TYPE_CHECKING:
    from convgen.network.graph import Graph
    from convgen.package.disk.build import BuildOptions, BuildResult
    from convgen.spec.model import Layer
    from convgen.spec.schedule import Schedule

NO_FOLDER = (
    "-o -: a package is a folder, it cannot go to standard output; name a folder, or print the C "
    "alone with convgen emit -o -"
)
TIMEOUT = 120.0  # seconds for one compiler call


def build(
    specs: Specs,
    out_dir: OutDir = "build",
    isa: Isa = None,
    target: TargetName = None,
    max_code_bytes: MaxCode = None,
    max_workspace_bytes: MaxWorkspace = None,
    max_ram_bytes: MaxRam = None,
    cc: Compiler = None,
    jobs: Jobs = None,
    no_verify: NoVerify = False,
    timeout: Timeout = TIMEOUT,
    together: TogetherName = None,
    no_cache: NoCache = False,
    tuned: BuildTuned = False,
    tune: TuneFirst = False,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Generate, compile and verify layers and networks.

    \b
    Example:  convgen build layer.yaml
    """
    with session("build", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.networks import build_networks, parted, read_networks, reading
        from convgen.cli.sources import distinct, read_layers
        from convgen.package.disk.build import BuildOptions
        from convgen.target import resolve_target

        if out_dir == "-":
            raise UsageError(NO_FOLDER)
        out.payload |= {"out": out_dir, "layers": []}
        options = BuildOptions(
            out=Path(out_dir),
            target=resolve_target(target, isa),
            cc=cc,
            verify=not no_verify,
            timeout=timeout,
            use_cache=not no_cache,
            max_code_bytes=max_code_bytes,
            max_workspace_bytes=max_workspace_bytes,
            max_ram_bytes=max_ram_bytes,
        )
        kinds = parted(specs)
        graphs = read_networks(kinds.networks, reading(shape, cut, name), out)
        layers = distinct(read_layers(kinds.layers, out), out)
        if tuned or tune:
            options = replace(options, tuned=_tuned(layers, graphs, options, tune, out))
        if together is not None:
            _check_together(together, layers, options)
        if layers:
            good = _build_all(layers, options, jobs, out)
            if together is not None and len(good) == len(layers):
                _bring_together(together, layers, good, options, jobs, out)
        build_networks(graphs, options, out)


def _tuned(
    layers: Sequence[Layer],
    graphs: Sequence[Graph],
    options: BuildOptions,
    tune_first: bool,
    out: Output,
) -> Mapping[str, Schedule]:
    """Stored winners by layer name, searched for first if that was asked for."""
    from convgen.cli.tune import BUDGET, CANDIDATES
    from convgen.cli.tuning import (
        Search,
        network_schedules,
        refuse_foreign,
        stored_schedules,
        tune_all,
    )
    from convgen.package.network.program import layers_of
    from convgen.toolchain import find_compiler
    from convgen.tune import Setting, Store, default_store_path

    compiler = find_compiler(options.cc)
    with Store(default_store_path()) as store:
        if tune_first:
            refuse_foreign(options.target)
            setting = Setting(options.target, budget=BUDGET)
            free = [layer for layer in layers if layer.schedule is None]
            free += [layer for graph in graphs for layer in layers_of(graph)]
            tune_all(free, Search(setting, compiler, CANDIDATES, options.timeout), store, out)
        return {
            **stored_schedules(layers, options.target, compiler, store, out),
            **network_schedules(graphs, options.target, compiler, store, out),
        }


def _build_all(
    layers: Sequence[Layer], options: BuildOptions, jobs: int | None, out: Output
) -> list[BuildResult]:
    """Build, then report every layer in the order of the specs; one failure hides no other."""
    from convgen.cli.reports import failure_facts, print_results, result_facts
    from convgen.package.disk.build import build_many
    from convgen.toolchain import slow_start

    if note := slow_start(options.cc):
        out.note(note)
    with layer_progress(len(layers), out) as on_event:
        outcomes = build_many(layers, options, jobs, on_event)
    good = []
    for layer, outcome in zip(layers, outcomes, strict=True):
        name = layer.spec.name
        if isinstance(outcome, ConvgenError):
            out.payload["layers"].append(failure_facts(name))
            out.fail(outcome, name)
            continue
        good.append(outcome)
        out.payload["layers"].append(result_facts(outcome))
        for note in outcome.notes:
            out.note(f"{name}: note: {note}")
        if outcome.sqnr is not None and len(layers) > 1:  # one alone has it in its block
            out.note(f"{name}: SQNR {outcome.sqnr.line()}")
        for warning in outcome.warnings:
            out.note(f"{name}: warning: {warning}")
        out.detail(f"{name}: {outcome.schedule}: {outcome.reason}")
        out.detail(f"{name}: {outcome.compiler}")
    print_results(good, out)
    if len(layers) > 1:
        out.note(summary(good, len(layers)))
    return good


def _check_together(name: str, layers: Sequence[Layer], options: BuildOptions) -> None:
    """Raises ``UsageError`` before anything is built in vain."""
    from convgen.package.disk.together import refuse_shared_name

    if not layers:
        raise UsageError("--together: there is no layer here; a network is one library as it is")
    refuse_shared_name(name, [layer.spec.name for layer in layers], options)


def _bring_together(
    name: str,
    layers: Sequence[Layer],
    good: Sequence[BuildResult],
    options: BuildOptions,
    jobs: int | None,
    out: Output,
) -> None:
    from convgen.package.disk.together import build_together

    try:
        made = build_together(name, layers, good, options, jobs)
    except ConvgenError as error:
        out.fail(error, name)
        return
    out.payload["together"] = {"name": name, "path": str(made.path), "state": made.state}
    out.done(f"{name}: {made.state} in {made.path}, {len(layers)} layers in one library")


def summary(good: Sequence[BuildResult], asked: int) -> str:
    """One line: how many of the layers are there now, and how they came about."""
    states = Counter(result.state for result in good)
    parts = [f"{n} {state}" for state in ("built", "cached", "unchanged") if (n := states[state])]
    if asked > len(good):
        parts.append(f"{asked - len(good)} failed")
    return f"{asked} layers: {', '.join(parts)}"

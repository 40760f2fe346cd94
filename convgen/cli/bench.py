"""``convgen bench``: how fast, next to the machine's limits and to what else is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from convgen.cli.command import Option
from convgen.cli.options import (
    Compiler,
    Cut,
    Isa,
    Json,
    NetName,
    Quiet,
    Shapes,
    Specs,
    TargetName,
    Verbose,
    peers_so_far,
)
from convgen.cli.output import Output, session
from convgen.cli.progress import bar_of_steps, watched
from convgen.errors import RegressionError, UsageError

if TYPE_CHECKING:
    from convgen.bench.compare import Change
    from convgen.bench.report import Conditions, LayerResult, Report
    from convgen.bench.rival import Rival
    from convgen.bench.run import Plan, Subject
    from convgen.spec.model import Layer

ROUNDS = 15

Against = Annotated[
    str | None,
    Option(
        "--against", metavar="A,B,...", shown=False, complete=peers_so_far,
        help="Time these too: onnxruntime, openvino, torch, litert, ncnn, mnn, naive; or all.",
    ),
]  # fmt: skip
PeerPython = Annotated[
    list[str] | None,
    Option(
        "--peer-python", metavar="NAME=PATH", shown=False,
        help="Run this peer in another Python.",
    ),
]  # fmt: skip
Threads = Annotated[int, Option("--threads", least=1, metavar="N", help="Threads of each.")]
Rounds = Annotated[int, Option("--rounds", least=1, metavar="N", help="Turns of each.")]
Only = Annotated[
    str | None,
    Option("--layers", metavar="A,B,...", help="Only these layers.", shown=False),
]
Save = Annotated[
    str | None,
    Option("--save", metavar="FILE", help="Keep the result as JSON.", shown=False),
]
Compare = Annotated[
    str | None,
    Option(
        "--compare", metavar="FILE", shown=False,
        help="A saved result: exit code 5 where this run is slower.",
    ),
]  # fmt: skip
Plot = Annotated[
    str | None,
    Option("--plot", metavar="FILE", help="Draw it, as a .png.", shown=False),
]


def bench(
    specs: Specs,
    against: Against = None,
    peer_python: PeerPython = None,
    threads: Threads = 1,
    isa: Isa = None,
    target: TargetName = None,
    cc: Compiler = None,
    layers: Only = None,
    rounds: Rounds = ROUNDS,
    save: Save = None,
    compare: Compare = None,
    plot: Plot = None,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Time layers and networks, beside other runtimes.

    \b
    Example:  convgen bench layer.yaml --against all
    """
    with session("bench", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.bench.peers import select
        from convgen.bench.plot import check_plot
        from convgen.bench.run import Plan, check_target
        from convgen.cli.network_bench import bench_networks
        from convgen.cli.networks import parted, reading
        from convgen.cli.sources import distinct, read_layers
        from convgen.target import resolve_target

        # Everything that can be wrong with the call is found before anything is timed.
        plan = Plan(resolve_target(target, isa), threads, rounds)
        check_target(plan.target)
        names, pythons = select(against), peer_pythons(peer_python or [])
        old = None if compare is None else _old(compare, plan)
        if plot is not None:
            check_plot(plot)
        kinds = parted(specs)
        wanted = _only(distinct(read_layers(kinds.layers, out), out), layers)
        out.payload |= {"layers": [], "comparison": None}
        how = reading(shape, cut, name)
        bench_networks(kinds.networks, how, names, pythons, plan, cc, out)
        if wanted:
            report = _measure(wanted, names, pythons, plan, cc, out)
            out.payload |= report.to_mapping()
            _finish(report, old, plot, save, out)


def _finish(
    report: Report, old: Report | None, plot: str | None, save: str | None, out: Output
) -> None:
    """Print, draw, keep and compare what was measured, as far as there is anything."""
    from convgen.bench.compare import compare as compare_reports
    from convgen.bench.plot import draw
    from convgen.bench.report import write_report

    if not report.layers:
        return
    _print(report, out)
    if plot is not None:
        draw(report, plot)
    if save is not None:
        write_report(report, save)
    if old is not None:
        _print_changes(compare_reports(old, report), out)


def _old(path: str, plan: Plan) -> Report:
    """The result to compare with. Raises ``UsageError`` where that would say nothing."""
    from convgen.bench.compare import check_comparable
    from convgen.bench.report import read_report
    from convgen.target.host import cpu_name

    old = read_report(path)
    check_comparable(old, cpu_name(), plan.target.name, plan.threads)
    return old


def peer_pythons(given: Sequence[str]) -> dict[str, str]:
    """``NAME=PATH`` options as a mapping. Raises ``UsageError``."""
    from convgen.bench.peers import check_names

    pairs = [text.partition("=") for text in given]
    for name, mark, path in pairs:
        if not (name and mark and path):
            raise UsageError(f"--peer-python {name}{mark}{path}: write NAME=PATH")
    check_names("--peer-python", [name for name, _, _ in pairs])
    return {name: path for name, _, path in pairs}


def _only(layers: Sequence[Layer], names: str | None) -> list[Layer]:
    if names is None:
        return list(layers)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    there = [layer.spec.name for layer in layers]
    missing = [name for name in wanted if name not in there]
    if missing:
        raise UsageError(f"--layers: no layer {missing[0]!r}; there are {', '.join(there)}")
    return [layer for layer in layers if layer.spec.name in wanted]


def _measure(
    layers: Sequence[Layer], names: Sequence[str], pythons: dict[str, str], plan: Plan,
    cc: str | None, out: Output,
) -> Report:  # fmt: skip
    """Build everything, then take the machine's measure, then layer after layer."""
    import tempfile

    from convgen.bench.machine import measure_machine, measured_rates
    from convgen.bench.measure import pinned
    from convgen.bench.report import Report
    from convgen.bench.run import start_rivals
    from convgen.cli.benched import build_subjects

    with tempfile.TemporaryDirectory(prefix="convgen-bench-") as folder:
        subjects = build_subjects(layers, Path(folder), plan.target, cc, out)
        with pinned(plan.threads) as cores:
            machine = measure_machine(plan.target, plan.threads, cc)
            if plan.threads == 1:
                plan = replace(plan, rates=measured_rates(machine, plan.target))
            rivals, infos = start_rivals(names, pythons, plan.threads) if subjects else ([], [])
            for info in infos:
                if info.version is None:
                    out.note(f"without {info.name}: {info.reason}")
            try:
                results = _layers(subjects, rivals, plan, out)
            finally:
                for rival in rivals:
                    rival.close()
    return Report(_conditions(plan, cores, cc), machine, tuple(infos), tuple(results))


def _layers(
    subjects: Sequence[Subject], rivals: Sequence[Rival], plan: Plan, out: Output
) -> list[LayerResult]:
    from convgen.bench.run import bench_layer

    results = []
    with _progress(len(subjects), plan.rounds, out) as (begin, on_round):
        for subject in subjects:
            begin(subject.spec.name)
            results.append(bench_layer(subject, rivals, plan, on_round))
    return results


def _conditions(plan: Plan, cores: tuple[int, ...], cc: str | None) -> Conditions:
    import datetime
    import platform

    import numpy as np

    from convgen import __version__
    from convgen.bench.report import Conditions
    from convgen.toolchain import find_compiler

    return Conditions(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        convgen=__version__,
        target=plan.target.name,
        compiler=str(find_compiler(cc)),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        numpy=np.__version__,
        cores=cores,
        rounds=plan.rounds,
    )


def _print(report: Report, out: Output) -> None:
    from convgen.bench.tables import condition_lines, head, reason_lines, rows, summary_lines

    for line in condition_lines(report):
        out.data(line)
    out.data()
    names, right = head(report)
    out.table(names, rows(report), right)
    lines = summary_lines(report)
    if lines:
        out.data()
    for line in lines:
        out.data(line)
    for line in reason_lines(report):
        out.note(line)


def _print_changes(changes: Sequence[Change], out: Output) -> None:
    """The comparison; each layer that became slower is an error."""
    from convgen.bench.compare import Verdict
    from convgen.bench.tables import CHANGE_HEAD, CHANGE_RIGHT, change_rows

    out.payload["comparison"] = [change.to_mapping() for change in changes]
    out.data()
    out.table(CHANGE_HEAD, change_rows(changes), CHANGE_RIGHT)
    for change in changes:
        if change.verdict is Verdict.SLOWER:
            text = (
                f"{change.best:.2f}x the time of before in the best round and "
                f"{change.median:.2f}x in the median, beyond the noise of {change.noise:.0%}"
            )
            out.fail(RegressionError(text), change.name)


@contextmanager
def _progress(
    count: int, rounds: int, out: Output
) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """A bar over layers and rounds for a person at a terminal; layers as messages under -v."""
    if out.verbose or not watched(out):
        yield (lambda name: out.detail(f"{name}: measuring")), (lambda: None)
        return
    # Drawn between the rounds only: a thread that draws would run on the clock.
    with bar_of_steps(auto_refresh=False) as bar:
        task = bar.add_task("", total=count * rounds)

        def begin(name: str) -> None:
            bar.update(task, description=name, refresh=True)

        def on_round() -> None:
            bar.update(task, advance=1, refresh=True)

        yield begin, on_round

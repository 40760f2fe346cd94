"""``convgen cross``: layers compiled for other machines, their self tests run under emulation."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from convgen.cli.command import Option
from convgen.cli.options import (
    Compiler,
    Cut,
    Jobs,
    Json,
    NetName,
    Quiet,
    Shapes,
    Specs,
    Timeout,
    Verbose,
    targets_so_far,
)
from convgen.cli.output import Output, session
from convgen.errors import ConvgenError, MismatchError, ScheduleError, ToolchainError, UsageError

if TYPE_CHECKING:
    from convgen.cross import Trial
    from convgen.network.graph import Graph
    from convgen.spec.model import Layer
    from convgen.target.rigs import Rig

TIMEOUT = 120.0  # seconds for one compiler call, and for one self test
Targets = Annotated[
    str,
    Option(
        "--target",
        metavar="NAMES",
        help="Targets, with commas between; or all.",
        complete=targets_so_far,
    ),
]
Keep = Annotated[
    str | None,
    Option(
        "--out",
        "-o",
        metavar="DIR",
        help="Keep C, objects and programs in DIR/<target>/<name>.",
        shown=False,
    ),
]
Save = Annotated[
    str | None,
    Option("--save", metavar="FILE", help="Write the table as a Markdown page.", shown=False),
]


def cross(
    specs: Specs,
    target: Targets = "all",
    cc: Compiler = None,
    out_dir: Keep = None,
    save: Save = None,
    jobs: Jobs = None,
    timeout: Timeout = TIMEOUT,
    shape: Shapes = None,
    cut: Cut = None,
    name: NetName = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Compile for other machines, and run the self tests under emulation.

    A compiler or emulator that is not here is shown, and an error only where --target asks for it.

    \b
    Example:  convgen cross layer.yaml --target cortex-m4,aarch64-neon
    """
    with session("cross", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.networks import parted, read_networks, reading
        from convgen.cli.sources import distinct, read_layers

        rigs = _rigs(target, cc)
        kinds = parted(specs)
        graphs = read_networks(kinds.networks, reading(shape, cut, name), out)
        layers = distinct(read_layers(kinds.layers, out), out)
        with _folder(out_dir) as folder:
            trials = _try_all([*layers, *graphs], rigs, folder, cc, jobs, timeout)
        _report(trials, target != "all", out)
        if save is not None and not out.code:
            from convgen.cross import targets_page

            command = shlex.join(["convgen", "cross", *specs, "--save", save])
            Path(save).write_text(targets_page(trials, command), encoding="utf-8")
            out.done(f"written: {save}")


def _rigs(names: str, cc: str | None) -> tuple[Rig, ...]:
    from convgen.target import TARGETS
    from convgen.target.rigs import RIGS, rigs_of

    if names == "all":
        if cc is not None:
            raise UsageError("--cc is a compiler for one target: name that with --target")
        return RIGS
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in TARGETS:
            raise UsageError(f"--target {name}: unknown; there are all, {', '.join(TARGETS)}")
    found = rigs_of(wanted)
    if cc is None:
        return found
    if len(wanted) > 1:
        raise UsageError("--cc is a compiler for one target: name one with --target")
    return found[:1]


@contextmanager
def _folder(kept: str | None) -> Iterator[Path]:
    if kept is not None:
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="convgen-cross-") as folder:
        yield Path(folder)


def _try_all(
    subjects: Sequence[Layer | Graph],
    rigs: Sequence[Rig],
    folder: Path,
    cc: str | None,
    jobs: int | None,
    timeout: float,
) -> list[Trial]:
    """Every layer and network on every rig, several at a time, in their order."""
    if not subjects:
        return []
    from concurrent.futures import ThreadPoolExecutor

    from convgen.cross.trial import Bench, try_layer, try_network
    from convgen.spec.model import Layer
    from convgen.toolchain import Processes, awaited

    bench = Bench(folder, cc, timeout, Processes())

    def tried(subject: Layer | Graph, rig: Rig) -> Trial:
        if isinstance(subject, Layer):
            return try_layer(subject, rig, bench)
        return try_network(subject, rig, bench)

    pairs = [(subject, rig) for subject in subjects for rig in rigs]
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        futures = [pool.submit(tried, subject, rig) for subject, rig in pairs]
        try:
            return [awaited(future) for future in futures]
        except BaseException:
            bench.processes.stop()  # else leaving the pool would wait for them
            pool.shutdown(cancel_futures=True)
            raise


def _report(trials: Sequence[Trial], asked: bool, out: Output) -> None:
    """The table, then why whatever did not work did not. ``asked``: the targets were named."""
    from convgen.cross.page import HEAD, trial_row

    out.payload["trials"] = [_facts(trial) for trial in trials]
    if trials and not out.quiet:
        out.table(HEAD, [trial_row(trial) for trial in trials], "lllllrr")
    absent: dict[str, str] = {}
    for trial in trials:
        error = _failure(trial, asked)
        if error is not None:
            out.fail(error, trial.layer)
        elif trial.outcome.absent:
            absent[trial.rig] = f"{trial.outcome}: {trial.detail}"
        for line in trial.warnings.splitlines():
            out.detail(f"{trial.layer} on {trial.rig}: {line}")
    for rig, why in absent.items():
        out.note(f"{rig}: {why}")


def _failure(trial: Trial, asked: bool) -> ConvgenError | None:
    """What the trial means for the exit code; None for nothing."""
    from convgen.errors import Exit

    text = f"on {trial.rig}: {trial.outcome}: {trial.detail or _PLAIN}"
    match trial.outcome.exit_code:
        case Exit.OK:
            return ToolchainError(text) if asked and trial.outcome.absent else None
        case Exit.SPEC:
            return ScheduleError(text)
        case Exit.TOOLCHAIN:
            return ToolchainError(text)
        case _:
            return MismatchError(text)


_PLAIN = "this compiler did not take the target's vector instructions"


def _facts(trial: Trial) -> dict[str, Any]:
    return {**asdict(trial), "outcome": str(trial.outcome)}

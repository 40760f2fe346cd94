"""Tuned schedules for the verbs: searching with progress, and looking up what was found."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.cli.output import Output
from convgen.cli.progress import bar_of_steps, watched
from convgen.errors import ConvgenError, ScheduleError, UsageError
from convgen.spec.model import DType

if TYPE_CHECKING:
    from convgen.network.graph import Graph
    from convgen.spec.model import Layer
    from convgen.spec.schedule import Schedule
    from convgen.target import Target
    from convgen.toolchain import Compiler
    from convgen.tune import Progress as Step
    from convgen.tune import Setting, Store, Tuned
    from convgen.tune.session import OnProgress


@dataclass(frozen=True)
class Search:
    """``candidates``: how many kernels to measure for a layer; ``timeout``: of a compiler call."""

    setting: Setting
    compiler: Compiler
    candidates: int
    timeout: float


def refuse_foreign(target: Target, dtype: DType = DType.FLOAT32) -> None:
    """Raise ``UsageError`` where this CPU cannot run, and so not time, the target's kernels for
    elements of this type."""
    from convgen.target import is_foreign, missing_features

    if is_foreign(target):
        raise UsageError(
            f"{target.name} is another kind of machine than this one, so its kernels cannot be "
            "measured here; tune on such a machine, then --export and --import"
        )
    missing = missing_features(target, dtype)
    if missing:
        raise UsageError(
            f"this CPU lacks {', '.join(missing)}, so {dtype} kernels of {target.name} cannot be "
            "measured here; tune on a machine that has them, then --export and --import"
        )


def tune_all(layers: Sequence[Layer], search: Search, store: Store, out: Output) -> list[Tuned]:
    """Tune one layer after another; a failure is reported and hides no other."""
    found = []
    with _progress(len(layers), out) as on_progress:
        for layer in layers:
            try:
                tuned = tune_one(layer, search, store, on_progress)
            except ConvgenError as error:
                out.fail(error, layer.spec.name)
                continue
            found.append(tuned)
            for timed in tuned.candidates:
                if timed.fault is not None:
                    out.note(f"{tuned.name}: left out {timed.schedule}: {timed.fault}")
    return found


def tune_one(layer: Layer, search: Search, store: Store, on_progress: OnProgress | None) -> Tuned:
    """Measure the short list of one layer and settle its winner."""
    from convgen.package.disk.cache import default_cache_root
    from convgen.tune import key_of, tune_layer
    from convgen.tune.measure import machine
    from convgen.tune.session import anonymous
    from convgen.tune.shortlist import ranked, shortlist

    setting = search.setting
    refuse_foreign(setting.target, layer.spec.dtype)
    spec = anonymous(layer.spec)
    candidates = shortlist(ranked(spec, setting.target), search.candidates)
    key = key_of(spec, setting.target, search.compiler)
    cold, lock = setting.mode == "cold", store.path.with_suffix(".measuring.lock")
    kept = default_cache_root() / "builds" / "tune"  # gone with `clean`
    with machine(search.compiler, cold, lock, search.timeout, kept) as bench:
        return tune_layer(layer, candidates, bench, store, key, setting, on_progress)


def stored_schedules(
    layers: Sequence[Layer], target: Target, compiler: Compiler, store: Store, out: Output
) -> dict[str, Schedule]:
    """The winner of each layer that has one and pins no schedule; a note on the others."""
    from convgen.kernels import lower
    from convgen.tune import key_of

    found: dict[str, Schedule] = {}
    for layer in layers:
        name = layer.spec.name
        if layer.schedule is not None:
            out.note(f"{name}: its schedule is pinned in the spec, which stands")
            continue
        winner = store.winner(key_of(layer.spec, target, compiler))
        if winner is None:
            out.note(
                f"{name}: no tuned schedule for this CPU, compiler and target; the chooser's is "
                f"used (convgen tune {layer.source} finds one)"
            )
            continue
        try:
            lower(layer.spec, winner.schedule, target)
        except ConvgenError as error:  # an imported one, or of another state of convgen
            out.note(f"{name}: the tuned schedule cannot be used ({error}); tune again")
            continue
        found[name] = winner.schedule
    return found


def network_schedules(
    graphs: Sequence[Graph], target: Target, compiler: Compiler, store: Store, out: Output
) -> dict[str, Schedule]:
    """The winners of the convolutions of networks; a note on how many have none."""
    from convgen.kernels import lower
    from convgen.package.network.program import layers_of
    from convgen.tune import key_of

    found: dict[str, Schedule] = {}
    for graph in graphs:
        layers = layers_of(graph)
        for layer in layers:
            winner = store.winner(key_of(layer.spec, target, compiler))
            with contextlib.suppress(ScheduleError):  # one of another state of convgen
                if winner is not None:
                    lower(layer.spec, winner.schedule, target)
                    found[layer.spec.name] = winner.schedule
        lacking = sum(layer.spec.name not in found for layer in layers)
        if lacking:
            out.note(
                f"{graph.name}: {lacking} of its {len(layers)} distinct convolutions have no tuned "
                "schedule for this CPU, compiler and target; the chooser's are used (convgen tune "
                "with this network finds them)"
            )
    return found


def write_export(lines: Sequence[str], place: str) -> None:
    """JSON lines to a file, whole or not at all, or to stdout (``-``)."""
    from convgen.toolchain.leftover import write_whole

    text = "".join(f"{line}\n" for line in lines)
    if place == "-":
        print(text, end="")
    else:
        write_whole(Path(place), text.encode())


def read_import(place: str) -> list[str]:
    """Lines of a file, or of stdin (``-``). Raises ``UsageError``."""
    try:
        if place == "-":
            return sys.stdin.read().splitlines()
        return Path(place).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{place}: cannot be read ({error})") from None


@contextmanager
def _progress(count: int, out: Output) -> Iterator[OnProgress | None]:
    """A bar for the layer under way, for a person at a terminal; steps as messages under -v."""
    if out.verbose:
        yield lambda p: out.detail(f"{p.name}: {p.step} {p.done}/{p.total}")
        return
    if not watched(out):
        yield None
        return
    seen: dict[str, int] = {}
    with bar_of_steps() as bar:
        task = bar.add_task("", total=None)

        def on_progress(p: Step) -> None:
            nth = seen.setdefault(p.name, len(seen) + 1)
            where = f"{p.name} ({nth} of {count})" if count > 1 else p.name
            bar.update(task, completed=p.done, total=p.total, description=f"{where}: {p.step}")

        yield on_progress

"""One layer measured: convgen's built package and its peers, checked, then timed in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convgen.bench.measure import ROUNDS, Call, Run, Timing, measure_runs, timed
from convgen.bench.report import LayerResult, PeerInfo, PeerResult
from convgen.bench.rival import ProcessRival, Rival, RivalError
from convgen.bench.wire import RESULT, peer_form, write_arrays
from convgen.choose.roofline import Limit, Rates
from convgen.errors import UsageError
from convgen.spec.model import ConvSpec, DType
from convgen.target import Target, host_target, is_foreign, missing_features

if TYPE_CHECKING:
    from convgen.verify.fills import Fill
    from convgen.verify.tiling import Leeway

SEED = 7
LAST_PLACE = 1.0  # how far from the oracle's integers those of a peer may be
PAUSE = 0.005  # seconds: worker threads of most runtimes spin shorter than that


@dataclass(frozen=True)
class Plan:
    """How to measure. ``threads``: of convgen and of every peer. ``rates``: of this machine, in
    microseconds; None where they do not say what to expect, as with several threads."""

    target: Target
    threads: int = 1
    rounds: int = ROUNDS
    rates: Rates | None = None


def check_target(target: Target) -> None:
    """Raises ``UsageError`` where this machine cannot run what is to be measured; what layers of
    other elements than float32 need besides, their build asks for."""
    if is_foreign(target):
        raise UsageError(f"{target.name} is another kind of machine than this one")
    lacks = missing_features(target, DType.FLOAT32)
    if lacks:
        raise UsageError(f"this CPU cannot run {target.name}: it lacks {', '.join(lacks)}")


def start_rivals(
    names: Sequence[str], pythons: Mapping[str, str], threads: int
) -> tuple[list[Rival], list[PeerInfo]]:
    """The peers that are here, and what is known of each that was asked for.

    ``pythons``: the Python of a peer that has one of its own. They end by ``close``.
    """
    rivals: list[Rival] = []
    infos = []
    for name in names:
        own = {"python": pythons[name]} if name in pythons else {}
        try:
            rival = ProcessRival(name, threads=threads, **own)
        except RivalError as error:
            infos.append(PeerInfo(name, None, str(error)))
            continue
        rivals.append(rival)
        infos.append(PeerInfo(name, rival.version))
    return rivals, infos


@dataclass(frozen=True)
class Subject:
    """A built layer to measure. ``weights``: the (w, b) that are baked in, else None; ``leeway``:
    of its bound. ``limit``: what binds its kernel, given a machine's rates. ``start``: fill and
    threads to what computes it, and its output."""

    spec: ConvSpec
    schedule: str
    weights: tuple[Any, Any | None] | None
    leeway: Leeway
    limit: Callable[[Rates], Limit]
    start: Callable[[Fill, int], tuple[Call, Any]]


def bench_layer(
    subject: Subject,
    rivals: Sequence[Rival],
    plan: Plan,
    on_round: Callable[[], None] | None = None,
) -> LayerResult:
    """Check the subject and its rivals on one and the same data, then time them in turns."""
    from convgen.verify.fills import bounded_fill, with_weights

    spec, fill = subject.spec, bounded_fill(subject.spec, SEED)
    if subject.weights is not None:
        fill = with_weights(fill, *subject.weights)
    call, y = subject.start(fill, plan.threads)
    own = _judged(spec, fill, y, subject.leeway)
    with tempfile.TemporaryDirectory(prefix="convgen-bench-") as folder:
        write_arrays(Path(folder), spec, fill.x, fill.w, fill.b)
        ready, results = _prepared(subject, fill, rivals, plan, Path(folder))
    timings, failed = _turns(timed(call), ready, plan, on_round)
    limit = None if plan.rates is None else subject.limit(plan.rates)
    arrays = (fill.x, fill.w, y) if fill.b is None else (fill.x, fill.w, fill.b, y)
    return LayerResult(
        name=spec.name,
        shape=shape_text(spec),
        macs=spec.macs,
        moved=sum(array.nbytes for array in arrays),
        schedule=subject.schedule,
        timing=timings[""],
        error=own.error,
        bound_ratio=own.ratio,
        peers=tuple(_timed(result, timings, failed) for result in results),
        limit="" if limit is None else limit.name,
        limit_us=None if limit is None else limit.time,
        dtype=str(spec.dtype),
    )


def shape_text(spec: ConvSpec) -> str:
    """``56x56x64 k64 f3 p1``: what tells layers apart, in the letters that specs take."""
    batch = f"{spec.batch}x" if spec.batch > 1 else ""
    axes = spec.axes[3 - spec.rank :]
    words = [f"{batch}{_sizes(a.size for a in axes)}x{spec.c}", f"k{spec.oc}"]
    words.append(f"f{_each([a.taps for a in axes])}")
    if any(a.stride > 1 for a in axes):
        words.append(f"s{_each([a.stride for a in axes])}")
    if any(a.before or a.after for a in axes):
        words.append(f"p{_each([a.before for a in axes])}")
    if any(a.dilation > 1 for a in axes):
        words.append(f"d{_each([a.dilation for a in axes])}")
    if spec.groups > 1:
        words.append(f"g{spec.groups}")
    if spec.transposed:
        words.append("transposed")
    return " ".join(words)


def _each(values: list[int]) -> str:
    """One number where all are alike."""
    return str(values[0]) if len(set(values)) == 1 else _sizes(values)


def _sizes(values: Iterable[int]) -> str:
    return "x".join(map(str, values))


def c_flags(target: Target) -> tuple[str, ...]:
    """What lets a C compiler use the target's instructions in code of its own."""
    if target == host_target():
        return ("-march=native",)
    return tuple(f"-m{feature}" for feature in target.isa.features)


@dataclass(frozen=True)
class _Judged:
    """Largest error, largest error / bound, whether all is inside, and ``differs`` of a peer's
    result: the share of 8-bit outputs that are not the oracle's to the bit."""

    error: float
    ratio: float
    good: bool
    differs: float | None = None


def _judged(spec: ConvSpec, fill: Fill, y: Any, leeway: Leeway) -> _Judged:
    """At sampled outputs. 8-bit ones may be ``LAST_PLACE`` beside the oracle's: runtimes round in
    different ways, and convgen's own are held to the bit by its build."""
    from convgen.oracle.points import choose_points
    from convgen.verify.bound import judge_bounded

    verdict = judge_bounded(spec, fill, y, choose_points(spec, SEED), leeway)
    if not spec.quantized:
        return _Judged(verdict.max_error, verdict.ratio, verdict.passed)
    ratio = verdict.max_error / LAST_PLACE
    differs = verdict.wrong / verdict.looked_at
    return _Judged(verdict.max_error, ratio, ratio <= 1, differs)


def _prepared(
    subject: Subject, fill: Fill, rivals: Sequence[Rival], plan: Plan, folder: Path
) -> tuple[list[Rival], list[PeerResult]]:
    """The rivals that take the layer, and what is known of each before the clock starts."""
    import numpy as np

    from convgen.spec.layouts import in_layout

    spec, form = subject.spec, peer_form(subject.spec)
    ready, results = [], []
    for rival in rivals:
        try:
            variant = rival.prepare(form, folder, plan.threads, c_flags(plan.target))
        except RivalError as error:
            results.append(PeerResult(rival.name, None, reason=str(error)))
            continue
        y = np.load(folder / RESULT)
        found = _judged(spec, fill, in_layout(spec, y), subject.leeway)
        reason = "" if found.good else _outside(spec, found)
        ready.append(rival)
        results.append(
            PeerResult(
                rival.name, None, found.error, found.ratio, found.good, variant, reason,
                found.differs,
            )
        )  # fmt: skip
    return ready, results


def _outside(spec: ConvSpec, found: _Judged) -> str:
    if not spec.quantized:
        return "its results are outside the error bound"
    return f"its results are up to {found.error:.0f} beside the layer's integers"


def _turns(
    run: Run, ready: Sequence[Rival], plan: Plan, on_round: Callable[[], None] | None
) -> tuple[dict[str, Timing], dict[str, str]]:
    """Timings by name, convgen's under "", and the reasons of those that broke on the way."""
    failed: dict[str, str] = {}
    while True:
        taking = [rival for rival in ready if rival.name not in failed]
        runs = [run, *(_watched(rival, failed) for rival in taking)]
        pause = PAUSE if plan.threads > 1 else 0.0
        try:
            found = measure_runs(runs, plan.rounds, pause=pause, on_round=on_round)
        except RivalError:
            continue  # once more without it: everyone's rounds must be the same ones
        return dict(zip(["", *(rival.name for rival in taking)], found, strict=True)), failed


def _watched(rival: Rival, failed: dict[str, str]) -> Run:
    def run(count: int) -> float:
        try:
            return rival.run(count)
        except RivalError as error:
            failed[rival.name] = str(error)
            raise

    return run


def _timed(
    result: PeerResult, timings: Mapping[str, Timing], failed: Mapping[str, str]
) -> PeerResult:
    if result.name in failed:
        return replace(result, counted=False, reason=failed[result.name])
    return replace(result, timing=timings.get(result.name))

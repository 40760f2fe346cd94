"""``convgen bench`` of networks: beside ONNX Runtime or LiteRT, whichever reads the model file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.cli.networks import Reading, read_network
from convgen.cli.output import Output
from convgen.errors import ConvgenError

if TYPE_CHECKING:
    from convgen.bench.networks import Timed
    from convgen.bench.run import Plan

HEAD = ("network", "runtime", "version", "us", "times", "difference", "of")
RIGHT = "lllrrrr"
UNKNOWN = "-"


def bench_networks(
    files: Sequence[str],
    how: Reading,
    peers: Sequence[str],
    pythons: Mapping[str, str],
    plan: Plan,
    cc: str | None,
    out: Output,
) -> None:
    """Build, time and compare each network; a failure stops no other."""
    rows: list[tuple[str, ...]] = []
    for file in files:
        try:
            name, found = _bench(file, how, peers, pythons, plan, cc, out)
        except ConvgenError as error:
            out.fail(error)
            continue
        rows += [_row(name, one, found[0]) for one in found]
        networks = out.payload.setdefault("networks", [])
        networks.append({"name": name, "runtimes": [_facts(one) for one in found]})
        for one in found:
            if one.seconds is None:
                out.note(f"{name}: without {one.name}: {one.why}")
    if rows and not out.quiet:
        out.table(HEAD, rows, RIGHT)


def _bench(
    file: str,
    how: Reading,
    peers: Sequence[str],
    pythons: Mapping[str, str],
    plan: Plan,
    cc: str | None,
    out: Output,
) -> tuple[str, tuple[Timed, ...]]:
    from convgen.bench.networks import PEERS, measure
    from convgen.importers.kinds import model_format
    from convgen.package.disk.result import BuildOptions
    from convgen.package.network.build import build_network

    graph = read_network(file, how)
    kind = model_format(file)
    model = Path(file) if kind is not None and how.cut is None else None
    readers = PEERS.get(str(kind), ())
    chosen = [peer for peer in peers if peer in readers]
    with tempfile.TemporaryDirectory(prefix="convgen-bench-") as folder:
        out.detail(f"{graph.name}: building")
        built = build_network(graph, BuildOptions(Path(folder), plan.target, cc=cc))
        found = measure(graph, built.path, model, chosen, plan.threads, plan.rounds, pythons)
    return graph.name, found


def _row(name: str, one: Timed, own: Timed) -> tuple[str, ...]:
    if one.seconds is None:
        return (name, one.name, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    times = UNKNOWN if own.seconds is None else f"{one.seconds / own.seconds:.2f}"
    apart = UNKNOWN if one.difference is None else f"{one.difference:.2g}"
    largest = UNKNOWN if one.largest is None else f"{one.largest:.3g}"
    return (name, one.name, one.version, f"{one.seconds * 1e6:.1f}", times, apart, largest)


def _facts(one: Timed) -> dict[str, object]:
    return {
        "name": one.name,
        "version": one.version or None,
        "microseconds": None if one.seconds is None else one.seconds * 1e6,
        "difference": one.difference,
        "largest": one.largest,
        "why": one.why or None,
    }

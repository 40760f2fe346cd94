"""Benchmark results made up for tests, and a peer that answers without any process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from convgen.bench.machine import Level, Machine
from convgen.bench.measure import Timing
from convgen.bench.report import Conditions, LayerResult, PeerInfo, PeerResult, Report
from convgen.bench.rival import RivalError
from convgen.spec.model import ConvSpec

CONDITIONS = Conditions(
    "2026-01-02 03:04 UTC", "0.1.0", "x86-64-avx2", "gcc 12", "Linux x86_64", "3.11.7", "2.0",
    (3,), 15,
)  # fmt: skip
LEVELS = (
    Level("L1", 32768, 200.0, 150.0),
    Level("L2", 1 << 20, 100.0, 75.0),
    Level("L3", 16 << 20, 50.0, 40.0),
    Level("memory", None, 20.0, 15.0),
)
MACHINE = Machine("Some CPU", "avx2", 1, 100.0, LEVELS)


def peer(name: str, best: float | None, counted: bool = True, reason: str = "") -> PeerResult:
    timing = None if best is None else Timing(best, best * 1.1, 0.02, 15)
    return PeerResult(name, timing, 1e-6, 0.1, counted and best is not None, "", reason)


def layer(
    name: str, best: float, *peers: PeerResult, median: float | None = None, spread: float = 0.02
) -> LayerResult:
    timing = Timing(best, best if median is None else median, spread, 15)
    return LayerResult(
        name, "8x8x4 k4 f3", 1_000_000, 20_000, "{family: direct}", timing, 1e-6, 0.1, peers,
        "FMA", 0.8 * best,
    )  # fmt: skip


def report(*layers: LayerResult, peak: float = 100.0) -> Report:
    names = sorted({p.name for each in layers for p in each.peers})
    infos = (*(PeerInfo(name, "1.0") for name in names), PeerInfo("mnn", None, "not installed"))
    return Report(CONDITIONS, replace(MACHINE, peak=peak), infos, layers)


def integers(name: str, best: float, differs: float, **more: float) -> PeerResult:
    """A peer on an 8-bit layer: ``differs`` is the share of outputs that are one beside it."""
    error = more.get("error", float(differs > 0))
    timing = Timing(best, best, 0.02, 15)
    return PeerResult(name, timing, error, error, error <= 1, differs=differs)


class FakeRival:
    """Computes the layer with the oracle; ``wrong`` adds to it, ``dies`` breaks at that run."""

    version = "1.2.3"

    def __init__(
        self, name: str, *, wrong: float = 0.0, dies: int | None = None, refuses: str = ""
    ) -> None:
        self.name, self.wrong, self.dies, self.refuses = name, wrong, dies, refuses
        self.specs: list[ConvSpec] = []
        self.runs = 0
        self.closed = False

    def prepare(self, spec: ConvSpec, folder: Path, threads: int, c_flags: Sequence[str]) -> str:
        import numpy as np

        from convgen.bench.wire import RESULT, read_arrays
        from convgen.oracle import floats as oracle
        from convgen.oracle import integers as oracle_quant

        if self.refuses:
            raise RivalError(self.refuses)
        self.specs.append(spec)
        x, w, b = read_arrays(folder)
        bias = b if spec.bias else None
        if spec.quantized:
            integers = oracle_quant.reference(spec, x, w, bias)
            room = np.iinfo(integers.dtype)
            wrong = np.clip(integers + np.int64(self.wrong), room.min, room.max)
            np.save(folder / RESULT, wrong.astype(integers.dtype))
            return "oracle"
        y = oracle.reference(spec, x, w, bias) + self.wrong
        np.save(folder / RESULT, y.astype(np.float32))
        return "oracle"

    def run(self, count: int) -> float:
        self.runs += 1
        if self.runs == self.dies:
            raise RivalError("its process ended")
        return count * 1e-3

    def close(self) -> None:
        self.closed = True

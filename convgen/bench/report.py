"""What a benchmark found, as values: printable, storable as JSON, comparable with a later one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from convgen.bench.machine import Level, Machine
from convgen.bench.measure import Timing
from convgen.errors import UsageError

FORMAT = 1
TIE = 0.04  # times closer than this are a tie: alignment of memory alone moves them that far


@dataclass(frozen=True)
class PeerInfo:
    """A peer of the whole run: its version, or the reason why it takes no part."""

    name: str
    version: str | None
    reason: str = ""


@dataclass(frozen=True)
class PeerResult:
    """A peer on one layer. ``timing``: None where it took no part, ``reason`` says why.

    ``error``: largest difference from the oracle; ``bound_ratio``: largest error / bound, of the
    bound that convgen's own kernel is held to, or of one unit of an 8-bit output. ``counted``:
    inside that bound, so it may be the best. ``differs``: the share of 8-bit outputs that are not
    the oracle's to the bit, None of floats.
    """

    name: str
    timing: Timing | None
    error: float | None = None
    bound_ratio: float | None = None
    counted: bool = False
    variant: str = ""
    reason: str = ""
    differs: float | None = None


@dataclass(frozen=True)
class LayerResult:
    """convgen and its peers on one layer. ``moved``: bytes of input, weights and output.

    ``limit``: the part of the machine that binds the kernel, and ``limit_us``: what that needs at
    least on one thread; "" and None where nobody asked.
    """

    name: str
    shape: str
    macs: int
    moved: int
    schedule: str
    timing: Timing
    error: float
    bound_ratio: float
    peers: tuple[PeerResult, ...]
    limit: str = ""
    limit_us: float | None = None
    dtype: str = "float32"

    @property
    def is_8_bit(self) -> bool:
        return self.dtype in ("int8", "uint8")

    @property
    def of_limit(self) -> float | None:
        """The share of what its limit allows that the kernel reached, 1 for all of it."""
        return None if self.limit_us is None else self.limit_us / self.timing.best

    def gflops(self, timing: Timing | None = None) -> float:
        """Two operations for each multiply-add, those in the padding too, 1e9 a second."""
        return 2 * self.macs / (timing or self.timing).best / 1e3

    def ratio(self, peer: PeerResult) -> float | None:
        """How many times convgen's time the peer takes."""
        return peer.timing.best / self.timing.best if peer.timing is not None else None

    @property
    def best_peer(self) -> PeerResult | None:
        """The quickest peer among those whose results are right."""
        counted = [p for p in self.peers if p.timing is not None and p.counted]
        return min(counted, key=lambda p: p.timing.best if p.timing else math.inf, default=None)

    @property
    def lead(self) -> float | None:
        """How many times convgen's time the best peer takes."""
        best = self.best_peer
        return None if best is None else self.ratio(best)


@dataclass(frozen=True)
class Conditions:
    """Where and when: without these no time means anything. ``cores``: those it was pinned to."""

    date: str
    convgen: str
    target: str
    compiler: str
    system: str
    python: str
    numpy: str
    cores: tuple[int, ...]
    rounds: int


@dataclass(frozen=True)
class Report:
    """One run of ``convgen bench``."""

    conditions: Conditions
    machine: Machine
    peers: tuple[PeerInfo, ...]
    layers: tuple[LayerResult, ...]

    def peak_of(self, layer: LayerResult) -> float | None:
        """1e9 operations a second that the machine has for the layer's element type at most."""
        machine = self.machine
        if layer.is_8_bit:
            return machine.int8_peak
        pairs = machine.bf16_peak if layer.dtype == "bfloat16" else None
        return pairs or machine.peak

    def percent_of_peak(self, layer: LayerResult) -> float | None:
        """Padding counts as work, so skipping it, or Winograd's algorithm, can exceed 100.

        None where the peak of the layer's products is not known.
        """
        peak = self.peak_of(layer)
        return None if peak is None else 100 * layer.gflops() / peak

    def to_mapping(self) -> dict[str, Any]:
        """Plain data for JSON, with the figures that follow from it."""
        layers = [
            {
                **asdict(layer),
                "gflops": round(layer.gflops(), 3),
                "percent_of_peak": _rounded(self.percent_of_peak(layer), 2),
                "of_limit": _rounded(layer.of_limit),
                "peers": [{**asdict(p), "ratio": _rounded(layer.ratio(p))} for p in layer.peers],
                "best_peer": None if layer.best_peer is None else layer.best_peer.name,
                "lead": _rounded(layer.lead),
            }
            for layer in self.layers
        ]
        return {
            "format": FORMAT,
            "conditions": asdict(self.conditions),
            "machine": asdict(self.machine),
            "peers": [asdict(peer) for peer in self.peers],
            "layers": layers,
            "summary": summary(self.layers),
        }

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Report:
        """The reverse of ``to_mapping``. Raises ``KeyError``, ``TypeError`` for other data."""
        conditions, machine = data["conditions"], data["machine"]
        return cls(
            Conditions(**{**conditions, "cores": tuple(conditions["cores"])}),
            Machine(**{**machine, "levels": tuple(Level(**v) for v in machine["levels"])}),
            tuple(PeerInfo(**peer) for peer in data["peers"]),
            tuple(_layer(layer) for layer in data["layers"]),
        )


def _layer(data: Mapping[str, Any]) -> LayerResult:
    derived = ("gflops", "percent_of_peak", "of_limit", "best_peer", "lead")
    own = {key: value for key, value in data.items() if key not in derived}
    peers = tuple(_peer(peer) for peer in data["peers"])
    return LayerResult(**{**own, "timing": Timing(**data["timing"]), "peers": peers})


def _peer(data: Mapping[str, Any]) -> PeerResult:
    own = {key: value for key, value in data.items() if key != "ratio"}
    timing = None if data["timing"] is None else Timing(**data["timing"])
    return PeerResult(**{**own, "timing": timing})


def summary(layers: Sequence[LayerResult]) -> dict[str, Any]:
    """Over all layers: how far the best peer of each is behind, and each peer by itself.

    ``behind``: the layers where a peer is ahead by more than a tie.
    """
    leads = {layer.name: lead for layer in layers if (lead := layer.lead) is not None}
    ratios: dict[str, list[float]] = {}
    for layer in layers:
        for peer in layer.peers:
            ratio = layer.ratio(peer)
            if ratio is not None and peer.counted:
                ratios.setdefault(peer.name, []).append(ratio)
    return {
        "layers": len(layers),
        "compared": len(leads),
        "mean_lead": _rounded(geometric_mean(list(leads.values()))),
        "least_lead": _rounded(min(leads.values(), default=None)),
        "behind": [name for name, lead in leads.items() if lead < 1 - TIE],
        "peers": {
            name: {
                "layers": len(found),
                "mean": _rounded(geometric_mean(found)),
                "least": _rounded(min(found)),
            }
            for name, found in ratios.items()
        },
    }


def geometric_mean(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


def read_report(path: str) -> Report:
    """A report saved by ``--save``, or the output of ``--json``. Raises ``UsageError``."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if data.get("format") == FORMAT:
            return Report.from_mapping(data)
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise UsageError(f"{path}: no benchmark of this version of convgen; write one with --save")


def write_report(report: Report, path: str) -> None:
    """Whole or not at all. Raises ``OSError``."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f"{place.name}.part")
    part.write_text(json.dumps(report.to_mapping(), indent=2) + "\n", encoding="utf-8")
    part.replace(place)


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)

"""The benchmark as pictures: bars per layer, and where each layer lies under the roofline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from convgen.bench.report import LayerResult, Report
from convgen.bench.tables import FLOPS, OPS
from convgen.errors import UsageError

INCHES_PER_LAYER = 0.55
OWN_COLOUR = "black"


def check_plot(path: str) -> None:
    """Raises ``UsageError`` early: a long run should not end with a missing library."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib: pip install 'convgen[bench]'")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    kinds = FigureCanvasAgg.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in kinds:
        raise UsageError(f"--plot {path}: write to one of {', '.join(f'.{k}' for k in kinds)}")


def draw(report: Report, path: str) -> None:
    """Write the picture. Raises ``OSError``. No window system is needed."""
    from matplotlib.figure import Figure

    width = max(8.0, 2 + INCHES_PER_LAYER * len(report.layers))
    figure: Any = Figure(figsize=(width, 11), layout="constrained")
    upper, lower = figure.subplots(2)
    _bars(upper, report)
    _roofline(lower, report)
    threads = report.machine.threads
    figure.suptitle(
        f"convgen {report.conditions.convgen}, {report.machine.cpu}, {report.conditions.target}, "
        f"{threads} thread{'s' * (threads > 1)}, {report.conditions.date}"
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _bars(axes: Any, report: Report) -> None:
    """GFLOP/s of everyone who took part; results outside the error bound are hatched."""
    names = [peer.name for peer in report.peers if peer.version is not None]
    width = 0.85 / (1 + len(names))
    places = range(len(report.layers))
    speeds = [layer.gflops() for layer in report.layers]
    axes.bar(list(places), speeds, width, label="convgen", color=OWN_COLOUR)
    for i, name in enumerate(names, 1):
        bars = axes.bar(
            [p + i * width for p in places],
            [_speed(layer, name) for layer in report.layers],
            width,
            label=name,
        )
        for bar, layer in zip(bars, report.layers, strict=True):
            if any(p.name == name and p.timing and not p.counted for p in layer.peers):
                bar.set_hatch("//")
    peaks = _peaks(report)
    for peak in peaks:
        axes.axhline(peak, color="grey", linewidth=1, linestyle="--")
    axes.set_xticks([p + width * len(names) / 2 for p in places])
    axes.set_xticklabels([layer.name for layer in report.layers], rotation=45)
    axes.set_ylabel(f"{_unit(report)} (dashed: measured peak)")
    tallest = max(*peaks, *(bar.get_height() for bar in axes.patches))
    axes.set_ylim(top=1.25 * tallest)  # room for the legend
    axes.legend(ncols=8, fontsize="small", loc="upper center")


def _peaks(report: Report) -> list[float]:
    """Those of the layers' element types; of float32 where nothing else is known."""
    found = {report.peak_of(layer) for layer in report.layers}
    return sorted(peak for peak in found if peak is not None) or [report.machine.peak]


def _unit(report: Report) -> str:
    return OPS if any(layer.is_8_bit for layer in report.layers) else FLOPS


def _speed(layer: LayerResult, name: str) -> float:
    """GFLOP/s of a peer, 0 where it took no part."""
    for peer in layer.peers:
        if peer.name == name and peer.timing is not None:
            return layer.gflops(peer.timing)
    return 0.0


def _roofline(axes: Any, report: Report) -> None:
    """Speed over operations per byte that must move at least; one roof per level of memory."""
    machine, peak = report.machine, _peaks(report)[-1]
    points = [(2 * layer.macs / layer.moved, layer.gflops(), layer) for layer in report.layers]
    reach = [x for x, _, _ in points]
    low, high = min(reach, default=1.0) / 4, max(reach, default=1.0) * 4
    for level in machine.levels:
        knee = peak / level.read
        xs = [low, min(max(knee, low), high), high]
        ys = [min(peak, x * level.read) for x in xs]
        axes.plot(xs, ys, linewidth=1, label=f"{level.name}, {level.read:.0f} GB/s")
    for x, y, layer in points:
        axes.plot(x, y, "o", color=OWN_COLOUR, markersize=4)
        axes.annotate(layer.name, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte of input, weights and output")
    axes.set_ylabel(_unit(report))
    axes.legend(fontsize="small")

"""A benchmark in words: tables for a terminal and for a page, and what they add up to."""

from __future__ import annotations

from collections.abc import Sequence

from convgen.bench.compare import Change
from convgen.bench.report import TIE, LayerResult, PeerResult, Report, summary

NOTHING = "-"
HEAD = (
    "layer", "shape", "best us", "median us", "spread", "GFLOP/s", "% peak", "limit", "% of limit",
    "error/bound",
)  # fmt: skip
RIGHT = "llrrrrrlrr"
QUIET = ("median us", "spread", "limit", "% of limit", "error/bound")  # apart on a page
CHANGE_HEAD = ("layer", "before us", "after us", "best", "median", "noise", "verdict")
CHANGE_RIGHT = "lrrrrrl"
LEFT_MARK, RIGHT_MARK = ":--", "--:"
BRIEF_HEAD = (
    "layer", "shape", "convgen us", "GFLOP/s", "% peak", "best peer", "its us", "times convgen's",
)  # fmt: skip
BRIEF_MARKS = (":--", ":--", "--:", "--:", "--:", ":--", "--:", "--:")
UNCOUNTED = "!"  # marks a peer whose results are outside the error bound
BESIDE = "~"  # and one some of whose 8-bit outputs are one beside the layer's
FLOPS, OPS = "GFLOP/s", "GOP/s"


def head(report: Report) -> tuple[tuple[str, ...], str]:
    """Column names, and which columns stand to the right."""
    names = _present(report)
    peers = tuple(f"{name} us" for name in names)
    own = _in_units(HEAD, report)
    if not names:
        return own, RIGHT
    return (*own, *peers, "best peer", "lead"), RIGHT + "r" * len(names) + "lr"


def _in_units(names: Sequence[str], report: Report) -> tuple[str, ...]:
    """Operations on integers are no floating-point ones."""
    integers = any(layer.is_8_bit for layer in report.layers)
    return tuple(OPS if integers and name == FLOPS else name for name in names)


def rows(report: Report) -> list[tuple[str, ...]]:
    """One line for each layer, as ``head`` names its columns."""
    names = _present(report)
    return [_row(report, layer, names) for layer in report.layers]


def _row(report: Report, layer: LayerResult, names: Sequence[str]) -> tuple[str, ...]:
    timing = layer.timing
    own = (
        layer.name, layer.shape, microseconds(timing.best), microseconds(timing.median),
        f"{timing.spread:.0%}", f"{layer.gflops():.1f}", _percent(report, layer),
        layer.limit or NOTHING, NOTHING if layer.of_limit is None else f"{layer.of_limit:.0%}"[:-1],
        "exact" if layer.is_8_bit and not layer.error else f"{layer.bound_ratio:.2f}",
    )  # fmt: skip
    if not names:
        return own
    by_name = {peer.name: peer for peer in layer.peers}
    best, lead = layer.best_peer, layer.lead
    cells = [_cell(layer, by_name.get(name)) for name in names]
    return (*own, *cells, NOTHING if best is None else best.name, _times(lead))


def _percent(report: Report, layer: LayerResult) -> str:
    percent = report.percent_of_peak(layer)
    return NOTHING if percent is None else f"{percent:.0f}"


def _cell(layer: LayerResult, peer: PeerResult | None) -> str:
    if peer is None or peer.timing is None:
        return NOTHING
    mark = (BESIDE if peer.differs else "") if peer.counted else UNCOUNTED
    return f"{microseconds(peer.timing.best)} ({_times(layer.ratio(peer))}){mark}"


def _present(report: Report) -> list[str]:
    """The peers that took part."""
    return [peer.name for peer in report.peers if peer.version is not None]


def microseconds(value: float) -> str:
    """Three digits at least: 7.61, 15.4, 585, 11144."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f}"


def _times(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def condition_lines(report: Report) -> list[str]:
    """Where, when and with what: every figure depends on it."""
    c, m = report.conditions, report.machine
    threads = "one thread" if m.threads == 1 else f"{m.threads} threads"
    where = f" on core {', '.join(map(str, c.cores))}" if c.cores else ""
    measured = [peer for peer in report.peers if peer.version is not None]
    levels = [f"{v.name} reads {v.read:.0f}, copies {v.copy:.0f} GB/s" for v in m.levels]
    lines = [
        f"{m.cpu}, {c.system}, {threads}{where}; {c.date}; target {c.target}, {c.compiler}",
        f"peak {m.peak:.1f} GFLOP/s ({m.isa}){_narrow_peaks(report)}; {'; '.join(levels)}",
        f"convgen {c.convgen}, Python {c.python}, NumPy {c.numpy}, {c.rounds} rounds",
    ]
    if measured:
        lines.append("against " + ", ".join(f"{p.name} {p.version}" for p in measured))
    lines += [f"without {p.name}: {p.reason}" for p in report.peers if p.version is None]
    return lines


def _narrow_peaks(report: Report) -> str:
    """Of a run with 8-bit or bfloat16 layers."""
    m, found = report.machine, ""
    if m.int8_peak is not None and any(layer.is_8_bit for layer in report.layers):
        found += f", {m.int8_peak:.0f} GOP/s of 8-bit products ({m.int8_by})"
    if m.bf16_peak is not None and any(layer.dtype == "bfloat16" for layer in report.layers):
        found += f", {m.bf16_peak:.0f} GFLOP/s of bfloat16 products ({m.bf16_by})"
    return found


def summary_lines(report: Report) -> list[str]:
    """Geometric means, and the layers where a peer is ahead."""
    total = summary(report.layers)
    if not total["compared"]:
        return []
    lines = [
        f"the best peer of each layer ({total['compared']}) takes {total['mean_lead']:.2f}x "
        f"convgen's time (geometric mean), {total['least_lead']:.2f}x at least"
    ]
    lines += [
        f"{name} takes {found['mean']:.2f}x over {_layers(found['layers'])}, "
        f"{found['least']:.2f}x at least"
        for name, found in total["peers"].items()
    ]
    if total["behind"]:
        lines.append(f"a peer is ahead by more than {TIE:.0%} on: {', '.join(total['behind'])}")
    if any(not p.counted and p.timing for layer in report.layers for p in layer.peers):
        lines.append(f"{UNCOUNTED} outside the error bound: shown, not counted")
    return lines + _bit_lines(report)


def _bit_lines(report: Report) -> list[str]:
    """How near each peer comes to the integers of 8-bit layers, which convgen's are."""
    lines = []
    for name in _present(report):
        found = [
            peer.differs
            for layer in report.layers
            for peer in layer.peers
            if peer.name == name and peer.counted and peer.differs is not None
        ]
        if not found:
            continue
        equal = sum(not share for share in found)
        text = f"{name} equals convgen's 8-bit outputs to the bit on {equal} of {len(found)}"
        if equal < len(found):
            share = f"at most {max(found):.2%}" if max(found) >= 5e-5 else "less than 0.01%"
            text += f"; {BESIDE} {share} of a layer's outputs are 1 beside them"
        lines.append(text)
    return lines


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"


def reason_lines(report: Report) -> list[str]:
    """Why a peer that is here took no part in a layer, or was not counted."""
    return [
        f"{layer.name}: {peer.name}: {peer.reason}"
        for layer in report.layers
        for peer in layer.peers
        if peer.reason
    ]


def change_rows(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    """One line for each layer, as ``CHANGE_HEAD`` names its columns."""
    return [
        (
            change.name, microseconds(change.before), microseconds(change.after),
            f"{change.best:.2f}x", f"{change.median:.2f}x", f"{change.noise:.0%}",
            str(change.verdict),
        )
        for change in changes
    ]  # fmt: skip


def markdown(report: Report) -> str:
    """The whole benchmark as a page's tables, with conditions above them and sums below."""
    names, right = head(report)
    keep = [i for i, name in enumerate(names) if name not in QUIET]
    marks = [RIGHT_MARK if right[i] == "r" else LEFT_MARK for i in keep]
    table = [[row[i] for i in keep] for row in rows(report)]
    lines = [*_paragraph(condition_lines(report)), ""]
    lines += [_line([names[i] for i in keep]), _line(marks), *map(_line, table), ""]
    lines += _list(summary_lines(report))
    quiet = ("layer", *QUIET)
    places = [names.index(name) for name in quiet]
    marks = [RIGHT_MARK if right[i] == "r" else LEFT_MARK for i in places]
    lines += ["", _line((*quiet, "schedule")), _line([*marks, LEFT_MARK])]
    for row, layer in zip(rows(report), report.layers, strict=True):
        lines.append(_line([*(row[i] for i in places), f"`{layer.schedule}`"]))
    return "\n".join(lines).rstrip() + "\n"


def markdown_brief(report: Report) -> str:
    """The best peer of each layer alone, as a table; what every peer takes on the whole below."""
    lines = [*_paragraph(condition_lines(report)[:2]), ""]
    lines += [_line(_in_units(BRIEF_HEAD, report)), _line(BRIEF_MARKS)]
    for layer in report.layers:
        best, lead = layer.best_peer, layer.lead
        rival = (
            (NOTHING, NOTHING)
            if best is None or best.timing is None
            else (best.name, microseconds(best.timing.best))
        )
        lines.append(
            _line(
                (
                    layer.name, layer.shape, microseconds(layer.timing.best),
                    f"{layer.gflops():.0f}", _percent(report, layer), *rival,
                    _times(lead),
                )
            )
        )  # fmt: skip
    return "\n".join([*lines, "", *_list(summary_lines(report))]).rstrip() + "\n"


def _paragraph(lines: Sequence[str]) -> list[str]:
    return [f"{line}." + "  " * (i < len(lines)) for i, line in enumerate(lines, 1)]


def _list(lines: Sequence[str]) -> list[str]:
    return [f"- {line[0].upper()}{line[1:]}." for line in lines]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"

"""What a benchmark says: figures, tables, JSON, pictures, and what counts as slower."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bench_reports import MACHINE, integers, layer, peer, report

from convgen.bench.compare import Verdict, compare
from convgen.bench.plot import check_plot, draw
from convgen.bench.report import Report, geometric_mean, read_report, summary, write_report
from convgen.bench.tables import (
    condition_lines,
    head,
    markdown,
    markdown_brief,
    microseconds,
    reason_lines,
    rows,
    summary_lines,
)
from convgen.errors import UsageError

ROUGH = peer("ncnn", 1.0, counted=False, reason="its results are outside the error bound")
GOOD = report(
    layer("a", 10.0, peer("litert", 20.0), ROUGH),
    layer("b", 40.0, peer("litert", 20.0), peer("ncnn", None, reason="one image at a time")),
)


def test_figures_of_a_layer() -> None:
    first = GOOD.layers[0]
    assert first.gflops() == pytest.approx(200.0)  # 2e6 operations in 10 us
    assert GOOD.percent_of_peak(first) == pytest.approx(200.0)
    assert first.ratio(first.peers[0]) == 2.0


def test_a_peer_outside_the_bound_is_never_the_best() -> None:
    best = GOOD.layers[0].best_peer
    assert best is not None and best.name == "litert"
    assert layer("c", 1.0, ROUGH).best_peer is None
    assert layer("c", 1.0, ROUGH).lead is None


def test_summary_takes_the_best_peer_of_each_layer() -> None:
    total = summary(GOOD.layers)
    assert (total["layers"], total["compared"]) == (2, 2)
    assert total["mean_lead"] == pytest.approx(1.0)  # 2 and 1/2
    assert (total["least_lead"], total["behind"]) == (0.5, ["b"])
    assert total["peers"] == {"litert": {"layers": 2, "mean": 1.0, "least": 0.5}}


def test_a_tie_is_not_behind() -> None:
    assert summary([layer("a", 100.0, peer("litert", 97.0))])["behind"] == []
    assert summary([layer("a", 100.0, peer("litert", 95.0))])["behind"] == ["a"]


def test_nothing_to_compare() -> None:
    total = summary([layer("a", 1.0)])
    assert total["mean_lead"] is None and total["least_lead"] is None
    assert geometric_mean([]) is None
    assert summary_lines(report(layer("a", 1.0))) == []


# -- JSON ------------------------------------------------------------------------------------------


def test_json_there_and_back() -> None:
    assert Report.from_mapping(json.loads(json.dumps(GOOD.to_mapping()))) == GOOD


def test_json_has_the_figures_as_well() -> None:
    first = GOOD.to_mapping()["layers"][0]
    assert (first["gflops"], first["best_peer"], first["lead"]) == (200.0, "litert", 2.0)
    assert [p["ratio"] for p in first["peers"]] == [2.0, 0.1]


def test_a_report_is_kept_and_read(tmp_path: Path) -> None:
    place = tmp_path / "new" / "r.json"
    write_report(GOOD, str(place))
    assert read_report(str(place)) == GOOD
    assert [p.name for p in place.parent.iterdir()] == ["r.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', "nope"])
def test_another_file_is_refused(text: str, tmp_path: Path) -> None:
    place = tmp_path / "r.json"
    place.write_text(text)
    with pytest.raises(UsageError, match=r"r\.json: no benchmark"):
        read_report(str(place))


# -- text ------------------------------------------------------------------------------------------


def test_table_has_a_column_for_each_peer_that_took_part() -> None:
    names, right = head(GOOD)
    assert names[-4:] == ("litert us", "ncnn us", "best peer", "lead") and len(right) == len(names)
    first, second = rows(GOOD)
    assert first[-4:] == ("20.0 (2.00x)", "1.00 (0.10x)!", "litert", "2.00x")
    assert second[-4:] == ("20.0 (0.50x)", "-", "litert", "0.50x")
    assert all(len(row) == len(names) for row in (first, second))


EIGHT = replace(
    report(
        replace(
            layer("a", 10.0, integers("litert", 5.0, 0.001), integers("mnn", 5.0, 0.5, error=9)),
            dtype="int8", error=0.0,
        ),
        replace(layer("b", 10.0, integers("litert", 20.0, 0.0)), dtype="int8", error=0.0),
    ),
    machine=replace(MACHINE, int8_peak=400.0, int8_by="vpdpbusd"),
)  # fmt: skip


def test_bfloat16_layers_have_the_peak_of_their_products() -> None:
    machine = replace(MACHINE, bf16_peak=800.0, bf16_by="vdpbf16ps")
    own = replace(report(replace(layer("a", 10.0), dtype="bfloat16")), machine=machine)
    first = own.layers[0]
    assert own.percent_of_peak(first) == pytest.approx(100 * first.gflops() / 800.0)
    assert replace(own, machine=MACHINE).peak_of(first) == MACHINE.peak
    assert own.peak_of(replace(first, dtype="float32")) == machine.peak
    assert "800 GFLOP/s of bfloat16 products (vdpbf16ps)" in "\n".join(condition_lines(own))
    assert "bfloat16" not in "\n".join(condition_lines(replace(EIGHT, machine=machine)))


def test_8_bit_layers_have_their_own_peak_and_are_told_to_the_bit() -> None:
    first = EIGHT.layers[0]
    assert EIGHT.percent_of_peak(first) == pytest.approx(50.0)
    assert EIGHT.percent_of_peak(replace(first, dtype="float32")) == pytest.approx(200.0)
    assert replace(EIGHT, machine=MACHINE).percent_of_peak(first) is None
    names, _ = head(EIGHT)
    row = dict(zip(names, rows(EIGHT)[0], strict=True))
    assert (row["GOP/s"], row["% peak"], row["error/bound"]) == ("200.0", "50", "exact")
    assert row["litert us"] == "5.00 (0.50x)~" and row["mnn us"].endswith("!")
    text = "\n".join([*condition_lines(EIGHT), *summary_lines(EIGHT)])
    assert "400 GOP/s of 8-bit products (vpdpbusd)" in text
    assert "litert equals convgen's 8-bit outputs to the bit on 1 of 2; ~ at most 0.10%" in text
    assert "mnn equals" not in text
    assert Report.from_mapping(json.loads(json.dumps(EIGHT.to_mapping()))) == EIGHT
    assert "GFLOP/s |" not in markdown_brief(EIGHT) and "GOP/s |" in markdown_brief(EIGHT)


def test_without_peers_the_table_is_convgens_alone() -> None:
    alone = report(layer("a", 10.0))
    assert head(alone)[0][-1] == "error/bound"
    assert rows(alone) == [
        ("a", "8x8x4 k4 f3", "10.0", "10.0", "2%", "200.0", "200", "FMA", "80", "0.10"),
    ]


def test_conditions_name_machine_and_versions() -> None:
    text = "\n".join(condition_lines(GOOD))
    for word in ("Some CPU", "gcc 12", "2026-01-02", "litert 1.0", "core 3", "L1 reads 200",
                 "without mnn: not installed"):  # fmt: skip
        assert word in text


def test_sums_and_reasons_in_words() -> None:
    text = "\n".join(summary_lines(GOOD))
    assert "1.00x convgen's time (geometric mean), 0.50x at least" in text
    assert "ahead by more than 4% on: b" in text and "outside the error bound" in text
    assert reason_lines(GOOD) == [
        "a: ncnn: its results are outside the error bound",
        "b: ncnn: one image at a time",
    ]


def test_markdown_tables_are_even() -> None:
    for text in (markdown(GOOD), markdown_brief(GOOD)):
        table = [line.count("|") for line in text.splitlines() if line.startswith("|")]
        assert len(table) >= 4
        assert "Some CPU" in text and "| litert |" in text
    assert "`{family: direct}`" in markdown(GOOD)
    assert len({line.count("|") for line in markdown_brief(GOOD).splitlines() if "|" in line}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(7.614, "7.61"), (15.44, "15.4"), (585.4, "585"), (20080.0, "20080")]
)
def test_microseconds_have_three_digits(value: float, text: str) -> None:
    assert microseconds(value) == text


# -- comparison ------------------------------------------------------------------------------------


def verdict(then: Report, now: Report) -> Verdict:
    (change,) = compare(then, now)
    return change.verdict


def test_slower_only_when_best_and_median_both_are() -> None:
    then = report(layer("a", 100.0))
    assert verdict(then, report(layer("a", 107.0))) is Verdict.SLOWER
    assert verdict(then, report(layer("a", 105.0))) is Verdict.SAME  # 4% and the spread of 2%
    assert verdict(then, report(layer("a", 107.0, median=104.0))) is Verdict.SAME
    assert verdict(then, report(layer("a", 104.0, median=120.0))) is Verdict.SAME
    assert verdict(then, report(layer("a", 90.0))) is Verdict.FASTER


def test_a_restless_run_proves_less() -> None:
    then, now = report(layer("a", 100.0)), report(layer("a", 120.0, spread=0.3))
    assert verdict(then, now) is Verdict.SAME
    assert verdict(report(layer("a", 100.0, spread=0.3)), report(layer("a", 120.0))) is Verdict.SAME


def test_a_slower_machine_is_no_regression() -> None:
    then = report(layer("a", 100.0), peak=100.0)
    assert verdict(then, report(layer("a", 120.0), peak=80.0)) is Verdict.SAME
    assert verdict(then, report(layer("a", 150.0), peak=80.0)) is Verdict.SLOWER
    assert verdict(then, report(layer("a", 120.0), peak=120.0)) is Verdict.SLOWER


def test_only_layers_that_both_have_are_compared() -> None:
    then = report(layer("a", 100.0), layer("gone", 1.0))
    now = report(layer("new", 1.0), layer("a", 100.0))
    assert [change.name for change in compare(then, now)] == ["a"]
    other = replace(layer("a", 100.0), macs=5)
    with pytest.raises(UsageError, match="none of these layers"):
        compare(then, report(other))


def test_other_conditions_cannot_be_compared() -> None:
    then, now = report(layer("a", 1.0)), report(layer("a", 1.0))
    for other, word in (
        (replace(now, machine=replace(now.machine, cpu="Another")), "another processor"),
        (replace(now, machine=replace(now.machine, threads=2)), "another number of threads"),
        (replace(now, conditions=replace(now.conditions, target="generic")), "another target"),
    ):
        with pytest.raises(UsageError, match=word):
            compare(then, other)


# -- pictures --------------------------------------------------------------------------------------


@pytest.mark.tools  # matplotlib asks fontconfig, where that is
def test_a_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    place = tmp_path / "p" / "bench.png"
    check_plot(str(place))
    draw(GOOD, str(place))
    assert place.read_bytes().startswith(b"\x89PNG")
    draw(report(layer("a", 1.0)), str(place))


def test_a_format_that_cannot_be_drawn() -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    with pytest.raises(UsageError, match=r"--plot x\.doc: write to one of .*\.png"):
        check_plot("x.doc")


def test_without_matplotlib_the_fix_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'convgen\[bench\]'"):
        check_plot("x.png")

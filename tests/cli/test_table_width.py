"""Every table at 60, 80 and 120 columns: no figure and no name is cut; explain wraps."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from built import needs_cc
from cli_runner import run
from places import SPECS

from convgen.cli import output
from convgen.cli.output import plain_table, stacked_table, wrapped

WIDTHS = (60, 80, 120)
HEADS = {
    "check": ("convgen.cli.check", "HEAD"),
    "size": ("convgen.cli.size", "HEAD"),
    "build": ("convgen.cli.reports", "HEAD"),
    "verify": ("convgen.cli.verify", "HEAD"),
    "cross": ("convgen.cross.page", "HEAD"),
    "prove": ("convgen.cli.prove", "HEAD"),
    "compare": ("convgen.bench.tables", "CHANGE_HEAD"),
    "bench": ("convgen.bench.tables", "HEAD"),
}
CELLS = ["resnet_block_3_conv_2", "1,234,567,890", "224x224x64", "-", "", "3.05e-06", "<= 1,968",
         "64 of 7x7x3, stride 2, pad 3 3 2 2 (top left bottom right), depthwise"]  # fmt: skip


def held(text: str, width: int, cells: list[str]) -> None:
    """Each line fits, and each cell stands there whole (a sentence may be wrapped)."""
    for line in text.splitlines():
        assert len(line) <= width, line
    flat = " ".join(text.split())
    for cell in cells:
        assert " ".join(cell.split()) in flat, cell


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", HEADS)
def test_a_wide_table_is_stacked(name: str, width: int) -> None:
    module, constant = HEADS[name]
    head = getattr(importlib.import_module(module), constant)
    rows = [[CELLS[(i + turn) % len(CELLS)] for i in range(len(head))] for turn in range(5)]
    held(stacked_table(head, rows, width), width, [cell for row in rows for cell in row])


def at(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "screen_width", lambda: width)
    monkeypatch.setattr("convgen.cli.explain.screen_width", lambda: width)


@pytest.mark.parametrize("width", WIDTHS)
def test_check(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = str(SPECS)
    wide = run("check", spec).out
    at(width, monkeypatch)
    shown = run("check", spec).out
    figures = re.findall(r"\S*[0-9]\S*", wide)
    assert len(figures) > 10
    held(shown, width, figures)


@needs_cc
@pytest.mark.parametrize("width", WIDTHS)
def test_size_and_build(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tmp_path / "two.yaml"
    spec.write_text(
        "kernel: 3\npadding: 1\nlayers:\n- {name: the_first_of_two_layers, input: 16x16x4, "
        "filters: 8}\n- {name: the_second_of_two_layers, input: 16x16x8, filters: 4}\n"
    )
    build = ("build", str(spec), "-o", str(tmp_path / "o"), "--no-verify")
    run(*build)
    at(width, monkeypatch)
    for verb in (("size", str(spec), "--target", "generic"), build):
        shown = run(*verb)
        assert shown.code == 0, shown.err
        table = "\n".join(line for line in shown.out.splitlines() if not line.startswith("import"))
        held(table, width, ["the_first_of_two_layers", "the_second_of_two_layers"])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("spec", ["layer", "int8", "asymmetric_padding", "any_batch"])
def test_explain_wraps(spec: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(SPECS / f"{spec}.yaml")
    wide = run("explain", path).out
    at(width, monkeypatch)
    shown = run("explain", path).out
    assert " ".join(shown.split()) == " ".join(wide.split()), "the same words in the same order"
    after = re.split("Register tile|Winograd tile", shown.partition("Cost")[2])[0]
    prose = shown.split("Filter windows")[0] + after
    # Nothing but a single word may be longer than a line.
    assert all(len(line) <= width or " " not in line.strip() for line in prose.splitlines())


def test_piped_lines_keep_their_length() -> None:
    assert output.screen_width() is None or output.is_terminal(sys.stdout)
    assert wrapped("a b " * 99, None) == ["a b " * 99]
    assert plain_table(("a", "b"), [("1", "2")]) == "a  b\n1  2"

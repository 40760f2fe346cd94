"""Lines of C brought within the columns: white space alone changes."""

from __future__ import annotations

import re

import pytest

from convgen.ctext.wrap import WIDTH, wrapped

LONG = "a" * 40
LINES = {
    "arguments": f"  {LONG} = {LONG}_fma({LONG}, {LONG}, {LONG}_set1(1.0f));",
    "declaration": f"static void {LONG}_sweep(const float *x, const float *packed, float *{LONG},",
    "remark": f"  const {LONG} magic = {LONG}_set1(12582912.0f); /* adding it rounds */",
    "comment": f"  /* {' '.join(['words'] * 30)} */",
    "condition": f"  return {LONG}_has(1, 2) && {LONG}_has(3, 4) && {LONG}_has(5, 6);",
}


@pytest.mark.parametrize("name", LINES)
def test_a_long_line_fits_and_means_the_same(name: str) -> None:
    line = LINES[name]
    text = wrapped(line)
    assert max(map(len, text.split("\n"))) <= WIDTH < len(line)
    assert sorted(re.findall(r"\S+", text)) == sorted(re.findall(r"\S+", line))


def test_what_fits_stays() -> None:
    text = f"int a;\n  {'b' * (WIDTH - 2)}\n"
    assert wrapped(text) == text


def test_a_directive_goes_on_behind_a_backslash() -> None:
    line = f"#if (defined({LONG}) \\\n    && {LONG}) && !defined({LONG}) && !defined({LONG})"
    text = wrapped(line)
    lines = text.split("\n")
    assert len(lines) > 2 and max(map(len, lines)) <= WIDTH
    assert all(part.endswith(" \\") for part in lines[:-1]) and not lines[-1].endswith("\\")


def test_strings_and_endless_names_stay_whole() -> None:
    for line in (f'  f("{", ".join([LONG] * 3)}");', LONG * 3):
        assert wrapped(line) == line


def test_a_comment_that_goes_on_stays_open() -> None:
    line = f"  /* {' '.join(['words'] * 30)}"
    text = wrapped(f"{line}\n     and more. */")
    assert text.count("*/") == 1 and max(map(len, text.split("\n"))) <= WIDTH

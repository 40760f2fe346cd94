"""YAML text -> tree: our own scalars, places, and what is refused before any value is looked at."""

from __future__ import annotations

import subprocess
import sys

import pytest

from convgen.errors import SpecError
from convgen.spec import parse_text
from convgen.spec.nodes import MAX_BYTES, read_yaml
from convgen.spec.scalars import disputed, read_plain

BASE = "input: 8x8x4\nfilters: 4\nkernel: 3\n"


def codes(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_text(text, "s.yaml")
    return [d.code for d in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("+3", 3),
        ("0", 0),
        ("1e-3", 0.001),
        ("1E+2", 100.0),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("0.25", 0.25),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("no", "no"),
        ("Yes", "Yes"),
        ("017", "017"),
        ("0x3", "0x3"),
        ("0o7", "0o7"),
        ("1_0", "1_0"),
        ("12:30", "12:30"),
        ("2024-01-02", "2024-01-02"),
        (".inf", ".inf"),
        (".nan", ".nan"),
        ("e3", "e3"),
        (".e3", ".e3"),
        ("٣", "٣"),  # a digit, but not ours
        ("1.2.3", "1.2.3"),
    ],
)
def test_plain_scalars(text: str, value: object) -> None:
    read = read_plain(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text", ["no", "YES", "on", "017", "-0x3", "0b1", "1_000", "12:30:01", "00"]
)
def test_disputed(text: str) -> None:
    why = disputed(text)
    assert why is not None
    assert text in why


@pytest.mark.parametrize("text", ["3", "same", "1e-3", "none", "0", "5x3", "a_b", ""])
def test_undisputed(text: str) -> None:
    assert disputed(text) is None


def test_places_are_those_of_the_text() -> None:
    tree, report = read_yaml("a: 1\nlist:\n  - x\n  - {deep: [10, 20]}\n", "s.yaml")
    report.raise_if_any()
    assert tree.value == {"a": 1, "list": ["x", {"deep": [10, 20]}]}
    place = tree.spot(("list", 1, "deep", 1)).place()
    assert (place.line, place.col) == (4, 17)
    assert place.snippet == "      - {deep: [10, 20]}\n" + " " * 20 + "^"
    key = tree.spot(("list", 1, "deep"), key=True).place()
    assert (key.line, key.col) == (4, 6)
    beyond = tree.spot(("list", 0, "no", "such")).place()  # the nearest value around it
    assert (beyond.line, beyond.col) == (3, 5)


def test_quoted_numbers_are_text() -> None:
    tree, _ = read_yaml("a: '3'\nb: \"true\"\nc: |\n  5\n", "s.yaml")
    assert tree.value == {"a": "3", "b": "true", "c": "5\n"}


def test_file_order_whatever_stage_finds_them() -> None:
    text = "kernel: 0\nfilters: 4\nfilters: 5\nbogus: 1\ninput: 8x8x4\nstride: !!int 1\n"
    assert codes(text) == ["E113", "E012", "E101", "E011"]


def test_exactly_64_kib_is_read() -> None:
    filler = "#" + "x" * (MAX_BYTES - len(BASE) - 1)
    assert parse_text(BASE + filler, "s.yaml")
    assert codes(BASE + filler + "x") == ["E002"]


def test_eight_levels_are_read() -> None:
    assert codes(BASE + "quant: [[[[[[[1]]]]]]]\n") == ["E119"]
    assert codes(BASE + "quant: [[[[[[[[1]]]]]]]]\n") == ["E008"]


def test_refused_key_hides_its_value() -> None:
    text = BASE + "filters: &x {a: *y, a: !z 1}\n"
    assert codes(text) == ["E012"]


def test_depth_is_told_even_inside_a_refused_key() -> None:
    assert codes(BASE + "filters: [[[[[[[[1]]]]]]]]\n") == ["E012", "E008"]


def test_thousands_of_aliases_are_one_mistake() -> None:
    assert codes(BASE + "padding: [" + "*a, " * 5000 + "]\n") == ["E009"]


def test_snippet_is_printable() -> None:
    with pytest.raises(SpecError) as caught:
        parse_text("a: \x1b[31m\n", "s.yaml")
    assert "\x1b" not in str(caught.value)
    with pytest.raises(SpecError) as caught:
        parse_text(BASE + 'k\u202e: "\\ud800\\u202e"\nactivation: "\\ud800\\e[1m"\n', "s.yaml")
    str(caught.value).encode("utf-8")
    assert "\u202e" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_byte_order_mark() -> None:
    assert parse_text("\ufeff" + BASE, "s.yaml")[0].spec.kh == 3


def test_windows_line_ends() -> None:
    assert parse_text(BASE.replace("\n", "\r\n"), "s.yaml")[0].spec.oc == 4
    with pytest.raises(SpecError) as caught:
        parse_text("input: 8x8x4\r\nfilters: 4\r\nkernel: 0\r\n", "s.yaml")
    (found,) = caught.value.diagnostics
    assert (found.line, found.col) == (3, 9)


def test_yaml_directive_is_fine() -> None:
    assert parse_text("%YAML 1.1\n---\n" + BASE, "s.yaml")


def test_importing_the_package_is_cheap() -> None:
    """pydantic, PyYAML and NumPy load when a spec is read, not before."""
    probe = (
        "import sys, convgen.spec, convgen.spec.model\n"
        "heavy = {'pydantic', 'yaml', 'numpy', 'cffi', 'jinja2', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "convgen.spec.parse_text('input: 8x8x4\\nk: 4\\nf: 3\\n', '<stdin>')\n"
        "assert 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", probe], check=True, timeout=60)


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_mistake_at_the_end_of_the_text_shows_its_last_line(end: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_text(f"input: 5x5x1\nk: [2{end}", "s.yaml")
    (found,) = caught.value.diagnostics
    assert (found.code, found.line, found.col) == ("E004", 2, 6)
    assert found.snippet.splitlines() == ["    k: [2", "         ^"]

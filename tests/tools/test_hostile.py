"""Hostile spec files: a push's share of them, and what a spec that passes can bring into C."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hostile
import numpy as np
import pytest
from built import posix_only
from hostile import EVIL, Tally, attack, chunk_in_child, run_chunk

import convgen
from convgen.errors import ConvgenError, SpecError
from convgen.package.emit.files import emit_files
from convgen.spec import parse_bytes, parse_file, parse_text
from convgen.spec.tree import MOST_MISTAKES
from convgen.target import TARGETS

PLAIN = TARGETS["generic"]


@posix_only
def test_two_thousand_inputs() -> None:
    found, said = chunk_in_child(0, 2000)
    assert found is not None, said
    assert found.inputs >= 2000 and 20 < found.accepted < found.inputs / 2
    print(json.dumps(vars(found)))


def test_another_exception_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes, source: str) -> object:
        return parse_bytes(data, source) if b"tile" not in data else {}["tile"]

    monkeypatch.setattr(hostile, "parse_bytes", careless)
    with pytest.raises(KeyError) as raised:
        run_chunk(0, 1000)
    assert any("data=" in note for note in raised.value.__notes__)


def test_an_input_that_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "SECONDS", 0.0)
    with pytest.raises(AssertionError, match=r"s for 2 bytes"):
        attack(b"{}", Tally())


@posix_only
def test_memory_is_bounded() -> None:
    code = "import hostile; hostile._bounded(); bytearray(2 * hostile.MEMORY)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "MemoryError" in done.stderr


# -- what was found --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"\xef\x80", b"\xef\xbb", b"\xef\xbb\xbfa: \xff", b"\xff\xfea"])
def test_a_broken_byte_order_mark_is_an_error_with_its_place(data: bytes) -> None:
    with pytest.raises(SpecError) as raised:
        parse_bytes(data, "s.yaml")
    (found,) = raised.value.diagnostics
    bad = {b"\xef\xbb\xbfa: \xff": (4, "0xff")}.get(data, (1, f"0x{data[0]:02x}"))
    assert (found.code, found.line, found.col) == ("E003", 1, bad[0])
    assert bad[1] in found.message


@pytest.mark.parametrize("text", ["layers: [" + "{}," * 20_000 + "]", "a: b\n" * 13_000])
def test_a_spec_of_mistakes_is_not_read_to_its_end(text: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_text(text, "s.yaml")
    found = raised.value.diagnostics
    assert len(found) == MOST_MISTAKES
    assert found[-1].message.endswith(f"; reading stops here, after {MOST_MISTAKES} mistakes")
    assert len(str(raised.value)) <= hostile.MESSAGE


# -- text that must not get into C, a shell or a path ----------------------------------------------

WHOLE = {"name": "victim", "input": "6x6x2", "filters": 3, "kernel": 3}
# Every place of a spec that takes text, as a path of keys.
TEXTS = (
    *(("name",), ("input",), ("batch",), ("filters",), ("kernel",), ("stride",), ("padding",)),
    *(("groups",), ("bias",), ("activation",), ("activation", "kind"), ("dtype",), ("layout",)),
    *(("weight_layout",), ("remainder",), ("accuracy",), ("weights",), ("weights", "w")),
    *(("weights", "init"), ("quant", "rounding"), ("quant", "input", "scale"), ("schedule",)),
    *(("schedule", "family"), ("quantize", "calibration"), ("unknown",)),
)
INJECTED = [
    *(text for text in EVIL if len(text) > 1 and not re.fullmatch("[A-Za-z0-9_]+", text)),
    *("x */ int main; /*", 'a"\n#include "b', "%d", "w.npz; id", "layer\x00"),
]


def with_text(path: tuple[str, ...], text: str) -> dict[str, object]:
    value: object = text
    for key in reversed(path[1:]):
        value = {key: value}
    return {**WHOLE, path[0]: value}


@pytest.mark.parametrize("path", TEXTS, ids=".".join)
def test_no_text_of_a_spec_gets_past_the_check(path: tuple[str, ...], tmp_path: Path) -> None:
    """What is no word, number or file's name of the schema's own is refused, wherever it stands."""
    spec = tmp_path / "s.yaml"
    for text in INJECTED:
        spec.write_bytes(json.dumps(with_text(path, text)).encode("utf-8", "surrogatepass"))
        with pytest.raises(ConvgenError):
            emit_files(parse_file(spec)[0], PLAIN)


HOSTILE_NAMES = (
    "x */ y",
    "a'b\"c",
    "$(touch pwned)",
    "`touch pwned`",
    "{{ 7*7 }}",
    "-o -rf",
    "%s%n",
)


def hostile_folders(root: Path) -> Iterator[Path]:
    for name in HOSTILE_NAMES:
        folder = root / name
        folder.mkdir(parents=True)
        yield folder


@posix_only
def test_names_of_files_and_folders_stay_out_of_the_package(tmp_path: Path) -> None:
    """Spec and weights lie under hostile names; what is emitted is what a plain name gives."""
    plain: dict[str, str] | None = None
    rng = np.random.default_rng(0)
    w, b = rng.standard_normal((3, 3, 2, 3)), rng.standard_normal(3)
    for folder in hostile_folders(tmp_path):
        weights = f"{folder.name}.npz"
        with (folder / weights).open("wb") as file:
            np.savez(file, w=w.astype(np.float32), b=b.astype(np.float32))
        spec = folder / f"{folder.name}.yaml"
        spec.write_text(json.dumps({**WHOLE, "weights": weights}))
        (layer,) = parse_file(spec)
        files = emit_files(layer, PLAIN)
        plain = plain or files
        assert files == plain


@posix_only
def test_a_hostile_place_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiler and children are called without a shell: nothing in a path is run."""
    folder = tmp_path / "a'b $(touch pwned) `touch pwned` ; touch pwned #\"*"
    folder.mkdir()
    monkeypatch.chdir(folder)
    spec = folder / "$(touch pwned).yaml"
    spec.write_text(json.dumps(WHOLE))
    module = convgen.build(spec, folder / "out", cache_root=folder / "cache")
    y = module.conv(
        np.ones((1, 6, 6, 2), np.float32),
        np.ones((3, 3, 2, 3), np.float32),
        np.zeros(3, np.float32),
    )
    assert (y == 18).all()
    assert not list(tmp_path.rglob("pwned"))

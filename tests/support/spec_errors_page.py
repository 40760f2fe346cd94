"""The bad specs of ``tests/bad_specs``: how each is set up, and the page that shows them all."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
from places import ROOT

from convgen.errors import SpecError
from convgen.network.text import is_network, parse_network_file
from convgen.numbers.settle import settled
from convgen.spec import CODES, parse_file

BAD = ROOT / "tests" / "bad_specs"
PAGE = ROOT / "docs" / "errors.md"


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3, np.float32))
    return file.getvalue()


def _zip(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return file.getvalue()


# Specs that cannot stand in the folder as text: name -> (bytes, or None for no file; what it is).
MADE: dict[str, tuple[bytes | None, str]] = {
    "e001_no_such_file": (None, "(there is no such file)"),
    "e002_over_64_kib": (b"input: 8x8x3\n" + b"# filler\n" * 8000, "(72 KB of text)"),
    "e002_many_scales": (
        b"input: 8x8x3\nquant:\n  weight: {scale: [" + b"0.01234567, " * 6000 + b"0.1]}\n",
        "(6001 scales in a list)",
    ),
    "e015_numpy_array": (_npy(), "(an array that numpy.save wrote)"),
    "e015_pytorch": (
        _zip("archive/data.pkl"),
        "(a file that torch.save wrote)",
    ),
    "e003_latin_1": ("input: 8x8x3\n# na\u00efve\n".encode("latin-1"), "(text in Latin-1)"),
}


def cases() -> list[str]:
    """Names of all bad specs, by code."""
    names = {path.stem for path in BAD.glob("*.yaml")} | MADE.keys()
    return sorted(names, key=lambda name: (name[1:4], name))


def set_up(folder: Path) -> None:
    """Copy the bad specs to ``folder``, and write the weights files that some of them name."""
    shutil.copytree(BAD, folder, dirs_exist_ok=True)
    for name, (data, _) in MADE.items():
        if data is not None:
            (folder / f"{name}.yaml").write_bytes(data)
    weights = folder / "weights"
    weights.mkdir()
    w = np.arange(750, dtype=np.float32).reshape(5, 5, 3, 10)
    b = np.zeros(10, np.float32)
    arrays = {
        "w": w,
        "b": b,
        "oihw": w.transpose(3, 2, 0, 1).copy(),
        "big_endian": w.astype(">f4"),
        "pickle": np.full(w.shape, None, dtype=object),
    }
    for name, array in arrays.items():
        np.save(weights / f"{name}.npy", array, allow_pickle=True)
    nan = w.copy()
    nan[0, 1, 2, 3:6] = np.nan
    np.savez(weights / "good.npz", w=w, b=b)
    np.savez(weights / "other_keys.npz", w=w, bias=b)
    np.savez(weights / "wrong_shape.npz", w=w[:3, :3], b=b[:9])
    np.savez(weights / "float64.npz", w=w.astype(np.float64), b=b)
    np.savez(weights / "nan.npz", w=nan, b=b)
    scales = np.linspace(0.01, 0.02, 10, dtype=np.float32)
    np.savez(weights / "scales.npz", nine=scales[:9], with_zero=scales * (np.arange(10) != 3))
    np.savez(weights / "all_127.npz", w=np.full((1, 1, 40000, 1), 127, np.int8))
    x = np.ones((2, 32, 32, 3), np.float32)
    x_nan = x.copy()
    x_nan[1, 2, 3, 0] = np.nan
    samples = {"x": x, "x_nan": x_nan, "x_28": x[:, :28, :28], "x_float64": x.astype(float)}
    for name, array in {**samples, "x_zeros": 0 * x}.items():
        np.save(weights / f"{name}.npy", array)
    good = io.BytesIO()
    np.save(good, w)
    (weights / "truncated.npy").write_bytes(good.getvalue()[:-100])
    (weights / "surplus.npy").write_bytes(good.getvalue() + b"more")
    (weights / "text.npy").write_text("these are no weights")
    (weights / "not_a_zip.npz").write_text("these are no weights")


def message(name: str) -> str:
    """What a user reads for one bad spec of the current folder."""
    try:
        path = Path(f"{name}.yaml")
        if path.exists() and is_network(path.read_text(encoding="utf-8", errors="replace")):
            parse_network_file(path).load()
        else:
            for layer in parse_file(path):
                settled(layer)
    except SpecError as error:
        return f"{error}\n"
    raise AssertionError(f"{name} was accepted")


def codes_of(text: str) -> set[str]:
    return set(re.findall(r"error\[(E\d+)\]", text))


def page() -> str:
    """``docs/errors.md``: each rule, then the bad specs that break it and what a user reads."""
    lines = [
        "# Errors of specs and weights",
        "",
        "Every mistake of a file is reported in one run, in the order of the file, as",
        "`file:line:col: error[E###]: what, why, and the fix`. A mapping given from Python has no",
        "lines: there the message names the path of keys.",
        "",
        "This page is made by `pytest tests/spec/test_spec_errors.py --update-golden` from",
        "`convgen/spec/codes.py` and `tests/bad_specs/`; each message below is what a test reads.",
        "",
        "| code | | rule | a good spec |",
        "|---|---|---|---|",
    ]
    for code in CODES.values():
        cells = (code.title, code.rule, code.fix)
        row = " | ".join(cell.replace("|", "\\|") for cell in cells)
        lines.append(f"| [{code.number}](#{code.number.lower()}) | {row} |")
    for code in CODES.values():
        lines += ["", f"## {code.number}", "", f"**{code.title}.** {code.rule}", ""]
        for name in cases():
            if f"E{name[1:4]}" == code.number:
                lines += ["```yaml", _text(name), "```", "", "```text"]
                lines += [(BAD / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n"), "```", ""]
        lines.pop()
    return "\n".join(lines) + "\n"


def _text(name: str) -> str:
    if name in MADE:
        return f"# {MADE[name][1]}"
    text = (BAD / f"{name}.yaml").read_text(encoding="utf-8").rstrip("\n")
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)

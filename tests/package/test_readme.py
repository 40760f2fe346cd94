"""The README's programs, as they stand there: five lines of Python, ten of C."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from built import needs_cc
from places import ROOT

import convgen
from convgen.cli.files import write_files
from convgen.oracle.floats import error_bound, gamma_tiny, reference
from convgen.package.emit.files import emit_files
from convgen.spec import parse_mapping, parse_text
from convgen.target import TARGETS, host_target

LAYER = (ROOT / "specs" / "layer.yaml").read_text()
# With a workspace: Winograd's algorithm needs one.
ROOMY = "{name: layer, input: 14x14x32, k: 32, f: 3, p: 1, schedule: {family: winograd, "
ROOMY += "lanes: 1, tile: [2, 2], vectors: 1, block: [1, 1]}}"

pytestmark = needs_cc


def block(language: str, about: str = "layer") -> str:
    """The README's one program in this language about a layer, or a network."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (text,) = (text for text in found if about in text)
    return str(text)


def run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(Path(convgen.__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_python_in_five_lines(tmp_path: Path) -> None:
    text = block("python")
    assert len(text.splitlines()) == 5
    (layer,) = parse_text(LAYER, "layer.yaml")
    convgen.build(layer, tmp_path / "build")
    (tmp_path / "five.py").write_text(text + "assert y.shape == (1, 32, 32, 10) and y.any()\n")
    run(sys.executable, "five.py", cwd=tmp_path)


def test_a_network_in_four_lines(tmp_path: Path) -> None:
    convgen.build(ROOT / "specs" / "networks" / "digits.yaml", tmp_path / "build")
    text = block("python", "digits")
    (tmp_path / "four.py").write_text(text + "assert y.shape == (1, 10)\n")
    run(sys.executable, "four.py", cwd=tmp_path)


@pytest.mark.parametrize("spec", [LAYER, ROOMY], ids=["layer.yaml", "with a workspace"])
def test_c_in_ten_lines(spec: str, tmp_path: Path) -> None:
    text = block("c")
    assert len(text.splitlines()) == 10
    (layer,) = parse_text(spec, "layer.yaml")
    target = host_target() if spec is LAYER else TARGETS["generic"]
    write_files(tmp_path, emit_files(layer, target))
    (tmp_path / "main.c").write_text(text)
    cc = shutil.which("cc") or shutil.which("gcc") or "clang"
    strict = "-std=c99 -Wall -Wextra -Wconversion -Werror"
    run(cc, "-O2", *strict.split(), "main.c", "layer.c", "-o", "ten", cwd=tmp_path)
    run(tmp_path / "ten", cwd=tmp_path)


def test_the_bound_is_the_oracle_s_underflow_and_all() -> None:
    """γ(K+2)·(|x|∗|w| + |b|) + (K+1)·2⁻¹⁵⁰, as the README has it, is what builds are held to."""
    text = (ROOT / "README.md").read_text().replace("\n", " ")
    pattern = r"γ\(K\+(\d)\)·\(\|x\|∗\|w\| \+ \|b\|\) \+ \(K\+(\d)\)·2⁻([⁰¹²³⁴⁵⁶⁷⁸⁹]+)"
    found = re.search(pattern, text)
    assert found is not None
    tiny = 2.0 ** -int(found[3].translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")))
    for taps in (1, 3, 11):
        (layer,) = parse_text(f"input: 16x16x3\nk: 2\nf: {taps}\n", "<t>")
        k, unit = taps * taps * 3, 2.0**-24
        steps = (k + int(found[1])) * unit
        assert gamma_tiny(layer.spec) == (steps / (1 - steps), (k + int(found[2])) * tiny)
    assert "γ(n) = n·2⁻²⁴/(1 - n·2⁻²⁴)" in text


def test_underflow_counts_in_the_bound() -> None:
    """A product below float32's least number is lost whole: γ times it alone would not do."""
    spec = {"input": "1x1x1", "filters": 1, "kernel": 1, "bias": False}
    (layer,) = parse_mapping(spec)
    x = w = np.full((1, 1, 1, 1), 2.0**-80, np.float32)
    lost = abs(float(x[0, 0, 0, 0] * w[0, 0, 0, 0]) - float(reference(layer.spec, x, w).item()))
    assert gamma_tiny(layer.spec)[0] * 2.0**-160 < lost <= error_bound(layer.spec, x, w).item()

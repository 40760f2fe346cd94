"""docs/quantisation.md: its example, from the photograph to the SQNR, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from built import needs_cc
from cli_runner import run
from places import ROOT

import convgen
from convgen.spec import parse_file
from convgen.spec.quant import Rounding

PAGE = ROOT / "docs" / "quantisation.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not beside tests/")


def blocks(language: str, section: str) -> list[str]:
    """The blocks of a language below a heading."""
    parts = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (text,) = [part for part in parts if part.startswith(section)]
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [body for name, body in found if name == language]


@needs_cc
def test_the_ten_filters_are_quantised_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn has the photograph")
    section = "From float weights"
    (program,) = blocks("python", section)
    (spec,) = blocks("yaml", section)
    (shown,) = blocks("", section)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
    name = spec.splitlines()[0].removeprefix("# ")
    Path(name).write_text(spec)
    assert np.load("x.npy").shape == (16, 32, 32, 3)
    built = run("build", name)
    assert built.code == 0, built.err
    assert shown in built.out
    found = convgen.quantize(name)
    assert len(found.sqnr) == 10 and f"{found.overall:.1f} dB" in shown
    (layer,) = run("check", name, "--json").json["layers"]
    assert layer["sqnr"]["least"] == pytest.approx(min(found.sqnr), abs=1e-4)
    assert layer["sqnr"]["images"] == 16 and len(layer["quant"]["weight"]["scale"]) == 10
    again = run("build", name, "--json").json["layers"][0]  # unchanged, and still told
    assert (again["state"], again["sqnr"]) == ("unchanged", layer["sqnr"])
    explained = run("explain", name)
    assert f"SQNR = {found.cost.line()}" in explained.out
    assert explained.out.count("zero_point") >= 3


def test_the_first_example_is_a_layer(tmp_path: Path) -> None:
    (text,) = blocks("yaml", "An 8-bit layer")
    (tmp_path / "ten.yaml").write_text(text)
    (layer,) = parse_file(tmp_path / "ten.yaml")
    quant = layer.spec.quant
    assert quant is not None and quant.rounding is Rounding.TFLITE
    assert layer.spec.y_shape == (1, 32, 32, 10)

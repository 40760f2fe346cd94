"""The README's programs, as they stand there: five lines of Python, ten of C."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from built import needs_cc

import convgen
from convgen.cli.emit import write_files
from convgen.package.emit.files import emit_files
from convgen.spec import parse_text
from convgen.target import TARGETS, host_target

ROOT = Path(__file__).resolve().parent.parent
LAYER = (ROOT / "specs" / "layer.yaml").read_text()
# With a workspace: Winograd's algorithm needs one.
ROOMY = "{name: layer, input: 14x14x32, k: 32, f: 3, p: 1, schedule: {family: winograd, "
ROOMY += "lanes: 1, tile: [2, 2], vectors: 1, block: [1, 1]}}"

pytestmark = needs_cc


def block(language: str) -> str:
    """The README's one program in this language."""
    found = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


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

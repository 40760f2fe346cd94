"""examples/bare-metal and examples/wasm do what their READMEs say, and what comes out is right."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from foreign import BY_NAME, compiler, emulator
from places import ROOT
from tools import need

import convgen
from convgen.cross.trial import board_files

BARE_METAL = ROOT / "examples" / "bare-metal"
WASM = ROOT / "examples" / "wasm"

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(not (WASM / "filter.c").is_file(), reason="examples/ is not beside tests/"),
]


def run(*command: str, cwd: Path) -> str:
    """What a command that must succeed prints, with the convgen under test."""
    home = Path(convgen.__file__).resolve().parents[1]
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"PYTHONPATH": str(home)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("file", ["start.c", "printf.c", "memory.ld"])
def test_the_example_shows_what_cross_links(file: str) -> None:
    board = BY_NAME["cortex-m4"].board
    assert board is not None
    assert (BARE_METAL / file).read_text() == board_files(board)[file]


def test_bare_metal(tmp_path: Path) -> None:
    rig = BY_NAME["cortex-m4"]
    compiler(rig)
    emulator(rig)
    need("make")
    shutil.copytree(BARE_METAL, tmp_path / "b", ignore=shutil.ignore_patterns("build"))
    said = run("make", f"CONVGEN={sys.executable} -m convgen", cwd=tmp_path / "b")
    assert "a knock at sample 40" in said and "all three returned 0" in said
    symbols = run("arm-none-eabi-nm", "build/knock.elf", cwd=tmp_path / "b")
    assert not [name for name in symbols.split() if name.startswith(("__aeabi_d", "malloc"))]
    main = (tmp_path / "b" / "main.c").read_text()
    assert main.count("-0.5f : 0.5f") == 1
    (tmp_path / "b" / "main.c").write_text(main.replace("-0.5f : 0.5f", "0.5f : -0.5f"))
    broken = subprocess.run(
        ["make", f"CONVGEN={sys.executable} -m convgen"],
        cwd=tmp_path / "b", capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert broken.returncode != 0, "the image's value is the program's"


def test_wasm(tmp_path: Path) -> None:
    pytest.importorskip("wasmtime", reason="run.py needs PyPI's wasmtime")
    command = compiler(BY_NAME["wasm-simd128"]).command
    for path in WASM.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    emit = ["emit", "emboss.yaml", "--target", "wasm-simd128", "-o", "layers"]
    run(sys.executable, "-m", "convgen", *emit, cwd=tmp_path)
    flags = ["-msimd128", "-O2", "-Wall", "-Wextra", "-Werror", "-I", "layers/emboss"]
    run(*command, *flags, "filter.c", "layers/emboss/emboss.c", "-o", "filter.wasm", cwd=tmp_path)
    run(sys.executable, "run.py", "filter.wasm", "out.ppm", cwd=tmp_path)

    spec = importlib.util.spec_from_file_location("wasm_example", WASM / "run.py")
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    image = np.pad(example.drawing()[..., :3].astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    taps = [[-2, -1, 0], [-1, 0, 1], [0, 1, 2]]
    wanted = 0.5 + sum(
        taps[i][j] * image[i : i + 48, j : j + 72] for i in range(3) for j in range(3)
    )
    pixels = np.rint(np.clip(wanted, 0, 1) * 255)
    content = (tmp_path / "out.ppm").read_bytes()
    assert content.startswith(b"P6 72 48 255\n")
    got = np.frombuffer(content[13:], np.uint8).reshape(48, 72, 3)
    assert np.abs(got.astype(int) - pixels).max() <= 1

    # As a WASI command: an image in, an image out.
    from convgen.cross.wasi import __file__ as runner

    pixels = np.rint(example.drawing()[..., :3] * 255).astype(np.uint8)
    (tmp_path / "in.ppm").write_bytes(b"P6 72 48 255\n" + pixels.tobytes())
    with (tmp_path / "in.ppm").open("rb") as stdin:
        done = subprocess.run(
            [sys.executable, runner, "filter.wasm"],
            cwd=tmp_path, stdin=stdin, capture_output=True, timeout=60,
        )  # fmt: skip
    assert done.returncode == 0 and done.stderr == b"filtered by simd128\n"
    again = np.frombuffer(done.stdout[13:], np.uint8).reshape(48, 72, 3)
    assert np.abs(again.astype(int) - got).max() <= 4

"""The examples run as their READMEs say, and what they show is right."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from places import ROOT
from tools import c_compiler, need

import convgen

PHOTO = ROOT / "examples" / "photo"
EMBED = ROOT / "examples" / "embed"
CPP = ROOT / "examples" / "cpp"
LAYERS = ("edges", "outline")
STRICT = "-std=c99 -Wall -Wextra -Wconversion -Wpedantic -Werror"

pytestmark = pytest.mark.skipif(
    not (PHOTO / "photo.py").is_file(), reason="examples/ is not beside tests/"
)


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed, run with the convgen under test."""
    home = Path(convgen.__file__).resolve().parents[1]
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# -- photo -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photo() -> ModuleType:
    """photo.py as a module, for its filters."""
    pytest.importorskip("sklearn", reason="the photographs come with scikit-learn")
    pytest.importorskip("PIL", reason="scikit-learn reads its photographs with Pillow")
    spec = importlib.util.spec_from_file_location("photo_example", PHOTO / "photo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_photo_names_what_it_lacks(tmp_path: Path) -> None:
    """Without scikit-learn: which extra to install, and no traceback."""
    (tmp_path / "sklearn.py").write_text("raise ImportError('none', name='sklearn')\n")
    home = Path(convgen.__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, PHOTO / "photo.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(home)])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"photo.py needs (sklearn|PIL): pip install 'convgen\[test\]'", done.stderr)


def test_photo_saves_the_feature_maps_that_scipy_computes(
    photo: ModuleType, tmp_path: Path
) -> None:
    printed = run(sys.executable, PHOTO / "photo.py", "-o", "maps.png", cwd=tmp_path)

    assert re.search(r"427x640x3 -> 427x640x16, 328 million multiply-adds", printed), printed
    error = re.search(r"at most (\S+) from the float64 oracle", printed)
    assert error is not None and 0 <= float(error[1]) <= photo.TOLERANCE, printed
    assert re.search(r"\d+\.\d\d ms per image, \d+ GFLOP/s, 1 thread\n", printed), printed

    with photo.Image.open(tmp_path / "maps.png") as picture:
        sheet = np.asarray(picture)
    assert sheet.shape == (3 * 427, 3 * 640, 3)
    image = photo.load_sample_image("china.jpg")
    w, b = photo.weights()
    grey = [(c, c, c) for c in range(4)]
    colour = [(c, c + 1, c + 2) for c in range(4, 16, 3)]
    for index, channels in enumerate([None, *grey, *colour]):
        row, col = divmod(index, 3)
        tile = sheet[row * 427 : (row + 1) * 427, col * 640 : (col + 1) * 640]
        wanted = image if channels is None else filtered(image / 255, w, b, channels)
        below = 30  # the name stands above
        assert np.abs(tile[below:].astype(int) - wanted[below:]).max() <= 1, f"picture {index}"


def filtered(
    x: NDArray[np.float64],
    w: NDArray[np.float32],
    b: NDArray[np.float32],
    channels: tuple[int, ...],
) -> NDArray[np.int64]:
    """Three output channels as a picture of 0..255, computed by SciPy."""
    ndimage = pytest.importorskip("scipy.ndimage")
    maps = [
        b[oc] + sum(ndimage.correlate(x[..., c], w[..., c, oc], mode="constant") for c in range(3))
        for oc in channels
    ]
    return np.rint(np.clip(np.stack(maps, axis=-1), 0, 1) * 255).astype(np.int64)


def test_photo_filters_are_what_their_names_say(photo: ModuleType) -> None:
    w, b = photo.weights()
    assert w.shape == (5, 5, 3, 16) and b.shape == (16,)
    sums = w.sum(axis=(0, 1, 2), dtype=np.float64)
    assert np.allclose(sums[:4], 0, atol=1e-6) and np.all(b[:4] == 0.5)  # a flat area: mid-grey
    assert np.allclose(sums[4:], 1, atol=1e-6) and np.all(b[4:] == 0)  # a flat area: itself
    assert float(np.abs(w).sum(axis=(0, 1, 2)).max()) <= 9 + 1e-5  # as photo.TOLERANCE supposes


# -- embed -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``convgen emit examples/embed`` wrote."""
    folder = tmp_path_factory.mktemp("embed")
    run(sys.executable, "-m", "convgen", "emit", EMBED, "-o", "layers", cwd=folder)
    assert sorted(path.name for path in (folder / "layers").iterdir()) == sorted(LAYERS)
    return folder / "layers"


@pytest.fixture(scope="module")
def cc() -> str:
    need("cc")
    return c_compiler()


@pytest.mark.needs("cmake")
def test_cmake_links_both_layers_into_one_program(layers: Path, tmp_path: Path) -> None:
    shutil.copytree(layers, tmp_path / "out" / "layers")
    run("cmake", "-S", EMBED, "-B", "out", f"-DCMAKE_C_FLAGS={STRICT}", cwd=tmp_path)
    run("cmake", "--build", "out", cwd=tmp_path)
    check_program(tmp_path / "out" / "embed", tmp_path)


def test_one_compiler_line_does_as_well(cc: str, layers: Path, tmp_path: Path) -> None:
    compile_by_hand(cc, layers, EMBED / "main.c", tmp_path / "embed")
    check_program(tmp_path / "embed", tmp_path)


def test_ten_lines_of_the_readme_compile(cc: str, layers: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```c\n(.*?)```", (EMBED / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1 and len(blocks[0].splitlines()) == 10
    (tmp_path / "ten.c").write_text(blocks[0])
    compile_by_hand(cc, layers, tmp_path / "ten.c", tmp_path / "ten")
    run(tmp_path / "ten", cwd=tmp_path)


@pytest.mark.needs("cmake")
def test_cmake_says_what_to_do_when_nothing_was_emitted(tmp_path: Path) -> None:
    result = subprocess.run(
        ["cmake", "-S", str(EMBED), "-B", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode != 0
    assert "run convgen emit" in " ".join(result.stderr.split())


def compile_by_hand(cc: str, layers: Path, main: Path, program: Path) -> None:
    sources = [layers / name / f"{name}.c" for name in LAYERS]
    include = [f"-I{layers / name}" for name in LAYERS]
    run(cc, "-O2", *STRICT.split(), *include, main, *sources, "-o", program, cwd=program.parent)


def check_program(program: Path, folder: Path) -> None:
    """It prints the picture of the README, and its floats are those of the oracle."""
    printed = run(program, "outline.bin", cwd=folder)
    assert [line.rstrip() for line in printed.splitlines() if line.strip()] == readme_picture()
    got = np.fromfile(folder / "outline.bin", np.float32).reshape(1, 16, 32, 1)
    exact = outline_by_the_oracle()
    assert exact.max() == 1 and exact.min() == 0
    assert np.abs(got - exact).max() <= 1e-5


def readme_picture() -> list[str]:
    text = (EMBED / "README.md").read_text()
    block = re.search(r"\nprints\n\n((?:    .*\n)+)", text)
    assert block is not None
    # The picture's rows begin with blanks of their own: only the README's four go.
    return [line[4:].rstrip() for line in block[1].splitlines()]


def outline_by_the_oracle() -> NDArray[np.float64]:
    at = 2 * np.arange(64) + 1 - 64
    disc = (at[:, None] ** 2 + at**2 < 48**2).astype(np.float32).reshape(1, 64, 64, 1)
    step = np.array([-1, 0, 1], np.float32)
    across, down = np.broadcast_arrays(step[None, :], step[:, None])
    w = np.stack([across, -across, down, -down], axis=-1)[:, :, None, :]
    gradients = convgen.reference(EMBED / "edges.yaml", disc, np.ascontiguousarray(w))
    return convgen.reference(EMBED / "outline.yaml", gradients.astype(np.float32))


# -- cpp -------------------------------------------------------------------------------------------


@pytest.mark.needs("cmake", "c++")
def test_cpp_program_that_fetches_the_layer(tmp_path: Path) -> None:
    """README's commands, warnings being errors; it prints what README says."""
    run(sys.executable, "-m", "convgen", "emit", CPP, "-o", "out/layers", cwd=tmp_path)
    strict = "-Wall -Wextra -Wconversion -Wpedantic -Werror"
    run("cmake", "-S", CPP, "-B", "out", f"-DCMAKE_CXX_FLAGS={strict}", cwd=tmp_path)
    run("cmake", "--build", "out", cwd=tmp_path)
    block = re.search(r"\nprints\n\n((?:    .*\n)+)", (CPP / "README.md").read_text())
    assert block is not None
    printed = run(tmp_path / "out" / "blur_demo", cwd=tmp_path)
    assert printed.splitlines() == [line[4:] for line in block[1].splitlines()]

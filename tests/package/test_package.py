"""The generated Python package: what it computes, Packed, import, CPU, type hints."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from built import (
    LAYERS,
    Package,
    arrays,
    build,
    folder_of,
    holds,
    needs_cc,
    packages,
    posix_only,
)

from convgen import __version__
from convgen.spec import parse_mapping
from convgen.target import TARGETS

pytestmark = needs_cc


# -- what it computes ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["layer", "plain", "two", "planar", "roomy"])
def test_conv_is_the_layer(package: Package, name: str) -> None:
    module, spec = package(name), LAYERS[name].spec
    x, w, b = arrays(spec)
    y = module.conv(x, w, b) if spec.bias else module.conv(x, w)
    assert y.shape == module.OUTPUT_SHAPE == spec.y_shape
    assert y.dtype == np.float32 and y.flags.c_contiguous and y.flags.owndata
    assert holds(name, y, x, w, b)
    packed = module.pack(w, b)
    assert np.array_equal(module.run(x, packed), y)
    assert np.array_equal(module.bind(x, packed)(), y)


def test_out_is_written_and_returned(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    want, packed = layer.conv(x, w, b), layer.pack(w, b)
    out = np.full(layer.OUTPUT_SHAPE, np.nan, np.float32)
    for call in (
        lambda: layer.conv(x, w, b, out=out),
        lambda: layer.run(x, packed, out=out),
        layer.bind(x, packed, out=out),
    ):
        out[:] = np.nan
        assert call() is out
        assert np.array_equal(out, want)


def test_bound_call_follows_its_arrays_and_keeps_them_alive(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    call = layer.bind(x.copy(), layer.pack(w, b))
    for _ in range(20):  # what nobody holds any more is overwritten soon
        np.full(x.shape, np.nan, np.float32)
    assert np.array_equal(call(), layer.conv(x, w, b))
    kept = x.copy()
    call = layer.bind(kept, layer.pack(w, b))
    kept *= 2
    assert np.array_equal(call(), layer.conv(2 * x, w, b))


def test_inputs_are_left_alone(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    before = [a.copy() for a in (x, w, b)]
    for a in (x, w, b):
        a.flags.writeable = False
    layer.conv(x, w, b, threads=3)
    assert all(np.array_equal(a, c) for a, c in zip((x, w, b), before, strict=True))


def test_constants(package: Package) -> None:
    layer, spec = package("layer"), LAYERS["layer"].spec
    assert layer.INPUT_SHAPE == (1, 12, 11, 3)
    assert layer.WEIGHT_SHAPE == (5, 5, 3, 10)
    assert layer.BIAS_SHAPE == (10,)
    assert layer.OUTPUT_SHAPE == (1, 12, 11, 10)
    assert spec.macs == layer.MACS
    assert layer.__version__ == __version__
    assert layer.ISA in {isa.name for target in TARGETS.values() for isa in target.isas}
    assert layer.SCHEDULE.startswith("{family: ")
    assert package("plain").BIAS_SHAPE is None
    assert set(layer.__all__) >= {"conv", "run", "bind", "pack", "Packed", "SPEC"}


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_spec_builds_the_same_layer_again(package: Package, name: str) -> None:
    (again,) = parse_mapping(package(name).SPEC)
    assert again.spec == LAYERS[name].spec
    assert again.weights == LAYERS[name].weights


def test_baked_weights(package: Package) -> None:
    from convgen.spec import load_weights

    module, layer = package("baked"), LAYERS["baked"]
    weights = load_weights(layer)
    assert weights is not None
    x, _, _ = arrays(layer.spec)
    y = module.conv(x)
    assert holds("baked", y, x, weights.w, weights.b)
    out = np.empty_like(y)
    assert np.array_equal(module.run(x, out=out, threads=2), y)
    assert np.array_equal(module.bind(x)(), y)
    assert not hasattr(module, "pack")
    with pytest.raises(TypeError):
        module.conv(x, weights.w)


@pytest.mark.parametrize("images", [1, 2, 7, 33])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_images(package: Package, images: int, threads: int) -> None:
    module, spec = package("many"), LAYERS["many"].spec
    assert module.INPUT_SHAPE == (None, 7, 5, 6) and module.OUTPUT_SHAPE == (None, 5, 3, 8)
    x, w, b = arrays(spec, images=images)
    y = module.conv(x, w, b, threads=threads)
    assert y.shape == (images, 5, 3, 8)
    packed = module.pack(w, b)
    for i in range(images):
        assert np.array_equal(module.run(x[i : i + 1], packed)[0], y[i])
    assert holds("many", y, x, w, b)
    assert np.array_equal(module.bind(x, packed, threads=threads)(), y)


def test_no_images_and_an_out_for_another_number(package: Package) -> None:
    module, spec = package("many"), LAYERS["many"].spec
    x, w, b = arrays(spec, images=2)
    with pytest.raises(ValueError, match=r"\(0, 7, 5, 6\) \(no element at all\), expected \(any N"):
        module.conv(x[:0], w, b)
    with pytest.raises(ValueError, match=r"out has shape \(3, 5, 3, 8\), expected \(2, 5, 3, 8\)"):
        module.conv(x, w, b, out=np.empty((3, 5, 3, 8), np.float32))


# -- Packed --------------------------------------------------------------------------------------


def test_packed_is_opaque(layer: ModuleType) -> None:
    _, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    assert packed.nbytes >= 4 * (w.size + b.size)
    assert repr(packed) == f"<layer.Packed: {packed.nbytes} bytes>"
    with pytest.raises(TypeError, match=r"made by layer\.pack"):
        layer.Packed()
    with pytest.raises(TypeError, match="pack again"):
        pickle.dumps(packed)
    with pytest.raises(AttributeError):
        packed.anything = 1


def test_packed_of_another_layer_is_a_type_error(package: Package) -> None:
    x, _, _ = arrays(LAYERS["layer"].spec)
    _, w, _ = arrays(LAYERS["plain"].spec)
    foreign = package("plain").pack(w)
    for call in (package("layer").run, package("layer").bind):
        with pytest.raises(TypeError, match="made by another layer"):
            call(x, foreign)
        with pytest.raises(TypeError, match=r"must be what pack\(w, b\) returns, not ndarray"):
            call(x, w)


def test_packed_keeps_its_own_copy(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    want, packed = layer.conv(x, w, b), layer.pack(w, b)
    w[:] = 0
    assert np.array_equal(layer.run(x, packed), want)


# -- import --------------------------------------------------------------------------------------


def run_python(code: str, build_folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the package and NumPy, and has no convgen."""
    head = f"import sys; sys.path.insert(0, {str(build_folder)!r})\n"
    command = [sys.executable, *flags, "-I", "-c", head + code]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)


def test_needs_numpy_and_cffi_runtime_only(package: Package, tmp_path: Path) -> None:
    folder = folder_of(package("layer"))
    copied = tmp_path / "elsewhere" / "layer"
    shutil.copytree(folder, copied, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import layer, numpy as np
x = np.ones(layer.INPUT_SHAPE, np.float32)
y = layer.conv(x, np.ones(layer.WEIGHT_SHAPE, np.float32), np.ones(10, np.float32), threads=2)
print(float(y[0, 5, 5, 0]), "cffi" in sys.modules, any("convgen" in m for m in sys.modules))
"""
    done = run_python(code, copied.parent)
    assert done.stdout == "76.0 False False\n", done.stderr
    names = {path.name for path in copied.iterdir()} - {"__pycache__"}
    compiled = {name for name in names if re.search(r"layer_[0-9a-f]{12}\.", name)}
    assert compiled
    assert names - compiled == {
        "__init__.py", "__init__.pyi", "py.typed", "layer.c", "layer.h", "selftest.c",
        "CMakeLists.txt", "manifest.json",
    }  # fmt: skip


@posix_only
@pytest.mark.needs("qemu-x86_64")
def test_threat_cpu_without_the_instructions(tmp_path: Path) -> None:
    """An x86-64 of 2008 under QEMU: an ImportError that names what is missing, never SIGILL."""
    if os.uname().machine != "x86_64":
        pytest.skip("needs an x86-64 Python")
    for target in ("x86-64-avx2", "x86-64-avx512"):
        out = tmp_path / target
        build(out, LAYERS["layer"], target=TARGETS[target], verify=False)
        code = f"import sys; sys.path.insert(0, {str(out)!r}); import layer"
        done = subprocess.run(
            ["qemu-x86_64", "-cpu", "Nehalem", sys.executable, "-I", "-c", code],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 1, (done.returncode, done.stderr)
        assert "ImportError: layer layer was built for" in done.stderr
        for feature in TARGETS[target].isa.features:
            assert feature in done.stderr.splitlines()[-1]


def test_compiled_part_that_does_not_load(package: Package, tmp_path: Path) -> None:
    broken = tmp_path / "layer"
    shutil.copytree(folder_of(package("layer")), broken)
    for path in broken.iterdir():
        if path.suffix == ".so":
            path.write_bytes(b"another machine's format")
    done = run_python("import layer", tmp_path)
    assert done.returncode == 1
    assert "build the layer again on this machine" in done.stderr


# -- types ---------------------------------------------------------------------------------------


TYPED = """
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import baked
import layer
import many
import plain

x: npt.NDArray[np.float32] = np.zeros(layer.INPUT_SHAPE, np.float32)
w = np.zeros(layer.WEIGHT_SHAPE, np.float32)
b = np.zeros(layer.BIAS_SHAPE, np.float32)
y = layer.conv(x, w, b, threads=2)
shape: tuple[int, int, int, int] = y.shape
packed: layer.Packed = layer.pack(w, b)
again: npt.NDArray[np.float32] = layer.run(x, packed, out=y, threads=np.int64(2))
call: Callable[[], npt.NDArray[np.float32]] = layer.bind(x, packed)
macs: int = layer.MACS + layer.INPUT_SHAPE[1]
spec: dict[str, Any] = layer.SPEC
words: str = layer.ISA + layer.SCHEDULE + layer.__version__
baked.run(x, out=baked.conv(x))
plain.run(x, plain.pack(w), out=plain.conv(x, w))
nothing: None = plain.BIAS_SHAPE
anything: None = many.INPUT_SHAPE[0]
"""


BADLY_TYPED = {
    "layer.conv(x, w)": "b",
    "layer.conv(x, w, b, 3)": "positional",
    "layer.run(x, w)": "Packed",
    "layer.conv(np.float64(3) * np.ones(layer.INPUT_SHAPE), w, b)": "float64",
    "baked.pack(w, b)": "pack",
    "plain.conv(x, w, b)": "None",
    "layer.INPUT_SHAPE[4]": "range",
    "layer.MACS = 3": "final",
}


def test_type_hints_under_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    package = packages(tmp_path, "abi")
    for name in ("layer", "plain", "many", "baked"):
        package(name)
    lines = TYPED.count("\n")
    (tmp_path / "program.py").write_text(TYPED + "".join(f"{line}\n" for line in BADLY_TYPED))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "program.py"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    found: dict[int, str] = {}
    for line in done.stdout.splitlines():
        place = re.match(r"program\.py:(\d+): error: (.*)", line)
        assert place or "note:" in line, line
        if place:
            found[int(place[1])] = found.get(int(place[1]), "") + place[2]
    assert not [text for number, text in found.items() if number <= lines], done.stdout
    for number, (code, word) in enumerate(BADLY_TYPED.items(), lines + 1):
        assert word.lower() in found.get(number, "").lower(), (code, done.stdout)


def test_stub_lists_what_the_module_has(package: Package) -> None:
    for name in ("layer", "baked"):
        module = package(name)
        stub = (folder_of(module) / "__init__.pyi").read_text()
        for public in (*module.__all__, "__version__"):
            assert re.search(rf"^(def |class )?{public}\b", stub, re.MULTILINE), public
            assert hasattr(module, public)

"""The generated Python package: what it computes, what it refuses, threads, fork, CPU, types."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from built import BINDINGS, LAYERS, Package, arrays, build, needs_cc, packages, posix_only

from convgen import __version__, oracle
from convgen.api import import_package
from convgen.spec import parse_mapping
from convgen.spec.model import ConvSpec, Layer
from convgen.target import TARGETS

pytestmark = needs_cc
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", params=BINDINGS)
def package(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Both bindings: every test here runs with and without Python.h."""
    return packages(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture
def layer(package: Package) -> ModuleType:
    return package("layer")


def holds(name: str, y: Any, x: Any, w: Any, b: Any) -> bool:
    """Every element within the oracle's error bound."""
    spec = LAYERS[name].spec
    wrong = np.abs(y - oracle.reference(spec, x, w, b)) > oracle.error_bound(spec, x, w, b)
    return not wrong.any()


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


# -- what it refuses: the arrays of the threat list ----------------------------------------------

GOOD = np.ones((1, 12, 11, 3), np.float32)


def misaligned(shape: tuple[int, ...]) -> Any:
    count = int(np.prod(shape)) * 4
    return np.frombuffer(bytearray(count + 1), np.uint8)[1:].view(np.float32).reshape(shape)


class Subclass(np.ndarray[Any, Any]):
    pass


BAD_ARRAYS = {
    "list": (GOOD.tolist(), TypeError, r"must be a numpy.ndarray, not list; numpy.asarray"),
    "none": (None, TypeError, "must be a numpy.ndarray, not NoneType"),
    "bytes": (GOOD.tobytes(), TypeError, "not bytes"),
    "wrong dtype": (GOOD.astype(np.float64), TypeError, "has dtype float64, expected float32"),
    "int dtype": (GOOD.astype(np.int32), TypeError, "has dtype int32, expected float32"),
    "objects": (GOOD.astype(object), TypeError, "has dtype object"),
    "structured": (GOOD.view([("a", "<f4")]), TypeError, "has dtype"),
    "byte order": (GOOD.astype(">f4"), TypeError, r"other byte order \(>f4\).*astype"),
    "3-D": (GOOD[0], ValueError, r"shape \(12, 11, 3\), expected \(1, 12, 11, 3\): pass x\[None\]"),
    "5-D": (GOOD[None], ValueError, r"expected \(1, 12, 11, 3\)"),
    "wrong shape": (np.ones((1, 11, 12, 3), np.float32), ValueError, r"has shape \(1, 11, 12, 3\)"),
    "wrong batch": (np.ones((2, 12, 11, 3), np.float32), ValueError, r"has shape \(2, 12, 11, 3\)"),
    "zero size": (GOOD[:0], ValueError, r"\(no element at all\), expected"),
    "fortran order": (np.asfortranarray(GOOD), ValueError, "not C-contiguous.*ascontiguousarray"),
    "strided": (np.ones((1, 12, 22, 3), np.float32)[:, :, ::2], ValueError, "not C-contiguous"),
    "reversed": (GOOD[:, ::-1], ValueError, "not C-contiguous"),
    "broadcast": (np.broadcast_to(np.float32(1), GOOD.shape), ValueError, "not C-contiguous"),
    "misaligned": (misaligned(GOOD.shape), ValueError, "not a multiple of 4 bytes"),
    "masked": (np.ma.masked_array(GOOD), TypeError, "is a MaskedArray.*numpy.asarray"),
    "subclass": (GOOD.view(Subclass), TypeError, "is a Subclass"),
}


@pytest.mark.parametrize("case", sorted(BAD_ARRAYS))
def test_threat_array(layer: ModuleType, case: str) -> None:
    bad, error, message = BAD_ARRAYS[case]
    _, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.conv(bad, w, b),
        lambda: layer.run(bad, packed),
        lambda: layer.bind(bad, packed),
    ):
        with pytest.raises(error, match=f"layer: x .*{message}"):
            call()


OUT_SHAPE = (1, 12, 11, 10)
BAD_OUTS = {
    "wrong dtype": (np.empty(OUT_SHAPE), TypeError, "out has dtype float64"),
    "wrong shape": (
        np.empty((1, 12, 11, 9), np.float32),
        ValueError,
        r"expected \(1, 12, 11, 10\)",
    ),
    "3-D": (np.empty(OUT_SHAPE[1:], np.float32), ValueError, r"pass out\[None\]"),
    "fortran order": (np.empty(OUT_SHAPE, np.float32, "F"), ValueError, "not C-contiguous"),
    "misaligned": (misaligned(OUT_SHAPE), ValueError, "not a multiple"),
    "byte order": (np.empty(OUT_SHAPE, ">f4"), TypeError, "byte order"),
    "list": ([1.0], TypeError, "must be a numpy.ndarray"),
    "masked": (np.ma.empty(OUT_SHAPE, np.float32), TypeError, "MaskedArray"),
}


@pytest.mark.parametrize("case", sorted(BAD_OUTS))
def test_threat_out(layer: ModuleType, case: str) -> None:
    bad, error, message = BAD_OUTS[case]
    x, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.conv(x, w, b, out=bad),
        lambda: layer.run(x, packed, out=bad),
        lambda: layer.bind(x, packed, out=bad),
    ):
        with pytest.raises(error, match=message):
            call()


def test_threat_read_only_out(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    out = np.zeros(OUT_SHAPE, np.float32)
    out.flags.writeable = False
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.conv(x, w, b, out=out),
        lambda: layer.run(x, packed, out=out),
        lambda: layer.bind(x, packed, out=out),
    ):
        with pytest.raises(ValueError, match="layer: out is read-only"):
            call()
    assert not out.any()


def overlapping(shift: int) -> tuple[Any, Any]:
    """x and out in one block; out begins ``shift`` elements after x."""
    x_size, y_size = 12 * 11 * 3, 12 * 11 * 10
    room = np.zeros(x_size + 2 * y_size, np.float32)
    x = room[y_size : y_size + x_size].reshape(GOOD.shape)
    out = room[y_size + shift :][:y_size].reshape(OUT_SHAPE)
    return x, out


@pytest.mark.parametrize("shift", [0, 1, 12 * 11 * 3 - 1, -1, 1 - 12 * 11 * 10])
def test_threat_overlap(layer: ModuleType, shift: int) -> None:
    x, out = overlapping(shift)
    _, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    for call in (
        lambda: layer.run(x, packed, out=out),
        lambda: layer.run(x, packed, out=out, threads=2),
        lambda: layer.conv(x, w, b, out=out),
        lambda: layer.bind(x, packed, out=out),
    ):
        with pytest.raises(ValueError, match="out overlaps x"):
            call()
    assert not out.any()  # refused before anything was written


@pytest.mark.parametrize("shift", [12 * 11 * 3, -12 * 11 * 10])
def test_neighbours_do_not_overlap(layer: ModuleType, shift: int) -> None:
    x, out = overlapping(shift)
    _, w, b = arrays(LAYERS["layer"].spec)
    x[:] = 1
    assert np.array_equal(layer.run(x, layer.pack(w, b), out=out), layer.conv(GOOD, w, b))


def test_threat_out_overlaps_the_weights(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    room = np.zeros(5000, np.float32)
    w_in = room[: w.size].reshape(w.shape)
    b_in = room[2000:2010]
    with pytest.raises(ValueError, match="out overlaps w"):
        layer.conv(x, w_in, b, out=room[700 : 700 + 1320].reshape(OUT_SHAPE))
    with pytest.raises(ValueError, match="out overlaps b"):
        layer.conv(x, w, b_in, out=room[1000 : 1000 + 1320].reshape(OUT_SHAPE))


def test_weights_are_checked_like_x(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    for bad_w, message in (
        (w.astype(np.float64), "w has dtype float64"),
        (w[..., :-1], r"w has shape \(5, 5, 3, 9\), expected \(5, 5, 3, 10\)"),
        (np.asfortranarray(w), "w is not C-contiguous"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            layer.conv(x, bad_w, b)
    for bad_b, message in (
        (None, r"b is missing; the layer has a bias of shape \(10,\)"),
        (b[:9], r"b has shape \(9,\), expected \(10,\)"),
        (b[:, None], r"b has shape \(10, 1\)"),
        (b[::-1], "b is not C-contiguous"),
        (0.5, "b must be a numpy.ndarray, not float"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            layer.pack(w, bad_b)


def test_bias_for_a_layer_without(package: Package) -> None:
    x, w, _ = arrays(LAYERS["plain"].spec)
    with pytest.raises(TypeError, match="the layer has no bias"):
        package("plain").conv(x, w, np.zeros(4, np.float32))


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**30])
def test_threads_out_of_range(layer: ModuleType, threads: int) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    with pytest.raises(ValueError, match=rf"threads is {threads}, it must lie in 1\.\.1024"):
        layer.conv(x, w, b, threads=threads)


@pytest.mark.parametrize("threads", [2.0, "2", True, None])
def test_threads_of_another_type(layer: ModuleType, threads: Any) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    with pytest.raises(TypeError, match="threads must be an int"):
        layer.conv(x, w, b, threads=threads)


def test_what_is_close_enough_is_taken(layer: ModuleType, tmp_path: Path) -> None:
    """A file mapping, an equal dtype object, a NumPy int and a size-1 axis with any stride."""
    x, w, b = arrays(LAYERS["layer"].spec)
    want, packed = layer.conv(x, w, b), layer.pack(w, b)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    mapped[:] = x
    assert np.array_equal(layer.run(mapped, packed, threads=np.int64(2)), want)
    out = np.memmap(tmp_path / "y", np.float32, "w+", shape=want.shape)
    assert layer.run(x, packed, out=out) is out
    assert np.array_equal(out, want)
    other = x.view(np.dtype("f4", metadata={"unit": "lux"}))
    assert other.dtype is not x.dtype
    assert np.array_equal(layer.run(other, packed), want)
    odd = np.lib.stride_tricks.as_strided(x, x.shape, (12345 * 4, *x.strides[1:]))
    assert np.array_equal(layer.run(odd, packed), want)


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


# -- threads, fork, the GIL ----------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7, 16, 64])
def test_threat_threads_any_number_gives_the_same_bits(layer: ModuleType, threads: int) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    want = layer.run(x, packed)
    for _ in range(20):
        assert np.array_equal(layer.run(x, packed, threads=threads), want)


@pytest.mark.parametrize("name", ["layer", "roomy"])
def test_threat_threads_many_callers_at_once(package: Package, name: str) -> None:
    """``roomy`` needs a workspace: one for each thread that is in a call."""
    layer, spec = package(name), LAYERS[name].spec
    jobs = [arrays(spec, seed) for seed in range(8)]
    wants = [layer.conv(*job) for job in jobs]

    def hammer(i: int) -> bool:
        x, w, b = jobs[i % 8]
        packed = layer.pack(w, b)
        call = layer.bind(x, packed, threads=1 + i % 3)
        return all(
            np.array_equal(layer.run(x, packed, threads=1 + n % 4), wants[i % 8])
            and np.array_equal(call(), wants[i % 8])
            for n in range(60)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(hammer, range(16)))


def test_threads_of_python_where_the_glue_has_none(tmp_path: Path) -> None:
    """As on Windows: the same results without the C pool."""
    names = " ".join(f"-D{name.upper()}_NO_POOL" for name in ("layer", "many"))
    package = packages(tmp_path, "abi", cc=f"cc {names}")
    for name, images in (("layer", None), ("many", 5)):
        module = package(name)
        assert not module._pooled
        x, w, b = arrays(LAYERS[name].spec, images=images)
        packed = module.pack(w, b)
        want = module.run(x, packed)
        assert holds(name, want, x, w, b)
        for threads in (2, 3, 9):
            assert np.array_equal(module.run(x, packed, threads=threads), want)
            assert np.array_equal(module.bind(x, packed, threads=threads)(), want)


@posix_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_threat_fork_while_the_pool_is_busy(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    want = layer.run(x, packed, threads=3)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            layer.run(x, packed, threads=3)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                good = all(np.array_equal(layer.run(x, packed, threads=t), want) for t in (1, 3, 4))
                os._exit(0 if good else 1)
            assert waited(child, 20) == 0
    finally:
        stop.set()
        thread.join()


def waited(child: int, seconds: float) -> int:
    """Exit code of a child process, killed after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the forked child hangs")


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_gil_is_released(
    tmp_path_factory: pytest.TempPathFactory, binding: str, threads: int
) -> None:
    """While a long call runs in one thread, another one runs Python."""
    spec = ConvSpec("long_one", 64, 64, 64, 64, 5, 5)
    out = tmp_path_factory.getbasetemp() / f"gil-{binding}-{os.getpid()}"
    target = TARGETS["generic"]  # plain C: some tenths of a second
    module = import_package(
        build(out, Layer(spec, "<t>"), target=target, binding=binding, verify=False).path
    )
    x, w, b = arrays(spec)
    call = module.bind(x, module.pack(w, b), threads=threads)
    call()
    span: list[float] = []

    def timed() -> None:
        span.append(time.perf_counter())
        call()
        span.append(time.perf_counter())

    thread = threading.Thread(target=timed)
    ticks = []
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.002)
    start, end = span
    early, late = start + 0.2 * (end - start), start + 0.8 * (end - start)
    assert end - start > 0.05, "too short a call to show anything"
    assert [t for t in ticks if early < t < late]


# -- import --------------------------------------------------------------------------------------


def run_python(code: str, build_folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that finds the package and NumPy, and has no convgen."""
    head = f"import sys; sys.path.insert(0, {str(build_folder)!r})\n"
    command = [sys.executable, *flags, "-I", "-c", head + code]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=120)


def folder_of(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__).parent


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
def test_threat_cpu_without_the_instructions(tmp_path: Path) -> None:
    """An x86-64 of 2008 under QEMU: an ImportError that names what is missing, never SIGILL."""
    qemu = shutil.which("qemu-x86_64")
    if qemu is None:
        pytest.skip("no qemu-x86_64 here")
    if os.uname().machine != "x86_64":
        pytest.skip("needs an x86-64 Python")
    for target in ("x86-64-avx2", "x86-64-avx512"):
        out = tmp_path / target
        build(out, LAYERS["layer"], target=TARGETS[target], verify=False)
        code = f"import sys; sys.path.insert(0, {str(out)!r}); import layer"
        done = subprocess.run(
            [qemu, "-cpu", "Nehalem", sys.executable, "-I", "-c", code],
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

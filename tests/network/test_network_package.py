"""A network's built package: what it computes, what it refuses, what a build leaves alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pytest
from small_networks import eight_bits, floats

from convgen.api import import_package
from convgen.errors import MismatchError, UsageError
from convgen.network import ops
from convgen.network.graph import Builder, Elem, Graph
from convgen.network.meaning import evaluate
from convgen.package.disk.manifest import read_manifest
from convgen.package.disk.result import BuildOptions
from convgen.package.network.build import build_network
from convgen.package.network.files import package_files
from convgen.package.network.program import program_of
from convgen.package.network.verification import task_of
from convgen.target import TARGETS, host_target
from convgen.verify.network import verify_network_in_child

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")


def options(out: Path, **more: Any) -> BuildOptions:
    return BuildOptions(out, host_target(), cache_root=out / "cache", **more)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("networks")


@pytest.fixture(scope="module")
def net(out: Path) -> ModuleType:
    return import_package(build_network(floats(), options(out)).path)


@pytest.fixture(scope="module")
def net8(out: Path) -> ModuleType:
    return import_package(build_network(eight_bits(), options(out)).path)


def image(seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 3, 8, 10)).astype(np.float32)


def test_floats_are_near_the_oracle(net: ModuleType) -> None:
    """Both outputs, in the model's own order of axes."""
    x = image()
    want = evaluate(floats(), {"image 1": x})
    soft, total = net.run(x)
    np.testing.assert_allclose(soft, want["soft/max"], atol=1e-6)
    np.testing.assert_allclose(total, want["sum"], atol=2e-5)


def test_integers_are_the_oracles(net8: ModuleType) -> None:
    x = np.random.default_rng(5).integers(-128, 128, (1, 8, 8, 4)).astype(np.int8)
    assert (net8.run(x) == evaluate(eight_bits(), {"x": x})["soft"]).all()


def test_every_split_gives_the_same_bits(net: ModuleType) -> None:
    x = image()
    first = net.run(x)
    for threads in (2, 3, 5):
        for a, b in zip(first, net.run(x, threads=threads), strict=True):
            assert a.tobytes() == b.tobytes()


def test_calls_from_many_threads_agree(net: ModuleType) -> None:
    xs = [image(i) for i in range(4)]
    want = [net.run(x)[0].tobytes() for x in xs]
    found: list[bool] = []

    def work(i: int) -> None:
        found.extend(net.run(xs[i], threads=1 + i % 2)[0].tobytes() == want[i] for _ in range(50))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 200 and all(found)


def test_bind_computes_into_its_arrays(net: ModuleType) -> None:
    x = image()
    out = (np.empty((1, 5), np.float32), np.empty((1, 16, 4, 5), np.float32))
    call = net.bind(x, out=out, threads=2)
    want = net.run(x)
    assert call() is out
    assert all(a.tobytes() == b.tobytes() for a, b in zip(out, want, strict=True))
    x *= 2
    call()
    assert (out[0] == net.run(x)[0]).all()


def test_trace_holds_every_step(net: ModuleType) -> None:
    x = image()
    traced = net.trace(x)
    assert {"c0", "p0", "c1", "c2", "sum", "soft/max"} <= set(traced)
    want = evaluate(floats(), {"image 1": x})
    np.testing.assert_allclose(traced["c0"], want["c0"].transpose(0, 2, 3, 1), atol=1e-5)


def test_the_module_says_what_it_is(net: ModuleType) -> None:
    assert net.INPUTS == {"image 1": ((1, 3, 8, 10), "float32")}
    assert net.OUTPUTS["soft/max"] == ((1, 5), "float32")
    assert floats().total_macs == net.MACS and net.ARENA_BYTES > 0
    assert [s.kind for s in net.STEPS].count("conv") == 3
    assert net.SPEC["network"] == "small"


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda x: x.astype(np.float64), TypeError, "float64"),
        (lambda x: x[0], ValueError, r"pass x\[None\]"),
        (lambda x: x.transpose(0, 1, 3, 2), ValueError, "expected"),
        (lambda x: np.asfortranarray(x), ValueError, "not C-contiguous"),
        (lambda x: x.tolist(), TypeError, "numpy.ndarray"),
        (lambda x: x.astype(">f4"), TypeError, "byte order"),
        (lambda x: np.ma.masked_array(x), TypeError, "MaskedArray"),
    ],
)
def test_what_does_not_fit_is_refused(net: ModuleType, change: Any, error: Any, says: str) -> None:
    with pytest.raises(error, match=says):
        net.run(change(image()))
    with pytest.raises(error, match=says):
        net.bind(change(image()))


def test_overlapping_and_read_only_outputs_are_refused(net8: ModuleType) -> None:
    room = np.zeros(256 + 6, np.int8)
    x, y = room[:256].reshape(1, 8, 8, 4), room[250:256].reshape(1, 6)
    for call in (net8.run, net8.bind):
        with pytest.raises(ValueError, match="out overlaps x"):
            call(x, out=y)
    fixed = np.zeros((1, 6), np.int8)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        net8.run(x, out=fixed)


def test_threads_are_counted(net: ModuleType) -> None:
    for wrong, error in ((0, ValueError), (1.0, TypeError), (True, TypeError), (5000, ValueError)):
        with pytest.raises(error, match="threads"):
            net.run(image(), threads=wrong)


def test_a_fork_computes_on(net: ModuleType) -> None:
    x = image()
    want = net.run(x, threads=2)[0].tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if net.run(x, threads=2)[0].tobytes() == want else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_second_build_finds_everything(out: Path, net: ModuleType) -> None:
    assert build_network(floats(), options(out)).state == "unchanged"
    other = build_network(floats(), options(out / "elsewhere", use_cache=False))
    assert other.state == "built"
    first, second = (read_manifest(p / "small") for p in (out, out / "elsewhere"))
    assert first is not None and second is not None
    c = [first.files["small.c"], second.files["small.c"]]
    assert c[0] == c[1]


def test_other_weights_compile_nothing(out: Path, net: ModuleType) -> None:
    """The C is the same: the library comes from the cache, and is verified with these weights."""
    built = build_network(floats(seed=1), replace(options(out / "seed"), cache_root=out / "cache"))
    assert built.state == "cached"
    assert built.report is not None and built.report.passed
    x = image()
    found = import_package(built.path).run(x)[0]
    want = evaluate(floats(seed=1), {"image 1": x})["soft/max"]
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_the_manifest_lists_every_step(out: Path, net: ModuleType) -> None:
    manifest = read_manifest(out / "small")
    assert manifest is not None and manifest.report is not None
    names = [check.name for check in manifest.report.checks]
    assert len([n for n in names if n.startswith("step ")]) == len(net.STEPS)
    assert {"repeatable", "parts", "outside", "cpu"} <= set(names)


def test_a_wrong_weight_fails_its_step(out: Path, net: ModuleType, tmp_path: Path) -> None:
    """The verification sees one changed number among the packed weights, and names the step."""
    program = program_of(floats(), host_target())
    manifest = read_manifest(out / "small")
    assert manifest is not None
    (library,) = (out / "small").glob(f"*{manifest.extension.lstrip('_')}*.so")
    weights = bytearray(program.blob)
    weights[3] ^= 0x40
    (tmp_path / "w").write_bytes(weights)
    report = verify_network_in_child(task_of(program, library, tmp_path / "w"))
    assert program.steps[1].weights is not None
    assert [c.name for c in report.failures] == [f"step 1 ({program.steps[1].name})"]
    assert "wrong" in report.failures[0].detail


def test_a_kernel_that_writes_beside_its_slots_is_caught(tmp_path: Path) -> None:
    """A step whose code touches a byte of the arena that is another's fails its check."""
    program = program_of(floats(), host_target())
    files = package_files(program)
    at = next(i for i, s in enumerate(program.steps) if s.op.kind == "maxpool")
    read = program.steps[at].inputs[0]
    assert read is not None
    theirs = program.plan.arena.places[read.buffer]
    source = files["small.c"].replace(
        f"  case {at}:", f"  case {at}: a[{theirs}] ^= 1; /* mischief */"
    )
    (tmp_path / "small.c").write_text(source)
    (tmp_path / "small.h").write_text(files["small.h"])
    (tmp_path / "w").write_bytes(program.blob)
    command = ["gcc", "-O1", "-shared", "-fPIC", "small.c", "-o", "small.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    report = verify_network_in_child(task_of(program, tmp_path / "small.so", tmp_path / "w"))
    assert not report.passed
    assert "not the step's" in report.failures[0].detail


@pytest.mark.parametrize("target", ["generic", "x86-64", "x86-64-sse2", "cortex-m4"])
@pytest.mark.parametrize("make", [floats, eight_bits])
def test_the_self_test_passes(make: Any, target: str, tmp_path: Path) -> None:
    """Of files for several machines, warnings as errors; foreign ones in plain C."""
    files = package_files(program_of(make(), TARGETS[target]))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    name = make().name
    plain = [f"-D{name.upper()}_PLAIN", "-Wpedantic"] if target == "cortex-m4" else []
    flags = ["-O0", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", *plain]
    sources = [f"{name}.c", f"{name}_weights.c", "selftest.c"]
    subprocess.run(["gcc", *flags, *sources, "-o", "selftest"], cwd=tmp_path, check=True)
    done = subprocess.run(["./selftest"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{name}: ok" in done.stdout


def test_two_networks_share_a_translation_unit(tmp_path: Path) -> None:
    both = ""
    for graph in (floats(), floats("second", 4), eight_bits()):
        files = package_files(program_of(graph, host_target()))
        for name, text in files.items():
            if name.endswith((".c", ".h")):
                (tmp_path / name).write_text(text)
        both += f'#include "{graph.name}.c"\n'
    (tmp_path / "both.c").write_text(both)
    command = ["gcc", "-O0", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "both.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_the_same_network_gives_the_same_bytes() -> None:
    one, two = (package_files(program_of(floats(), host_target())) for _ in range(2))
    assert one == two


def test_steps_without_a_kernel_are_all_named() -> None:
    b = Builder("odd")
    b.input("x", (4, 4), Elem.FLOAT64)
    b.node("first", ops.Binary(ops.BinaryFn.ADD), ("x", "x"))
    b.node("second", ops.Softmax(-1), ("first",))
    with pytest.raises(UsageError) as error:
        program_of(b.finish(["second"]), host_target())
    assert "first" in str(error.value) and "second" in str(error.value)
    assert "float64" in str(error.value) and "--cut" in str(error.value)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    """Names with quotes, comment ends and line breaks reach neither C nor Python as code."""
    name = '*/ #error "x" \\ \n\'"""{{ 7*7 }}??/'
    b = Builder("names")
    b.input(name, (1, 6), Elem.FLOAT32)
    b.node(name + "!", ops.Softmax(-1), (name,))
    graph = b.finish([name + "!"])
    module = import_package(build_network(graph, options(tmp_path, binding="abi")).path)
    assert list(module.INPUTS) == [name]
    x = np.zeros((1, 6), np.float32)
    np.testing.assert_allclose(module.run(x), 1 / 6, rtol=1e-6)


def test_an_input_may_be_an_output(tmp_path: Path) -> None:
    b = Builder("passing")
    b.input("x", (2, 3), Elem.FLOAT32)
    b.node("soft", ops.Softmax(-1), ("x",))
    module = import_package(
        build_network(b.finish(["x", "soft"]), options(tmp_path, binding="abi")).path
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    same, _ = module.run(x)
    assert (same == x).all()


def test_bind_falls_back_to_abi(tmp_path: Path) -> None:
    built = build_network(eight_bits(), options(tmp_path, binding="abi"))
    x = np.ones((1, 8, 8, 4), np.int8)
    assert (import_package(built.path).run(x) == evaluate(eight_bits(), {"x": x})["soft"]).all()


def test_biases_that_leave_int32_are_refused() -> None:
    graph = eight_bits()
    big = np.full(8, 2**31 - 1, np.int32)
    wrong: Graph = replace(graph, constants=MappingProxyType({**graph.constants, "b0": big}))
    program = program_of(wrong, host_target())
    with pytest.raises(UsageError, match="int32"):
        program.blob  # noqa: B018


def test_mismatch_is_its_own_exit_code() -> None:
    assert MismatchError("x").exit_code == 4


@pytest.mark.parametrize("fn", [ops.UnaryFn.LOG, ops.UnaryFn.ABS])
def test_the_package_tells_of_the_library_of_its_functions(fn: ops.UnaryFn) -> None:
    """Wherever somebody looks for how to link it, and nowhere when it needs none."""
    b = Builder("functions")
    b.input("x", (1, 40), Elem.FLOAT32)
    files = package_files(
        program_of(b.finish([b.node("y", ops.Unary(fn), ["x"])[0]]), host_target())
    )
    needed = fn is ops.UnaryFn.LOG
    assert ("#include <math.h>" in files["functions.c"]) == needed
    assert ("-lm" in files["README.md"]) == needed
    assert ("selftest.c -lm -o selftest" in files["selftest.c"]) == needed
    assert ("PUBLIC m)" in files["CMakeLists.txt"]) == needed

"""The C package that ``emit`` writes: same bytes, a self test that can fail, CMake three ways."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from built import LAYERS, needs_cc, posix_only
from places import ROOT, SUPPORT

from convgen.cli.files import write_files
from convgen.oracle import floats as oracle
from convgen.package.emit.files import decide, emit_files
from convgen.package.emit.python_text import glue_files
from convgen.package.emit.selftest import MOST_SAMPLES, choose_scale, fills, samples, selftest_text
from convgen.render.baked import Form
from convgen.spec import parse_file
from convgen.spec.model import (
    Act,
    Activation,
    ConvSpec,
    DType,
    InitWeights,
    Layer,
    Layout,
    Padding,
    WeightLayout,
)
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS, host_target

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
COMPILERS = [pytest.param(cc, marks=pytest.mark.needs(cc)) for cc in ("gcc", "clang")]
SMALL = ConvSpec("small", 6, 5, 4, 6, 3, 2, padding=Padding(1, 0, 1, 1))
ACTIVATIONS = [
    Activation(Act.NONE),
    Activation(Act.RELU),
    Activation(Act.RELU6),
    Activation(Act.LEAKY_RELU, alpha=0.1),
    Activation(Act.CLIP, low=-0.3, high=7.7),
    Activation(Act.CLIP, high=1e-3),
    Activation(Act.SIGMOID),
    Activation(Act.TANH),
    Activation(Act.SILU),
    Activation(Act.HARDSWISH),
    Activation(Act.GELU),
    Activation(Act.GELU_TANH),
]
SHAPES = {
    "padded": SMALL,
    "grouped": replace(SMALL, groups=2, sh=2, dw=2),
    "depthwise": replace(SMALL, groups=4, oc=4, bias=False),
    "planar": replace(SMALL, layout=Layout.NCHW, weight_layout=WeightLayout.OIHW, batch=3),
    "ohwi": replace(SMALL, weight_layout=WeightLayout.OHWI, dh=2),
    "one": ConvSpec("small", 1, 1, 1, 1, 1, 1),
    "deep": ConvSpec("small", 2, 2, 300, 3, 2, 2),
    "empty windows": ConvSpec("small", 2, 2, 2, 3, 1, 1, padding=Padding(3, 3, 3, 3)),
}


def write(folder: Path, layer: Layer) -> Path:
    write_files(folder, emit_files(layer, host_target()))
    return folder


def run_selftest(
    folder: Path, name: str, cc: str = "cc", *flags: str
) -> subprocess.CompletedProcess[str]:
    """Compile the two files, warnings being errors, and run them."""
    command = [cc, "-O1", *STRICT, *flags, f"{name}.c", "selftest.c", "-o", "selftest"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return subprocess.run([folder / "selftest"], capture_output=True, text=True)


def test_files_and_their_bytes() -> None:
    layer = LAYERS["layer"]
    files = emit_files(layer, host_target())
    assert list(files) == [
        "layer.c", "layer.h", "selftest.c", "CMakeLists.txt", "README.md", "library.json",
        "idf_component.yml", "zephyr/module.yml", "zephyr/CMakeLists.txt", "zephyr/Kconfig",
    ]  # fmt: skip
    assert emit_files(replace(layer, source="elsewhere.yaml"), host_target()) == files
    assert emit_files(layer, TARGETS["generic"]) != files
    for name, text in files.items():
        assert text.endswith("\n") and text.isascii(), name
        assert "carries no licence obligation" in text or not name.endswith((".c", ".h", ".md"))
        assert "convgen" in text[:400], "a later emit knows its own files by this"
        assert str(ROOT) not in text
        assert max(map(len, text.splitlines())) <= 100, name


def test_bytes_do_not_hang_on_the_hash_seed(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(SUPPORT)!r}]
from built import LAYERS
from convgen.package.emit.files import decide, emit_files
from convgen.package.emit.python_text import glue_files, python_files
from convgen.target import TARGETS
for layer in LAYERS.values():
    target = TARGETS["x86-64-avx2"]
    plan = decide(layer, target).plan
    print(emit_files(layer, target), glue_files(plan), python_files(layer, plan, "_x_0123456789ab"))
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, env={"PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] and len(outputs[0]) > 50_000


# -- the self test -------------------------------------------------------------------------------


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("case", sorted(SHAPES))
def test_selftest_passes(tmp_path: Path, case: str, cc: str) -> None:
    write(tmp_path, Layer(SHAPES[case], "<t>"))
    done = run_selftest(tmp_path, "small", cc)
    isa = decide(Layer(SHAPES[case], "<t>"), host_target()).plan.body.isa.name
    assert re.fullmatch(
        rf"small: ok, \d+ samples and all \d+ outputs, in one part and in three "
        rf"\({isa}, error \S+, bits [0-9a-f]{{16}}\)\n",
        done.stdout,
    )
    assert done.returncode == 0


@needs_cc
@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda a: f"{a.kind}{a.low or ''}{a.high or ''}")
def test_selftest_of_each_activation(tmp_path: Path, act: Activation) -> None:
    write(tmp_path, Layer(replace(SMALL, activation=act), "<t>"))
    done = run_selftest(tmp_path, "small")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("cc", COMPILERS)
def test_selftest_of_baked_weights(tmp_path: Path, cc: str) -> None:
    spec = replace(SMALL, activation=Activation(Act.SILU))
    write(tmp_path, Layer(spec, "<t>", weights=InitWeights(0.3, 1)))
    done = run_selftest(tmp_path, "small", cc)
    assert done.stdout.startswith("small: ok, 48 samples, in one part and in three (")


@needs_cc
def test_selftest_under_the_scalar_model_and_the_plain_body(tmp_path: Path) -> None:
    write(tmp_path, LAYERS["layer"])
    for macro in ("LAYER_MODEL", "LAYER_PLAIN"):
        assert run_selftest(tmp_path, "layer", "cc", f"-D{macro}").returncode == 0


BREAKS = {
    "one output": "y[{last}] += 1",
    "a NaN": "y[3] = y[3] / 0.0f - y[3] / 0.0f",
    "one output in three parts": "if (parts == 3) y[{last}] += 1",
    "nothing is written": "for (int i = 0; i <= {last}; ++i) y[i] = before[i]",
}


@needs_cc
@pytest.mark.parametrize("act", [Act.NONE, Act.SIGMOID])
@pytest.mark.parametrize("baked", [False, True])
@pytest.mark.parametrize("what", sorted(BREAKS))
def test_selftest_can_fail(tmp_path: Path, what: str, baked: bool, act: Act) -> None:
    spec = replace(SMALL, activation=Activation(act))
    write(tmp_path, Layer(spec, "<t>", weights=InitWeights(0.3, 1) if baked else None))
    last = spec.oh * spec.ow * spec.oc - 1
    wrapped = f"""
#define small_run_part small_right
#define small_run small_right_run
#include "small.c"
#undef small_run_part
#undef small_run
void small_run_part(const float *x, const void *packed, float *y, void *w, int part, int parts);
void small_run(const float *x, const void *packed, float *y, void *w);
void small_run_part(const float *x, const void *packed, float *y, void *w, int part, int parts)
{{
  static float before[{last + 1}];
  memcpy(before, y, sizeof before);
  small_right(x, packed, y, w, part, parts);
  {BREAKS[what].format(last=last)};
}}
void small_run(const float *x, const void *packed, float *y, void *w)
{{
  small_run_part(x, packed, y, w, 0, 1);
}}
"""
    (tmp_path / "wrong.c").write_text(wrapped)
    command = ["cc", "-O1", "wrong.c", "selftest.c", "-o", "selftest"]
    subprocess.run(command, cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "selftest"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("small: FAIL, wrong: ")
    if what == "one output in three parts":
        assert "wrong: 0 of 48 samples, 0 of 180 outputs, parts differ" in done.stdout
    else:
        assert "wrong: 0 of 48 samples, 0 of" not in done.stdout


@needs_cc
def test_selftest_of_weights_that_were_mixed_up(tmp_path: Path) -> None:
    """Two taps exchanged in pack: what only the sampled outputs of the oracle and the loop see."""
    write(tmp_path, Layer(SMALL, "<t>"))
    program = (tmp_path / "selftest.c").read_text()
    broken = program.replace(
        "  if (small_pack(w", "  w[0] += 1;\n  if (small_pack(w"
    ).replace("  const long samples", "  w[0] -= 1;\n  const long samples")  # fmt: skip
    assert broken.count("w[0]") == 2
    (tmp_path / "selftest.c").write_text(broken)
    done = run_selftest(tmp_path, "small")
    assert done.returncode == 1 and "parts agree" in done.stdout


BAKED = replace(Layer(SMALL, "<t>"), weights=InitWeights(0.5, 1))
OTHER_RUNS = {
    "another spec": (Layer(SMALL, "<t>"), Layer(replace(SMALL, h=7), "<t>"), "small.c"),
    "another schedule": (
        replace(Layer(SMALL, "<t>"), schedule=Schedule(Family.DIRECT, 1, 1, 1, 1)),
        replace(Layer(SMALL, "<t>"), schedule=Schedule(Family.DIRECT, 1, 1, 2, 1)),
        "small.c",
    ),
    "another element": (
        Layer(replace(SMALL, dtype=DType.FLOAT64), "<t>"), Layer(SMALL, "<t>"), "small.c"
    ),
    "other weights": (BAKED, replace(BAKED, weights=InitWeights(0.5, 2)), "small_weights.c"),
}  # fmt: skip


@needs_cc
@pytest.mark.parametrize("case", OTHER_RUNS)
def test_a_header_of_another_run_is_refused(tmp_path: Path, case: str) -> None:
    mine, other, file = OTHER_RUNS[case]
    for folder, layer in (("mine", mine), ("other", other)):
        files = emit_files(layer, host_target(), form=Form.C if layer.weights else Form.INSIDE)
        write_files(tmp_path / folder, files)
    command = ["cc", "-std=c99", "-fsyntax-only", "-Wundef", "-Werror", file]
    subprocess.run(command, cwd=tmp_path / "mine", check=True)
    shutil.copy(tmp_path / "other" / "small.h", tmp_path / "mine" / "small.h")
    done = subprocess.run(command, cwd=tmp_path / "mine", capture_output=True, text=True)
    assert done.returncode != 0
    assert f"small.h is not of the same run as {file}" in done.stderr


@needs_cc
def test_selftest_is_clean_under_sanitizers(tmp_path: Path) -> None:
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    probe = subprocess.run(
        ["cc", *flags, "-x", "c", "-", "-o", tmp_path / "probe"],
        input="int main(void) { return 0; }", text=True, capture_output=True,
    )  # fmt: skip
    if probe.returncode:
        pytest.skip("this compiler has no sanitizers")
    for name in ("layer", "baked"):
        write(tmp_path / name, LAYERS[name])
        done = run_selftest(tmp_path / name, name, "cc", "-g", *flags)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", sorted(SHAPES))
@pytest.mark.parametrize("baked", [False, True])
def test_samples_are_the_oracle_and_hold_the_corners(case: str, baked: bool) -> None:
    spec = SHAPES[case]
    decided = decide(
        Layer(spec, "<t>", weights=InitWeights(0.3, 1) if baked else None), host_target()
    )
    scale = choose_scale(spec)
    x, w, b = fills(spec, scale)
    if decided.weights is not None:
        w, b = decided.weights.w, decided.weights.b
    y = oracle.reference(spec, x, w, b)
    found = samples(decided.plan, scale, decided.weights)
    assert len(found) == min(MOST_SAMPLES, len(found)) and len(found) == len({s.at for s in found})
    for sample in found:
        assert abs(sample.value - y.reshape(-1)[sample.at]) <= 1e-12 * max(1, abs(sample.value))
    ends = np.ix_(*[[0, size - 1] for size in spec.y_shape])
    corners = np.arange(y.size).reshape(spec.y_shape)[ends].reshape(-1)
    assert set(corners.tolist()) <= {s.at for s in found}


@pytest.mark.parametrize("case", sorted(SHAPES))
@pytest.mark.parametrize("act", [Act.NONE, Act.RELU6, Act.TANH])
def test_fill_is_exact_in_float32(case: str, act: Act) -> None:
    """Every partial sum, in any order, is a float32: the sum of all magnitudes is one."""
    spec = replace(SHAPES[case], activation=Activation(act))
    scale = choose_scale(spec)
    x, w, b = fills(spec, scale)
    taps = spec.taps * spec.icg
    top = taps * scale.top * scale.top + (scale.bias if spec.bias else 0)
    assert top < 2**24
    for values in (x / scale.unit, w, *([] if b is None else [b / scale.unit])):
        assert np.array_equal(values, np.rint(values))
        assert abs(values).max() <= max(scale.top, scale.bias)
        assert values.size < 20 or ((values > 0).any() and (values < 0).any())
    assert np.log2(scale.unit) == int(np.log2(scale.unit))


def test_fill_of_a_large_layer_stays_quick() -> None:
    """The oracle is asked for the samples alone, not for the layer."""
    import time

    layer = Layer(ConvSpec("vgg", 224, 224, 64, 64, 3, 3, padding=Padding(1, 1, 1, 1)), "<t>")
    start = time.perf_counter()
    selftest_text(decide(layer, TARGETS["x86-64-avx2"]).plan, None)
    assert time.perf_counter() - start < 5


@needs_cc
@pytest.mark.parametrize("name", ["x", "y", "work", "pool", "run", "fill", "job", "glue", "poison"])
def test_no_name_of_a_layer_clashes_with_what_stands_around_it(tmp_path: Path, name: str) -> None:
    layer = Layer(replace(SMALL, name=name), "<t>")
    write(tmp_path, layer)
    for file, text in glue_files(decide(layer, host_target()).plan).items():
        (tmp_path / file).write_text(text)
    units = [f"{name}.c", f"{name}_glue.c", "selftest.c"]
    command = ["cc", "-Wall", "-Wextra", "-Werror", *units, "-pthread", "-o", "selftest"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert subprocess.run([tmp_path / "selftest"], stdout=subprocess.DEVNULL).returncode == 0


# -- CMake ---------------------------------------------------------------------------------------

needs_cmake = pytest.mark.needs("cmake")
USER = """
cmake_minimum_required(VERSION 3.15)
project(app LANGUAGES C)
{find}
add_executable(app main.c)
target_link_libraries(app PRIVATE layer::layer baked::baked)
"""
MAIN = """
#include <stdio.h>
#include "baked.h"
#include "layer.h"
static float x[1 * 12 * 11 * 3], w[5 * 5 * 3 * 10], b[10], y[1 * 12 * 11 * 10];
static float room[LAYER_WORKSPACE_BYTES / 4 + BAKED_WORKSPACE_BYTES / 4 + 1];
static float packed[LAYER_PACKED_BYTES / 4], z[BAKED_N * BAKED_OH * BAKED_OW * BAKED_OC];
int main(void)
{
  for (int i = 0; i < 12 * 11 * 3; ++i) x[i] = 1;
  for (int i = 0; i < 750; ++i) w[i] = 1;
  layer_pack(w, b, packed);
  layer_run(x, packed, y, room);
  baked_run(x, baked_packed, z, room);
  printf("%g %d\\n", (double)y[5 * 11 * 10 + 50], LAYER_OC);
  return 0;
}
"""


def cmake(*arguments: object, cwd: Path | None = None) -> None:
    done = subprocess.run(["cmake", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_cc
@needs_cmake
@posix_only
def test_cmake_alone_runs_its_self_test(tmp_path: Path) -> None:
    write(tmp_path / "layer", LAYERS["layer"])
    cmake("-S", tmp_path / "layer", "-B", tmp_path / "b", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror")
    cmake("--build", tmp_path / "b")
    done = subprocess.run(["ctest"], cwd=tmp_path / "b", capture_output=True, text=True)
    assert "100% tests passed, 0 tests failed out of 1" in done.stdout


@needs_cc
@needs_cmake
@posix_only
@pytest.mark.parametrize("how", ["add_subdirectory", "FetchContent", "find_package"])
def test_cmake_in_another_project(tmp_path: Path, how: str) -> None:
    """Two layers in one program, each of the three ways."""
    lines = ["include(FetchContent)"] if how == "FetchContent" else []
    settings = []
    for name in ("layer", "baked"):
        source = write(tmp_path / "from" / name, LAYERS[name])
        match how:
            case "add_subdirectory":
                lines.append(f"add_subdirectory({source} {name}-build)")
            case "FetchContent":
                lines.append(f"FetchContent_Declare({name} SOURCE_DIR {source})")
                lines.append(f"FetchContent_MakeAvailable({name})")
            case "find_package":
                lines.append(f"find_package({name} REQUIRED)")
                cmake("-S", source, "-B", tmp_path / f"b-{name}", "-DBUILD_TESTING=OFF")
                cmake("--build", tmp_path / f"b-{name}")
                cmake("--install", tmp_path / f"b-{name}", "--prefix", tmp_path / "installed")
                settings = [f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}"]
    (tmp_path / "CMakeLists.txt").write_text(USER.format(find="\n".join(lines)))
    (tmp_path / "main.c").write_text(MAIN)
    cmake("-S", tmp_path, "-B", tmp_path / "b", *settings)
    cmake("--build", tmp_path / "b")
    done = subprocess.run([tmp_path / "b" / "app"], capture_output=True, text=True)
    assert done.stdout == "75 10\n"


# -- the gallery ---------------------------------------------------------------------------------


@needs_cc
@pytest.mark.parametrize("path", sorted((ROOT / "specs").glob("*.yaml")), ids=lambda p: p.stem)
def test_selftest_of_every_shipped_spec(tmp_path: Path, path: Path) -> None:
    for layer in parse_file(path):
        folder = write(tmp_path / layer.spec.name, layer)
        done = run_selftest(folder, layer.spec.name)
        assert done.returncode == 0, done.stdout

"""The emitted package in other people's builds. What ESP-IDF and Zephyr would do with it is played
by a few lines of CMake: their own trees are far too large for a test."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from built import LAYERS, needs_cc, posix_only

from convgen import __version__
from convgen.cli.files import write_files
from convgen.package.emit.files import decide, emit_files, package_files
from convgen.package.emit.project import project_text
from convgen.render.baked import Form
from convgen.spec.model import ConvSpec, InitWeights, Layer
from convgen.target import TARGETS, host_target

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
needs_cmake = pytest.mark.needs("cmake")
ROOMY = LAYERS["roomy"]  # with a workspace


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def emitted(folder: Path, layer: Layer, *, form: Form = Form.INSIDE) -> Path:
    place = folder / layer.spec.name
    write_files(place, emit_files(layer, host_target(), form=form))
    return place


# -- weights in a file of their own ----------------------------------------------------------------


@needs_cc
def test_split_weights_are_the_baked_ones(tmp_path: Path) -> None:
    whole = emit_files(LAYERS["baked"], host_target())
    split = emit_files(LAYERS["baked"], host_target(), form=Form.C)
    array = re.compile(r"BAKED_ALIGNED const float baked_packed.*?\n};\n", re.DOTALL)
    assert array.findall(split["baked_weights.c"]) == array.findall(whole["baked.c"])
    assert len(array.findall(whole["baked.c"])) == 1 and not array.findall(split["baked.c"])
    assert split["baked.h"] == whole["baked.h"]
    folder = emitted(tmp_path, LAYERS["baked"], form=Form.C)
    line = re.search(r"^ \*   (cc .*) && \./selftest$", split["selftest.c"], re.MULTILINE)
    assert line is not None
    run(*line[1].split(), *STRICT, cwd=folder)
    assert run(folder / "selftest", cwd=folder).startswith("baked: ok, ")


def test_baked_decimals_read_back_to_the_bit(tmp_path: Path) -> None:
    from convgen.kernels.pack import pack

    decided = decide(LAYERS["baked"], TARGETS["generic"])
    assert decided.weights is not None
    text = package_files(decided, form=Form.C)["baked_weights.c"]
    numbers = re.findall(r"(-?[\d.]+(?:e[+-]?\d+)?)f,", text)
    wanted = pack(decided.plan.packing, decided.weights)
    assert np.array_equal(np.array(numbers, np.float32).view(np.uint32), wanted.view(np.uint32))


def test_weights_at_run_time_cannot_be_split() -> None:
    layer = LAYERS["layer"]
    assert emit_files(layer, host_target(), form=Form.C) == emit_files(layer, host_target())


def test_a_weights_file_of_an_earlier_emit_goes(tmp_path: Path) -> None:
    """Left beside a kernel that holds the array itself, `cc *.c` would find it twice."""
    folder = emitted(tmp_path, LAYERS["baked"], form=Form.C)
    assert (folder / "baked_weights.c").exists()
    emitted(tmp_path, LAYERS["baked"])
    assert not (folder / "baked_weights.c").exists()
    (folder / "baked_weights.c").write_text("/* mine */\n")
    emitted(tmp_path, LAYERS["baked"])
    assert (folder / "baked_weights.c").read_text() == "/* mine */\n"


# -- the self test without an operating system -----------------------------------------------------


@needs_cc
def test_selftest_without_stdio(tmp_path: Path) -> None:
    folder = emitted(tmp_path, ROOMY)
    for flag in ("-ffreestanding", "-DROOMY_SELFTEST_QUIET"):
        text = run("cc", flag, *STRICT, "-E", "selftest.c", cwd=folder)
        assert "stdio.h" not in text and "printf" not in text
        run("cc", "-O1", flag, *STRICT, "selftest.c", "roomy.c", "-o", "quiet", cwd=folder)
        assert run(folder / "quiet", cwd=folder) == ""


@needs_cc
def test_selftest_as_a_function_of_a_firmware(tmp_path: Path) -> None:
    folder = emitted(tmp_path, LAYERS["baked"])
    (folder / "app.c").write_text(
        "int baked_check(void);\nint main(void) { return baked_check(); }\n"
    )
    name = "-DBAKED_SELFTEST_MAIN=baked_check"
    files = ("app.c", "selftest.c", "baked.c")
    run("cc", "-Wmissing-prototypes", *STRICT, name, *files, "-o", "app", cwd=folder)
    assert run(folder / "app", cwd=folder).startswith("baked: ok")


def test_selftest_buffers_are_arrays_of_the_element() -> None:
    """A byte array that is read as floats need not be aligned, nor may it be by the language."""
    text = emit_files(ROOMY, TARGETS["x86-64-avx2"])["selftest.c"]
    arrays = re.findall(r"^static (?:ALIGNED )?(\w+(?: \w+)*) (\w+)\[", text, re.MULTILINE)
    assert {name: kind for kind, name in arrays} == dict.fromkeys(
        ("x", "y", "w", "b", "packed", "workspace"), "element"
    )


# -- README.md -------------------------------------------------------------------------------------


@needs_cc
@pytest.mark.parametrize("name", ["layer", "plain", "baked", "roomy", "two"])
def test_readme_of_the_package(tmp_path: Path, name: str) -> None:
    """Its C compiles by its own line and runs; its sizes are those of the header."""
    folder = emitted(tmp_path, LAYERS[name], form=Form.C)
    text = (folder / "README.md").read_text()
    (block,) = re.findall(r"```c\n(.*?)```", text, re.DOTALL)
    assert len(block.splitlines()) <= 11
    (folder / "main.c").write_text(block)
    (line,) = re.findall(r"\*\*One line\*\*: `(.*)`", text)
    run(*line.split(), *STRICT, "-o", "app", cwd=folder)
    run(folder / "app", cwd=folder)
    header = (folder / f"{name}.h").read_text()
    for macro, row in (
        ("PACKED_BYTES", r"packed weights \| ([\d,]+) bytes"),
        ("WORKSPACE_BYTES", r"workspace \| ([\d,]+) bytes"),
        ("MACS", r"multiply-adds \| ([\d,]+) a call"),
    ):
        (said,) = re.findall(row, text)
        assert f"#define {name.upper()}_{macro} {said.replace(',', '')}\n" in header


# -- manifests -------------------------------------------------------------------------------------


def test_platformio_manifest() -> None:
    files = emit_files(LAYERS["baked"], host_target(), form=Form.C)
    data = json.loads(files["library.json"])
    assert data["name"] == "baked" and data["version"] == __version__
    assert data["headers"] == "baked.h" and data["headers"] in files
    first, *compiled = data["build"]["srcFilter"]
    assert first == "-<*>", "neither the self test nor anything else that lies there"
    assert [re.sub(r"\+<(.*)>", r"\1", one) for one in compiled] == ["baked.c", "baked_weights.c"]


@pytest.mark.parametrize("name", ["a", "a_b", "a__b", "end_", "n" * 63, "x" * 49 + "_y"])
def test_platformio_name(name: str) -> None:
    plan = decide(Layer(replace(LAYERS["layer"].spec, name=name), "<t>"), host_target()).plan
    slug = project_text(plan, (f"{name}.c",), False).slug
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) and len(slug) <= 50


def test_esp_idf_manifest() -> None:
    data = yaml.safe_load(emit_files(LAYERS["layer"], host_target())["idf_component.yml"])
    assert data["version"] == __version__ and set(data) == {"version", "description"}


def test_zephyr_manifest() -> None:
    files = emit_files(LAYERS["layer"], host_target())
    data = yaml.safe_load(files["zephyr/module.yml"])
    assert data["build"] == {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"}
    assert "zephyr/CMakeLists.txt" in files and data["build"]["kconfig"] in files
    option = re.search(
        r"^config (\w+)\n\tbool \"[^\"]+\"\n\thelp\n(\t  .+\n)+", files["zephyr/Kconfig"], re.M
    )
    assert option is not None and f"if(CONFIG_{option[1]})" in files["zephyr/CMakeLists.txt"]


# -- CMake inside a firmware's build ---------------------------------------------------------------

IDF = """
cmake_minimum_required(VERSION 3.15)
project(firmware LANGUAGES C)
set(ESP_PLATFORM 1)
function(idf_component_register)
  cmake_parse_arguments(PARSE_ARGV 0 got "" "" "SRCS;INCLUDE_DIRS")
  list(TRANSFORM got_SRCS PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
  list(TRANSFORM got_INCLUDE_DIRS PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
  add_library(component STATIC ${got_SRCS})
  target_include_directories(component PUBLIC ${got_INCLUDE_DIRS})
endfunction()
add_subdirectory(baked)
add_executable(firmware main.c)
target_link_libraries(firmware PRIVATE component)
"""
ZEPHYR = """
cmake_minimum_required(VERSION 3.15)
project(firmware LANGUAGES C)
set(CONFIG_CONVGEN_BAKED y)
macro(zephyr_library_named name)
  set(library ${name})
  add_library(${name} STATIC)
endmacro()
function(zephyr_library_sources)
  target_sources(${library} PRIVATE ${ARGN})
endfunction()
function(zephyr_include_directories)
  target_include_directories(${library} PUBLIC ${ARGN})
endfunction()
add_subdirectory(baked/zephyr)
add_executable(firmware main.c)
target_link_libraries(firmware PRIVATE convgen_baked)
"""


@needs_cc
@needs_cmake
@posix_only
@pytest.mark.parametrize("build", [IDF, ZEPHYR], ids=["ESP-IDF", "Zephyr"])
def test_firmware(tmp_path: Path, build: str) -> None:
    folder = emitted(tmp_path, LAYERS["baked"], form=Form.C)
    shutil.copy(folder / "selftest.c", tmp_path / "main.c")
    (tmp_path / "CMakeLists.txt").write_text(build)
    run("cmake", "-S", ".", "-B", "out", cwd=tmp_path)
    run("cmake", "--build", "out", cwd=tmp_path)
    assert run(tmp_path / "out" / "firmware", cwd=tmp_path).startswith("baked: ok")


@needs_cmake
@posix_only
def test_zephyr_leaves_a_layer_out_that_is_not_asked_for(tmp_path: Path) -> None:
    emitted(tmp_path, LAYERS["baked"])
    text = "cmake_minimum_required(VERSION 3.15)\nproject(p NONE)\nadd_subdirectory(baked/zephyr)\n"
    (tmp_path / "CMakeLists.txt").write_text(text)
    run("cmake", "-S", ".", "-B", "out", cwd=tmp_path)


@needs_cc
@needs_cmake
@posix_only
def test_inside_another_project_nothing_is_tested_or_installed(tmp_path: Path) -> None:
    emitted(tmp_path, LAYERS["baked"])
    (tmp_path / "main.c").write_text(
        '#include "baked.h"\nint main(void) { return !baked_cpu_ok(); }\n'
    )
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.15)\nproject(app LANGUAGES C)\ninclude(CTest)\n"
        "add_subdirectory(baked layers/baked)\n"
        "add_executable(baked main.c)\n"  # a target of the layer's own name does not clash
        "target_link_libraries(baked PRIVATE baked::baked)\n"
        "install(TARGETS baked RUNTIME DESTINATION bin)\n"
    )
    run("cmake", "-S", ".", "-B", "out", cwd=tmp_path)
    run("cmake", "--build", "out", cwd=tmp_path)
    assert "Total Tests: 0" in run("ctest", "-N", cwd=tmp_path / "out")
    run("cmake", "--install", "out", "--prefix", tmp_path / "installed", cwd=tmp_path)
    found = [p.relative_to(tmp_path / "installed") for p in (tmp_path / "installed").rglob("*")]
    assert [str(p) for p in found if "." in p.name] == [] and Path("bin/baked") in found


@needs_cc
@needs_cmake
@posix_only
def test_installed_layer_says_its_version(tmp_path: Path) -> None:
    folder = emitted(tmp_path, LAYERS["baked"])
    run("cmake", "-S", folder, "-B", "b", "-DBUILD_TESTING=OFF", cwd=tmp_path)
    run("cmake", "--build", "b", cwd=tmp_path)
    run("cmake", "--install", "b", "--prefix", "installed", cwd=tmp_path)
    major = int(__version__.split(".")[0])
    for wanted, works in ((__version__, True), (f"{major + 1}.0", False)):
        user = tmp_path / f"user{wanted}"
        user.mkdir()
        (user / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.15)\nproject(user LANGUAGES C)\n"
            f"find_package(baked {wanted} REQUIRED)\n"
        )
        command = [
            "cmake",
            "-S",
            user,
            "-B",
            user / "b",
            f"-DCMAKE_PREFIX_PATH={tmp_path}/installed",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode == 0) is works, done.stderr


# -- writing ---------------------------------------------------------------------------------------


def test_emit_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fills up at the third file: the earlier package stays as it was, to the byte."""
    from convgen.errors import UsageError

    small = Layer(ConvSpec("small", 5, 5, 2, 3, 3, 3), "<t>", weights=InitWeights(0.1))
    folder = emitted(tmp_path, small)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    write, calls = Path.write_bytes, []

    def full(self: Path, data: bytes) -> int:
        calls.append(self)
        if len(calls) == 3:
            write(self, data[:10])
            raise OSError(28, "No space left on device", str(self))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    other = replace(small, spec=replace(small.spec, oc=4))
    with pytest.raises(UsageError, match=r"the disk is full; nothing was changed"):
        emitted(tmp_path, other)
    monkeypatch.undo()
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    emitted(tmp_path, other)
    assert "SMALL_OC 4" in (folder / "small.h").read_text()


def test_files_of_others_below_the_folder_stay(tmp_path: Path) -> None:
    from convgen.errors import UsageError

    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "README.md").write_text("# my notes\n")
    with pytest.raises(UsageError, match=r"README\.md: convgen did not write this file"):
        emitted(tmp_path, LAYERS["layer"])
    assert [p.name for p in (tmp_path / "layer").iterdir()] == ["README.md"]

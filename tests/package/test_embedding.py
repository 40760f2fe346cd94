"""docs/embedding.md: its snippets build a program around an emitted layer and run it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from built import needs_cc, posix_only
from places import ROOT

from convgen.cli.files import write_files
from convgen.package.emit.files import emit_files
from convgen.spec import parse_file
from convgen.target import host_target

PAGE = ROOT / "docs" / "embedding.md"
pytestmark = [
    pytest.mark.skipif(not PAGE.is_file(), reason="docs/ is not beside tests/"),
    needs_cc,
    posix_only,
]
needs_cmake = pytest.mark.needs("cmake")
APP = "cmake_minimum_required(VERSION 3.15)\nproject(app LANGUAGES C)\nadd_executable(app main.c)\n"
MAIN = '#include "layer.h"\nint main(void) { return !layer_cpu_ok(); }\n'


def snippets(language: str, section: str) -> list[str]:
    """The blocks of a language below a heading."""
    body = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (text,) = [part for part in body if part.startswith(f"{section}\n")]
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([str(c) for c in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with layers/layer, as the page's first command leaves it."""
    (layer,) = parse_file(ROOT / "specs" / "layer.yaml")
    write_files(tmp_path / "layers" / "layer", emit_files(layer, host_target()))
    (tmp_path / "main.c").write_text(MAIN)
    return tmp_path


def test_every_file_is_in_the_table(project: Path) -> None:
    text = PAGE.read_text()
    for path in (project / "layers" / "layer").iterdir():
        assert f"`{path.name}{'/' if path.is_dir() else ''}`" in text


@needs_cmake
@pytest.mark.parametrize("index", [0, 1, 2], ids=["add_subdirectory", "FetchContent", "installed"])
def test_cmake(project: Path, index: int) -> None:
    text = snippets("cmake", "CMake")[index]
    settings = []
    if "find_package" in text:
        (lines,) = re.findall(r"installed \(`(.*?)`", PAGE.read_text(), re.DOTALL)
        run("sh", "-c", " ".join(lines.split()), cwd=project)
        settings = [f"-DCMAKE_PREFIX_PATH={project / 'P'}"]
    (project / "CMakeLists.txt").write_text(APP + text)
    run("cmake", "-S", ".", "-B", "out", *settings, cwd=project)
    run("cmake", "--build", "out", cwd=project)
    run(project / "out" / "app", cwd=project)


@pytest.mark.needs("make")
def test_makefile(project: Path) -> None:
    (project / "Makefile").write_text(snippets("make", "A Makefile")[0])
    run("make", "CC=cc", "app", cwd=project)
    run(project / "app", cwd=project)


def test_threads(project: Path) -> None:
    (project / "main.c").write_text(snippets("c", "Threads")[0])
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror"]
    files = ["main.c", "layers/layer/layer.c"]
    run("cc", "-O2", *strict, "-Ilayers/layer", "-pthread", *files, "-o", "app", cwd=project)
    run(project / "app", cwd=project)


def test_selftest_in_a_firmware(project: Path) -> None:
    (project / "main.c").write_text(snippets("c", "Without an operating system")[0])
    (define,) = re.findall(r"`(-DLAYER_SELFTEST_MAIN=\w+)`", PAGE.read_text())
    files = ["main.c", "layers/layer/layer.c", "layers/layer/selftest.c"]
    run("cc", "-O1", "-DLAYER_SELFTEST_QUIET", define, *files, "-o", "app", cwd=project)
    assert run(project / "app", cwd=project) == ""


def test_zephyr_option_is_the_one_of_the_module(project: Path) -> None:
    (block,) = snippets("kconfig", "Zephyr")
    kconfig = (project / "layers" / "layer" / "zephyr" / "Kconfig").read_text()
    assert f"config {block.strip().removeprefix('CONFIG_').removesuffix('=y')}\n" in kconfig

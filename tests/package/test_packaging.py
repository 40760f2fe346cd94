"""The wheel holds what it needs and nothing else; installs work; start-up stays light."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from places import ROOT

import convgen

TREE = ("convgen", "templates", "specs", "pyproject.toml", "README.md", "LICENSE")
FIRST_COMMAND = "pip install . && convgen build specs/layer.yaml"
SECOND_COMMAND = "pip install -e '.[test]' && python -m pytest -n 2"
HEAVY = {"numpy", "cffi", "jinja2", "rich", "yaml", "onnx"}


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """Standard output of a command that must succeed."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"} | env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def copy_of_the_tree(folder: Path) -> Path:
    """The project's files at a place of their own, with times of their own."""
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so")
            shutil.copytree(source, folder / name, ignore=ignored, copy_function=shutil.copyfile)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / name)
    return folder


def package(tree: Path, kind: str, out: Path, **env: str) -> Path:
    """The wheel or sdist that hatchling makes of ``tree``, in ``out``, as pip and build call it."""
    pytest.importorskip("hatchling", reason="hatchling builds the packages")
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", out]
    run(*command, cwd=tree, **env)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_tree(tmp_path_factory.mktemp("source") / "convgen")


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return package(tree, "wheel", tmp_path_factory.mktemp("wheel"))


# -- what is inside --------------------------------------------------------------------------------


def test_wheel_holds_every_module_and_template_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "convgen").rglob("*.py")}
    templates = {f"convgen/{p.relative_to(ROOT).as_posix()}" for p in files_of("templates")}
    assert "convgen/templates/kernel.c.j2" in templates
    assert "convgen/templates/python/__init__.py.j2" in templates
    assert names >= modules | templates
    assert {n for n in names - modules - templates if not n.endswith("py.typed")} == set()


def files_of(folder: str) -> list[Path]:
    return [p for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]


def test_wheel_names_its_version_its_needs_and_its_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {Path(n).name: archive.read(n).decode() for n in archive.namelist()
                 if ".dist-info/" in n}  # fmt: skip
    metadata = texts["METADATA"]
    assert f"\nVersion: {convgen.__version__}\n" in metadata
    needs = set(re.findall(r"^Requires-Dist: ([a-z0-9]+)[^;\n]*$", metadata, re.MULTILINE))
    assert needs == {
        "cffi", "click", "filelock", "jinja2", "numpy", "platformdirs", "pyyaml", "rich"
    }  # fmt: skip
    assert "convgen = convgen.cli:main" in texts["entry_points.txt"]
    assert "LICENSE" in texts


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_two_builds_give_the_same_bytes(kind: str, tree: Path, tmp_path: Path) -> None:
    """With no clock fixed: hatchling's own is, and it takes modes and times from no file."""
    first = package(tree, kind, tmp_path / "first", PYTHONHASHSEED="1")
    before = os.umask(0o077)
    try:
        elsewhere = copy_of_the_tree(tmp_path / "another place")
    finally:
        os.umask(before)
    os.utime(elsewhere / "convgen" / "__init__.py", (1, 10**9))
    there = {"PYTHONHASHSEED": "2", "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}
    second = package(elsewhere, kind, tmp_path / "second", **there)
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_sdist_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = package(tree, "sdist", tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert (unpacked / "templates" / "kernel.c.j2").is_file()
    again = package(unpacked, "wheel", tmp_path / "again")
    assert again.read_bytes() == wheel.read_bytes()


# -- installed -------------------------------------------------------------------------------------


def fresh_environment(folder: Path) -> Path:
    """The Python of an empty virtual environment that sees this one's libraries behind its own."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    paths = {sysconfig.get_path(key) for key in ("purelib", "platlib")}
    (Path(site.strip()) / "libraries.pth").write_text("\n".join(sorted(paths)) + "\n")
    return python


def pip_install(python: Path, *arguments: str | Path) -> None:
    if not shutil.which("pip", path=sysconfig.get_path("scripts")):
        pytest.skip("pip is not installed beside this Python")
    run(
        sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index",
        "--disable-pip-version-check", *arguments, cwd=python.parent, PYTHONPATH="",
    )  # fmt: skip


def emitted(python: Path, folder: Path, home: str = "") -> str:
    """What ``convgen emit -o -`` prints for specs/layer.yaml, away from the checkout."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "specs" / "layer.yaml", folder / "layer.yaml")
    program = [python.parent / "convgen"] if not home else [python, "-m", "convgen"]
    command = [*program, "emit", "layer.yaml", "--target", "generic", "-o", "-"]
    return run(*command, cwd=folder, PYTHONPATH=home)


def place_of(python: Path, folder: Path) -> Path:
    """Where that Python finds convgen."""
    code = "import convgen; print(convgen.__file__)"
    return Path(run(python, "-c", code, cwd=folder, PYTHONPATH="").strip()).parent


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The C that the convgen under test emits."""
    home = str(Path(convgen.__file__).resolve().parents[1])
    text = emitted(Path(sys.executable), tmp_path_factory.mktemp("here"), home)
    assert "void layer_run(" in text
    return text


@pytest.mark.skipif(os.name == "nt", reason="a virtual environment has no bin folder on Windows")
def test_installed_wheel_emits_the_same_c(wheel: Path, here: str, tmp_path: Path) -> None:
    python = fresh_environment(tmp_path / "venv")
    pip_install(python, wheel)
    assert place_of(python, tmp_path).is_relative_to(tmp_path / "venv")
    assert emitted(python, tmp_path / "work") == here


@pytest.mark.skipif(os.name == "nt", reason="a virtual environment has no bin folder on Windows")
def test_editable_install_finds_the_templates_of_its_tree(
    tree: Path, here: str, tmp_path: Path
) -> None:
    pytest.importorskip("hatchling", reason="hatchling builds the packages")
    own = shutil.copytree(tree, tmp_path / "tree")
    python = fresh_environment(tmp_path / "venv")
    pip_install(python, "--no-build-isolation", "-e", own)
    assert place_of(python, tmp_path) == own / "convgen"
    assert emitted(python, tmp_path / "work") == here
    template = own / "templates" / "kernel.c.j2"
    template.write_text(template.read_text() + "/* changed in the tree */\n")
    assert emitted(python, tmp_path / "work").endswith("/* changed in the tree */\n")


# -- start-up --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["build", "--help"]])
def test_help_loads_no_heavy_library(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import json, sys\n"
        "from convgen.cli import main\n"
        f"code = main({arguments!r})\n"
        "print(json.dumps([code, sorted(m for m in sys.modules if '.' not in m)]), file=sys.stderr)"
    )
    home = str(Path(convgen.__file__).resolve().parents[1])
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": home}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    status, loaded = json.loads(result.stderr.splitlines()[-1])
    assert status == 0 and result.stdout
    assert HEAVY & set(loaded) == set()


def test_import_convgen_loads_no_heavy_library(tmp_path: Path) -> None:
    home = str(Path(convgen.__file__).resolve().parents[1])
    code = "import sys, convgen; print(*sys.modules)"
    loaded = set(run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=home).split())
    assert "convgen" in loaded and HEAVY & loaded == set()


# -- what the documents promise --------------------------------------------------------------------


def test_readme_begins_with_the_two_commands() -> None:
    blocks = re.findall(r"^(?: {4}|)(pip install .*)$", (ROOT / "README.md").read_text(), re.M)
    assert blocks[:2] == [FIRST_COMMAND, SECOND_COMMAND]


def test_ci_runs_the_commands_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    if not script.is_file():
        pytest.skip(".ci/ is not beside tests/: this is not a checkout")
    text = script.read_text()
    assert f'first="{FIRST_COMMAND}"' in text and f'second="{SECOND_COMMAND}"' in text
    assert os.access(script, os.X_OK)


def test_changelog_begins_with_this_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert next(v for v in versions if v != "Unreleased") == convgen.__version__


def test_architecture_names_only_files_that_exist() -> None:
    pages = ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/adding.md")
    text = "".join((ROOT / page).read_text() for page in pages)
    folders = "convgen|templates|specs|tests|examples|benchmarks|docs"
    named = set(re.findall(rf"`((?:{folders})/[^`\s]*)`", text))
    assert len(named) >= 10
    named = {name for name in named if "<" not in name}
    assert {name for name in named if not (ROOT / name).exists()} == set()


GOALS = ["test", "lint", "deep", "faults", "mutants", "bench", "golden", "golden-full", "clean"]


@pytest.mark.needs("make")
@pytest.mark.parametrize("goal", GOALS)
def test_make_knows_its_goals(goal: str) -> None:
    commands = run("make", "-n", goal, "PYTHON=python", cwd=ROOT)
    scripts = re.findall(r"python (\S+\.py)", commands)
    assert commands and all((ROOT / script).is_file() for script in scripts)

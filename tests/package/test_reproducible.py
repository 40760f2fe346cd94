"""The same spec, version and target give the same bytes, whatever Python, process and user.

What a build measures is all that may differ between two of them: ``report.microseconds`` in the
manifest.
"""

from __future__ import annotations

import hashlib
import json
import locale
import os
import pickle
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from built import LAYERS, ROOT, needs_cc, posix_only

from convgen.spec.model import Layer

MODULES = ("jinja2", "markupsafe", "yaml")  # run from their source on any Python
TARGETS = ("x86-64", "x86-64-avx2", "generic", "cortex-m4")
QUICK = ("x86-64-avx2", "cortex-m4")


# -- users ---------------------------------------------------------------------------------------


def other_user(home: Path) -> dict[str, str]:
    """Another hash seed, time zone, language, home and column width."""
    odd = [name for name in ("tr_TR.UTF-8", "de_DE.UTF-8", "C") if knows(name)]
    return {
        "PYTHONHASHSEED": "4711", "TZ": "Pacific/Kiritimati", "LC_ALL": odd[0], "PYTHONUTF8": "0",
        "HOME": str(home), "USER": "someone", "COLUMNS": "40", "SOURCE_DATE_EPOCH": "1",
        "PYTHONDONTWRITEBYTECODE": "1", "PYTHONOPTIMIZE": "1",
    }  # fmt: skip


def knows(name: str) -> bool:
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_ALL, before)
    return True


def convgen(*args: str | Path, cwd: Path, umask: int, **env: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "convgen", *map(str, args)],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1", **env},
        umask=umask, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def content(folder: Path) -> dict[str, bytes]:
    """Every file below and its bytes; of manifests without what was measured."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*")
             if p.is_file() and ".lock" not in p.name}  # fmt: skip
    for name in found:
        if name.endswith("/manifest.json"):
            manifest = json.loads(found[name])
            assert manifest["report"].pop("microseconds") > 0
            found[name] = json.dumps(manifest).encode()
    return found


@posix_only
def test_emitted_bytes_do_not_hang_on_the_user(tmp_path: Path) -> None:
    home = tmp_path / "hömé"
    home.mkdir()
    here = [ROOT / "specs" / f"{name}.yaml" for name in ("two_layers", "tiny_pad", "depthwise")]
    there = [shutil.copy(path, home) for path in here]
    convgen("emit", "-q", *here, "-o", tmp_path / "a", cwd=ROOT, umask=0o022)
    away = other_user(home)
    convgen("emit", "-q", *there, "-o", tmp_path / "b", cwd=home, umask=0o077, **away)
    first, second = content(tmp_path / "a"), content(tmp_path / "b")
    assert len(first) == 4 * 10
    assert first == second


@needs_cc
@posix_only
def test_built_bytes_do_not_hang_on_the_user(tmp_path: Path) -> None:
    """The compiled library too."""
    home = tmp_path / "hömé"
    home.mkdir()
    names = ("tiny_pad", "baked")
    here = [ROOT / "specs" / f"{name}.yaml" for name in names]
    there = [shutil.copy(path, home) for path in here]
    build = ("build", "-q", "--no-cache", "-o")
    convgen(*build, tmp_path / "a", *here, cwd=ROOT, umask=0o022)
    convgen(*build, home / "b c", *there, cwd=home, umask=0o077, **other_user(home))
    first, second = content(tmp_path / "a"), content(home / "b c")
    assert {name.partition("/")[0] for name in first} == set(names)
    assert any(name.endswith(".so") for name in first)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


# -- Pythons -------------------------------------------------------------------------------------


@cache
def other_pythons() -> tuple[str, ...]:
    """Interpreters of other versions that convgen supports: on PATH, or installed beside this."""
    named = [shutil.which(f"python3.{minor}") for minor in range(11, 20)]
    beside = sorted(Path(sys.base_prefix).parent.glob("*/bin/python3"))
    code = "import sys; print(*sys.version_info[:2], sys.implementation.name)"
    found: dict[str, str] = {f"3 {sys.version_info[1]}": ""}
    for path in [*filter(None, named), *map(str, beside)]:
        said = subprocess.run([path, "-c", code], capture_output=True, text=True).stdout.split()
        if said[2:] == ["cpython"] and said[0] == "3" and int(said[1]) >= 11:
            found.setdefault(" ".join(said[:2]), path)
    return tuple(path for path in found.values() if path)


def needed_pythons() -> tuple[str, ...]:
    if not other_pythons():
        pytest.skip(f"no Python here beside {sys.version_info[0]}.{sys.version_info[1]}")
    return other_pythons()


RENDER = """
import hashlib, json, pickle, sys
sys.path[:0] = sys.argv[1:3]
from convgen.choose.chooser import choose
from convgen.kernels import lower
from convgen.package.emit.python_text import glue_files, python_files
from convgen.render.source import render_c
from convgen.target import TARGETS
found = {}
for layer in pickle.load(sys.stdin.buffer):
    for name in sys.argv[3:]:
        spec, target = layer.spec, TARGETS[name]
        plan = lower(spec, choose(spec, target).schedule, target)
        texts = render_c(plan), glue_files(plan), python_files(layer, plan, "_x_0123456789ab")
        found[f"{layer.spec.name} {name}"] = hashlib.sha256(repr(texts).encode()).hexdigest()
print(json.dumps(found))
"""


def rendered(python: str, layers: list[Layer], modules: Path, seed: str) -> dict[str, str]:
    """Digests of what this Python generates, by layer and target."""
    done = subprocess.run(
        [python, "-S", "-c", RENDER, str(ROOT), str(modules), *QUICK],
        input=pickle.dumps(layers), capture_output=True, timeout=300,
        env={"PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_two_pythons_and_two_hash_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    """Choosing, lowering and rendering; the other Python needs no library of its own for them.

    Those with Winograd's constants do need NumPy: the test of an installed convgen has them.
    """
    pythons = needed_pythons()
    for name in MODULES:
        module = __import__(name)
        (tmp_path / name).symlink_to(Path(str(module.__file__)).parent)
    layers = [x for x in LAYERS.values() if x.weights is None and x.spec.name != "roomy"]
    mine = rendered(sys.executable, layers, tmp_path, "1")
    assert len(mine) == len(layers) * len(QUICK) == len(set(mine.values()))
    for seed, python in enumerate(pythons, 2):
        assert rendered(python, layers, tmp_path, str(seed)) == mine, python


@pytest.mark.deep
def test_convgen_installed_in_another_python_gives_the_same_bytes(tmp_path: Path) -> None:
    """Everything that emit writes, from the text of the spec on, for every target."""
    (*_, python) = needed_pythons()
    environment = tmp_path / "environment"
    subprocess.run([python, "-m", "venv", environment], check=True)
    source = tmp_path / "source"
    source.mkdir()
    for name in ("convgen", "templates", "pyproject.toml", "README.md", "LICENSE"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, source / name)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "-q", source]
    done = subprocess.run(pip, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"nothing can be installed here: {done.stderr.strip().splitlines()[-1]}")

    def emitted(python: str, out: Path, **env: str) -> dict[str, Any]:
        for target in TARGETS:
            command = [python, "-m", "convgen", "emit", "-q", "specs", "--target", target]
            subprocess.run(
                [*command, "-o", out / target], cwd=ROOT, env={**os.environ, **env}, check=True
            )
        return {k: hashlib.sha256(v).hexdigest() for k, v in content(out).items()}

    mine = emitted(sys.executable, tmp_path / "a", PYTHONPATH=str(ROOT))
    there = {"PYTHONPATH": "", "PYTHONSAFEPATH": "1"}
    assert len(mine) > 600
    assert emitted(str(environment / "bin" / "python"), tmp_path / "b", **there) == mine

"""One layer on disk: what is built, what is found as it should be, what makes it stale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import (
    CHILD,
    LAYERS,
    ROOT,
    TINY,
    TINY_RELU,
    arrays,
    build,
    needs_cc,
    tree,
    works,
)

from convgen.api import import_package
from convgen.errors import (
    ScheduleError,
    SpecError,
    UsageError,
)
from convgen.package.disk import inputs as inputs_module
from convgen.package.disk import session as session_module
from convgen.package.disk.manifest import read_manifest
from convgen.spec.model import NpzWeights
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS, host_target

pytestmark = [needs_cc, pytest.mark.usefixtures("convgen_stands_still")]


def test_built_then_unchanged_then_cached(tmp_path: Path) -> None:
    first = build(tmp_path, TINY)
    assert first.state == "built"
    assert first.report is not None and first.report.passed
    assert first.path == tmp_path / "tiny" and works(tmp_path, TINY)
    assert (first.name, first.macs, first.output_shape) == ("tiny", TINY.spec.macs, (1, 2, 2, 2))
    assert first.target == host_target().name and first.schedule and first.reason
    assert first.warnings == ()
    second = build(tmp_path, TINY)
    assert second.state == "unchanged"
    assert replace(second, state="built", seconds=first.seconds) == first
    before = tree(first.path)
    shutil.rmtree(first.path)
    third = build(tmp_path, TINY)
    assert third.state == "cached" and third.report == first.report
    assert tree(third.path) == before


def test_without_the_cache_everything_is_compiled_again(tmp_path: Path) -> None:
    build(tmp_path, TINY)
    shutil.rmtree(tmp_path / "tiny")
    assert build(tmp_path, TINY, use_cache=False).state == "built"


def test_same_input_same_bytes(tmp_path: Path) -> None:
    """Nothing in a package depends on where or when it was built, but for the measured times."""

    def bytes_of(out: Path) -> dict[str, bytes]:
        files = tree(build(out, TINY, use_cache=False).path)
        manifest = json.loads(files.pop("manifest.json"))
        manifest["report"]["microseconds"] = 0
        return {**files, "manifest": json.dumps(manifest).encode()}

    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "somewhere" / "else")


def test_manifest_says_what_was_done(tmp_path: Path) -> None:
    result = build(tmp_path, TINY)
    data = json.loads((result.path / "manifest.json").read_text())
    assert data["target"] == host_target().name
    assert data["schedule"] == result.schedule
    assert data["report"]["passed"] and data["report"]["checks"]
    assert any(" -O2 " in command for command in data["commands"])
    assert result.compiler == data["compiler"]
    files = set(tree(result.path)) - {"manifest.json"}
    assert set(data["files"]) == files
    assert str(tmp_path) not in (result.path / "manifest.json").read_text()
    manifest = read_manifest(result.path)
    assert manifest is not None and manifest.report == result.report


def test_unchanged_layer_is_found_without_heavy_imports(tmp_path: Path) -> None:
    """In a fresh process, and quickly: no NumPy, no cffi, no Jinja2, no lock."""
    build(tmp_path, TINY)
    code = f"""{CHILD}
import time
start = time.perf_counter()
result = build_layer(TINY, options(Path({str(tmp_path)!r})))
took = time.perf_counter() - start
heavy = [m for m in ("numpy", "cffi", "jinja2", "filelock", "platformdirs") if m in sys.modules]
print(result.state, heavy, took < 0.2)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "unchanged [] True\n", done.stderr


def test_no_verify_then_verify(tmp_path: Path) -> None:
    """A package that nobody verified does not pass for a verified one, nor does its library."""
    first = build(tmp_path, TINY, verify=False)
    assert first.state == "built" and first.report is None
    assert build(tmp_path, TINY, verify=False).state == "unchanged"
    second = build(tmp_path, TINY)
    assert second.state == "cached" and second.report is not None and second.report.passed
    assert build(tmp_path, TINY, verify=False).state == "unchanged"
    shutil.rmtree(second.path)
    assert build(tmp_path, TINY).report is not None


# -- what makes a build stale --------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"layer": TINY_RELU},
        {"layer": replace(TINY, schedule=Schedule(Family.DIRECT, 1, 1, 2, 1))},
        {"target": TARGETS["generic"]},
        {"cc": "cc -DSOMETHING"},
        {"binding": "abi"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_input_builds_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    build(tmp_path, TINY)
    layer = change.pop("layer", TINY)
    assert build(tmp_path, layer, **change).state == "built"
    assert works(tmp_path, layer)
    assert build(tmp_path, layer, **change).state == "unchanged"
    assert build(tmp_path, TINY).state == "cached"
    assert works(tmp_path, TINY)


def test_where_the_spec_stands_does_not_matter(tmp_path: Path) -> None:
    build(tmp_path, TINY)
    assert build(tmp_path, replace(TINY, source="other/place.yaml")).state == "unchanged"


def test_changed_weights_file(tmp_path: Path) -> None:
    _, w, b = arrays(TINY.spec)
    np.savez(tmp_path / "w.npz", w=w, b=b)
    layer = replace(TINY, source=str(tmp_path / "x.yaml"), weights=NpzWeights(Path("w.npz")))
    assert build(tmp_path, layer).state == "built"
    assert build(tmp_path, layer).state == "unchanged"
    np.savez(tmp_path / "w.npz", w=2 * w, b=b)
    assert build(tmp_path, layer).state == "built"
    x, _, _ = arrays(TINY.spec)
    y = import_package(tmp_path / "tiny").conv(x)
    build(tmp_path / "other", TINY)
    assert np.array_equal(y, import_package(tmp_path / "other" / "tiny").conv(x, 2 * w, b))
    (tmp_path / "w.npz").unlink()
    with pytest.raises(SpecError, match=r"w\.npz"):
        build(tmp_path, layer)


@pytest.mark.parametrize("damage", ["edited", "deleted", "emptied"])
@pytest.mark.parametrize(
    "name", ["__init__.py", "__init__.pyi", "tiny.c", "tiny.h", "selftest.c", "CMakeLists.txt",
             "manifest.json", "library"],
)  # fmt: skip
def test_a_touched_output_is_made_good(
    tmp_path_factory: pytest.TempPathFactory, name: str, damage: str
) -> None:
    out = tmp_path_factory.getbasetemp() / f"touched-{os.getpid()}"
    path = build(out, TINY).path
    before = tree(path)
    extension = json.loads(before["manifest.json"])["extension"]
    library = next(n for n in before if n.startswith(extension))
    victim = path / (library if name == "library" else name)
    match damage:
        case "edited":
            data = victim.read_bytes()
            victim.unlink()  # never write into a library that this process has mapped
            victim.write_bytes(data + b" ")
        case "deleted":
            victim.unlink()
        case "emptied":
            victim.unlink()
            victim.touch()
    if (name, damage) == ("manifest.json", "edited"):  # a blank after the JSON says nothing else
        assert build(out, TINY).state == "unchanged"
        victim.write_bytes(before[name])
    else:
        assert build(out, TINY).state == "cached"
        assert tree(path) == before
    assert works(out, TINY)


def test_a_changed_template_builds_anew(tmp_path: Path) -> None:
    """Shown on a copy of convgen, so that the real templates stay as they are."""
    copied = tmp_path / "copy"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "convgen", copied / "convgen", ignore=ignore)
    shutil.copytree(ROOT / "templates", copied / "templates", ignore=ignore)
    code = f"""
import sys
sys.path.insert(0, {str(copied)!r})
from pathlib import Path
from convgen.package.disk.build import BuildOptions, build_layer
from convgen.spec.model import ConvSpec, Layer
from convgen.target import host_target
layer = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3), "<t>")
out = Path({str(tmp_path)!r})
print(build_layer(layer, BuildOptions(out, host_target(), cache_root=out / "c")).state)
"""

    def state() -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert [state(), state()] == ["built", "unchanged"]
    template = copied / "templates" / "selftest" / "selftest.c.j2"
    template.write_text(template.read_text().replace("<stdint.h>", "<stdint.h> /* ! */"))
    assert [state(), state()] == ["built", "unchanged"]
    assert "/* ! */" in (tmp_path / "tiny" / "selftest.c").read_text()


def test_threat_stale_cache_after_an_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, TINY)
    monkeypatch.setattr(session_module, "own_digest", lambda: "another convgen")
    assert build(tmp_path, TINY).state == "built"
    monkeypatch.setattr(inputs_module, "cffi_identity", lambda: "another cffi")
    assert build(tmp_path, TINY).state == "built"


def test_threat_stale_cache_after_a_cpu_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What this machine is decides the target, and with it whether a build is still current."""
    build(tmp_path, TINY)
    monkeypatch.setattr("convgen.target.cpu_features", lambda: frozenset())
    assert host_target() == TARGETS["generic"]
    result = build(tmp_path, TINY)
    assert (result.state, result.target) == ("built", "generic")


def test_a_target_that_cannot_run_here_cannot_be_verified_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convgen.target.cpu_features", lambda: frozenset({"sse2"}))
    with pytest.raises(UsageError, match=r"lacks avx2, fma, so a kernel for avx2 cannot be verif"):
        build(tmp_path, LAYERS["layer"], target=TARGETS["x86-64-avx2"])
    result = build(tmp_path, LAYERS["layer"], target=TARGETS["x86-64-avx2"], verify=False)
    assert result.isa == "avx2" and result.report is None


def test_pinned_schedule_that_cannot_be(tmp_path: Path) -> None:
    layer = replace(TINY, schedule=Schedule(Family.DIRECT, 64, 1, 1, 1))
    with pytest.raises(ScheduleError):
        build(tmp_path, layer)
    assert not (tmp_path / "tiny").exists()


def test_api_binding_without_python_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = session_module.this_python()
    monkeypatch.setattr(session_module, "this_python", lambda: replace(python, include=()))
    assert build(tmp_path, TINY).binding == "abi"
    with pytest.raises(UsageError, match=r"needs Python\.h"):
        build(tmp_path, TINY, binding="api")

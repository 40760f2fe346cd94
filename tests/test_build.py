"""Builds on disk: what is rebuilt and what is not, the cache, failures, and every interruption."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import LAYERS, arrays, build, needs_cc, options, posix_only

from convgen.api import import_package
from convgen.errors import (
    ConvgenError,
    Exit,
    MismatchError,
    ScheduleError,
    SpecError,
    ToolchainError,
    UsageError,
)
from convgen.package import commit as commit_module
from convgen.package import inputs as inputs_module
from convgen.package import layer as layer_module
from convgen.package.build import BuildEvent, BuildResult, Stage, build_layer, build_many
from convgen.package.cache import Cache, Entry
from convgen.package.commit import Place, commit
from convgen.package.manifest import read_manifest
from convgen.schedule import Family, Schedule
from convgen.spec.model import Act, Activation, ConvSpec, Layer, NpzWeights
from convgen.target import TARGETS, host_target

ROOT = Path(__file__).resolve().parents[1]
TINY = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3), "<t>")
TINY_RELU = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3, activation=Activation(Act.RELU)), "<t>")
pytestmark = needs_cc


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a package and its bytes, bytecode aside."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def works(out: Path, layer: Layer) -> bool:
    """Whether the package computes ``layer``; a fresh import of what is on disk."""
    from convgen import oracle

    x, w, b = arrays(layer.spec)
    y = import_package(out / layer.spec.name).conv(x, w, b)
    want, bound = oracle.reference(layer.spec, x, w, b), oracle.error_bound(layer.spec, x, w, b)
    return bool((np.abs(y - want) <= bound).all())


def fake_cc(path: Path, body: str) -> str:
    """A compiler that answers -v like the real one; ``body`` sees its arguments, and $REAL."""
    real = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    text = f'#!/bin/sh\nREAL={real}\nif [ "$1" = -v ]; then exec $REAL -v; fi\n{body}\n'
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


WRAP = """
case "$*" in *"-c tiny.c"*)
cat > wrapped.c <<'END'
#define tiny_pack tiny_real_pack
#include "tiny.c"
#undef tiny_pack
int tiny_pack(const float *w, const float *b, void *packed)
{
  const int code = tiny_real_pack(w, b, packed);
  %s;
  return code;
}
END
exec $REAL -O2 -fPIC -c wrapped.c -o tiny.o;;
esac
exec $REAL "$@"
"""


@pytest.fixture(scope="module", autouse=True)
def convgen_stands_still() -> Iterator[None]:
    """Whoever edits convgen while its tests run would make every build here stale."""
    digest = layer_module.own_digest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layer_module, "own_digest", lambda: digest)
        yield


CHILD = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from convgen.package.build import BuildOptions, build_layer, build_many
from convgen.spec.model import Act, Activation, ConvSpec, Layer
from convgen.target import host_target
TINY = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3), "<t>")
TINY_RELU = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3, activation=Activation(Act.RELU)), "<t>")
def options(out, **others):
    return BuildOptions(out, host_target(), cache_root=out / "the-cache", **others)
"""


# -- states --------------------------------------------------------------------------------------


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
from convgen.package.build import BuildOptions, build_layer
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
    template = copied / "templates" / "selftest.c.j2"
    template.write_text(template.read_text().replace("int main(void)", "int main(void) /* ! */"))
    assert [state(), state()] == ["built", "unchanged"]
    assert "/* ! */" in (tmp_path / "tiny" / "selftest.c").read_text()


def test_threat_stale_cache_after_an_upgrade(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path, TINY)
    monkeypatch.setattr(layer_module, "own_digest", lambda: "another convgen")
    assert build(tmp_path, TINY).state == "built"
    monkeypatch.setattr(inputs_module, "_cffi_identity", lambda: "another cffi")
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
    monkeypatch.setattr("convgen.target.cpu.cpu_features", lambda: frozenset({"sse2"}))
    with pytest.raises(UsageError, match=r"lacks avx2, fma, so a kernel for avx2 cannot be verif"):
        build(tmp_path, LAYERS["layer"], target=TARGETS["x86-64-avx2"])
    result = build(tmp_path, LAYERS["layer"], target=TARGETS["x86-64-avx2"], verify=False)
    assert result.isa == "avx2" and result.report is None


def test_rebuilt_within_a_second_is_not_taken_from_old_bytecode(tmp_path: Path) -> None:
    """Python compares bytecode by the source's second and size, which two builds may share."""
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import tiny; print(tiny.SCHEDULE)"
    found = []
    for tile in (1, 2, 3):
        layer = replace(TINY, schedule=Schedule(Family.DIRECT, 1, 1, tile, 1))
        build(tmp_path, layer, verify=False)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        found.append(done.stdout.strip())
    assert [re.findall(r"tile: \[1, (\d)", text) for text in found] == [["1"], ["2"], ["3"]]


# -- the cache -----------------------------------------------------------------------------------


def test_cache_keeps_what_it_is_given(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    assert cache.get("ab" * 32) is None
    assert (cache.size(), len(cache), cache.clear()) == (0, 0, 0)
    assert not (tmp_path / "c").exists()
    entry = Entry(b"\x00library\n", {"report": None, "n": 1})
    cache.put("ab" * 32, entry)
    assert cache.get("ab" * 32) == entry
    assert cache.get("cd" * 32) is None
    assert len(cache) == 1 and cache.size() > len(entry.library)
    assert cache.clear() == 1
    assert (cache.get("ab" * 32), len(cache)) == (None, 0)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_threat_damaged_cache_entry_is_noticed_and_rebuilt(tmp_path: Path, damage: str) -> None:
    build(tmp_path, TINY)
    (entry,) = (tmp_path / "the-cache").rglob("*.entry")
    data = bytearray(entry.read_bytes())
    match damage:
        case "truncated":
            del data[-7:]
        case "flipped":
            data[len(data) // 2] ^= 1
        case "empty":
            data.clear()
        case "text":
            data[:] = b"convgen-cache-1 not a digest"
    entry.write_bytes(data)
    shutil.rmtree(tmp_path / "tiny")
    assert build(tmp_path, TINY).state == "built"
    assert works(tmp_path, TINY)
    shutil.rmtree(tmp_path / "tiny")
    assert build(tmp_path, TINY).state == "cached"


def test_cache_forgets_what_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, limit=2500)
    keys = [f"{i:02x}" * 32 for i in range(3)]
    for age, key in enumerate(keys[:2]):
        cache.put(key, Entry(bytes(1000), {}))
        path = next(tmp_path.rglob(f"{key}.entry"))
        os.utime(path, (1000 + age, 1000 + age))
    assert cache.get(keys[0]) is not None  # used just now
    cache.put(keys[2], Entry(bytes(1000), {}))
    assert [cache.get(key) is not None for key in keys] == [True, False, True]


def test_threat_cache_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = build(tmp_path, TINY, cache_root=tmp_path / "file" / "cache")
    assert result.state == "built" and works(tmp_path, TINY)
    (warning,) = result.warnings
    assert "not written" in warning and "file/cache" in warning.replace(os.sep, "/")
    assert build(tmp_path, TINY, cache_root=tmp_path / "file" / "cache").state == "unchanged"


def test_threat_cache_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("convgen.package.cache.write_whole", full)
    result = build(tmp_path, TINY)
    assert "No space left" in result.warnings[0] and works(tmp_path, TINY)


# -- failures leave the earlier build ------------------------------------------------------------


@posix_only
def test_threat_compiler_failing_keeps_the_earlier_build_and_the_c(tmp_path: Path) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "bad-cc", 'echo "tiny.c:1: error: too clever" >&2; exit 4')
    with pytest.raises(ToolchainError) as caught:
        build(tmp_path, TINY_RELU, cc=cc)
    error = caught.value
    assert error.exit_code == Exit.TOOLCHAIN
    assert "too clever" in error.stderr and "-c tiny.c" in error.command
    assert str(tmp_path / "tiny.failed") in str(error)
    kept = tmp_path / "tiny.failed"
    assert {"tiny.c", "tiny.h", "tiny_glue.c", "report.txt"} <= {
        path.name for path in kept.iterdir()
    }
    assert "too clever" in (kept / "report.txt").read_text()
    assert tree(tmp_path / "tiny") == earlier and works(tmp_path, TINY)
    again = subprocess.run(error.command, shell=True, cwd=kept, capture_output=True, text=True)
    assert "too clever" in again.stderr
    build(tmp_path, TINY_RELU)
    assert not kept.exists()


@posix_only
def test_threat_compiler_hanging(tmp_path: Path) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "slow-cc", "sleep 60")
    start = time.monotonic()
    with pytest.raises(ToolchainError, match=r"did not finish tiny\.c within 0\.5 s: killed"):
        build(tmp_path, TINY_RELU, cc=cc, timeout=0.5)
    assert time.monotonic() - start < 15
    assert tree(tmp_path / "tiny") == earlier


def test_threat_compiler_missing(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="no program 'no-such-cc'"):
        build(tmp_path, TINY, cc="no-such-cc")
    with pytest.raises(ToolchainError, match="no program 'no-such-cc'"):
        build_many([TINY], options(tmp_path, cc="no-such-cc"))


@posix_only
@pytest.mark.parametrize(
    ("bug", "finding"),
    [("((float *)packed)[0] += 1", "exact fill"), ("*(volatile int *)0 = 1", "SIGSEGV")],
)
def test_mismatch_keeps_the_earlier_build(tmp_path: Path, bug: str, finding: str) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "odd-cc", WRAP % bug)
    with pytest.raises(MismatchError) as caught:
        build(tmp_path, TINY_RELU, cc=cc)
    assert caught.value.exit_code == Exit.MISMATCH
    assert finding in str(caught.value) and str(tmp_path / "tiny.failed") in str(caught.value)
    kept = tmp_path / "tiny.failed"
    assert finding in (kept / "report.txt").read_text()
    assert (kept / "tiny.c").exists()
    assert tree(tmp_path / "tiny") == earlier and works(tmp_path, TINY)
    # Nothing of it was cached: the same call fails again.
    with pytest.raises(MismatchError):
        build(tmp_path, TINY_RELU, cc=cc)


@posix_only
def test_compiler_warnings_are_shown_and_recorded(tmp_path: Path) -> None:
    cc = fake_cc(tmp_path / "loud-cc", 'echo "warning: it is late" >&2; exec $REAL "$@"')
    result = build(tmp_path, TINY, cc=cc)
    assert result.warnings and all(w == "warning: it is late" for w in result.warnings)
    assert build(tmp_path, TINY, cc=cc).warnings == result.warnings
    shutil.rmtree(result.path)
    assert build(tmp_path, TINY, cc=cc).warnings == result.warnings


def test_threat_output_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UsageError, match=r"cannot write here .*choose a folder with -o"):
        build(tmp_path / "file" / "out", TINY, cache_root=tmp_path / "c")
    assert (tmp_path / "file").read_text() == "not a folder"


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes anywhere")
def test_threat_read_only_output_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    earlier = tree(build(out, TINY).path)
    out.chmod(0o555)
    try:
        assert build(out, TINY).state == "unchanged"
        with pytest.raises(UsageError, match="cannot write here"):
            build(out, TINY_RELU)
    finally:
        out.chmod(0o755)
    assert tree(out / "tiny") == earlier


@pytest.mark.parametrize("step", range(1, 11))
def test_threat_disk_full_at_any_write(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Whichever file is the one that does not fit: a clear error, and the earlier package."""
    out = tmp_path_factory.getbasetemp() / f"full-{os.getpid()}"
    earlier = tree(build(out, TINY).path)
    build(out / "warm", TINY_RELU, cache_root=out / "the-cache")  # so that no compiler takes part
    writes = 0
    real = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        nonlocal writes
        writes += out in self.parents and "the-cache" not in self.parts
        if writes == step:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    if step > len(earlier):
        build(out, TINY_RELU)
        assert writes == len(earlier)
        return
    with pytest.raises(UsageError, match="the disk is full; nothing was changed"):
        build(out, TINY_RELU)
    assert tree(out / "tiny") == earlier
    assert {p.name for p in out.iterdir()} == {".tiny.lock", "tiny", "the-cache", "warm"}


def test_foreign_files_are_not_overwritten(tmp_path: Path) -> None:
    package = tmp_path / "tiny"
    package.mkdir()
    (package / "__init__.py").write_text("# my own package\n")
    with pytest.raises(UsageError, match=r"__init__\.py: convgen did not write this file"):
        build(tmp_path, TINY)
    assert (package / "__init__.py").read_text() == "# my own package\n"
    (package / "__init__.py").unlink()
    (package / "notes.txt").write_text("mine")
    build(tmp_path, TINY)
    assert (package / "notes.txt").read_text() == "mine"


def test_a_file_where_the_package_would_go(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text("mine")
    with pytest.raises(UsageError, match="a file stands where the package would go"):
        build(tmp_path, TINY)
    assert (tmp_path / "tiny").read_text() == "mine"


def test_pinned_schedule_that_cannot_be(tmp_path: Path) -> None:
    layer = replace(TINY, schedule=Schedule(Family.DIRECT, 64, 1, 1, 1))
    with pytest.raises(ScheduleError):
        build(tmp_path, layer)
    assert not (tmp_path / "tiny").exists()


def test_api_binding_without_python_headers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = layer_module.this_python()
    monkeypatch.setattr(layer_module, "this_python", lambda: replace(python, include=()))
    assert build(tmp_path, TINY).binding == "abi"
    with pytest.raises(UsageError, match=r"needs Python\.h"):
        build(tmp_path, TINY, binding="api")


# -- killed at any moment ------------------------------------------------------------------------


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", range(1, 11))
def test_threat_killed_between_any_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """After each rename of a commit, the package that is there is whole: the old one or the new."""
    old = {"__init__.py": b"from ._p_000000000000 import x", "_p_000000000000.so": b"old"}
    new = {"__init__.py": b"from ._p_111111111111 import x", "_p_111111111111.so": b"new"}
    old |= {"p.c": b"o", "p.h": b"h"}
    new |= {"p.c": b"n", "p.h": b"new too", "manifest.json": b"{}"}
    place = Place(tmp_path, "p")
    (tmp_path / "w1").mkdir()
    commit(place, tmp_path / "w1", old, "_p_000000000000", None)
    real, count = os.replace, 0

    def dying(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == step:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", dying)
    (tmp_path / "w2").mkdir()
    if step > len(new):
        commit(place, tmp_path / "w2", new, "_p_111111111111", "_p_000000000000")
        assert count == len(new)
    else:
        with pytest.raises(Killed):
            commit(place, tmp_path / "w2", new, "_p_111111111111", "_p_000000000000")
    found = tree(place.package)
    named = re.search(rb"_p_\d{12}", found["__init__.py"])
    assert named is not None
    wanted = old if b"000" in named[0] else new
    assert found[named[0].decode() + ".so"] == wanted[named[0].decode() + ".so"]
    assert (wanted is new) == (step > len(new))


@posix_only
def test_threat_killed_at_any_moment_of_a_build(tmp_path: Path) -> None:
    """SIGKILL after 0, 150, 300... ms: what can be imported is the old package or the new one."""
    build(tmp_path, TINY)
    code = f"""{CHILD}
print("go", flush=True)
build_layer(TINY_RELU, options(Path({str(tmp_path)!r}), use_cache=False))
"""
    delay, finished = 0.0, False
    while not finished and delay < 6:
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert child.stdout is not None and child.stdout.readline() == b"go\n"
        try:
            child.wait(delay)
            finished = True
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        child.stdout.close()
        is_new = "relu" in (tmp_path / "tiny" / "__init__.py").read_text()
        assert works(tmp_path, TINY_RELU if is_new else TINY), delay
        if is_new and not finished:  # killed after the commit: start over from the old one
            build(tmp_path, TINY)
        delay += 0.15
    assert finished
    assert build(tmp_path, TINY_RELU).state in ("unchanged", "built")
    assert works(tmp_path, TINY_RELU)
    leftovers = {p.name for p in tmp_path.iterdir()}
    assert leftovers == {"tiny", ".tiny.lock", "the-cache"}


def test_old_libraries_stay_one_generation(tmp_path: Path) -> None:
    """For a process that has read the old ``__init__.py`` and not yet opened its library."""
    layers = [replace(TINY, schedule=Schedule(Family.DIRECT, 1, 1, tile, 1)) for tile in (1, 2, 3)]
    libraries = []
    for layer in layers:
        path = build(tmp_path, layer).path
        manifest = read_manifest(path)
        assert manifest is not None
        libraries.append(manifest.extension)
        found = {p.name.partition(".")[0] for p in path.iterdir() if p.name.startswith("_tiny_")}
        assert found == set(libraries[-2:])


# -- two at once, many at once -------------------------------------------------------------------


def test_threat_two_builds_of_one_layer_at_once(tmp_path: Path) -> None:
    """Processes: each ends well, and one package is there."""
    code = f"""{CHILD}
layer = TINY_RELU if sys.argv[1] == "relu" else TINY
print(build_layer(layer, options(Path({str(tmp_path)!r}), use_cache=False)).state)
"""
    kinds = ["none", "none", "relu"]
    children = [
        subprocess.Popen([sys.executable, "-c", code, kind], stdout=subprocess.PIPE, text=True)
        for kind in kinds
    ]
    states = [child.communicate(timeout=120)[0].strip() for child in children]
    assert all(child.returncode == 0 for child in children)
    assert set(states) <= {"built", "unchanged"} and "built" in states
    is_relu = "relu" in (tmp_path / "tiny" / "__init__.py").read_text()
    assert works(tmp_path, TINY_RELU if is_relu else TINY)


def test_threads_of_one_process_building_one_layer(tmp_path: Path) -> None:
    results: list[BuildResult] = []

    def one() -> None:
        results.append(build(tmp_path, TINY))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(r.state for r in results) == ["built", "unchanged", "unchanged", "unchanged"]


@posix_only
def test_many_layers_and_a_failing_one(tmp_path: Path) -> None:
    names = ["a", "b", "tiny", "c"]
    layers = [replace(TINY, spec=replace(TINY.spec, name=name)) for name in names]
    cc = fake_cc(tmp_path / "picky-cc", 'case "$*" in *tiny.c*) exit 1;; esac; exec $REAL "$@"')
    events: list[BuildEvent] = []
    found = build_many(layers, options(tmp_path, cc=cc), jobs=3, on_event=events.append)
    assert [isinstance(r, ConvgenError) for r in found] == [False, False, True, False]
    assert [r.name for r in found if isinstance(r, BuildResult)] == ["a", "b", "c"]
    assert isinstance(found[2], ToolchainError)
    for name, last in zip(names, ("done", "done", "failed", "done"), strict=True):
        stages = [event.stage for event in events if event.name == name]
        assert stages[0] == Stage.GENERATE and stages[-1] == last
        assert sorted(stages, key=list(Stage).index) == stages
    assert events[-1].outcome is not None
    again = build_many(layers, options(tmp_path, cc=cc), jobs=2)
    assert [getattr(r, "state", "") for r in again] == ["unchanged", "unchanged", "", "unchanged"]


def test_two_layers_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two layers are named tiny"):
        build_many([TINY, TINY_RELU], options(tmp_path))
    assert not tmp_path.exists() or not list(tmp_path.iterdir())


def test_no_layers_at_all(tmp_path: Path) -> None:
    assert build_many([], options(tmp_path)) == []


def test_our_own_bug_in_one_layer_is_not_swallowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **others: object) -> None:
        raise RuntimeError("the verification broke")

    monkeypatch.setattr(layer_module, "verify_in_child", broken)
    with pytest.raises(RuntimeError, match="the verification broke"):
        build_many([TINY], options(tmp_path))
    assert not (tmp_path / "tiny").exists()


@posix_only
def test_threat_ctrl_c_ends_the_compilers_and_keeps_earlier_builds(tmp_path: Path) -> None:
    earlier = tree(build(tmp_path, TINY).path)
    cc = fake_cc(tmp_path / "slow-cc", f"echo $$ >> {tmp_path}/pids; exec sleep 60")
    code = f"""{CHILD}
other = Layer(ConvSpec("other", 4, 4, 1, 2, 3, 3), "<t>")
settings = options(Path({str(tmp_path)!r}), cc={cc!r})
try:
    if sys.argv[1] == "many":
        build_many([TINY_RELU, other], settings, jobs=2)
    else:
        build_layer(TINY_RELU, settings)
except KeyboardInterrupt:
    print("interrupted")
"""
    for how, compilers in (("many", 2), ("one", 1)):
        (tmp_path / "pids").unlink(missing_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-c", code, how], stdout=subprocess.PIPE, text=True
        )
        end = time.monotonic() + 60
        while len(pids(tmp_path)) < compilers and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=20)
        assert out == "interrupted\n"
        time.sleep(0.1)
        assert not [pid for pid in pids(tmp_path) if Path(f"/proc/{pid}").exists()]
        assert tree(tmp_path / "tiny") == earlier and works(tmp_path, TINY)
        assert not list(tmp_path.glob(".*.work"))


def pids(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "pids").read_text().split()]
    except OSError:
        return []


def test_lock_held_by_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    monkeypatch.setattr(commit_module, "LOCK_SECONDS", 0.3)
    with (
        filelock.FileLock(tmp_path / ".tiny.lock"),
        pytest.raises(UsageError, match="another build of tiny has held this lock"),
    ):
        build(tmp_path, TINY)
    assert build_layer(TINY, options(tmp_path)).state == "built"

"""Putting a package in its place: refused, interrupted or out of space, nothing is lost."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from built import (
    TINY,
    TINY_RELU,
    build,
    needs_cc,
    options,
    posix_only,
    tree,
)

from convgen.errors import (
    UsageError,
)
from convgen.package.disk import commit as commit_module
from convgen.package.disk.build import build_layer
from convgen.package.disk.commit import Place, commit
from convgen.package.disk.manifest import read_manifest
from convgen.spec.schedule import Family, Schedule

pytestmark = [needs_cc, pytest.mark.usefixtures("convgen_stands_still")]


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


def test_lock_held_by_another_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    monkeypatch.setattr(commit_module, "LOCK_SECONDS", 0.3)
    with (
        filelock.FileLock(tmp_path / ".tiny.lock"),
        pytest.raises(UsageError, match="another build of tiny has held this lock"),
    ):
        build(tmp_path, TINY)
    assert build_layer(TINY, options(tmp_path)).state == "built"


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

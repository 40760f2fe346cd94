"""Unfinished files of killed processes go; those of living ones stay."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from convgen.cli.files import write_files
from convgen.package.disk.cache import Cache, Entry
from convgen.toolchain import leftover
from convgen.toolchain.leftover import own_temporary_folder, part_of, sweep_parts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        return child.pid


def test_parts_of_the_dead_go_and_no_other_file(tmp_path: Path, gone: int) -> None:
    names = [f".a.entry.{gone}.7.part", f".b.{gone}.8.part"]
    stay = [part_of(tmp_path / "a.entry").name, ".c.1.7.part", f"a.{gone}.7.part", ".part", "x"]
    for name in (*names, *stay):
        (tmp_path / name).write_text("half")
    sweep_parts(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(stay)


def test_old_parts_go_whoever_has_the_number(tmp_path: Path) -> None:
    mine = part_of(tmp_path / "a")
    mine.write_text("half")
    os.utime(mine, (1, 1))
    sweep_parts(tmp_path)
    assert not mine.exists()


def test_a_folder_that_is_not_there_is_no_matter(tmp_path: Path) -> None:
    sweep_parts(tmp_path / "gone")


def test_a_write_to_the_cache_sweeps_all_of_it(tmp_path: Path, gone: int) -> None:
    cache = Cache(tmp_path)
    cache.put("ab" * 32, Entry(b"1", {}))
    half = tmp_path / "builds" / "ab" / f".{'ab' * 32}.entry.{gone}.7.part"
    half.write_text("half")
    cache.put("cd" * 32, Entry(b"2", {}))
    assert not half.exists() and len(cache) == 2


def test_emit_sweeps_what_it_writes_to(tmp_path: Path, gone: int) -> None:
    (tmp_path / "cmake").mkdir()
    halves = [tmp_path / f".a.c.{gone}.7.part", tmp_path / "cmake" / f".b.{gone}.7.part"]
    for half in halves:
        half.write_text("half")
    write_files(tmp_path, {"a.c": "int a;\n", "cmake/b": ""})
    assert {p.name for p in tmp_path.rglob("*")} == {"a.c", "cmake", "b"}


def test_a_tuner_sweeps_the_folders_of_killed_ones(
    tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    old = tmp_path / f"convgen_tune_{gone}_abc"
    old.mkdir()
    (old / "liblayer.so").write_text("large")
    first = own_temporary_folder("tune")
    second = own_temporary_folder("tune")
    assert {first, second} == set(tmp_path.iterdir())


def test_nobody_asks_windows_whether_a_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftover.os, "name", "nt")
    monkeypatch.setattr(leftover.os, "kill", lambda *_: pytest.fail("that would end it"))
    assert not leftover._is_abandoned(1, leftover.time.time())

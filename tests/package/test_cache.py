"""The build cache: content-addressed, bounded, and never in the way of a build."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from built import (
    TINY,
    TINY_RELU,
    build,
    needs_cc,
    works,
)

from convgen.package.disk.cache import Cache, Entry

pytestmark = [needs_cc, pytest.mark.usefixtures("convgen_stands_still")]


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


def test_what_a_killed_build_left_is_swept_by_a_hit(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "c")
    cache.put("ab" * 32, Entry(b"library", {}))
    left = tmp_path / "c" / "builds" / "ab" / f".x.entry.{2**22 + 1}.1.part"  # no such process
    left.write_bytes(b"half")
    assert cache.get("ab" * 32) is not None
    assert not left.exists()


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


def test_threat_a_cache_entry_under_another_name(tmp_path: Path) -> None:
    """A sound entry of another layer: what it holds was verified, but as something else."""
    build(tmp_path, TINY)
    (entry,) = (tmp_path / "the-cache").rglob("*.entry")
    build(tmp_path, TINY_RELU)
    (other,) = set((tmp_path / "the-cache").rglob("*.entry")) - {entry}
    shutil.copyfile(entry, other)
    shutil.rmtree(tmp_path / "tiny")
    assert build(tmp_path, TINY_RELU).state == "built"
    assert works(tmp_path, TINY_RELU)


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

    monkeypatch.setattr("convgen.package.disk.cache.write_whole", full)
    result = build(tmp_path, TINY)
    assert "No space left" in result.warnings[0] and works(tmp_path, TINY)

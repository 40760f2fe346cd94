"""The build cache: compiled libraries by the content they were made from, in one file each.

An entry carries a checksum of its key and content, so one that is damaged, or lies under another
name, is noticed, removed and built again. Writing is by rename, so any number of builds may share
a cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convgen.toolchain.leftover import sweep_parts, write_whole

MAGIC = b"convgen-cache-2 "
SUFFIX = ".entry"
LIMIT = 1 << 30  # bytes; the entries used longest ago go first
_HEX = 64  # digits of a SHA-256


def default_cache_root() -> Path:
    """``convgen`` in the user's cache folder, where the platform has it; the folder that
    ``CONVGEN_CACHE`` names, where it does."""
    if place := os.environ.get("CONVGEN_CACHE"):
        return Path(place)
    import platformdirs

    return Path(platformdirs.user_cache_dir("convgen", appauthor=False))


@dataclass(frozen=True)
class Entry:
    """A compiled library and what is known of it (plain data: report, warnings, sizes)."""

    library: bytes
    facts: dict[str, Any]


@dataclass(frozen=True)
class Cache:
    """Entries under ``root``; nothing is created before the first ``put``."""

    root: Path
    limit: int = LIMIT

    @property
    def choices(self) -> Path:
        """Where choices of schedules are remembered; gone with ``clear``."""
        return self.root / "builds" / "choices"

    @property
    def templates(self) -> Path:
        """Where compiled templates are kept; gone with ``clear``."""
        return self.root / "builds" / "templates"

    def steps(self, key: str) -> Path:
        """The file that remembers which steps of a compiled network were judged; gone with
        ``clear``, and with time as entries are."""
        return self.root / "builds" / key[:2] / f"{key}.steps{SUFFIX}"

    def get(self, key: str) -> Entry | None:
        """The entry of this key; None when there is none or it is damaged (then it is removed).

        A cache that cannot be read is an empty one.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        entry = _decode(key, data)
        with contextlib.suppress(OSError):
            if entry is None:
                path.unlink()
            else:
                os.utime(path)  # used now: the last to go
        self._sweep()
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry whole or not at all. Raises ``OSError``."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _encode(key, entry))
        self._shrink()

    def clear(self) -> int:
        """Remove every entry; how many there were. Raises ``OSError``."""
        count = len(self)
        folder = self.root / "builds"
        if folder.exists():
            shutil.rmtree(folder)
        return count

    def size(self) -> int:
        """Bytes of all entries."""
        return sum(size for _, size, _ in self._used())

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def _path(self, key: str) -> Path:
        return self.root / "builds" / key[:2] / f"{key}{SUFFIX}"

    def _folders(self) -> list[Path]:
        try:
            return [path for path in (self.root / "builds").iterdir() if path.is_dir()]
        except OSError:
            return []

    def _entries(self) -> Iterator[Path]:
        for folder in self._folders():
            with contextlib.suppress(OSError):
                yield from [path for path in folder.iterdir() if path.suffix == SUFFIX]

    def _used(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._entries():
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return sorted(found)

    def _sweep(self) -> None:
        """What killed builds left: by every build, whether it finds its entry or stores one."""
        for folder in self._folders():
            sweep_parts(folder)

    def _shrink(self) -> None:
        self._sweep()
        used = self._used()
        total = sum(size for _, size, _ in used)
        for _, size, path in used:
            if total <= self.limit:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def _encode(key: str, entry: Entry) -> bytes:
    facts = json.dumps(entry.facts, sort_keys=True).encode()
    body = b"%d\n%s%s" % (len(facts), facts, entry.library)
    return MAGIC + _checksum(key, body) + b"\n" + body


def _decode(key: str, data: bytes) -> Entry | None:
    head = len(MAGIC) + _HEX + 1
    digest, body = data[len(MAGIC) : head - 1], data[head:]
    if not data.startswith(MAGIC) or _checksum(key, body) != digest:
        return None
    size, _, rest = body.partition(b"\n")
    length = int(size)
    return Entry(rest[length:], json.loads(rest[:length]))


def _checksum(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\n" + body).hexdigest().encode()

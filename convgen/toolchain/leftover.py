"""Unfinished files and folders, named by the process that writes them.

A process that is killed cannot remove them. The next one can: it sees by the name that nobody is
at work on them any more.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path

STALE = 24 * 3600.0  # seconds; older ones go whoever has their number now
_PART = re.compile(r"\..+\.(\d+)\.\d+\.part")


def part_of(path: Path) -> Path:
    """Where this thread writes what becomes ``path`` by a rename: beside it, hidden."""
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")


def sweep_parts(folder: Path) -> None:
    """Remove the parts in ``folder`` whose writers are gone, as far as the system lets us."""
    with contextlib.suppress(OSError):
        _sweep(folder.iterdir(), _PART)


def own_temporary_folder(purpose: str) -> Path:
    """A new folder among the system's temporary ones; those of killed processes are removed."""
    name = re.compile(rf"convgen_{purpose}_(\d+)_.+")
    with contextlib.suppress(OSError):
        _sweep(Path(tempfile.gettempdir()).glob(f"convgen_{purpose}_*"), name)
    return Path(tempfile.mkdtemp(prefix=f"convgen_{purpose}_{os.getpid()}_"))


def _sweep(paths: Iterable[Path], name: re.Pattern[str]) -> None:
    for path in paths:
        found = name.fullmatch(path.name)
        with contextlib.suppress(OSError):
            if found is None or not _is_abandoned(int(found[1]), path.lstat().st_mtime):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _is_abandoned(number: int, modified: float) -> bool:
    """Whether no process of this number runs here, or none can be at it for that long.

    Should the writer be on another machine of a shared disk, its rename fails and it says so.
    """
    if time.time() - modified > STALE:
        return True
    if os.name != "posix":
        return False  # Windows cannot ask without ending it
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # somebody else's
    return False


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that readers see all of it or what was there before. Raises ``OSError``."""
    part = part_of(path)
    try:
        part.write_bytes(data)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise

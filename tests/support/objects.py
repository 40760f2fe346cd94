"""What tests compile, kept for the run: one folder that all workers share, named by content."""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

SHARED = "CONVGEN_TEST_OBJECTS"  # the folder, for the workers that pytest-xdist starts
INTRINSICS = "<immintrin.h>"  # most of what a compiler reads of a vector layer
PLAIN_READINGS = 2  # of each way and process, before the header is precompiled
_readings: Counter[tuple[str, ...]] = Counter()


@cache
def root() -> Path:
    """The run's folder (conftest.py), or one of this process alone."""
    if SHARED in os.environ:
        return Path(os.environ[SHARED])
    folder = Path(tempfile.mkdtemp(prefix="convgen-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def digest(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()[:20]


def made_once(key: str, make: Callable[[Path], None]) -> Path:
    """The folder of this key, filled by ``make``: whole or not at all, by whichever worker."""
    folder = root() / key
    if not folder.exists():
        own = Path(tempfile.mkdtemp(prefix=f"{key}.", dir=root()))
        make(own)
        try:
            own.rename(folder)
        except OSError:  # another worker was first, with the same content
            shutil.rmtree(own)
    return folder


def precompiled(command: Sequence[str], texts: Iterable[str]) -> list[str]:
    """Arguments with which gcc reads the intrinsics' header once for many files.

    Nothing for texts that do not include it, nor for the first of each way: they show that a file
    includes what it needs.
    """
    if command[0] != "gcc" or not any(f"#include {INTRINSICS}" in text for text in texts):
        return []
    way = tuple(command)
    _readings[way] += 1
    if _readings[way] <= PLAIN_READINGS:
        return []
    name = "intrinsics.h"

    def make(folder: Path) -> None:
        (folder / name).write_text(f"#include {INTRINSICS}\n", encoding="utf-8")
        full = [*command, "-x", "c-header", name, "-o", f"{name}.gch"]
        subprocess.run(full, cwd=folder, capture_output=True, timeout=300, check=True)

    return ["-include", str(made_once(f"header-{digest(way)}", make) / name)]

"""Put a built package in its place: whatever interrupts it, what can be imported is whole.

The new library has a name of its own (its hash), so it never overwrites one that a process has
mapped; ``__init__.py``, which names the library, is replaced last, by a rename. Until then the
earlier package is what is there. Files are written in full in a work folder beside it first: a
disk that is full shows before anything changes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from convgen.errors import UsageError
from convgen.package.disk.manifest import CERTIFICATE
from convgen.package.disk.manifest import NAME as MANIFEST
from convgen.toolchain.leftover import part_of, sweep_parts

MODULE = "__init__.py"
MARK = b"convgen"
MARKED = ("__init__.py", "__init__.pyi", "selftest.c", "CMakeLists.txt")
LOCK_SECONDS = 900.0
ORPHANS = 5.0  # seconds for the compilers of a killed build to stop writing


@dataclass(frozen=True)
class Place:
    """Where one layer is built: ``out/<name>/``, and what stands beside it while that happens."""

    out: Path
    name: str

    @property
    def package(self) -> Path:
        return self.out / self.name

    @property
    def work(self) -> Path:
        return self.out / f".{self.name}.work"

    @property
    def failed(self) -> Path:
        return self.out / f"{self.name}.failed"

    @property
    def lock(self) -> Path:
        return self.out / f".{self.name}.lock"


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """One build of a layer at a time, whatever process or thread it is in; makes ``out``.

    The system lets go of the lock of a process that dies. Raises ``UsageError`` when the folder
    cannot be written, or when another build holds the lock for ``LOCK_SECONDS``.
    """
    import filelock

    with writing(place.out):
        place.out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(place.lock)
        try:
            lock.acquire(timeout=LOCK_SECONDS)
        except filelock.Timeout:
            raise UsageError(
                f"{place.lock}: another build of {place.name} has held this lock for "
                f"{LOCK_SECONDS:g} s; end that build, then try again"
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def work_folder(place: Place) -> Iterator[Path]:
    """An empty folder beside the package, gone afterwards; under the layer's lock only."""
    with writing(place.out):
        _emptied(place.work)  # of a build that was killed
        place.work.mkdir()
    try:
        yield place.work
    finally:
        _emptied(place.work)


def _emptied(folder: Path) -> None:
    """Remove a folder in which a compiler that outlived its build may still be writing."""
    end = time.monotonic() + ORPHANS
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or not os.access(folder, os.W_OK) or time.monotonic() > end:
            return
        time.sleep(0.02)


@contextmanager
def writing(where: Path) -> Iterator[None]:
    """Turn the system's refusal to write into a ``UsageError`` that says where and why."""
    try:
        yield
    except OSError as error:
        path = error.filename or where
        if error.errno == errno.ENOSPC:
            text = f"{path}: the disk is full; nothing was changed"
        else:
            text = f"{path}: cannot write here ({error.strerror or error}); choose a folder with -o"
        raise UsageError(text) from error


def refuse_foreign(place: Place, names: Iterable[str] = ()) -> None:
    """Raise ``UsageError`` where files that convgen did not write would be overwritten.

    ``names``: files to be written beyond those of a built package.
    """
    if place.package.exists() and not place.package.is_dir():
        raise UsageError(f"{place.package}: a file stands where the package would go; move it")
    if (place.package / MANIFEST).exists():
        return
    for name in dict.fromkeys((*MARKED, f"{place.name}.c", f"{place.name}.h", *names)):
        path = place.package / name
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            if data.strip() and not _is_own(data):
                raise UsageError(
                    f"{path}: convgen did not write this file and would overwrite it; choose "
                    "another folder with -o, or rename the layer"
                )


def _is_own(data: bytes) -> bool:
    return MARK in data[:4096]


def forget_own(path: Path) -> None:
    """Remove a file if it is there and convgen wrote it."""
    with contextlib.suppress(FileNotFoundError):
        if _is_own(path.read_bytes()):
            path.unlink()


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below ``folder``, each whole or not at all, none before all are on disk.

    Whatever kills this leaves files that are old or new, never cut; a full disk leaves all old.
    Raises ``UsageError``.
    """
    staged = {folder / name: part_of(folder / name) for name in files}
    for parent in {path.parent for path in staged}:
        sweep_parts(parent)
    with writing(folder):
        try:
            for (path, part), data in zip(staged.items(), files.values(), strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                part.write_bytes(data)
            for path, part in staged.items():
                part.replace(path)
        finally:
            for part in staged.values():
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)


def commit(
    place: Place,
    work: Path,
    files: Mapping[str, bytes],
    extension: str,
    before: str | None,
    *,
    ready: Sequence[str] = (),
) -> None:
    """Bring ``files`` into the package, and those of ``work`` that are ``ready``; ``MODULE`` among
    them comes last.

    ``extension``: stem of this build's hash-named files, which are brought first. ``before``: the
    stem of the package that this one replaces; its files stay until the next build, for a process
    that has read the old ``__init__.py`` and not yet loaded what it names.
    """
    package = place.package
    stage = work / "package"
    with writing(package):
        stage.mkdir()
        for name, data in files.items():
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).write_bytes(data)
            (package / name).parent.mkdir(parents=True, exist_ok=True)
        for name in ready:
            os.replace(work / name, package / name)  # noqa: PTH105
        if any(
            _content(package / f"{place.name}.{end}") != files.get(f"{place.name}.{end}")
            for end in "ch"
        ):
            forget_own(package / CERTIFICATE)  # it is about other C
        order = sorted(files, key=lambda name: (name == MODULE, extension not in name, name))
        for name in order:
            if _content(package / name) != files[name]:
                if name == MODULE:
                    _date(stage / name, package / name)
                os.replace(stage / name, package / name)  # noqa: PTH105
    if before is not None:
        _remove_older(place, {extension, before})


def keep_failed(place: Place, work: Path, report: str) -> str:
    """Move the work folder of a failed build to a named place, with ``report`` as report.txt.

    Where the generated C is then, in words: nowhere, when even that cannot be written.
    """
    try:
        for path in work.glob("*.o"):
            path.unlink()
        (work / "report.txt").write_text(report, encoding="utf-8")
        shutil.rmtree(place.failed, ignore_errors=True)
        work.rename(place.failed)
    except OSError as error:
        return f"the generated C could not be kept ({error.strerror or error})"
    return f"the generated C is kept in {place.failed}, where the commands can be run again"


def forget_failed(place: Place) -> None:
    """A build that went well makes the remains of an earlier failure misleading."""
    if (place.failed / "report.txt").exists():
        shutil.rmtree(place.failed, ignore_errors=True)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _date(new: Path, old: Path) -> None:
    """Python takes compiled bytecode for current when the source's second and size agree: two
    builds within one second would otherwise import the first one's bytecode."""
    with contextlib.suppress(OSError):
        least = int(old.stat().st_mtime) + 1
        if new.stat().st_mtime < least:
            os.utime(new, (least, least))


def _remove_older(place: Place, keep: set[str]) -> None:
    own = re.compile(rf"(?:lib)?(_?{re.escape(place.name)}_[0-9a-f]{{12}})\..+")
    for path in sorted(place.package.iterdir()):
        found = own.fullmatch(path.name)
        if found and f"_{found[1].lstrip('_')}" not in keep:
            with contextlib.suppress(OSError):  # Windows keeps a loaded library
                path.unlink()

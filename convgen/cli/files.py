"""Files of packages, as verbs write them and look at them again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.errors import UsageError

if TYPE_CHECKING:
    from convgen.package.disk.manifest import Manifest

STDOUT = "-"


def content(data: str | bytes) -> bytes:
    """A file's bytes."""
    return data.encode() if isinstance(data, str) else data


def write_files(place: Path, files: Mapping[str, str | bytes]) -> list[str]:
    """Write the files that differ from what is there, each whole; the names of those written.

    Raises ``UsageError`` rather than change the C of a built package: its compiled part and its
    manifest would no longer belong to it. Nor is a file replaced that convgen did not write. A
    ``<name>_weights.c`` or ``.bin`` that the layer no longer has goes.
    """
    from convgen.package.disk.commit import (
        Place,
        forget_own,
        refuse_foreign,
        write_together,
        writing,
    )
    from convgen.package.disk.manifest import CERTIFICATE, NAME

    found = {name: _content(place / name) for name in files}
    changed = [name for name, text in files.items() if found[name] != content(text)]
    other = [name for name in changed if found[name] is not None]
    if other and (place / NAME).exists():
        raise UsageError(
            f"{place} holds a built package, and the C to emit differs from it ({other[0]}): "
            "emit into another folder with -o, or build again"
        )
    with writing(place):
        refuse_foreign(Place(place.parent, place.name), files)
    if {f"{place.name}.c", f"{place.name}.h"} & set(changed):
        forget_own(place / CERTIFICATE)  # it is about other C
    write_together(place, {name: content(files[name]) for name in changed})
    for weights in (f"{place.name}_weights.c", f"{place.name}_weights.bin"):
        if weights not in files:
            forget_own(place / weights)
    return changed


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def changed_files(place: Path, manifest: Manifest) -> list[str]:
    """The files of the manifest that are missing or hold something else, sorted."""
    return sorted(name for name, wrote in manifest.files.items() if _digest(place / name) != wrote)


def _digest(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def library_of(manifest: Manifest) -> str:
    """The file name of the compiled library: an extension module, or in ABI mode a plain one."""
    stem = manifest.extension.lstrip("_")
    found = [
        name
        for name in manifest.files
        if name.removeprefix("lib").lstrip("_").startswith(f"{stem}.")
        and not name.endswith((".py", ".weights"))
    ]
    assert len(found) == 1, manifest.files
    return found[0]

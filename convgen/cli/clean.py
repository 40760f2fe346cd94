"""``convgen clean``: remove cached builds and, if asked, the packages that convgen wrote."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

from convgen.cli.command import Option
from convgen.cli.options import Json, OutDir, Quiet, Verbose
from convgen.cli.output import Output, session


def clean(
    everything: Annotated[
        bool, Option("--all", help="Also the packages in DIR that convgen built.")
    ] = False,
    out_dir: OutDir = "build",
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Remove cached builds, and with --all the built packages.

    \b
    Example:  convgen clean --all -o build
    """
    with session("clean", json=json, verbose=verbose, quiet=quiet) as out:
        from convgen.cli.reports import readable
        from convgen.package.disk.cache import Cache, default_cache_root

        cache = Cache(default_cache_root())
        size = cache.size()
        count = cache.clear()
        out.payload |= {"cache": str(cache.root), "entries": count, "bytes": size, "packages": []}
        builds = "1 cached build" if count == 1 else f"{count} cached builds"
        out.done(f"removed {builds} ({readable(size)}) from {cache.root}")
        if everything:
            _clean_folder(Path(out_dir), out)


def _clean_folder(folder: Path, out: Output) -> None:
    for name in built_names(folder):
        left = remove_package(folder, name)
        out.payload["packages"].append({"path": str(folder / name), "left": left})
        out.done(f"removed {folder / name}")
        if left:
            out.note(f"{folder / name}: left {', '.join(left)}, which convgen did not write")


def built_names(folder: Path) -> list[str]:
    """The packages in ``folder`` that a build wrote, known by their manifest, sorted."""
    from convgen.package.disk.manifest import read_manifest

    if not folder.is_dir():
        return []
    places = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    return [p.name for p in places if (m := read_manifest(p)) is not None and m.name == p.name]


def remove_package(folder: Path, name: str) -> list[str]:
    """Remove what builds wrote for one package; the names of other files, which stay.

    The manifest goes last: until then an interrupted clean can be started again. A running build
    of the layer is waited for.
    """
    from convgen.package.disk.commit import Place, forget_own, locked
    from convgen.package.disk.manifest import CERTIFICATE, NAME, read_manifest

    place = Place(folder, name)
    with locked(place):
        manifest = read_manifest(place.package)
        known = set() if manifest is None else set(manifest.files)
        # Compiled files of the build before stay until the next one, for processes that load them.
        earlier = re.compile(rf"(?:lib)?_?{re.escape(name)}_[0-9a-f]{{12}}\..+")
        for path in place.package.iterdir():
            if path.name in known or earlier.fullmatch(path.name):
                path.unlink()
        forget_own(place.package / CERTIFICATE)
        shutil.rmtree(place.package / "__pycache__", ignore_errors=True)
        (place.package / NAME).unlink(missing_ok=True)
        left = sorted(path.name for path in place.package.iterdir())
        if not left:
            place.package.rmdir()
        shutil.rmtree(place.work, ignore_errors=True)  # of a build that was killed
        if (place.failed / "report.txt").exists():
            shutil.rmtree(place.failed)
    place.lock.unlink(missing_ok=True)
    return left

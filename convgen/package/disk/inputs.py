"""What a build depends on, as one digest: equal digests, equal packages.

The quick look at an unchanged layer rests on this module, so it imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

from convgen import __version__
from convgen.choose.limits import NO_LIMITS, SizeLimits
from convgen.package.disk.binding import Binding, Python
from convgen.render.environment import templates_folder
from convgen.spec.model import (
    ArrayWeights,
    Calibration,
    InitWeights,
    Layer,
    NpyWeights,
    NpzWeights,
    QuantForm,
    ScaleFile,
)
from convgen.spec.schedule import Schedule
from convgen.target import Target
from convgen.toolchain import COMPILE_FLAGS, Compiler, link_flags


def own_digest() -> str:
    """SHA-256 over convgen's own files, templates included: a changed generator builds anew.

    Their contents are read again where a file's date or size is another than before.
    """
    package = Path(__file__).resolve().parents[1]
    files = [*_files(package, ".py"), *_files(templates_folder(), ".j2")]
    return _content_digest(tuple(files))


@dataclass(frozen=True)
class _File:
    root: str
    path: str
    date: int
    size: int


def _files(root: Path, suffix: str) -> list[_File]:
    """Those below ``root``, sorted by their paths."""
    found, folders = [], [str(root)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name.endswith(suffix):
                    status = entry.stat()
                    found.append(_File(str(root), entry.path, status.st_mtime_ns, status.st_size))
    return sorted(found, key=lambda file: file.path)


@lru_cache(maxsize=1)
def _content_digest(files: tuple[_File, ...]) -> str:
    digest = hashlib.sha256(__version__.encode())
    for file in files:
        path = Path(file.path)
        digest.update(f"\0{path.relative_to(file.root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def inputs_digest(
    layer: Layer,
    target: Target,
    compiler: Compiler,
    binding: Binding,
    python: Python,
    own: str,
    tuned: Schedule | None = None,
    limits: SizeLimits = NO_LIMITS,
) -> str:
    """SHA-256 of everything that decides a package's bytes; ``own`` is ``own_digest()``.

    ``tuned``: the schedule to take where the layer pins none; ``limits``: what a chosen one keeps
    to. Where the spec stands is not among what counts. Raises ``OSError`` for weights that cannot
    be read.
    """
    parts = (
        own,
        repr(layer.spec),
        repr(layer.quant),
        repr(layer.schedule),
        repr(tuned if layer.schedule is None else None),
        repr(limits),
        repr(_weights_content(layer)),
        repr(target),
        compiler.id,
        repr((COMPILE_FLAGS, link_flags())),
        binding,
        repr(python),
        cffi_identity(),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def weight_files(layer: Layer) -> tuple[Path, ...]:
    """The files that hold baked weights, scales and samples; paths count from the spec's folder."""
    folder = Path(layer.source).parent
    return tuple(folder / path for path in (*_of_weights(layer), *_of_quant(layer)))


def _of_weights(layer: Layer) -> Iterator[PurePath]:
    match layer.weights:
        case NpzWeights(path):
            yield path
        case NpyWeights(w, b):
            yield from (path for path in (w, b) if path is not None)


def _of_quant(layer: Layer) -> Iterator[PurePath]:
    match layer.quant:
        case Calibration(path):
            yield path
        case QuantForm() as form:
            for affine in (form.input, form.weight, form.output, form.sum):
                if affine is not None and isinstance(affine.scale, ScaleFile):
                    yield affine.scale.path


def _weights_content(layer: Layer) -> object:
    known = isinstance(layer.weights, (InitWeights, ArrayWeights))
    drawn = layer.weights if known else None
    return drawn, [hashlib.sha256(path.read_bytes()).hexdigest() for path in weight_files(layer)]


def cffi_identity() -> str:
    """Which cffi this is, without importing it: place, size and age of its runtime."""
    found = importlib.util.find_spec("_cffi_backend")
    if found is None or found.origin is None or not Path(found.origin).exists():
        return "none"
    status = Path(found.origin).stat()
    return f"{found.origin} {status.st_size} {status.st_mtime_ns}"

"""The SPEC arguments: files, folders of them and ``-``, read into layers with every error shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from convgen.cli.output import Output
from convgen.errors import ConvgenError, UsageError
from convgen.spec.model import Layer

STDIN = "-"
SUFFIXES = (".yaml", ".yml")


def spec_files(spec: str) -> list[str]:
    """The spec files that one argument stands for, sorted. Raises ``UsageError``.

    A folder stands for the ``*.yaml`` and ``*.yml`` files directly in it.
    """
    if spec == STDIN:
        return [STDIN]
    path = Path(spec)
    if not path.is_dir():
        return [spec]
    found = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if not found:
        raise UsageError(f"{spec}: no *.yaml or *.yml file in this folder")
    return [str(p) for p in found]


def read_layers(specs: Sequence[str], out: Output) -> list[Layer]:
    """Every layer of every good file, in order; the errors of the others go to ``out``.

    A file named twice is read once.
    """
    from convgen.spec import parse_file

    layers: list[Layer] = []
    seen: set[object] = set()
    for spec in specs:
        try:
            files = spec_files(spec)
        except ConvgenError as error:
            out.fail(error)
            continue
        for name in files:
            key = STDIN if name == STDIN else Path(name).resolve()
            if key in seen:
                continue
            seen.add(key)
            try:
                layers += _read_stdin() if name == STDIN else parse_file(name)
            except ConvgenError as error:
                out.fail(error)
    for layer in layers:
        for note in layer.notes:
            out.note(f"{layer.source}: note: {layer.spec.name}: {note}")
    return layers


def _read_stdin() -> tuple[Layer, ...]:
    from convgen.spec import parse_bytes
    from convgen.spec.nodes import MAX_BYTES

    if sys.stdin is None:
        raise UsageError("- reads the spec from standard input, which is closed")
    return parse_bytes(sys.stdin.buffer.read(MAX_BYTES + 1), "<stdin>")


def distinct(layers: Sequence[Layer], out: Output) -> list[Layer]:
    """The layers without those whose name another one already took: both would share a folder."""
    first: dict[str, Layer] = {}
    for layer in layers:
        taken = first.setdefault(layer.spec.name, layer)
        if taken is not layer:
            out.fail(
                UsageError(
                    f"layer {layer.spec.name} stands in {taken.source} and in {layer.source}, and "
                    "both would be written to the same folder: rename one, or give -o for each"
                )
            )
    return list(first.values())

"""The front door: text, file or mapping -> layers. The only place that reads a spec file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convgen.errors import Diagnostic, SpecError
from convgen.spec.foreign import foreign_file
from convgen.spec.mapping import read_mapping
from convgen.spec.model import Layer
from convgen.spec.nodes import MAX_BYTES, decoded, read_yaml, too_large
from convgen.spec.resolve import resolve
from convgen.spec.tree import Report, Tree


def parse_text(text: str, source: str) -> tuple[Layer, ...]:
    """The layers of a YAML text; ``source`` is the file it came from, or ``<stdin>``.

    Raises ``SpecError`` with every mistake of the text, in file order.
    """
    return _layers(*read_yaml(text, source))


def parse_file(path: str | os.PathLike[str]) -> tuple[Layer, ...]:
    """The layers of a spec file. Raises ``SpecError``, also when the file cannot be read."""
    source = os.fspath(path)
    try:
        with Path(source).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        raise _refused(source, "E001", f"cannot read the spec: {why}; check the path") from None
    return parse_bytes(data, source)


def parse_bytes(data: bytes, source: str) -> tuple[Layer, ...]:
    """``parse_text`` for the bytes of a file or a stream, which need not even be text.

    Of a long stream it is enough to give one byte more than a spec may have.
    """
    if what := foreign_file(data):
        raise _refused(source, "E015", what)
    if len(data) > MAX_BYTES:
        raise _refused(source, "E002", too_large(data.decode("utf-8", "replace")))
    return parse_text(decoded(data, source), source)


def parse_mapping(data: Mapping[str, Any], source: str = "<dict>") -> tuple[Layer, ...]:
    """The layers of a Python mapping with a spec's keys; NumPy's numbers are welcome.

    Raises ``SpecError``; its diagnostics have line 0 and name the path of keys.
    """
    return _layers(*read_mapping(data, source))


def _layers(tree: Tree, report: Report) -> tuple[Layer, ...]:
    layers = resolve(tree, report)
    report.raise_if_any()
    assert layers, "a document without mistakes has a layer"
    return layers


def _refused(source: str, code: str, text: str) -> SpecError:
    return SpecError([Diagnostic(source, 0, 0, code, text)])

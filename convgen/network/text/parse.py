"""The front door of networks in YAML: text, file or mapping -> graph, every mistake at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convgen.errors import Diagnostic, SpecError
from convgen.network.text.derive import derive
from convgen.network.text.layers import LAYERS
from convgen.network.text.spec import NetworkSpec
from convgen.spec.mapping import read_mapping
from convgen.spec.nodes import MAX_NETWORK_BYTES, decoded, read_yaml, too_large
from convgen.spec.tree import Report, Tree


def parse_network_text(text: str, source: str) -> NetworkSpec:
    """The network of a YAML text. Raises ``SpecError`` with every mistake, in file order."""
    return _network(*read_yaml(text, source))


def parse_network_file(path: str | os.PathLike[str]) -> NetworkSpec:
    """The network of a file. Raises ``SpecError``, also when the file cannot be read."""
    source = os.fspath(path)
    try:
        with Path(source).open("rb") as file:
            data = file.read(MAX_NETWORK_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        text = f"cannot read the spec: {why}; check the path"
        raise SpecError([Diagnostic(source, 0, 0, "E001", text)]) from None
    return parse_network_bytes(data, source)


def parse_network_bytes(data: bytes, source: str) -> NetworkSpec:
    """The same for the bytes of a file or a stream, which need not even be text."""
    if len(data) > MAX_NETWORK_BYTES:
        raise SpecError([Diagnostic(source, 0, 0, "E002", too_large("network:"))])
    return parse_network_text(decoded(data, source), source)


def parse_network_mapping(data: Mapping[str, Any], source: str = "<dict>") -> NetworkSpec:
    """The network of a Python mapping with the same keys."""
    return _network(*read_mapping(data, source))


def _network(tree: Tree, report: Report) -> NetworkSpec:
    found = derive(tree, report, LAYERS)
    report.raise_if_any()
    assert found is not None, "a document without mistakes holds a network"
    return found

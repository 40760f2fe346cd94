"""The spec language: YAML text or a mapping in, checked ``Layer`` values out.

Names load on first use: PyYAML and NumPy cost nothing until a spec is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convgen.spec.model import ConvSpec, Layer

__all__ = [
    "CODES",
    "ConvSpec",
    "Layer",
    "Weights",
    "json_schema",
    "load_weights",
    "parse_bytes",
    "parse_file",
    "parse_mapping",
    "parse_text",
]

if TYPE_CHECKING:
    from convgen.spec.codes import CODES
    from convgen.spec.parse import parse_bytes, parse_file, parse_mapping, parse_text
    from convgen.spec.schema import json_schema
    from convgen.spec.weights import Weights, load_weights

_HOME = {
    "CODES": "convgen.spec.codes",
    "Weights": "convgen.spec.weights",
    "json_schema": "convgen.spec.schema",
    "load_weights": "convgen.spec.weights",
    "parse_bytes": "convgen.spec.parse",
    "parse_file": "convgen.spec.parse",
    "parse_mapping": "convgen.spec.parse",
    "parse_text": "convgen.spec.parse",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convgen.spec' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)

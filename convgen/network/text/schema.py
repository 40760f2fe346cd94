"""JSON Schema of networks in YAML, for editors: draft-07, as that of layers.

It says which words and keys there are and which keys must be there; values and everything across
layers (names, shapes) are ``convgen check``'s.
"""

from __future__ import annotations

from typing import Any

from convgen.network.text.forms import Elements
from convgen.network.text.keys import CANONICAL, COMMON, KINDS, Kind
from convgen.spec.model import Layout
from convgen.spec.nested import ActKind
from convgen.spec.quant import Rounding

Schema = dict[str, Any]
_NAMES: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_FORMS: Schema = {
    "name": {"type": "string"},
    "of": _NAMES,
    "dtype": {"enum": [str(word) for word in Elements]},
    "layout": {"enum": [str(word) for word in Layout]},
    "bias": {"type": ["boolean", "number"]},
    "ceil": {"type": "boolean"},
    "keep": {"type": "boolean"},
    "include_pad": {"type": "boolean"},
    "flatten": {"type": "boolean"},
    "filters": {"type": "integer", "minimum": 1},
    "axis": {"type": "integer"},
    "activation": {
        "anyOf": [{"enum": [str(act) for act in ActKind]}, {"type": "object", "required": ["kind"]}]
    },
}


def network_schema() -> Schema:
    """The schema of a file with the key ``network``, as plain data for ``json.dumps``."""
    size = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]}
    tensor = {"anyOf": [*size["anyOf"], {"type": "object"}]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "convgen network",
        "description": "A network of layers, each of which reads what stands before it.",
        "type": "object",
        "properties": {
            "version": {"const": 1},
            "network": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
            "input": tensor,
            "inputs": {"type": "object", "additionalProperties": tensor, "minProperties": 1},
            "batch": {"type": "integer", "minimum": 1},
            "dtype": _FORMS["dtype"],
            "layout": _FORMS["layout"],
            "quant": {"type": "object", "required": ["scale"]},
            "rounding": {"enum": [str(word) for word in Rounding]},
            "weights": {"type": ["string", "object"]},
            "layers": {"type": "array", "items": {"$ref": "#/definitions/layer"}, "minItems": 1},
            "outputs": _NAMES,
        },
        "required": ["network", "layers"],
        "oneOf": [{"required": ["input"]}, {"required": ["inputs"]}],
        "additionalProperties": False,
        "definitions": {"layer": _layer()},
    }


def _layer() -> Schema:
    words = {word: _body(kind) for word, kind in KINDS.items()}
    one = {
        "type": "object",
        "properties": words,
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    return {"anyOf": [{"enum": list(KINDS)}, one]}


def _body(kind: Kind) -> Schema:
    """A map of the operator's keys, by their names and aliases, or the value that stands bare."""
    keys = {**COMMON, **kind.keys}
    spelled = [*keys, *(a for a, c in CANONICAL.items() if c in keys and a not in keys)]
    body: Schema = {
        "type": "object",
        "properties": {key: _FORMS.get(CANONICAL.get(key, key), {}) for key in spelled},
        "additionalProperties": False,
        "allOf": [_given(key) for key in kind.needed],
    }
    if not body["allOf"]:
        del body["allOf"]
    others = {"type": ["string", "number", "boolean", "array"]} if kind.bare else {"type": "null"}
    return {"anyOf": [body, others]}


def _given(key: str) -> Schema:
    """The key under any of its names."""
    names = [key, *(alias for alias, canonical in CANONICAL.items() if canonical == key)]
    return {"anyOf": [{"required": [name]} for name in names]}

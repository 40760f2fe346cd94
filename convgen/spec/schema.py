"""JSON Schema of the spec for editors: draft-07, which the YAML language server reads.

The schema says what can be said key by key; rules across keys (sizes, groups, remainders) are
``convgen check``'s. Lists have ``minItems`` and ``maxItems`` where Python would have tuples.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import combinations
from typing import Any

from convgen.spec.fields import ALIASES, REQUIRED, RawLayer, Remainder
from convgen.spec.forms import FLOAT32_MAX, MAX_RANK, MAX_SEED, MAX_SIZE, MAX_STEP
from convgen.spec.model import Accuracy, DType
from convgen.spec.nested import ActKind, PadMode
from convgen.spec.quant import Rounding
from convgen.spec.ranks import LAYOUTS, WEIGHT_LAYOUTS
from convgen.spec.schedule import Family

Schema = dict[str, Any]


def json_schema() -> dict[str, Any]:
    """The schema of a spec file, as plain data for ``json.dumps``; the same on every machine."""
    forms = {**_sizes(), **_meaning(), **_quantisation(), **_building()}
    assert forms.keys() == RawLayer.keys.keys()
    definitions: Schema = {
        key: {"description": field.description, **forms[key]}
        for key, field in RawLayer.keys.items()
    }
    properties = _properties()
    definitions["layer"] = {
        "type": "object",
        "description": "One layer; keys that it leaves out come from the top level.",
        "properties": properties,
        "required": ["name"],
        "additionalProperties": False,
        "allOf": _one_name_each(),
    }
    layers = {
        "type": "array",
        "description": "Several layers; the keys beside this one are defaults for each of them.",
        "items": {"$ref": "#/definitions/layer"},
        "minItems": 1,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "convgen layer spec",
        "description": "A convolution layer, or `layers` with a list of them.",
        "type": "object",
        "properties": {**properties, "layers": layers},
        "additionalProperties": False,
        "allOf": _one_name_each(),
        "if": {"required": ["layers"]},
        "then": {"not": {"required": ["name"]}},
        "else": {"allOf": [_any_name(key) for key in REQUIRED]},
        "definitions": definitions,
    }


def _properties() -> Schema:
    """Every key and alias; an alias points at its key's definition."""
    properties: Schema = {}
    for key in RawLayer.keys:
        properties[key] = {"$ref": f"#/definitions/{key}"}
        for alias in ALIASES.get(key, ()):
            properties[alias] = {
                "description": f"Alias of `{key}`. {RawLayer.keys[key].description}",
                "allOf": [{"$ref": f"#/definitions/{key}"}],
            }
    return properties


def _one_name_each() -> list[Schema]:
    """No key under two of its names."""
    return [
        {"not": {"anyOf": [{"required": list(two)} for two in combinations((key, *aliases), 2)]}}
        for key, aliases in ALIASES.items()
    ]


def _any_name(key: str) -> Schema:
    return {"anyOf": [{"required": [name]} for name in (key, *ALIASES.get(key, ()))]}


def _int(low: int, high: int) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high}


def _enum(kind: type[StrEnum]) -> Schema:
    return {"enum": [str(member) for member in kind]}


def _list(items: Schema, least: int, most: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most or least}


def _map(properties: Schema, required: Iterable[str] = ()) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    needed = list(required)
    return {**schema, "required": needed} if needed else {**schema, "minProperties": 1}


def _any(*forms: Schema, **more: Any) -> Schema:
    return {"anyOf": list(forms), **more}


def _sizes_from(low: int) -> list[Schema]:
    """One number, or one for each axis."""
    size = _int(low, MAX_STEP)
    return [size, _list(size, 1, MAX_RANK)]


def _shape(least: int, most: int) -> Schema:
    return {"type": "string", "pattern": f"^[1-9][0-9]*(x[1-9][0-9]*){{{least - 1},{most - 1}}}$"}


def _sizes() -> Schema:
    side = {"default": 0, **_int(0, MAX_STEP)}
    named = _map(dict.fromkeys("dhwc", _int(1, MAX_SIZE)), "wc")
    examples = ["32x32x3", [224, 224, 3], {"c": 3, "h": 32, "w": 32}, "16x32x32x3"]
    sides = _map(dict.fromkeys(("top", "left", "bottom", "right", "front", "back"), side))
    numbers = _list(_int(1, MAX_SIZE), 2, MAX_RANK + 1)
    return {
        "input": _any(_shape(2, MAX_RANK + 1), numbers, named, examples=examples),
        "batch": _any(_int(1, MAX_SIZE), {"const": "any"}, default=1),
        "filters": {**_int(1, MAX_SIZE), "examples": [10]},
        "kernel": _any(*_sizes_from(1), _shape(2, MAX_RANK), examples=[3, [5, 3], "5x3"]),
        "stride": _any(*_sizes_from(1), default=1),
        "padding": _any(*_sizes_from(0), sides, _enum(PadMode), default=0),
        "dilation": _any(*_sizes_from(1), default=1),
        "transposed": {"type": "boolean", "default": False},
        "output_padding": _any(*_sizes_from(0), default=0),
        "groups": _any(_int(1, MAX_SIZE), {"const": "depthwise"}, default=1),
        "remainder": {**_enum(Remainder), "default": "error"},
    }


def _meaning() -> Schema:
    constant = {"type": "number", "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    plain = [str(kind) for kind in ActKind if kind is not ActKind.CLIP]
    clip = {"kind": {"const": "clip"}, "min": constant, "max": constant}
    activation = _any(
        {"enum": plain},
        _map({"kind": {"enum": plain}}, ["kind"]),
        _map({"kind": {"const": "leaky_relu"}, "alpha": {**constant, "default": 0.01}}, ["kind"]),
        {**_map(clip, ["kind"]), "anyOf": [{"required": ["min"]}, {"required": ["max"]}]},
        _map({"kind": {"const": "gelu"}, "approximate": {"enum": ["none", "tanh"]}}, ["kind"]),
        default="none",
        examples=["relu", {"kind": "leaky_relu", "alpha": 0.1}],
    )
    return {
        "bias": {"type": "boolean", "default": True},
        "activation": activation,
        "dtype": {**_enum(DType), "default": "float32"},
        "layout": {"enum": list(LAYOUTS), "default": "NHWC"},
        "weight_layout": {"enum": list(WEIGHT_LAYOUTS), "default": "HWIO"},
        "accuracy": {**_enum(Accuracy), "default": "fast"},
    }


def _quantisation() -> Schema:
    number = {"type": "number", "exclusiveMinimum": 0, "maximum": FLOAT32_MAX}
    file = _path(r"\.[nN][pP][zZ]#.+$")
    one = _map({"scale": _any(number, file), "zero_point": {"type": "integer"}})
    numbers = {"type": "array", "items": number, "minItems": 1}
    zeros = {"type": "array", "items": {"type": "integer"}, "minItems": 1}
    each = _map(
        {"scale": _any(number, numbers, file), "zero_point": _any({"type": "integer"}, zeros)}
    )
    rounding = {**_enum(Rounding), "default": "tflite"}
    percentile = {"type": "number", "exclusiveMinimum": 50, "maximum": 100, "default": 100}
    samples = {"calibration": _path(r"\.[nN][pP][yY]$")}
    return {
        "quant": _map(
            {
                "input": one,
                "weight": each,
                "output": _any(one, {"const": "int32"}),
                "sum": one,
                "bias": each,
                "rounding": rounding,
            }
        ),
        "quantize": _map(
            {**samples, "percentile": percentile, "rounding": rounding}, ["calibration"]
        ),
    }


def _path(pattern: str) -> Schema:
    return {"type": "string", "pattern": pattern}


def _building() -> Schema:
    files = _map({"w": _path(r"\.[nN][pP][yY]$"), "b": _path(r"\.[nN][pP][yY]$")}, ["w"])
    init = _map(
        {
            "init": {"const": "truncated_normal"},
            "stddev": {"type": "number", "minimum": 1e-30, "maximum": 1e6},
            "seed": {**_int(0, MAX_SEED), "default": 0},
        },
        ["init", "stddev"],
    )
    pinned = _map(
        {
            "family": _enum(Family),
            "lanes": {"enum": [1, 2, 4, 8, 16, 32, 64]},
            "tile": _list(_int(1, 64), 2),
            "vectors": _int(1, 16),
            "block": _list(_int(1, 1024), 2),
        },
        ["family", "lanes", "tile", "vectors"],
    )
    return {
        "version": {"const": 1, "default": 1},
        "name": {"type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$"},
        "weights": _any(_path(r"\.[nN][pP][zZ]$"), files, init),
        "schedule": _any({"const": "auto"}, pinned, default="auto"),
    }

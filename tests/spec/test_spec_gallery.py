"""The gallery under ``specs/``: every file parses, and together they show the whole schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import spec_errors_page as bad
from places import SPECS

from convgen.errors import SpecError
from convgen.numbers.settle import settled
from convgen.spec import Layer, json_schema, parse_file, parse_mapping
from convgen.spec.fields import ALIASES, RawLayer
from convgen.spec.model import Act
from convgen.spec.nodes import read_yaml
from convgen.spec.schedule import Family, Schedule

FILES = sorted(SPECS.glob("*.yaml"))
VALIDATOR = jsonschema.Draft7Validator(json_schema())


def layers() -> list[Layer]:
    return [layer for path in FILES for layer in parse_file(path)]


def values(path: Path) -> Any:
    return read_yaml(path.read_text(encoding="utf-8"), path.name)[0].value


def valid(data: Any) -> bool:
    return bool(VALIDATOR.is_valid(data))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_parses_loads_and_names_its_schema(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=layer.schema.json"
    for layer in parse_file(path):
        settled(layer)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_validates_against_the_schema(path: Path) -> None:
    VALIDATOR.validate(values(path))


def test_names_are_unique_in_the_folder() -> None:
    names = [layer.spec.name for layer in layers()]
    assert len(names) == len(set(names))


def test_the_sources_worked_cases() -> None:
    shapes = {layer.spec.name: layer.spec for layer in layers()}
    layer = shapes["layer"]
    assert layer.y_shape == (1, 32, 32, 10)
    assert layer.w_shape == (5, 5, 3, 10)
    assert layer.activation.kind is Act.RELU
    assert shapes["six_filters"].y_shape == (1, 28, 28, 6)
    pad = shapes["tiny_pad"]
    assert (pad.h + pad.padding.top + pad.padding.bottom, pad.padding.top) == (7, 1)
    assert shapes["tiny_stride"].y_shape == (1, 2, 2, 1)
    assert len((SPECS / "layer.yaml").read_text(encoding="utf-8").splitlines()) <= 10


def test_together_they_show_every_key_and_activation() -> None:
    keys = {key for path in FILES for block in _blocks(values(path)) for key in block}
    canonical = {next((k for k, names in ALIASES.items() if key in names), key) for key in keys}
    assert canonical - {"layers"} == set(RawLayer.keys)
    assert {layer.spec.activation.kind for layer in layers()} == set(Act)


def _blocks(value: Any) -> Iterator[dict[str, Any]]:
    yield value
    yield from value.get("layers", ())


def test_the_committed_schema_is_current(golden: Callable[[Path, str], None]) -> None:
    golden(SPECS / "layer.schema.json", json.dumps(json_schema(), indent=2) + "\n")


def test_the_schema_is_a_draft_07_schema() -> None:
    jsonschema.Draft7Validator.check_schema(json_schema())
    text = json.dumps(json_schema())
    assert "prefixItems" not in text  # lists, not draft 2020's tuples
    assert json_schema()["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_schema_describes_every_key_and_alias() -> None:
    schema = json_schema()
    for properties in (schema["properties"], schema["definitions"]["layer"]["properties"]):
        for key, aliases in {**dict.fromkeys(RawLayer.keys, ()), **ALIASES}.items():
            assert schema["definitions"][key]["description"]
            for alias in aliases:
                assert f"Alias of `{key}`" in properties[alias]["description"]
                assert properties[alias]["allOf"] == [properties[key]]


BASE: dict[str, Any] = {"input": "8x8x4", "filters": 4, "kernel": 3}


@pytest.mark.parametrize(
    "keys",
    [
        {"kernel": 0},
        {"kernel": [1, 2, 3, 4]},
        {"kernel": "3 x 3"},
        {"kernel": True},
        {"input": [8]},
        {"padding": [1, 1, 1, 1]},
        {"padding": "SAME"},
        {"padding": {"botom": 1}},
        {"padding": {}},
        {"activation": "rellu"},
        {"activation": "clip"},
        {"activation": {"kind": "clip"}},
        {"activation": {"kind": "relu", "alpha": 0.1}},
        {"weights": "w.npy"},
        {"weights": {"b": "b.npy"}},
        {"weights": {"init": "truncated_normal"}},
        {"weights": {"init": "truncated_normal", "stddev": 0}},
        {"schedule": "fast"},
        {"schedule": {"family": "direct", "lanes": 8}},
        {"batch": 0},
        {"groups": "depth"},
        {"k": 4},
        {"f": 3},
        {"s": 1, "stride": 1},
        {"strides": 1, "s": 1},
        {"name": "Conv"},
        {"name": "a", "layers": [{"name": "b"}]},
        {"layers": []},
        {"layers": [{"filters": 4}]},
        {"layers": [{"name": "a", "layers": []}]},
        {"unknown": 1},
        {"version": 2},
        {"bias": "no"},
        {"stride": None},
    ],
)
def test_the_schema_and_the_parser_refuse(keys: dict[str, Any]) -> None:
    assert valid(BASE)
    assert not valid({**BASE, **keys})
    with pytest.raises(SpecError):
        parse_mapping({**BASE, **keys})


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("block", [(1, 1), (4, 3)])
def test_the_schema_takes_every_pinned_schedule(family: Family, block: tuple[int, int]) -> None:
    pinned = Schedule(family, 8, 2, 4, 2, *block)
    assert valid({**BASE, "schedule": pinned.to_mapping()})
    assert parse_mapping({**BASE, "schedule": pinned.to_mapping()})[0].schedule == pinned


@pytest.mark.parametrize("missing", ["input", "filters", "kernel"])
def test_the_schema_knows_what_is_required(missing: str) -> None:
    rest = {key: value for key, value in BASE.items() if key != missing}
    assert not valid(rest)
    assert valid({**rest, "layers": [{"name": "a"}]})  # the layer may give it


def test_an_editor_marks_most_mistakes_by_the_schema_alone() -> None:
    marked = 0
    for name in bad.cases():
        path = bad.BAD / f"{name}.yaml"
        if not path.exists():
            continue
        try:
            marked += not valid(values(path))
        except SpecError:
            continue
    assert marked > 60

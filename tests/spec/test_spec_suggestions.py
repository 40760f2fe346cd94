"""Whatever a message tells the user to write is accepted when it is written."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convgen.errors import Diagnostic, SpecError
from convgen.spec import parse_mapping
from convgen.spec.fields import CANONICAL

STEPS = st.integers(1, 9) | st.lists(st.integers(1, 9), min_size=2, max_size=2)
FAR = st.sampled_from([1, 2, 3, 5, 60_000, 65_536])
SIZES = st.integers(1, 40) | st.sampled_from([4096, 2**20, 2**24])
SIDES = st.fixed_dictionaries(
    {}, optional={k: st.integers(0, 6) for k in ("top", "left", "bottom", "right")}
)
LAYERS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "input": st.tuples(SIZES, SIZES, st.integers(1, 24)).map(list),
        "filters": st.integers(1, 40) | SIZES,
        "kernel": STEPS | FAR,
    },
    optional={
        "stride": STEPS | FAR,
        "dilation": STEPS | FAR,
        "padding": st.integers(0, 5) | SIDES.filter(bool),
        "groups": st.integers(1, 24) | st.just("depthwise"),
        "batch": st.sampled_from([1, 2, 1000]),
    },
)


def mistakes(spec: dict[str, Any]) -> tuple[Diagnostic, ...]:
    try:
        parse_mapping(spec)
    except SpecError as error:
        return error.diagnostics
    return ()


def suggested(message: str) -> list[dict[str, Any]]:
    """Every fix that a message names, each as the keys to write."""
    found = re.findall(r"`([a-z_]+: [^`]*)`", message)
    fixes = [yaml.safe_load(text) for text in found if not text.startswith("remainder: floor")]
    if "with `remainder: floor`" in message:
        fixes = [{**fix, "remainder": "floor"} for fix in fixes]
    elif "`remainder: floor`" in message:
        fixes.append({"remainder": "floor"})
    if groups := re.search(r"groups that fit both: ([0-9, ]+)", message):
        fixes += [{"groups": int(g)} for g in groups[1].split(", ")]
    return fixes


@settings(max_examples=400, deadline=None)
@given(LAYERS)
def test_fixes_of_sizes_and_groups_hold(spec: dict[str, Any]) -> None:
    """A fix ends its mistake and brings no other with it."""
    before = mistakes(spec)
    for one in before:
        for fix in suggested(one.message):
            after = mistakes({**spec, **fix})
            gone = {d.code for d in before} - {one.code}
            assert {d.code for d in after} <= gone, (spec, one.message, fix, after)


def test_the_property_sees_fixes() -> None:
    """The strategy's layers do get suggestions of every kind."""
    dilated = {"input": [7, 5, 3], "filters": 4, "kernel": [3, 6], "dilation": 4}
    (one,) = mistakes(dilated)
    assert [*map(list, suggested(one.message))] == [["kernel"], ["padding"]], one.message
    assert "dilation: [" not in one.message, "a dilation of 0 was once suggested here"
    (strided,) = mistakes({"input": "32x32x3", "filters": 4, "kernel": 5, "stride": 5})
    assert {"padding": "same"} in suggested(strided.message)
    assert {"remainder": "floor"} in suggested(strided.message)
    (grouped,) = mistakes({"input": "8x8x6", "filters": 4, "kernel": 1, "groups": 3})
    assert suggested(grouped.message) == [{"groups": 1}, {"groups": 2}]


LOOSE = st.lists(st.integers(0, 10**9).map(str) | st.just("007"), min_size=1, max_size=5)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["input", "kernel", "stride", "dilation", "padding"]),
    LOOSE,
    st.sampled_from(["x", "X", " x ", "*", ",", "\u00d7"]),
)
def test_forms_are_suggested_only_where_they_are_read(key: str, sizes: list[str], by: str) -> None:
    image = "99x99x99x3" if len(sizes) == 3 else "99x99x3"  # three sizes are those of a 3-D layer
    spec = {"input": image, "filters": 4, "kernel": 1, key: by.join(sizes)}
    for one in mistakes(spec):
        if meant := re.search(r"write ([0-9]+(?:x[0-9]+)+|\[[0-9, ]+\])$", one.message):
            after = mistakes({**spec, key: yaml.safe_load(meant[1])})
            assert not any(d.message.startswith(key) and d.code < "E2" for d in after), one.message


@settings(max_examples=300, deadline=None)
@example(name="NO")  # YAML reads `no` as false
@given(st.text(max_size=70) | st.sampled_from(["Int", "NUMPY", "Uint64", "Con", "Test", "Ns-Name"]))
def test_names_that_are_suggested_are_accepted(name: str) -> None:
    for one in mistakes({"name": name, "input": "9x9x3", "filters": 4, "kernel": 1}):
        for fix in suggested(one.message):
            assert CANONICAL.get(*[*fix] * 2) == "name"
            assert mistakes({**fix, "input": "9x9x3", "filters": 4, "kernel": 1}) == ()


WORDS = {
    "padding": ["SAME", "sames", "Valid", "same-lower"],
    "activation": ["RELU", "Swish", "clamp", "gelu_tanh", "linear", "hard_swish", "LeakyReLU"],
    "dtype": ["Float32", "float_16", "bfloat", "int"],
    "layout": ["nhwc", "NHCW"],
    "weight_layout": ["hwio", "OIHV"],
    "accuracy": ["Strict", "quick"],
    "remainder": ["Floor", "ceil"],
    "groups": ["depth_wise"],
    "batch": ["ANY"],
}


@pytest.mark.parametrize(("key", "word"), [(k, w) for k, words in WORDS.items() for w in words])
def test_words_that_are_suggested_are_accepted(key: str, word: str) -> None:
    base = {"input": "9x9x8", "filters": 8, "kernel": 1}
    (one,) = mistakes({**base, key: word})
    meant = re.search(r"(?:did you mean|is called) `([^`]+)`", one.message)
    if meant:
        after = mistakes({**base, key: yaml.safe_load(meant[1])})
        assert all(d.code == "E401" for d in after), after  # int8 asks for its scales

"""Random input: nonsense gives ``SpecError`` and nothing else; the sizes of sense are counted."""

from __future__ import annotations

from typing import Any

import jsonschema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convgen.errors import SpecError
from convgen.spec import json_schema, parse_mapping, parse_text
from convgen.spec.codes import CODES
from convgen.spec.fields import ALIASES, RawLayer
from convgen.spec.mapping import read_mapping

VALIDATOR = jsonschema.Draft7Validator(json_schema())

BOUNDED = settings(
    max_examples=250,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
KEYS = [*RawLayer.keys, *(a for names in ALIASES.values() for a in names), "layers"]
WORDS = [
    *("8x8x4", "3", "0", "-1", "1e-3", "017", "no", "same", "relu", "clip", "any", "depthwise"),
    *("true", "~", "a", "w.npz", "w.npy", "NCHW", "auto", "truncated_normal", "float32", "1_0"),
    *("kind", "top", "init", "stddev", "w", "alpha", "99999999999999999999", ".inf", "{{x}}"),
]
TOKENS = [
    *KEYS,
    *WORDS,
    *(": ", "\n", "\n  ", "\n- ", "- ", ", ", "{", "}", "[", "]", "'", '"', "#", "&a ", "*a"),
    *("!!int ", "<<: ", "? ", "---\n", "|", ">", "\t", "\\u0000", "\x00", "\ud800", "%YAML 1.1\n"),
]


def checked(errors: SpecError, *, lines: bool) -> None:
    assert errors.diagnostics
    for found in errors.diagnostics:
        assert found.code in CODES
        assert found.message
        assert str(found).isprintable() or "\n" in str(found)
        str(found).encode("utf-8")
        if not lines:
            assert (found.line, found.col, found.snippet) == (0, 0, "")


@BOUNDED
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(TOKENS)).map("".join)))
def test_random_text(text: str) -> None:
    try:
        parse_text(text, "<stdin>")
    except SpecError as error:
        checked(error, lines=True)


LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.binary(max_size=3),
)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.sampled_from([*WORDS, *KEYS]), inner, max_size=4),
    ),
    max_leaves=12,
)


@BOUNDED
@given(st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), VALUE, max_size=8))
def test_random_mapping(data: dict[str, Any]) -> None:
    try:
        parse_mapping(data)
    except SpecError as error:
        checked(error, lines=False)


@BOUNDED
@given(st.sampled_from(KEYS), VALUE)
def test_one_random_key(key: str, value: Any) -> None:
    """A good spec with one key turned into nonsense; what is taken, the schema takes as well."""
    data = {"input": "8x8x4", "filters": 4, "kernel": 3, key: value}
    try:
        parse_mapping(data)
    except SpecError as error:
        checked(error, lines=False)
    else:
        assert VALIDATOR.is_valid(read_mapping(data, "<dict>")[0].value)


def windows(padded: int, taps: int, dilation: int, stride: int) -> int:
    """How often a filter fits, counted: starts whose last tap is still inside."""
    return sum(1 for at in range(0, padded, stride) if at + (taps - 1) * dilation < padded)


@st.composite
def axis(draw: st.DrawFn) -> dict[str, int]:
    return {
        "size": draw(st.integers(1, 24)),
        "taps": draw(st.integers(1, 7)),
        "stride": draw(st.integers(1, 5)),
        "dilation": draw(st.integers(1, 3)),
        "before": draw(st.integers(0, 4)),
        "after": draw(st.integers(0, 4)),
    }


def spec_of(h: dict[str, int], w: dict[str, int], **more: Any) -> dict[str, Any]:
    return {
        "input": [h["size"], w["size"], 2],
        "filters": 4,
        "kernel": [h["taps"], w["taps"]],
        "stride": [h["stride"], w["stride"]],
        "dilation": [h["dilation"], w["dilation"]],
        "padding": {
            "top": h["before"],
            "bottom": h["after"],
            "left": w["before"],
            "right": w["after"],
        },
        **more,
    }


def count(a: dict[str, int]) -> int:
    return windows(a["size"] + a["before"] + a["after"], a["taps"], a["dilation"], a["stride"])


def unseen(a: dict[str, int]) -> int:
    """Rows of the padded input after the last window, counted."""
    padded = a["size"] + a["before"] + a["after"]
    extent = (a["taps"] - 1) * a["dilation"] + 1
    return padded - ((count(a) - 1) * a["stride"] + extent)


def allowed(a: dict[str, int]) -> bool:
    extent = (a["taps"] - 1) * a["dilation"] + 1
    return unseen(a) <= a["after"] + max(0, a["stride"] - extent)


@BOUNDED
@given(axis(), axis())
def test_floor_gives_the_number_of_windows(h: dict[str, int], w: dict[str, int]) -> None:
    data = spec_of(h, w, remainder="floor")
    try:
        (layer,) = parse_mapping(data)
    except SpecError as error:
        assert [d.code for d in error.diagnostics] == ["E201"]
        assert not (count(h) and count(w))
        return
    spec = layer.spec
    assert (spec.oh, spec.ow) == (count(h), count(w))
    p = spec.padding
    for a, after in ((h, p.bottom), (w, p.right)):
        trimmed = {**a, "after": after}
        assert count(trimmed) == count(a)
        assert unseen(trimmed) == 0 or after == 0  # no padding that nobody reads is kept
        assert a["after"] - after == min(unseen(a), a["after"])
    assert (p.top, p.left) == (h["before"], w["before"])
    assert len(layer.notes) == (unseen(h) > 0) + (unseen(w) > 0)


@BOUNDED
@given(axis(), axis())
def test_error_refuses_exactly_what_drops_input(h: dict[str, int], w: dict[str, int]) -> None:
    try:
        (layer,) = parse_mapping(spec_of(h, w))
    except SpecError as error:
        (found,) = error.diagnostics
        if count(h) and count(w):
            assert found.code == "E202"
            assert not (allowed(h) and allowed(w))
        else:
            assert found.code == "E201"
        return
    assert allowed(h)
    assert allowed(w)
    assert (layer.spec.oh, layer.spec.ow) == (count(h), count(w))


@BOUNDED
@given(axis(), axis(), st.sampled_from(["same", "same_lower", "valid"]))
def test_paddings_by_name(h: dict[str, int], w: dict[str, int], mode: str) -> None:
    data = spec_of(h, w, padding=mode)
    try:
        spec = parse_mapping(data)[0].spec
    except SpecError as error:
        assert mode == "valid"
        assert [d.code for d in error.diagnostics] == ["E201"]
        return
    p = spec.padding
    for a, out, before, after in ((h, spec.oh, p.top, p.bottom), (w, spec.ow, p.left, p.right)):
        assert out == count({**a, "before": before, "after": after})
        if mode == "valid":
            assert (before, after) == (0, 0)
        else:
            assert out == -(-a["size"] // a["stride"])


@BOUNDED
@given(st.integers(1, 24), st.integers(1, 24), st.one_of(st.integers(1, 24), st.just("depthwise")))
def test_groups(c: int, oc: int, groups: int | str) -> None:
    g = c if groups == "depthwise" else int(groups)
    data = {"input": [4, 4, c], "filters": oc, "kernel": 1, "groups": groups}
    try:
        spec = parse_mapping(data)[0].spec
    except SpecError as error:
        assert {d.code for d in error.diagnostics} <= {"E203", "E204"}
        assert c % g or oc % g
        return
    assert c % g == 0
    assert oc % g == 0
    assert (spec.groups, spec.icg * g, spec.ocg * g) == (g, c, oc)

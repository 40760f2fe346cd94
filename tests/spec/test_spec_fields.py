"""Every key's aliases, forms and default: what each comes to mean."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import pytest

from convgen.errors import SpecError
from convgen.spec import Layer, parse_mapping, parse_text
from convgen.spec.fields import ALIASES
from convgen.spec.model import (
    Accuracy,
    Act,
    Activation,
    ConvSpec,
    DType,
    InitWeights,
    Layout,
    NpyWeights,
    NpzWeights,
    Padding,
    WeightLayout,
)
from convgen.spec.schedule import Family, Schedule

BASE = {"input": "32x32x4", "filters": "8", "kernel": "3"}


def layer(**keys: str) -> Layer:
    """The layer of BASE with these keys, as YAML text."""
    text = "".join(f"{key}: {value}\n" for key, value in {**BASE, **keys}.items())
    (only,) = parse_text(text, "specs/some-layer.yaml")
    return only


def spec(**keys: str) -> ConvSpec:
    return layer(**keys).spec


def refused(**keys: str) -> str:
    with pytest.raises(SpecError) as caught:
        layer(**keys)
    (found,) = caught.value.diagnostics
    return found.code


def test_defaults() -> None:
    only = layer()
    assert only.spec == ConvSpec("some_layer", 32, 32, 4, 8, 3, 3)
    assert only.source == "specs/some-layer.yaml"
    assert (only.schedule, only.weights, only.notes) == (None, None, ())
    assert only.spec.dtype is DType.FLOAT32


@pytest.mark.parametrize("alias", ["k", "out_channels"])
def test_filters(alias: str) -> None:
    text = f"input: 8x8x1\nkernel: 3\n{alias}: 6\n"
    assert parse_text(text, "a.yaml")[0].spec.oc == 6


@pytest.mark.parametrize("name", ["kernel", *ALIASES["kernel"]])
@pytest.mark.parametrize(
    ("form", "size"), [("3", (3, 3)), ("[5, 3]", (5, 3)), ("5x3", (5, 3)), ("'5x3'", (5, 3))]
)
def test_kernel(name: str, form: str, size: tuple[int, int]) -> None:
    text = f"input: 8x8x1\nfilters: 2\n{name}: {form}\n"
    only = parse_text(text, "a.yaml")[0].spec
    assert (only.kh, only.kw) == size


@pytest.mark.parametrize("form", ["[40, 100, 1]", "40x100x1", "\n  - 40\n  - 100\n  - 1"])
def test_input_is_height_width_channels_in_every_layout(form: str) -> None:
    for layout in Layout:
        only = spec(input=form, layout=str(layout))
        assert (only.h, only.w, only.c) == (40, 100, 1)


@pytest.mark.parametrize("name", ["stride", *ALIASES["stride"]])
@pytest.mark.parametrize(("form", "steps"), [("2", (2, 2)), ("[1, 2]", (1, 2))])
def test_stride(name: str, form: str, steps: tuple[int, int]) -> None:
    only = spec(**{name: form, "remainder": "floor"})
    assert (only.sh, only.sw) == steps


@pytest.mark.parametrize("name", ["dilation", *ALIASES["dilation"]])
@pytest.mark.parametrize(("form", "steps"), [("2", (2, 2)), ("[1, 3]", (1, 3))])
def test_dilation(name: str, form: str, steps: tuple[int, int]) -> None:
    only = spec(**{name: form})
    assert (only.dh, only.dw) == steps


@pytest.mark.parametrize("name", ["padding", *ALIASES["padding"]])
@pytest.mark.parametrize(
    ("form", "sides"),
    [
        ("2", Padding(2, 2, 2, 2)),
        ("[1, 2]", Padding(1, 2, 1, 2)),
        ("{top: 1, left: 2, bottom: 3, right: 4}", Padding(1, 2, 3, 4)),
        ("{right: 1}", Padding(0, 0, 0, 1)),
        ("valid", Padding()),
        ("same", Padding(1, 1, 1, 1)),
        ("same_lower", Padding(1, 1, 1, 1)),
    ],
)
def test_padding(name: str, form: str, sides: Padding) -> None:
    assert spec(**{name: form}).padding == sides


@pytest.mark.parametrize("name", ["groups", *ALIASES["groups"]])
@pytest.mark.parametrize(("form", "groups"), [("1", 1), ("2", 2), ("depthwise", 4)])
def test_groups(name: str, form: str, groups: int) -> None:
    assert spec(**{name: form}).groups == groups


@pytest.mark.parametrize(
    ("form", "batch"), [("1", (1, False)), ("7", (7, False)), ("any", (1, True))]
)
def test_batch(form: str, batch: tuple[int, bool]) -> None:
    only = spec(batch=form)
    assert (only.batch, only.batch_any) == batch


@pytest.mark.parametrize("name", ["activation", "act"])
@pytest.mark.parametrize(
    ("form", "meaning"),
    [
        ("none", Activation(Act.NONE)),
        ("relu", Activation(Act.RELU)),
        ("relu6", Activation(Act.RELU6)),
        ("leaky_relu", Activation(Act.LEAKY_RELU, alpha=0.01)),
        ("sigmoid", Activation(Act.SIGMOID)),
        ("tanh", Activation(Act.TANH)),
        ("silu", Activation(Act.SILU)),
        ("hardswish", Activation(Act.HARDSWISH)),
        ("gelu", Activation(Act.GELU)),
        ("{kind: relu}", Activation(Act.RELU)),
        ("{kind: leaky_relu}", Activation(Act.LEAKY_RELU, alpha=0.01)),
        ("{kind: leaky_relu, alpha: 1e-1}", Activation(Act.LEAKY_RELU, alpha=0.1)),
        ("{kind: clip, min: 0, max: 6}", Activation(Act.CLIP, low=0.0, high=6.0)),
        ("{kind: clip, min: -1.5}", Activation(Act.CLIP, low=-1.5)),
        ("{kind: clip, max: 4}", Activation(Act.CLIP, high=4.0)),
        ("{kind: gelu, approximate: tanh}", Activation(Act.GELU_TANH)),
        ("{kind: gelu, approximate: none}", Activation(Act.GELU)),
    ],
)
def test_activation(name: str, form: str, meaning: Activation) -> None:
    assert spec(**{name: form}).activation == meaning


def test_plain_choices() -> None:
    only = spec(
        layout="NCHW", weight_layout="OHWI", accuracy="strict", bias="false", dtype="float32"
    )
    assert only.layout is Layout.NCHW
    assert only.weight_layout is WeightLayout.OHWI
    assert only.accuracy is Accuracy.STRICT
    assert only.bias is False
    assert spec(version="1").name == "some_layer"
    assert spec(name="other").name == "other"


@pytest.mark.parametrize(
    ("form", "source"),
    [
        ("w.npz", NpzWeights(PurePath("w.npz"))),
        ("../x/W.NPZ", NpzWeights(PurePath("../x/W.NPZ"))),
        ("{w: w.npy, b: b.npy}", NpyWeights(PurePath("w.npy"), PurePath("b.npy"))),
        ("{init: truncated_normal, stddev: 0.1}", InitWeights(0.1, 0)),
        (
            "{init: truncated_normal, stddev: 1e-2, seed: 18446744073709551615}",
            InitWeights(0.01, 2**64 - 1),
        ),
    ],
)
def test_weights(form: str, source: object) -> None:
    assert layer(weights=form).weights == source


def test_weights_without_a_bias() -> None:
    assert layer(weights="{w: w.npy}", bias="false").weights == NpyWeights(PurePath("w.npy"))


def test_schedule() -> None:
    assert layer(schedule="auto").schedule is None
    pinned = Schedule(Family.DIRECT, 8, 1, 4, 2)
    assert layer(schedule=str(pinned)).schedule == pinned


def test_weights_place_is_kept_but_not_compared() -> None:
    first, second = layer(weights="w.npz"), layer(weights="w.npz", version="1")
    place = first.weights_place
    assert (place.line, place.col) == (4, 10)
    assert place.snippet.splitlines()[0].strip() == "weights: w.npz"
    assert parse_text("version: 1\n" + _text(weights="w.npz"), "specs/some-layer.yaml") == (second,)


def _text(**keys: str) -> str:
    return "".join(f"{key}: {value}\n" for key, value in {**BASE, **keys}.items())


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("kernel", "5x5x3", "E117"),
        ("kernel", "05x3", "E119"),
        ("kernel", "5 x 3", "E119"),
        ("kernel", "[5]", "E117"),
        ("kernel", "[]", "E117"),
        ("kernel", "0x3", "E111"),
        ("input", "0x3x5", "E113"),
        ("input", "[32, 32, no]", "E111"),
        ("input", "[32, 32, 3.0]", "E110"),
        ("stride", "no", "E111"),
        ("stride", "-1", "E113"),
        ("padding", "no", "E111"),
        ("padding", "1_0", "E111"),
        ("padding", "{top: true}", "E112"),
        ("padding", "[1]", "E117"),
        ("padding", "[1, 2, 3]", "E117"),
        ("padding", "65537", "E113"),
        ("kernel", "65537", "E113"),
        ("batch", "0", "E113"),
        ("batch", "'3'", "E110"),
        ("batch", "true", "E112"),
        ("batch", "[any]", "E110"),
        ("groups", "0", "E113"),
        ("groups", "017", "E111"),
        ("bias", "off", "E111"),
        ("bias", "'true'", "E116"),
        ("bias", "[]", "E116"),
        ("activation", "true", "E119"),
        ("activation", "{kind: gelu, approximate: erf}", "E120"),
        ("activation", "{kind: clip, min: 1, max: 1}", "E123"),
        ("activation", "{kind: clip}", "E123"),
        ("activation", "{kind: leaky_relu, alpha: 1_0}", "E111"),
        ("activation", "{kind: leaky_relu, alpha: ~}", "E104"),
        ("activation", "{}", "E103"),
        ("weights", "{b: b.npy}", "E103"),
        ("weights", "{}", "E119"),
        ("weights", "w.npy", "E302"),
        ("weights", "''", "E312"),
        ("weights", '"a\\0b.npz"', "E312"),
        ("weights", "{init: truncated_normal, stddev: 1e7}", "E115"),
        ("weights", "{init: truncated_normal, stddev: 0.1, seed: 1.5}", "E110"),
        ("weights", "{init: truncated_normal, stddev: 0.1, seed: 18446744073709551616}", "E113"),
        ("schedule", "true", "E124"),
        ("schedule", "[auto]", "E124"),
        ("version", "1.0", "E110"),
        ("version", "true", "E112"),
        ("version", "0", "E121"),
        ("layout", "[NHWC]", "E119"),
        ("dtype", "uint8", "E401"),
        ("dtype", "float31", "E120"),
        ("quant", "~", "E119"),
    ],
)
def test_refused(key: str, value: str, code: str) -> None:
    assert refused(**{key: value}) == code


@pytest.mark.parametrize(
    "key", ["filters", "kernel", "stride", "padding", "bias", "weights", "name"]
)
def test_nothing_is_no_value(key: str) -> None:
    assert refused(**{key: ""}) == "E104"
    assert refused(**{key: "null"}) == "E104"


def test_every_entry_of_a_list_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        layer(input="[0, x, true]")
    assert [(d.code, d.col) for d in caught.value.diagnostics] == [
        ("E113", 9),
        ("E110", 12),
        ("E112", 15),
    ]


def test_every_parameter_of_a_map_is_told() -> None:
    with pytest.raises(SpecError) as caught:
        layer(padding="{top: -1, bottom: x, middle: 1}", weights="{init: he, stddev: -1, seed: x}")
    assert [d.code for d in caught.value.diagnostics] == [
        *("E113", "E110", "E101"),
        *("E120", "E115", "E110"),
    ]


def test_misspelt_required_key_is_one_mistake() -> None:
    data: dict[str, Any] = {"inputs": "8x8x4", "filter": 4, "kernels": 3}
    with pytest.raises(SpecError) as caught:
        parse_mapping(data)
    assert [d.code for d in caught.value.diagnostics] == ["E101"] * 3


def test_did_you_mean_looks_at_aliases_too() -> None:
    with pytest.raises(SpecError, match="did you mean `kernel_size`"):
        layer(kernelsize="3")
    with pytest.raises(SpecError, match="did you mean `approximate`"):
        layer(activation="{kind: gelu, aproximate: tanh}")

"""Every derivation's numbers, computed as written, give the number that stands after them."""

from __future__ import annotations

from dataclasses import replace
from math import floor
from pathlib import Path

import pytest
from hypothesis import given, settings
from places import SPECS
from spec_strategies import specs

from convgen.cli.derive import Step, byte_steps, cost_steps, size_steps
from convgen.cli.resolved import layer_facts, resolved_yaml
from convgen.spec import parse_file, parse_text
from convgen.spec.model import ConvSpec, Layer, Padding
from convgen.spec.schedule import Family, Schedule


@settings(max_examples=80, deadline=None)
@given(specs())
def test_the_numbers_as_printed_give_the_value(spec: ConvSpec) -> None:
    steps = [*size_steps(spec), *cost_steps(spec), *byte_steps(spec)]
    for step in steps:
        for side in step.numbers.split(" = "):
            assert eval(side, {"floor": floor}) == step.value, step
    values = {step.name: step.value for step in steps}
    assert (values["OH"], values["OW"]) == (spec.oh, spec.ow)
    assert (values["f_h"], values["f_w"]) == spec.receptive_field
    assert values["MACs"] == spec.macs
    assert values["parameters"] == spec.params
    assert values["output"] == 4 * spec.batch * spec.oh * spec.ow * spec.oc


def test_a_step_reads_as_one_chain() -> None:
    step = Step("OH", "H - KH + 1", "5 - 3 + 1", 3, "rows")
    assert str(step) == "OH = H - KH + 1 = 5 - 3 + 1 = 3    (rows)"
    assert str(Step("n", "H", "7", 7)) == "n = H = 7"


def test_a_remainder_is_mentioned() -> None:
    spec = ConvSpec("a", 6, 5, 1, 1, 3, 3, 2, 2)
    rows, cols = (str(step) for step in size_steps(spec) if step.name in ("OH", "OW"))
    assert "remainder 1: the last 1 padded rows end no window" in rows
    assert "remainder" not in cols


@settings(max_examples=80, deadline=None)
@given(specs())
def test_the_resolved_spec_is_the_same_layer_again(spec: ConvSpec) -> None:
    (layer,) = parse_text(resolved_yaml(Layer(spec, "a.yaml")), "a.yaml")
    (again,) = parse_text(resolved_yaml(layer), "a.yaml")
    assert again.spec == layer.spec
    # Reading only trims padding that no window reaches.
    assert replace(layer.spec, padding=spec.padding) == spec
    assert (layer.spec.oh, layer.spec.ow) == (spec.oh, spec.ow)


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda p: p.stem)
def test_the_gallery_survives_being_resolved(path: Path) -> None:
    for layer in parse_file(path):
        (again,) = parse_text(resolved_yaml(layer), str(path))
        assert (again.spec, again.schedule, again.weights) == (
            layer.spec, layer.schedule, layer.weights,
        )  # fmt: skip


def test_weights_and_a_pinned_schedule_survive() -> None:
    pinned = Schedule(Family.DIRECT, 8, 1, 4, 2)
    text = f"""
input: 5x5x1
filters: 2
kernel: 3
schedule: {pinned}
activation: {{kind: leaky_relu, alpha: 1e-05}}
weights: {{w: "a b/w: #1.npy", b: 'ü.npy'}}
"""
    (layer,) = parse_text(text, "x.yaml")
    (again,) = parse_text(resolved_yaml(layer), "x.yaml")
    assert layer.schedule == pinned
    assert (again.spec, again.schedule, again.weights) == (
        layer.spec, layer.schedule, layer.weights,
    )  # fmt: skip


def test_facts_are_plain_data() -> None:
    from json import dumps

    (layer,) = parse_text("input: 7x7x3\nk: 4\nf: 3\nbatch: any\nbias: false\n", "x.yaml")
    facts = layer_facts(layer)
    assert dumps(facts)
    assert facts["bias_shape"] is None
    assert facts["spec"]["batch"] == "any"
    assert facts["weight_shape"] == [3, 3, 3, 4]
    assert Padding() == layer.spec.padding

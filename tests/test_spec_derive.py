"""The derivations that ``explain`` prints: formulas, this layer's numbers, and the results."""

from __future__ import annotations

import re

import pytest

from convgen.spec import derivation, parse_text


def lines(text: str) -> tuple[str, ...]:
    return derivation(parse_text(text.replace("; ", "\n"), "s.yaml")[0].spec)


def test_the_first_layer() -> None:
    assert lines("input: 32x32x3; k: 10; f: 5; p: 2") == (
        "OH = floor((H + PT + PB - ((KH-1)*DH + 1)) / SH) + 1 = "
        "floor((32 + 2 + 2 - ((5-1)*1 + 1)) / 1) + 1 = floor(31 / 1) + 1 = 32",
        "OW = floor((W + PL + PR - ((KW-1)*DW + 1)) / SW) + 1 = "
        "floor((32 + 2 + 2 - ((5-1)*1 + 1)) / 1) + 1 = floor(31 / 1) + 1 = 32",
        "output = N x OH x OW x OC = 1 x 32 x 32 x 10, stored as 1x32x32x10 (NHWC)",
        "receptive field = ((KH-1)*DH + 1) x ((KW-1)*DW + 1) = 5 x 5",
        "parameters = KH * KW * C/G * OC = 5 * 5 * 3 * 10 + 10 biases = 750 + 10 = 760",
        "MACs = N * OH * OW * OC * KH * KW * C/G = 1 * 32 * 32 * 10 * 5 * 5 * 3 = 768,000",
        "bytes = x 12,288, w 3,000, b 40, y 40,960",
    )


@pytest.mark.parametrize(
    "text",
    [
        "input: 17x23x6; k: 4; f: [3, 4]; s: [2, 3]; d: [2, 1]; g: 2; remainder: floor; batch: 3",
        "input: 224x224x3; k: 64; f: 7; s: 2; p: 3; bias: false; layout: NCHW",
        "input: 9x9x4; k: 8; f: 3; s: 2; p: same; g: depthwise",
    ],
)
def test_each_step_of_a_size_has_one_value(text: str) -> None:
    """Python evaluates what the line claims."""
    spec = parse_text(text.replace("; ", "\n"), "s.yaml")[0].spec
    found = lines(text)
    for line, size in zip(found[:2], (spec.oh, spec.ow), strict=True):
        steps = line.split(" = ")[2:]
        assert len(steps) == 3
        for step in steps:
            assert eval(re.sub(r"floor\((.*)\)", r"int((\1)//1)", step)) == size
    parts = found[5].split(" = ")
    assert eval(parts[1 + 1]) == spec.macs == int(parts[-1].replace(",", ""))


def test_any_batch_is_for_each_image() -> None:
    assert ", for each image," in lines("input: 8x8x1; k: 1; f: 3; batch: any")[2]


def test_no_bias_no_biases() -> None:
    found = lines("input: 8x8x2; k: 3; f: 3; bias: false")
    assert found[4] == "parameters = KH * KW * C/G * OC = 3 * 3 * 2 * 3 = 54"
    assert ", b " not in found[6]

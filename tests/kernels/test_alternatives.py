"""What build and explain say of a spec that another layout, accuracy or type would make quicker."""

from __future__ import annotations

from dataclasses import replace

import pytest
from edge_layers import depthwise, layer
from kernels import planned, target_of
from quant_layers import quantised

from convgen.choose.alternatives import WORTH, alternatives
from convgen.kernels import cost
from convgen.spec.model import Accuracy, ConvSpec, Layout, Padding
from convgen.spec.quant import Rounding

DENSE = ConvSpec("edge", 56, 56, 64, 64, 3, 3, padding=Padding(1, 1, 1, 1))


def said(spec: ConvSpec, isa: str = "avx2") -> dict[str, float]:
    return {a.words: a.times for a in alternatives(planned(spec, target_of(isa)))}


@pytest.mark.parametrize("layout", Layout)
def test_strict_layers_that_winograd_takes_are_told(layout: Layout) -> None:
    strict = replace(DENSE, accuracy=Accuracy.STRICT, layout=layout)
    assert said(strict)["accuracy: fast"] >= WORTH
    assert "accuracy: fast" not in said(replace(DENSE, layout=layout))
    assert "accuracy: fast" not in said(layer("20x20x8", 8, "7x7", "3 3 3 3", layout=layout))


def test_ratios_are_those_of_the_plans() -> None:
    spec = replace(DENSE, accuracy=Accuracy.STRICT)
    slow, fast = (planned(s, target_of("avx2")) for s in (spec, DENSE))
    want = cost(slow).cycles / cost(fast).cycles
    assert said(spec)["accuracy: fast"] == pytest.approx(want)


def test_another_layout_is_named_where_it_is_quicker_and_nowhere_else() -> None:
    narrow = depthwise("5x5x512", "3x3", "1 1 1 1", layout=Layout.NCHW)
    times = said(narrow)["layout: NHWC"]
    planes, pixels = (
        cost(planned(replace(narrow, layout=layout), target_of("avx2"))).cycles
        for layout in (Layout.NCHW, Layout.NHWC)
    )
    assert times == pytest.approx(planes / pixels) and times >= WORTH
    assert said(DENSE) == {} == said(replace(DENSE, layout=Layout.NCHW))


def test_int8_that_is_no_quicker_than_float32_is_told() -> None:
    spec = ConvSpec("edge", 512, 512, 64, 64, 3, 3, padding=Padding(1, 1, 1, 1))
    for isa in ("avx2", "avx512"):
        assert "dtype: float32" in said(quantised(spec, Rounding.ONNX), isa)
    pointwise = ConvSpec("edge", 56, 56, 64, 64, 1, 1)
    assert said(quantised(pointwise, Rounding.ONNX)) == {}

"""Layers that once took minutes: their work is counted, not timed."""

from __future__ import annotations

import numpy as np
import pytest

from convgen.oracle import floats
from convgen.render.source import render_c
from convgen.spec import parse_text
from convgen.spec.model import ConvSpec, Padding
from convgen.spec.requantize import requantization
from convgen.target import TARGETS


def test_taps_wholly_in_padding_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """1x1x1 with a `same` kernel of 1025: one tap of a million meets the input."""
    half = 512
    spec = ConvSpec(
        "huge", 1, 1, 1, 1, 1025, 1025, padding=Padding(half, half, half, half), bias=False
    )
    adds = 0
    block = floats._block

    def counted(*places: object) -> object:
        nonlocal adds
        adds += 1
        return block(*places)  # type: ignore[arg-type]

    monkeypatch.setattr(floats, "_block", counted)
    w = np.random.default_rng(0).standard_normal(spec.w_shape).astype(np.float32)
    x = np.full(spec.x_shape, 2.0, np.float32)
    y = floats.reference(spec, x, w)
    assert y.item() == 2.0 * float(w[half, half, 0, 0])
    assert adds == 1


def test_text_of_scales_grows_with_the_filters() -> None:
    """A table of 4096 filters once took every filter's numbers anew for each block of lanes."""
    from convgen.choose.chooser import choose
    from convgen.kernels import lower

    scales = ", ".join(f"{0.01 + i * 1e-6:.6f}" for i in range(1024))
    quant = f"{{input: {{scale: 0.02}}, weight: {{scale: [{scales}]}}, output: {{scale: 0.05}}"
    text = f"input: 1x1x4\nk: 1024\nf: 1\ndtype: int8\nquant: {quant}, rounding: tflite_single}}\n"
    (layer,) = parse_text(text, "<t>")
    target = TARGETS["x86-64-avx2"]
    plan = lower(layer.spec, choose(layer.spec, target).schedule, target)
    requantization.cache_clear()
    files = render_c(plan)
    known = requantization.cache_info()
    assert known.misses == 1, "one layer's numbers are found once"
    how = requantization(layer.spec)
    assert how is not None
    numbers = set("".join(files.values()).replace(",", " ").split())
    assert {str(factor) for factor in how.factors} <= numbers

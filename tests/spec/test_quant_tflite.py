"""8-bit layers against LiteRT's interpreter with its reference kernels, to the bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from quant_layers import CLAMPED, Filled, filled, random_layer

from convgen.bench.peers.base import Problem
from convgen.bench.peers.tflite_model import tflite_model
from convgen.bench.wire import peer_form
from convgen.oracle.integers import reference
from convgen.spec.layouts import weights_hwio
from convgen.spec.model import ConvSpec, DType, Layout, Padding
from convgen.spec.quant import Affine, Rounding

LAYERS = 120
WHY = "ai-edge-litert, tflite and flatbuffers run and write .tflite models"
interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason=WHY)
pytest.importorskip("tflite", reason=WHY)
pytest.importorskip("flatbuffers", reason=WHY)


def as_tflite_has_them(seed: int, dtype: DType, *, depthwise: bool) -> Filled:
    """Random layers that TFLite can say: SAME or VALID, one group or depthwise, NHWC."""
    made = random_layer(
        seed, Rounding.TFLITE, dtype=dtype, w_zero=dtype is DType.UINT8, tables=False,
        activation=CLAMPED[seed % 3], layout=Layout.NHWC,
    )  # fmt: skip
    spec, quant = made.spec, made.spec.quant
    assert quant is not None and quant.output is not None
    if depthwise:
        c = max(2, spec.c)
        spec = replace(spec, c=c, groups=c, oc=c * (1 + seed % 3), quant=None)
    else:
        spec = replace(spec, groups=1, c=spec.icg * spec.groups, quant=None)
    spec = replace(spec, padding=Padding())
    if seed % 2:
        spec = replace(spec, padding=same(spec))
    weight = quant.weight
    if dtype is DType.UINT8 or len(weight.scale) == 1:
        weight = Affine(weight.scale[:1], weight.zero_point[:1])
    else:
        scales = np.resize(np.array(weight.scale), spec.oc)
        weight = Affine(tuple(float(s) for s in scales), (0,))
    return filled(replace(spec, quant=replace(quant, weight=weight)), seed)


def same(spec: ConvSpec) -> Padding:
    def along(size: int, taps: int, dilation: int, stride: int) -> tuple[int, int]:
        reach = (taps - 1) * dilation + 1
        total = max(0, (-(-size // stride) - 1) * stride + reach - size)
        return total // 2, total - total // 2

    top, bottom = along(spec.h, spec.kh, spec.dh, spec.sh)
    left, right = along(spec.w, spec.kw, spec.dw, spec.sw)
    return Padding(top, left, bottom, right)


def run(layer: Filled) -> Any:
    spec = layer.spec
    bias = np.zeros(spec.oc, np.int32) if layer.b is None else layer.b
    problem = Problem(peer_form(spec), layer.x, weights_hwio(spec, layer.w), bias)
    made = interpreter.Interpreter(
        model_content=tflite_model(problem),
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF,
    )
    made.allocate_tensors()
    made.set_tensor(made.get_input_details()[0]["index"], layer.x)
    made.invoke()
    return made.get_tensor(made.get_output_details()[0]["index"])


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8])
@pytest.mark.parametrize("depthwise", [False, True], ids=["dense", "depthwise"])
def test_reference_kernels(dtype: DType, depthwise: bool) -> None:
    for seed in range(LAYERS):
        layer = as_tflite_has_them(seed, dtype, depthwise=depthwise)
        y = reference(layer.spec, layer.x, layer.w, layer.b)
        np.testing.assert_array_equal(y, run(layer), str(layer.spec))

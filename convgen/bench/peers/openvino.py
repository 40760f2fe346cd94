"""OpenVINO: a model compiled for latency in float32, with NCHW or NHWC tensors at its ends."""

from __future__ import annotations

from functools import partial
from typing import Any

from convgen.bench.peers.base import (
    CannotPrepare,
    Peer,
    Prepared,
    Problem,
    both_kinds,
    nchw,
    quickest,
)


def prepare(problem: Problem) -> Prepared:
    layouts = ("NCHW",) if problem.planes else ("NCHW", "NHWC")
    return quickest([partial(_compiled, problem, layout) for layout in layouts])


def prepare_8_bit(problem: Problem) -> Prepared:
    """A float convolution between quantisers: the plugin makes 8-bit kernels of that."""
    if any(problem.quant.weight.zero_point):
        raise CannotPrepare("OpenVINO's convolutions have weights without zero points")
    return quickest(both_kinds([prepare], problem))


def _compiled(problem: Problem, layout: str) -> Prepared:
    """``layout``: of the tensors that the caller hands over; inside the plugin has its own."""
    import numpy as np
    import openvino as ov

    from convgen.bench.peers.onnx_model import onnx_model, qdq_model

    spec, core = problem.spec, ov.Core()
    text = qdq_model(problem) if spec.quantized else onnx_model(problem)
    model = core.read_model(text)
    if layout == "NHWC":
        model = _with_nhwc_ends(model)
    compiled = core.compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(problem.threads),
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the CPU has it
        },
    )
    request = compiled.create_infer_request()
    nhwc = layout == "NHWC"
    x = problem.x if nhwc else nchw(problem.x)
    y_shape = spec.y_shape if nhwc else (spec.batch, spec.oc, spec.oh, spec.ow)
    y = np.empty(y_shape, problem.x.dtype)
    ends = (ov.Tensor(x, shared_memory=True), ov.Tensor(y, shared_memory=True))
    request.set_input_tensor(ends[0])
    request.set_output_tensor(ends[1])

    def call() -> None:
        request.start_async()
        request.wait()

    def result() -> Any:
        return y if nhwc else y.transpose(0, 2, 3, 1)

    keep = (x, y, *ends, compiled)
    ways = [Prepared(call, result, layout, keep)]
    infer = getattr(type(request).__mro__[1], "infer", None)
    if infer is not None:  # without the copies of inputs and results that Python's face adds
        ways.append(Prepared(lambda: infer(request, {}, False, False), result, layout, keep))
    return quickest([partial(_same, way) for way in ways])


def _same(way: Prepared) -> Prepared:
    return way


def _with_nhwc_ends(model: Any) -> Any:
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor

    steps = PrePostProcessor(model)
    steps.input().tensor().set_layout(Layout("NHWC"))
    steps.input().model().set_layout(Layout("NCHW"))
    steps.output().model().set_layout(Layout("NCHW"))
    steps.output().tensor().set_layout(Layout("NHWC"))
    return steps.build()


PEER = Peer("openvino", ("openvino", "onnx"), prepare, quantized=prepare_8_bit)

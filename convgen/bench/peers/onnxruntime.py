"""ONNX Runtime: an optimised session of a one-node graph, input and output bound to memory."""

from __future__ import annotations

from convgen.bench.peers.base import Peer, Prepared, Problem, both_kinds, nchw, quickest
from convgen.bench.peers.onnx_model import onnx_model, qlinear_model


def prepare(problem: Problem) -> Prepared:
    return _session(problem, onnx_model(problem), "")


def prepare_8_bit(problem: Problem) -> Prepared:
    """QLinearConv as ONNX has it, and the channels-last one that its optimiser puts into graphs;
    over int8 and over uint8 images."""
    ways = [_nchw] if problem.planes else [_nchw, _channels_last]
    return quickest(both_kinds(ways, problem))


def _nchw(problem: Problem) -> Prepared:
    return _session(problem, qlinear_model(problem), "NCHW")


def _channels_last(problem: Problem) -> Prepared:
    model = qlinear_model(problem, channels_last=True)
    return _session(problem, model, "channels last", nhwc=True)


def _session(problem: Problem, model: bytes, variant: str, *, nhwc: bool = False) -> Prepared:
    import onnxruntime as ort

    spec = problem.spec
    options = ort.SessionOptions()
    options.intra_op_num_threads = problem.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = ort.OrtValue.ortvalue_from_numpy(problem.x if nhwc else nchw(problem.x))
    y_shape = spec.y_shape if nhwc else (spec.batch, spec.oc, spec.oh, spec.ow)
    y = ort.OrtValue.ortvalue_from_shape_and_type(list(y_shape), problem.x.dtype.type)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output("y", y)
    settings = ort.RunOptions()
    return Prepared(
        lambda: session.run_with_iobinding(binding, settings),
        lambda: y.numpy() if nhwc else y.numpy().transpose(0, 2, 3, 1),
        variant,
        keep=(x, y),
    )


PEER = Peer("onnxruntime", ("onnxruntime", "onnx"), prepare, quantized=prepare_8_bit)

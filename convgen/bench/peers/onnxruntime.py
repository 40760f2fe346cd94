"""ONNX Runtime: an optimised session of a one-node graph, input and output bound to memory."""

from __future__ import annotations

from typing import Any

from convgen.bench.peers.base import Peer, Prepared, Problem, nchw, oihw, pads


def prepare(problem: Problem) -> Prepared:
    import numpy as np
    import onnxruntime as ort

    spec = problem.spec
    options = ort.SessionOptions()
    options.intra_op_num_threads = problem.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx_model(problem), options, providers=["CPUExecutionProvider"])
    x = ort.OrtValue.ortvalue_from_numpy(nchw(problem.x))
    y_shape = [spec.batch, spec.oc, spec.oh, spec.ow]
    y = ort.OrtValue.ortvalue_from_shape_and_type(y_shape, np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", x)
    binding.bind_ortvalue_output("y", y)
    settings = ort.RunOptions()
    return Prepared(
        lambda: session.run_with_iobinding(binding, settings),
        lambda: y.numpy().transpose(0, 2, 3, 1),
        keep=(x, y),
    )


def onnx_model(problem: Problem) -> bytes:
    """The layer as a one-node ONNX model (two with ReLU), weights as constants, NCHW."""
    from onnx import TensorProto, helper, numpy_helper

    spec, p = problem.spec, pads(problem.spec)
    convolve: Any = helper.make_node(
        "Conv", ["x", "w", "b"], ["v" if problem.relu else "y"],
        kernel_shape=[spec.kh, spec.kw], strides=[spec.sh, spec.sw],
        dilations=[spec.dh, spec.dw], group=spec.groups,
        pads=[p.top, p.left, p.bottom, p.right],
    )  # fmt: skip
    nodes = [convolve, *([helper.make_node("Relu", ["v"], ["y"])] if problem.relu else [])]
    shapes = {
        "x": [spec.batch, spec.c, spec.h, spec.w],
        "y": [spec.batch, spec.oc, spec.oh, spec.ow],
    }
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in shapes.items()
    )
    constants = [numpy_helper.from_array(oihw(problem.w), "w"),
                 numpy_helper.from_array(problem.b, "b")]  # fmt: skip
    graph = helper.make_graph(nodes, spec.name, [x], [y], constants)
    opset = [helper.make_opsetid("", 13)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


PEER = Peer("onnxruntime", ("onnxruntime", "onnx"), prepare)

"""ONNX Runtime: an optimised session of a one-node graph, input and output bound to memory."""

from __future__ import annotations

from typing import Any

from convgen.bench.peers.base import Peer, Prepared, Problem, nchw, oihw, pads, quickest


def prepare(problem: Problem) -> Prepared:
    return _session(problem, onnx_model(problem), "")


def prepare_8_bit(problem: Problem) -> Prepared:
    """QLinearConv as ONNX has it, and the channels-last one that its optimiser puts into graphs."""
    last = "channels last"
    return quickest(
        [
            lambda: _session(problem, qlinear_model(problem), "NCHW"),
            lambda: _session(problem, qlinear_model(problem, channels_last=True), last, nhwc=True),
        ]
    )


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


def qlinear_model(problem: Problem, *, channels_last: bool = False) -> bytes:
    """An 8-bit layer as QLinearConv, with a Clip where ReLU cuts more than the type does.

    ``channels_last``: ONNX Runtime's own operator over NHWC images.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    spec, p = problem.spec, pads(problem.spec)
    n, h, w = spec.batch, spec.h, spec.w
    shapes = {"x": [n, h, w, spec.c], "y": [n, spec.oh, spec.ow, spec.oc]}
    own: dict[str, Any] = {}
    if channels_last:
        own = {"domain": "com.microsoft", "channels_last": 1}
    else:
        shapes = {name: [s[0], s[3], s[1], s[2]] for name, s in shapes.items()}
    low, high = problem.clamp
    kind = np.iinfo(problem.x.dtype)
    clips = (low, high) != (kind.min, kind.max)
    arrays = _constants(problem) | {"low": np.array(low, problem.x.dtype)}
    arrays["high"] = np.array(high, problem.x.dtype)
    places = ["x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "b"]
    nodes = [
        helper.make_node(
            "QLinearConv", ["x", *places], ["v" if clips else "y"],
            kernel_shape=[spec.kh, spec.kw], strides=[spec.sh, spec.sw],
            dilations=[spec.dh, spec.dw], group=spec.groups,
            pads=[p.top, p.left, p.bottom, p.right], **own,
        ),
    ]  # fmt: skip
    if clips:
        nodes.append(helper.make_node("Clip", ["v", "low", "high"], ["y"]))
    element = helper.np_dtype_to_tensor_dtype(problem.x.dtype)
    x, y = (
        helper.make_tensor_value_info(name, element, shape) for name, shape in shapes.items()
    )
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, spec.name, [x], [y], constants)
    opset = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model


def _constants(problem: Problem) -> dict[str, Any]:
    """Everything of an 8-bit layer but its input. Scale and zero point of the weights are both
    one number, or both one for each filter."""
    import numpy as np

    kind, quant, y = problem.x.dtype, problem.quant, problem.output
    scale = np.array(quant.weight.scale, np.float32)
    zero = np.array(quant.weight.zero_point, np.int8)
    if len(scale) == len(zero) == 1:
        scale, zero = scale.reshape(()), zero.reshape(())
    else:
        scale, zero = (np.resize(a, problem.spec.oc) for a in (scale, zero))
    return {
        "x_scale": np.float32(quant.input.scale[0]).reshape(()),
        "x_zero": np.array(quant.x_zero, kind),
        "w": oihw(problem.w),
        "w_scale": scale,
        "w_zero": zero,
        "y_scale": np.float32(y.scale[0]).reshape(()),
        "y_zero": np.array(y.zero_point[0], kind),
        "b": problem.b,
    }


PEER = Peer("onnxruntime", ("onnxruntime", "onnx"), prepare, quantized=prepare_8_bit)

"""One layer as an ONNX model, weights as constants: float32, QLinearConv, or between quantisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convgen.bench.peers.base import Problem, oihw, pads


def onnx_model(problem: Problem) -> bytes:
    """The layer as a one-node ONNX model (two with ReLU), weights as constants, NCHW."""
    from onnx import helper

    relu = problem.relu
    nodes = [_conv(problem, "Conv", ["x", "w", "b"], "v" if relu else "y")]
    if relu:
        nodes.append(helper.make_node("Relu", ["v"], ["y"]))
    return _model(problem, nodes, {"w": oihw(problem.w), "b": problem.b})


def qlinear_model(problem: Problem, *, channels_last: bool = False) -> bytes:
    """An 8-bit layer as QLinearConv, with a Clip where ReLU cuts more than the type does.

    ``channels_last``: ONNX Runtime's own operator over NHWC images.
    """
    import numpy as np
    from onnx import helper

    own: dict[str, Any] = {"domain": "com.microsoft", "channels_last": 1} if channels_last else {}
    kind = problem.x.dtype
    low, high = problem.clamp
    clips = (low, high) != (np.iinfo(kind).min, np.iinfo(kind).max)
    places = ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "b"]
    nodes = [_conv(problem, "QLinearConv", places, "v" if clips else "y", **own)]
    arrays = _constants(problem)
    if clips:
        nodes.append(helper.make_node("Clip", ["v", "low", "high"], ["y"]))
        arrays |= {"low": np.array(low, kind), "high": np.array(high, kind)}
    return _model(problem, nodes, arrays, channels_last=channels_last)


def qdq_model(problem: Problem) -> bytes:
    """An 8-bit layer as quantisers around a float convolution, NCHW: how models are exchanged."""
    import numpy as np
    from onnx import helper

    relu, arrays = problem.relu, _constants(problem)
    scale = np.asarray(arrays["x_scale"] * arrays["w_scale"])
    arrays |= {"b_scale": scale, "b_zero": np.zeros(scale.shape, np.int32)}
    real = [
        helper.make_node("DequantizeLinear", [name, f"{name}_scale", f"{name}_zero"], [to], axis=0)
        for name, to in (("x", "x_real"), ("w", "w_real"), ("b", "b_real"))
    ]
    nodes = [*real, _conv(problem, "Conv", ["x_real", "w_real", "b_real"], "v" if relu else "u")]
    if relu:
        nodes.append(helper.make_node("Relu", ["v"], ["u"]))
    nodes.append(helper.make_node("QuantizeLinear", ["u", "y_scale", "y_zero"], ["y"]))
    return _model(problem, nodes, arrays)


def _conv(problem: Problem, kind: str, inputs: Sequence[str], output: str, **more: Any) -> Any:
    from onnx import helper

    spec, p = problem.spec, pads(problem.spec)
    return helper.make_node(
        kind, inputs, [output], kernel_shape=[spec.kh, spec.kw], strides=[spec.sh, spec.sw],
        dilations=[spec.dh, spec.dw], group=spec.groups,
        pads=[p.top, p.left, p.bottom, p.right], **more,
    )  # fmt: skip


def _model(
    problem: Problem,
    nodes: Sequence[Any],
    arrays: Mapping[str, Any],
    *,
    channels_last: bool = False,
) -> bytes:
    """From x to y, both of the layer's element type, NCHW unless ``channels_last``."""
    from onnx import helper, numpy_helper

    spec, domains = problem.spec, [helper.make_opsetid("", 13)]
    shapes = {
        "x": [spec.batch, spec.c, spec.h, spec.w],
        "y": [spec.batch, spec.oc, spec.oh, spec.ow],
    }
    if channels_last:
        shapes = {"x": list(spec.x_shape), "y": list(spec.y_shape)}
        domains.append(helper.make_opsetid("com.microsoft", 1))
    element = helper.np_dtype_to_tensor_dtype(problem.x.dtype)
    x, y = (helper.make_tensor_value_info(name, element, shape) for name, shape in shapes.items())
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(list(nodes), spec.name, [x], [y], constants)
    made = helper.make_model(graph, opset_imports=domains, ir_version=8)
    model: bytes = made.SerializeToString()
    return model


def _constants(problem: Problem) -> dict[str, Any]:
    """Everything of an 8-bit layer but its input. Scale and zero point of the weights are both
    one number, or both one for each filter."""
    import numpy as np

    kind, quant, y = problem.x.dtype, problem.quant, problem.output
    scale: Any = np.array(quant.weight.scale, np.float32)
    zero: Any = np.array(quant.weight.zero_point, np.int8)
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

"""PyTorch's oneDNN: eager in both layouts, and with weights reordered once as its compiler does.

Of 8-bit layers: the operator that its compiler makes of a quantised model, and the eager one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from convgen.bench.peers.base import (
    CannotPrepare,
    Peer,
    Prepared,
    Problem,
    from_uint8,
    oihw,
    pads,
    quickest,
)
from convgen.spec.model import DType
from convgen.spec.quant import spread


def prepare(problem: Problem) -> Prepared:
    """The quickest of: eager NCHW, eager channels-last, prepacked channels-last with fused ReLU."""
    _set_up(problem)
    ways = (_eager, _prepacked) if problem.planes else (_eager, _channels_last, _prepacked)
    return quickest([partial(way, problem) for way in ways])


def prepare_8_bit(problem: Problem) -> Prepared:
    """The quicker of the compiler's operator and the eager one; both know uint8 images alone.

    Eager layers of many groups go to another library, whose sums saturate: they are left out.
    """
    if any(problem.quant.weight.zero_point):
        raise CannotPrepare("torch's weights have no zero points")
    _set_up(problem)
    ways = [_pointwise] if problem.spec.groups > 1 else [_pointwise, _quantized]
    if problem.spec.dtype is DType.INT8:
        return quickest([partial(from_uint8, way, problem) for way in ways])
    return quickest([partial(way, problem) for way in ways])


def _set_up(problem: Problem) -> None:
    import torch

    if not pads(problem.spec).even:
        raise CannotPrepare("torch pads both ends of an axis alike")
    torch.set_num_threads(problem.threads)
    torch.set_grad_enabled(False)


def _eager(problem: Problem) -> Prepared:
    x, w, b = _tensors(problem)
    return _conv2d(problem, x.contiguous(), w, b, "eager NCHW")


def _channels_last(problem: Problem) -> Prepared:
    import torch

    x, w, b = _tensors(problem)
    w = w.contiguous(memory_format=torch.channels_last)
    return _conv2d(problem, x, w, b, "eager channels-last")


def _prepacked(problem: Problem) -> Prepared:
    import torch

    spec = problem.spec
    x, w, b = _tensors(problem)
    strides, dilations, padding = _steps(problem)
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        w, padding, strides, dilations, spec.groups, list(x.shape)
    )
    conv = torch.ops.mkldnn._convolution_pointwise.default
    act = "relu" if problem.relu else "none"

    def call() -> Any:
        return conv(x, packed, b, padding, strides, dilations, spec.groups, act, [], "")

    layout = "NCHW" if problem.planes else "channels-last"
    return Prepared(call, _result(call), f"prepacked {layout}")


def _conv2d(problem: Problem, x: Any, w: Any, b: Any, variant: str) -> Prepared:
    import torch

    groups = problem.spec.groups
    strides, dilations, padding = _steps(problem)
    conv = torch.conv2d
    relu_ = torch.relu_

    def plain() -> Any:
        return conv(x, w, b, strides, padding, dilations, groups)

    def with_relu() -> Any:
        return relu_(conv(x, w, b, strides, padding, dilations, groups))

    call = with_relu if problem.relu else plain
    return Prepared(call, _result(call), variant)


def _tensors(problem: Problem) -> tuple[Any, Any, Any]:
    """x as the user has it, a channels-last tensor over the NHWC array or planes; w as OIHW, b."""
    import torch

    def tensor(array: Any) -> Any:
        if problem.spec.dtype is DType.BFLOAT16:  # which NumPy does not have
            return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
        return torch.from_numpy(array)

    x = tensor(problem.x).permute(0, 3, 1, 2)
    x = x.contiguous() if problem.planes else x
    return x, tensor(oihw(problem.w)), tensor(problem.b)


def _steps(problem: Problem) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations, padding, each for rows and columns."""
    spec, p = problem.spec, pads(problem.spec)
    return [spec.sh, spec.sw], [spec.dh, spec.dw], [p.top, p.left]


def _result(call: Callable[[], Any]) -> Callable[[], Any]:
    def result() -> Any:
        import torch

        y = call().permute(0, 2, 3, 1).contiguous()
        if y.dtype is torch.bfloat16:
            return y.view(torch.int16).numpy().view("uint16")
        return y.numpy()

    return result


def _pointwise(problem: Problem) -> Prepared:
    """The operator that torch's compiler makes of a quantised model."""
    import torch

    quant, groups = problem.quant, problem.spec.groups
    x = torch.from_numpy(problem.x).permute(0, 3, 1, 2)
    x = x.contiguous() if problem.planes else x
    scales, zeros, b = _by_filter(problem)
    strides, dilations, padding = _steps(problem)
    x_scale, y_scale, y_zero = quant.input.scale[0], *_of_output(problem)
    packed = torch.ops.onednn.qconv_prepack(
        torch.from_numpy(oihw(problem.w)), scales, x_scale, quant.x_zero, strides, padding,
        dilations, groups, list(x.shape),
    )  # fmt: skip
    conv = torch.ops.onednn.qconv2d_pointwise.default
    act = "relu" if problem.relu else "none"

    def call() -> Any:
        return conv(
            x, x_scale, quant.x_zero, packed, scales, zeros, b, strides, padding, dilations,
            groups, y_scale, y_zero, x.dtype, act, [], "",
        )  # fmt: skip

    return Prepared(call, _result(call), "compiled")


def _quantized(problem: Problem) -> Prepared:
    """The eager operator, of quantised tensors."""
    import torch

    quant = problem.quant
    x = torch.from_numpy(problem.x).permute(0, 3, 1, 2)
    x = x.contiguous() if problem.planes else x
    scales, zeros, b = _by_filter(problem)
    strides, dilations, padding = _steps(problem)
    w = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(oihw(problem.w)), scales.double(), zeros.long(), 0
    )
    packed = torch.ops.quantized.conv2d_prepack(
        w, b, strides, padding, dilations, problem.spec.groups
    )
    image = torch._make_per_tensor_quantized_tensor(x, quant.input.scale[0], quant.x_zero)
    operators = torch.ops.quantized
    conv = operators.conv2d_relu.new if problem.relu else operators.conv2d.new
    y_scale, y_zero = _of_output(problem)

    def call() -> Any:
        return conv(image, packed, y_scale, y_zero)

    return Prepared(call, _result(lambda: call().int_repr()), "eager")


def _of_output(problem: Problem) -> tuple[float, int]:
    return problem.output.scale[0], problem.output.zero_point[0]


def _by_filter(problem: Problem) -> tuple[Any, Any, Any]:
    """Scale and zero point of each filter, and the bias as real numbers."""
    import torch

    oc, weight = problem.spec.oc, problem.quant.weight
    scales = torch.tensor(spread(weight.scale, oc))
    b = torch.from_numpy(problem.b).double() * scales.double() * problem.quant.input.scale[0]
    return scales, torch.zeros(oc, dtype=torch.int32), b.float()


PEER = Peer("torch", ("torch",), prepare, quantized=prepare_8_bit, bf16=prepare)

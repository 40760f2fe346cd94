"""PyTorch's oneDNN: eager in both layouts, and with weights reordered once as its compiler does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from convgen.bench.peers.base import CannotPrepare, Peer, Prepared, Problem, oihw, pads, quickest


def prepare(problem: Problem) -> Prepared:
    """The quickest of: eager NCHW, eager channels-last, prepacked channels-last with fused ReLU."""
    import torch

    if not pads(problem.spec).even:
        raise CannotPrepare("torch pads both ends of an axis alike")
    torch.set_num_threads(problem.threads)
    torch.set_grad_enabled(False)
    return quickest([partial(way, problem) for way in (_eager, _channels_last, _prepacked)])


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

    return Prepared(call, _result(call), "prepacked channels-last")


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
    """x as a channels-last tensor over the NHWC array, w as OIHW, b."""
    import torch

    x = torch.from_numpy(problem.x).permute(0, 3, 1, 2)
    return x, torch.from_numpy(oihw(problem.w)), torch.from_numpy(problem.b)


def _steps(problem: Problem) -> tuple[list[int], list[int], list[int]]:
    """Strides, dilations, padding, each for rows and columns."""
    spec, p = problem.spec, pads(problem.spec)
    return [spec.sh, spec.sw], [spec.dh, spec.dw], [p.top, p.left]


def _result(call: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: call().permute(0, 2, 3, 1).contiguous().numpy()


PEER = Peer("torch", ("torch",), prepare)

"""Operators with a window that slides: convolution, its transpose, pooling.

Axis 0 is the batch. ``channels_last``: the channels are the last axis (TFLite), else axis 1 (ONNX).
One to three spatial axes; kernels, strides, dilations and pads have one entry for each, in order.
Pads are (before, after), in elements. SAME is resolved by whoever makes the operator (``same``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

from convgen.network.ops.face import Plain, ShapeError, Type, Types, need, times
from convgen.spec.model import Activation
from convgen.spec.window import out_size

Pads = tuple[tuple[int, int], ...]
Ints = tuple[int, ...]


def same(sizes: Ints, kernel: Ints, strides: Ints, dilations: Ints, *, lower: bool = False) -> Pads:
    """Pads that make every output ceil(size / stride); an odd one more at the end, or the start."""
    found = []
    for size, taps, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        extent = (taps - 1) * dilation + 1
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        before = total - total // 2 if lower else total // 2
        found.append((before, total - before))
    return tuple(found)


def spatial(shape: Ints, *, channels_last: bool) -> Ints:
    """The sizes of the spatial axes."""
    return shape[1:-1] if channels_last else shape[2:]


def channels(shape: Ints, *, channels_last: bool) -> int:
    return shape[-1] if channels_last else shape[1]


def image(batch: int, sizes: Sequence[int], depth: int, *, channels_last: bool) -> Ints:
    """The shape of an image with these sizes."""
    return (batch, *sizes, depth) if channels_last else (batch, depth, *sizes)


@dataclass(frozen=True)
class Window(Plain):
    """What the sliding operators share."""

    kernel: Ints = (1, 1)
    strides: Ints = (1, 1)
    pads: Pads = ((0, 0), (0, 0))
    dilations: Ints = (1, 1)
    channels_last: bool = False
    activation: Activation = field(default_factory=Activation)

    def __post_init__(self) -> None:
        ranks = {len(self.kernel), len(self.strides), len(self.pads), len(self.dilations)}
        assert len(ranks) == 1, self

    def _check(self, x: Type) -> None:
        rank = len(self.kernel)
        if x.rank != rank + 2:
            raise ShapeError(
                f"an input of {x.rank} axes ({times(x.shape)}) under a window of {rank}: "
                f"it needs batch, channels and {rank} spatial axes"
            )
        if min(*self.kernel, *self.strides, *self.dilations) < 1:
            raise ShapeError("kernel, strides and dilations are at least 1")

    def _outs(self, x: Type, *, ceil: bool = False) -> Ints:
        self._check(x)
        sizes = spatial(x.shape, channels_last=self.channels_last)
        found = []
        for at, size in enumerate(sizes):
            (before, after), taps = self.pads[at], self.kernel[at]
            stride, dilation = self.strides[at], self.dilations[at]
            out = out_size(size, before, after, taps, dilation, stride)
            if not out:
                extent = (taps - 1) * dilation + 1
                raise ShapeError(
                    f"no window fits: spatial axis {at} has {size} + {before} + {after} elements, "
                    f"the window {extent}; use a smaller kernel or more padding"
                )
            rest = (size + before + after - ((taps - 1) * dilation + 1)) % stride
            # A window more for what is left over, unless it would start behind the input.
            if ceil and rest and out * stride < size + before:
                out += 1
            found.append(out)
        return tuple(found)


@dataclass(frozen=True)
class Conv(Window):
    """Convolution (cross-correlation). Inputs: x, w [*kernel, C/G, OC], and perhaps b [OC].

    Weights stand in HWIO order whatever the image's order is. Quantised: x and w 8-bit, b int32.
    """

    word: ClassVar[str] = "conv"
    groups: int = 1

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        x, w = need(inputs, 2, 3)
        self._check(x)
        depth = channels(x.shape, channels_last=self.channels_last)
        _filters(w, self.kernel, depth, self.groups, inputs[2] if len(inputs) > 2 else None)
        outs = image(x.shape[0], self._outs(x), w.shape[-1], channels_last=self.channels_last)
        return (Type(outs, x.dtype),)

    def macs(self, inputs: Types, outputs: Sequence[Type]) -> int:
        w = inputs[1]
        assert w is not None
        return outputs[0].size * prod(w.shape[:-1])


@dataclass(frozen=True)
class ConvTransposed(Window):
    """The gradient of a convolution over its input. Inputs: x, w [*kernel, C/G, OC], perhaps b.

        y[i*stride - before + k*dilation] += x[i] * w[k]

    OUT = (IN - 1)*stride - before - after + (taps - 1)*dilation + 1 + output_padding. Pads may be
    negative: then the output has a border that no tap reaches.
    """

    word: ClassVar[str] = "transposed"
    groups: int = 1
    output_padding: Ints = (0, 0)

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        x, w = need(inputs, 2, 3)
        self._check(x)
        depth = channels(x.shape, channels_last=self.channels_last)
        _filters(w, self.kernel, depth, self.groups, inputs[2] if len(inputs) > 2 else None)
        outs = []
        for at, size in enumerate(spatial(x.shape, channels_last=self.channels_last)):
            extent = (self.kernel[at] - 1) * self.dilations[at] + 1
            pads = sum(self.pads[at])
            out = (size - 1) * self.strides[at] - pads + extent + self.output_padding[at]
            if out < 1:
                raise ShapeError(f"spatial axis {at} would have {out} elements: pad less")
            outs.append(out)
        shape = image(x.shape[0], outs, w.shape[-1], channels_last=self.channels_last)
        return (Type(shape, x.dtype),)

    def macs(self, inputs: Types, outputs: Sequence[Type]) -> int:
        x, w = inputs[0], inputs[1]
        assert x is not None and w is not None
        return x.size * prod(self.kernel) * (w.shape[-1] // self.groups)


def _filters(w: Type, kernel: Ints, depth: int, groups: int, b: Type | None) -> None:
    """Do weights, groups and bias fit the input's channels?"""
    if w.rank != len(kernel) + 2 or w.shape[:-2] != kernel:
        raise ShapeError(f"weights {times(w.shape)} do not have the kernel {times(kernel)}")
    per_group, filters = w.shape[-2:]
    if groups < 1 or depth % groups or filters % groups:
        raise ShapeError(
            f"{groups} groups must divide {depth} input channels and {filters} filters"
        )
    if per_group * groups != depth:
        raise ShapeError(
            f"filters {per_group} channels deep in {groups} groups need {per_group * groups} "
            f"input channels, the input has {depth}"
        )
    if b is not None and b.shape != (filters,):
        raise ShapeError(f"a bias of shape {times(b.shape)} where {filters} filters need {filters}")


@dataclass(frozen=True)
class MaxPool(Window):
    """The largest element of each window; padding never wins. NaN anywhere in it gives NaN."""

    word: ClassVar[str] = "maxpool"
    ceil: bool = False

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        return _pooled(self, inputs, ceil=self.ceil)


@dataclass(frozen=True)
class AvgPool(Window):
    """The mean of each window: over its elements inside the image, or with ``include_pad`` over
    those inside the padded image (what ceil mode adds behind that never counts).
    """

    word: ClassVar[str] = "avgpool"
    ceil: bool = False
    include_pad: bool = False

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        return _pooled(self, inputs, ceil=self.ceil)


def _pooled(op: Window, inputs: Types, *, ceil: bool) -> tuple[Type, ...]:
    (x,) = need(inputs, 1)
    outs = op._outs(x, ceil=ceil)
    last = op.channels_last
    shape = image(x.shape[0], outs, channels(x.shape, channels_last=last), channels_last=last)
    return (Type(shape, x.dtype),)

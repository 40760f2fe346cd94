"""TFLite's convolutions, pools and dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.tflite.context import (
    CONVERT,
    SAME,
    arithmetic,
    fused,
    meaning,
    meanings,
    put,
    result_dtype,
)
from convgen.importers.translate import Draft
from convgen.network.graph import Elem, Quantization
from convgen.network.ops import AvgPool, Conv, ConvTransposed, Dense, MaxPool, Reshape, same

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NO_PADS = ((0, 0), (0, 0))


def conv(draft: Draft, node: Node) -> None:
    """CONV_2D: x, weights [OC, KH, KW, C/G], perhaps a bias."""
    x, w = draft.name(node, 0), draft.constant(node, 1, "weights")
    if w.ndim != 4 or 0 in w.shape:
        raise Refusal("M023", f"its weights have the shape {list(w.shape)}", "repair the model")
    depth = image(draft, x)[3]
    if depth % w.shape[3]:
        raise Refusal("M023", f"weights {w.shape[3]} deep, {depth} channels", "repair the model")
    op = _conv(draft, node, x, w.shape[1:3], depth // w.shape[3])
    _weighted(draft, node, op, x, w.transpose(1, 2, 3, 0), axis=0, new_axis=3)


def depthwise(draft: Draft, node: Node) -> None:
    """DEPTHWISE_CONV_2D: x, weights [1, KH, KW, OC], perhaps a bias. Each channel has OC/C filters,
    beside each other."""
    x, w = draft.name(node, 0), draft.constant(node, 1, "weights")
    depth = image(draft, x)[3]
    if w.ndim != 4 or w.shape[0] != 1 or 0 in w.shape or w.shape[3] % max(1, depth):
        raise Refusal("M023", f"weights {list(w.shape)} for {depth} channels", "repair the model")
    op = _conv(draft, node, x, w.shape[1:3], depth)
    _weighted(draft, node, op, x, w.transpose(1, 2, 0, 3), axis=3, new_axis=3)


def _conv(draft: Draft, node: Node, x: str, kernel: tuple[int, ...], groups: int) -> Conv:
    a = node.attributes
    strides = (a["StrideH"], a["StrideW"])
    dilations = (a["DilationHFactor"], a["DilationWFactor"])
    return Conv(
        kernel=kernel,
        strides=strides,
        pads=pads(draft, node, x, kernel, strides, dilations),
        dilations=dilations,
        channels_last=True,
        activation=fused(draft, node),
        groups=groups,
    )


def transposed(draft: Draft, node: Node) -> None:
    """TRANSPOSE_CONV: the output's shape, weights [OC, KH, KW, C], x, perhaps a bias."""
    shape = draft.ints(node, 0, "output shape")
    w, x = draft.constant(node, 1, "weights"), draft.name(node, 2)
    sizes = image(draft, x)[1:3]
    a = node.attributes
    strides = (a["StrideH"], a["StrideW"])
    if w.ndim != 4 or len(shape) != 4:
        raise Refusal("M023", f"weights {list(w.shape)}, output {shape}", "repair the model")
    pads = []
    for at in range(2):
        total = (sizes[at] - 1) * strides[at] + w.shape[1 + at] - shape[1 + at]
        before = max(0, total) // 2 if a["Padding"] == SAME else 0
        pads.append((before, total - before))
    op = ConvTransposed(
        kernel=w.shape[1:3],
        strides=strides,
        pads=tuple(pads),
        channels_last=True,
        activation=fused(draft, node),
    )
    _weighted(draft, node, op, x, w.transpose(1, 2, 3, 0), axis=0, new_axis=3, first=1, bias=3)


def dense(draft: Draft, node: Node) -> None:
    """FULLY_CONNECTED: x of any rank, weights [N, K], perhaps a bias."""
    x, w = draft.name(node, 0), draft.constant(node, 1, "weights")
    if node.attributes["WeightsFormat"]:
        raise Refusal("M021", "shuffled weights are not taken", "convert the model anew")
    if w.ndim != 2 or 0 in w.shape:
        raise Refusal("M023", f"its weights have the shape {list(w.shape)}", "repair the model")
    shape, depth = draft.shape(x), w.shape[1]
    if not node.attributes["KeepNumDims"] and (len(shape) != 2 or shape[1] != depth):
        quants = (draft.quant(x),)
        rows = Reshape((int(_size(shape)) // depth, depth))
        x = draft.add(node, rows, [draft.value(x)], quants=quants, part="rows")
    op = Dense(activation=fused(draft, node))
    _weighted(draft, node, op, x, w.T, axis=0, new_axis=1)


def _size(shape: tuple[int, ...]) -> int:
    from math import prod

    return prod(shape)


def _weighted(
    draft: Draft,
    node: Node,
    op: Conv | ConvTransposed | Dense,
    x: str,
    w: Array,
    *,
    axis: int,
    new_axis: int,
    first: int = 1,
    bias: int = 2,
) -> None:
    """Append an operator with weights in the graph's order. ``axis``: of the scales in the file.

    Float activations with 8-bit weights (a "hybrid" layer) get float weights: TFLite quantises the
    activations anew in every call instead, which is less exact and not what the model means.
    """
    import numpy as np

    name = draft.name(node, first)
    quant, dtype = meaning(draft, name), draft.dtype(x)
    if dtype is Elem.FLOAT32 and w.dtype != np.float32:
        w = real(w, quant, new_axis)
        quant = None
        draft.builder.notes.append(f"{node.label}: its 8-bit weights were made float32")
    elif dtype.eight_bit:
        arithmetic(draft, node, *([x] if x in draft.source.tensors else []))
        if quant is None or not all(s > 0 for s in quant.scale) or w.dtype.itemsize != 1:
            raise Refusal("M023", "8-bit activations, but weights without a scale", CONVERT)
        quant = moved(quant, axis, new_axis)
    elif not dtype.is_float:
        raise Refusal("M022", f"elements of type {dtype} are not taken here", CONVERT)
    inputs = [draft.value(x), draft.new_constant(f"{name}/{op.kind}", w, quant)]
    if draft.has(node, bias):
        inputs.append(_bias(draft, node, bias, dtype))
    draft.add(node, op, inputs, quants=meanings(draft, node), dtypes=[result_dtype(draft, node)])


def _bias(draft: Draft, node: Node, at: int, dtype: Elem) -> str:
    import numpy as np

    b = draft.constant(node, at, "bias").reshape(-1)
    name = draft.name(node, at)
    if dtype.eight_bit:
        if b.dtype != np.int32:
            raise Refusal("M022", f"a bias of type {b.dtype} is not taken", CONVERT)
        return draft.new_constant(f"{name}/bias", b, meaning(draft, name))
    return draft.new_constant(f"{name}/bias", real(b, meaning(draft, name), 0))


def moved(quant: Quantization, axis: int, new_axis: int) -> Quantization:
    """The meaning of transposed weights, whose scales lie along another axis now."""
    if quant.per_tensor:
        return quant
    if quant.axis != axis:
        raise Refusal("M021", f"scales along axis {quant.axis} of the weights", CONVERT)
    return Quantization(quant.scale, quant.zero_point, new_axis)


def real(array: Array, quant: Quantization | None, axis: int) -> Array:
    """The real numbers that quantised or half-precision ones stand for, in float32."""
    import numpy as np

    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if quant is None:
        raise Refusal("M023", f"weights of type {array.dtype} without a scale", CONVERT)
    shape = [1] * array.ndim
    if not quant.per_tensor:
        shape[axis] = len(quant.scale)
    scale = np.array(quant.scale, np.float32).reshape(shape)
    zero = np.array(quant.zero_point, np.int64).reshape(shape)
    return (array.astype(np.int64) - zero).astype(np.float32) * scale


def pool(draft: Draft, node: Node) -> None:
    """AVERAGE_POOL_2D and MAX_POOL_2D; a mean is over the elements inside the image."""
    x = draft.name(node, 0)
    arithmetic(draft, node, x)
    a = node.attributes
    kernel, strides = (a["FilterHeight"], a["FilterWidth"]), (a["StrideH"], a["StrideW"])
    op = (AvgPool if node.op == "AVERAGE_POOL_2D" else MaxPool)(
        kernel=kernel,
        strides=strides,
        pads=pads(draft, node, x, kernel, strides, (1, 1)),
        channels_last=True,
        activation=fused(draft, node),
    )
    put(draft, node, op, x)


def pads(
    draft: Draft,
    node: Node,
    x: str,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """VALID or SAME in numbers; the odd one of SAME stands at the end."""
    if min(*kernel, *strides, *dilations) < 1:
        raise Refusal(
            "M023",
            f"kernel {list(kernel)}, strides {list(strides)}, dilations {list(dilations)}",
            "repair the model",
        )
    if node.attributes["Padding"] != SAME:
        return NO_PADS
    return same(image(draft, x)[1:3], kernel, strides, dilations)


def image(draft: Draft, x: str) -> tuple[int, ...]:
    """The shape of an input that must have four axes."""
    shape = draft.shape(x)
    if len(shape) != 4 or 0 in shape:
        raise Refusal("M023", f"its input has the shape {list(shape)}", "repair the model")
    return shape

"""ONNX's quantised operators: QuantizeLinear, DequantizeLinear and the QLinear ones."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convgen.importers.onnx.context import CUT, REPAIR, attribute
from convgen.importers.onnx.windows import Frame, image
from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.translate import Draft, element
from convgen.network.graph import Elem, Quantization
from convgen.network.ops import Conv, Dense, Dequantize, Quantize

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def quantize(draft: Draft, node: Node) -> None:
    """QuantizeLinear: x, scale, perhaps the zero point, which gives the type (else uint8)."""
    x = draft.name(node, 0)
    if draft.dtype(x) is not Elem.FLOAT32:
        raise Refusal("M022", f"quantising {draft.dtype(x)} is not taken", CUT)
    dtype = Elem.UINT8
    if draft.has(node, 2):
        dtype = draft.dtype(draft.name(node, 2))
    elif attribute(node, "output_dtype", 0):
        dtype = _numbered(attribute(node, "output_dtype", 0))
    if not dtype.eight_bit:
        raise Refusal("M022", f"quantising to {dtype} is not taken", CUT)
    quant = _meaning(draft, node, 1, 2, len(draft.shape(x)))
    draft.add(node, Quantize(dtype), [draft.value(x)], quants=[quant])


def _numbered(number: int) -> Elem:
    from convgen.importers.onnx.read import type_name

    return element(type_name(number))


def dequantize(draft: Draft, node: Node) -> None:
    """DequantizeLinear; of a constant at once, and the integers are remembered."""
    import numpy as np

    x = draft.name(node, 0)
    shape, dtype = draft.shape(x), draft.dtype(x)
    quant = _meaning(draft, node, 1, 2, len(shape))
    known = draft.known.get(draft.alias.get(x, x))
    if known is not None:
        if dtype not in (Elem.INT8, Elem.UINT8, Elem.INT32):
            raise Refusal("M022", f"dequantising {dtype} is not taken", CUT)
        sizes = [1] * len(shape)
        if quant.axis is not None:
            sizes[quant.axis] = len(quant.scale)
        scale = np.array(quant.scale, np.float32).reshape(sizes if quant.axis is not None else ())
        zero = np.array(quant.zero_point, np.int64).reshape(scale.shape)
        draft.fold(node, [((known.astype(np.int64) - zero).astype(np.float32) * scale)])
        draft.packed[node.outputs[0]] = (known, quant)
        return
    if not dtype.eight_bit:
        raise Refusal("M022", f"dequantising {dtype} is not taken", CUT)
    draft.add(node, Dequantize(), [given_meaning(draft, x, quant)])


def given_meaning(draft: Draft, x: str, quant: Quantization) -> str:
    """The value of ``x``, which means ``quant`` from now on. Raises ``Refusal`` when it means
    something else already."""
    name = draft.value(x)
    value = draft.builder.values[name]
    if value.quant is not None and value.quant != quant:
        raise Refusal("M021", "the same integers are read with two scales", CUT)
    draft.builder.values[name] = replace(value, quant=quant)
    return name


def _meaning(
    draft: Draft, node: Node, scale_at: int, zero_at: int, rank: int, axis: int | None = None
) -> Quantization:
    """Scale and zero point from two constant inputs. Raises ``Refusal``."""
    import numpy as np

    scale = draft.constant(node, scale_at, "scale")
    zero = draft.constant(node, zero_at, "zero point") if draft.has(node, zero_at) else None
    if attribute(node, "block_size", 0):
        raise Refusal("M021", "blocks of scales are not taken", CUT)
    if scale.dtype != np.float32:
        raise Refusal("M022", f"a scale of type {scale.dtype} is not taken", CUT)
    if scale.ndim > 1 or not scale.size or not (np.isfinite(scale) & (scale > 0)).all():
        raise Refusal("M023", "its scale is no positive number", REPAIR)
    scales = tuple(float(s) for s in scale.reshape(-1))
    zeros = (0,) * len(scales) if zero is None else tuple(int(z) for z in zero.reshape(-1))
    if len(zeros) != len(scales):
        raise Refusal("M023", f"{len(scales)} scales and {len(zeros)} zero points", REPAIR)
    if len(scales) == 1:
        return Quantization(scales, zeros)
    place = attribute(node, "axis", 1) if axis is None else axis
    if not -rank <= place < rank:
        raise Refusal("M023", f"axis {place} of a tensor with {rank}", REPAIR)
    return Quantization(scales, zeros, place % rank)


def qlinear_conv(draft: Draft, node: Node) -> None:
    """QLinearConv: x, its scale and zero point, the same of W and y, perhaps an int32 bias."""
    x = draft.name(node, 0)
    w = draft.constant(node, 3, "weights")
    if w.ndim != len(image(draft, x)) or w.dtype.itemsize != 1:
        raise Refusal("M023", f"weights {w.dtype} of shape {list(w.shape)}", REPAIR)
    frame = Frame(draft, node, x, tuple(w.shape[2:]))
    op = Conv(
        kernel=frame.kernel,
        strides=frame.strides,
        pads=frame.pads,
        dilations=frame.dilations,
        groups=attribute(node, "group", 1),
    )
    turned = w.transpose(*range(2, w.ndim), 1, 0)
    _integer(draft, node, op, turned, _meaning(draft, node, 4, 5, w.ndim, axis=0), w.ndim - 1)


def qlinear_matmul(draft: Draft, node: Node) -> None:
    """QLinearMatMul with a constant matrix on the right."""
    w = draft.constant(node, 3, "weights")
    if w.ndim != 2 or w.dtype.itemsize != 1:
        raise Refusal("M021", f"weights {w.dtype} of shape {list(w.shape)} are not taken", CUT)
    _integer(draft, node, Dense(), w, _meaning(draft, node, 4, 5, 2, axis=1), 1)


def _integer(
    draft: Draft, node: Node, op: Conv | Dense, w: Array, quant: Quantization, axis: int
) -> None:
    """Append an integer layer. ``quant``: of the weights, whose channels lie along ``axis``."""
    import numpy as np

    x = draft.name(node, 0)
    if not draft.dtype(x).eight_bit:
        raise Refusal("M022", f"elements of type {draft.dtype(x)} are not taken here", CUT)
    source = _meaning(draft, node, 1, 2, len(draft.shape(x)))
    target = _meaning(draft, node, 6, 7, len(draft.shape(x)))
    if not source.per_tensor or not target.per_tensor:
        raise Refusal("M021", "activations with a scale per channel are not taken", CUT)
    dtype = draft.dtype(draft.name(node, 7)) if draft.has(node, 7) else Elem.UINT8
    quant = replace(quant, axis=None if quant.per_tensor else axis)
    wanted = f"{draft.name(node, 3)}/{node.op}"
    inputs = [given_meaning(draft, x, source), draft.new_constant(wanted, w, quant)]
    if draft.has(node, 8):
        bias = draft.constant(node, 8, "bias")
        if bias.dtype != np.int32 or bias.ndim != 1:
            raise Refusal("M023", f"a bias of type {bias.dtype}", REPAIR)
        inputs.append(draft.new_constant(f"{draft.name(node, 8)}/{node.op}", bias))
    draft.add(node, op, inputs, quants=[target], dtypes=[dtype])

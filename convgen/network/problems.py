"""Convolutions and dense nodes as ``ConvSpec``: the problem that the kernels solve."""

from __future__ import annotations

from math import prod

from convgen.network.graph import Graph, Node, Quantization, Value
from convgen.network.ops import Conv, Dense
from convgen.spec.model import Activation, ConvSpec, DType, Layout, Padding
from convgen.spec.quant import Affine, Quant, Rounding, float32

Ints = tuple[int, ...]


def conv_spec(graph: Graph, node: Node, name: str, layout: Layout) -> ConvSpec:
    """A 1-D or 2-D convolution; 1-D has height 1."""
    op = node.op
    assert isinstance(op, Conv)
    x, w = (graph.values[i] for i in node.inputs[:2])
    sizes = x.shape[1:-1] if op.channels_last else x.shape[2:]
    depth = x.shape[-1] if op.channels_last else x.shape[1]
    rank = len(op.kernel)
    assert rank <= 2, node
    (h, ww), (kh, kw) = _pair(sizes), _pair(op.kernel)
    (sh, sw), (dh, dw) = _pair(op.strides), _pair(op.dilations)
    pads = ((0, 0),) * (2 - rank) + op.pads
    top, bottom = trimmed(h, pads[0], kh, dh, sh)
    left, right = trimmed(ww, pads[1], kw, dw, sw)
    return ConvSpec(
        name=name,
        h=h,
        w=ww,
        c=depth,
        oc=w.shape[-1],
        kh=kh,
        kw=kw,
        sh=sh,
        sw=sw,
        dh=dh,
        dw=dw,
        padding=Padding(top, left, bottom, right),
        groups=op.groups,
        batch=x.shape[0],
        bias=len(node.given) > 2,
        activation=op.activation,
        dtype=DType(str(x.dtype)),
        layout=layout,
        quant=_quant(graph, node, single=False),
    )


def _pair(sizes: Ints) -> tuple[int, int]:
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def trimmed(size: int, pads: tuple[int, int], taps: int, dilation: int, stride: int) -> Ints:
    """Pads without the part at the end that no window reaches."""
    before, after = pads
    left = (size + before + after - ((taps - 1) * dilation + 1)) % stride
    return before, after - min(left, after)


def dense_spec(graph: Graph, node: Node, name: str) -> ConvSpec:
    """A dense layer: a 1x1 convolution over an image of one row, a pixel for each row of x."""
    op = node.op
    assert isinstance(op, Dense)
    x, w = (graph.values[i] for i in node.inputs[:2])
    return ConvSpec(
        name=name,
        h=1,
        w=prod(x.shape[:-1]),
        c=x.shape[-1],
        oc=w.shape[1],
        kh=1,
        kw=1,
        bias=len(node.given) > 2,
        activation=op.activation if isinstance(op.activation, Activation) else Activation(),
        dtype=DType(str(x.dtype)),
        quant=_quant(graph, node, single=True),
    )


def _quant(graph: Graph, node: Node, *, single: bool) -> Quant | None:
    """What the integers mean; None of real numbers.

    TFLite's dense kernel differs from its convolutions in two things. It multiplies the scales of
    x and w in float32 where w has one scale: the product stands as the weights' scale then, beside
    an input scale of 1. And it rounds once.
    """
    x, w = (graph.values[i] for i in node.inputs[:2])
    if not x.dtype.eight_bit:
        return None
    y = graph.values[node.output]
    rounding = graph.rounding
    scales = affine(w).scale
    given = affine(x)
    if single and rounding is Rounding.TFLITE:
        rounding = Rounding.TFLITE_SINGLE
        if len(scales) == 1:
            scales = (float32(scales[0] * given.scale[0]),)
            given = Affine((1.0,), given.zero_point)
    weight = Affine(scales, affine(w).zero_point)
    output = affine(y) if y.dtype.eight_bit else None
    return Quant(given, weight, output, None, rounding)


def affine(value: Value) -> Affine:
    quant = value.quant
    assert isinstance(quant, Quantization), value
    return Affine(quant.scale, quant.zero_point)

"""Convolutions and dense nodes as ``ConvSpec``: the problem that the kernels solve."""

from __future__ import annotations

from math import prod

from convgen.network.graph import Graph, Node, Quantization, Value
from convgen.network.ops import Conv, Dense
from convgen.spec.model import Activation, ConvSpec, DType, Layout, Padding
from convgen.spec.quant import Affine, Quant, Rounding, float32

Ints = tuple[int, ...]


def conv_spec(graph: Graph, node: Node, name: str, layout: Layout) -> ConvSpec:
    """A convolution of 1 to 3 dimensions; 1-D has height 1."""
    op = node.op
    assert isinstance(op, Conv)
    x, w = (graph.values[i] for i in node.inputs[:2])
    sizes = x.shape[1:-1] if op.channels_last else x.shape[2:]
    rank = len(op.kernel)
    d, h, width = _three(sizes, 1)
    kd, kh, kw = _three(op.kernel, 1)
    sd, sh, sw = _three(op.strides, 1)
    dd, dh, dw = _three(op.dilations, 1)
    pads = ((0, 0),) * (3 - rank) + op.pads
    front, back = trimmed(d, pads[0], kd, dd, sd)
    top, bottom = trimmed(h, pads[1], kh, dh, sh)
    left, right = trimmed(width, pads[2], kw, dw, sw)
    return ConvSpec(
        name=name,
        h=h,
        w=width,
        c=x.shape[-1] if op.channels_last else x.shape[1],
        oc=w.shape[-1],
        kh=kh,
        kw=kw,
        sh=sh,
        sw=sw,
        dh=dh,
        dw=dw,
        padding=Padding(top, left, bottom, right, front, back),
        groups=op.groups,
        batch=x.shape[0],
        bias=len(node.given) > 2,
        activation=op.activation,
        dtype=DType(str(x.dtype)),
        layout=layout,
        quant=_quant(graph, node, single=False),
        rank=max(2, rank),
        d=d,
        kd=kd,
        sd=sd,
        dd=dd,
    )


def _three(sizes: Ints, fill: int) -> tuple[int, int, int]:
    """Depth, height and width, where fewer are given."""
    d, h, w = (fill,) * (3 - len(sizes)) + sizes
    return d, h, w


def trimmed(
    size: int, pads: tuple[int, int], taps: int, dilation: int, stride: int
) -> tuple[int, int]:
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

"""Kernels of images: resizing, transposed convolution, response normalisation."""

from __future__ import annotations

from collections.abc import Sequence

from convgen.kernels.copy import Axis, mapped_body
from convgen.kernels.integer import Scale
from convgen.kernels.nest import Dim, Nest, nest
from convgen.kernels.norm import LrnBody
from convgen.kernels.resize import Between, ResizeBody
from convgen.kernels.resize.body import FloatResizeBody
from convgen.kernels.transposed import FloatTransposedBody, TransposedBody
from convgen.network import ops
from convgen.network.graph import Graph
from convgen.network.ops.face import Elem
from convgen.network.ops.resize import Coordinates, Nearest, Resize, ResizeMode
from convgen.network.plan import Slot, Step
from convgen.package.network.use import C_TYPES, Use, clamp, only
from convgen.spec.quant import Rounding, fixed_point

ONE = 1024  # what integers count the places between two pixels in


def linear(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    """Resizing of two axes at most; nearest of any."""
    op = step.op
    assert isinstance(op, Resize)
    x, y = only(step)
    if op.mode is ResizeMode.NEAREST:
        return _nearest(op, x, y)
    resized = [at for at, (a, b) in enumerate(zip(x.shape, y.shape, strict=True)) if a != b]
    right = x.dtype is Elem.FLOAT32 or (x.dtype in (Elem.INT8, Elem.UINT8))
    if op.mode is not ResizeMode.LINEAR or op.exclude_outside or not right or len(resized) > 2:
        return ()
    if x.dtype is not Elem.FLOAT32 and rounding is Rounding.ONNX:
        return ()
    return _linear(op, x, y, resized)


def _linear(op: Resize, x: Slot, y: Slot, resized: Sequence[int]) -> tuple[Use, ...]:
    rank = len(x.shape)
    run = rank - 1
    size = x.shape[run]
    if run in resized or x.strides[run] != 1 or y.strides[run] != 1:
        run, size = rank, 1
    spatial = [at for at in range(rank) if at != run]
    chosen = list(resized)
    for at in reversed(spatial):  # axes as they are fill up the two
        if len(chosen) < 2 and at not in chosen:
            chosen.append(at)
    chosen.sort()
    outer = [at for at in spatial if at not in chosen]
    images = nest(*([seq[at] for at in outer] for seq in (x.shape, x.strides, y.strides)))
    if len(images.dims) > 1:
        return ()
    x_image, y_image = images.inner.steps if images.dims else (0, 0)
    integers = x.dtype is not Elem.FLOAT32
    whole = Between((0,), (0,), (0.0,), 0)
    axes = [_between(op, x, y, at, integers=integers) for at in chosen]
    rows, cols = [whole] * (2 - len(axes)) + axes
    kind = ResizeBody if integers else FloatResizeBody
    body = kind(images.inner.size, x_image, y_image, rows, cols, size, C_TYPES[x.dtype])
    return (Use(body, (x, y)),)


def _between(op: Resize, x: Slot, y: Slot, at: int, *, integers: bool) -> Between:
    size, out, step = x.shape[at], y.shape[at], x.strides[at]
    low, high, part = [], [], []
    for i in range(out):
        below, above, share = (_fixed if integers else _real)(op, at, size, out, i)
        low.append(below * step)
        high.append(above * step)
        part.append(share)
    return Between(tuple(low), tuple(high), tuple(part), y.strides[at])


def place(op: Resize, axis: int, size: int, out: int, i: int) -> float:
    """Where output element i of an axis lies in the input."""
    r = op.scale(axis, size)
    match op.coordinates:
        case Coordinates.ASYMMETRIC:
            return i / r
        case Coordinates.ALIGN_CORNERS:
            return i * ((size - 1) / (out - 1)) if out > 1 else 0.0
        case Coordinates.PYTORCH_HALF_PIXEL if out == 1:
            return 0.0
        case Coordinates.HALF_PIXEL_SYMMETRIC:
            return size / 2 * (1 - out / (r * size)) + (i + 0.5) / r - 0.5
        case _:
            return (i + 0.5) / r - 0.5


def _real(op: Resize, axis: int, size: int, out: int, i: int) -> tuple[int, int, float]:
    """The two elements around an output, and the share of the upper one."""
    at = place(op, axis, size, out, i)
    below = int(at // 1)
    ends = [min(max(below + k, 0), size - 1) for k in (0, 1)]
    return ends[0], ends[1], at - below


def _fixed(op: Resize, axis: int, size: int, out: int, i: int) -> tuple[int, int, float]:
    """The same in 1024ths, by TFLite's integer steps."""
    corners = op.coordinates is Coordinates.ALIGN_CORNERS and out > 1
    over, under = (size - 1, out - 1) if corners else (size, out)
    step = (ONE * over + under // 2) // under
    at = i * step
    if op.coordinates in (Coordinates.HALF_PIXEL, Coordinates.PYTORCH_HALF_PIXEL):
        at += step // 2 - ONE // 2
    below = max(at // ONE if at >= 0 else 0, 0)
    above = min(-(-at // ONE), size - 1) if at > 0 else 0
    return below, above, float(at - below * ONE)


def _nearest(op: Resize, x: Slot, y: Slot) -> tuple[Use, ...]:
    """A copy whose axes are looked up."""
    rounders = {
        Nearest.ROUND_PREFER_FLOOR: lambda v: -((0.5 - v) // 1),
        Nearest.ROUND_PREFER_CEIL: lambda v: (v + 0.5) // 1,
        Nearest.FLOOR: lambda v: v // 1,
        Nearest.CEIL: lambda v: -(-v // 1),
    }
    axes = []
    for at in sorted(range(len(y.shape)), key=lambda at: -abs(y.strides[at])):
        size, out, step = x.shape[at], y.shape[at], x.strides[at]
        if size == out and op.scale(at, size) == 1:
            axes.append(Axis(out, y.strides[at], step))
            continue
        index = [int(rounders[op.nearest](place(op, at, size, out, i))) for i in range(out)]
        table = tuple(min(max(i, 0), size - 1) * step for i in index)
        axes.append(Axis(out, y.strides[at], 0, table))
    body = mapped_body(axes, C_TYPES[x.dtype], x.dtype.size, "0")
    return (Use(body, (x, y)),)


def lrn(step: Step, rounding: Rounding) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.LocalResponseNorm)
    x, y = only(step)
    if x.dtype is not Elem.FLOAT32 or op.bias <= 0:
        return ()
    axis = op.axis % len(x.shape)
    rest = [at for at in range(len(x.shape)) if at != axis]
    outer = nest(*([seq[at] for at in rest] for seq in (x.shape, x.strides, y.strides)))
    body = LrnBody(
        x.shape[axis],
        Nest((*outer.dims, Dim(1, (0, 0)))),
        x.strides[axis],
        y.strides[axis],
        (op.size - 1) // 2,
        op.size // 2,
        op.alpha / op.size,
        op.beta,
        op.bias,
    )
    return (Use(body, (x, y)),)


def transposed(step: Step, rounding: Rounding, graph: Graph) -> tuple[Use, ...]:
    op = step.op
    assert isinstance(op, ops.ConvTransposed) and step.weights is not None
    x, y = only(step)
    weights = graph.values[step.weights]
    dense = x.dense and y.dense and len(op.kernel) == 2
    if not dense or x.dtype not in (Elem.FLOAT32, Elem.INT8):
        return ()
    (n, h, w, c), (_, oh, ow, oc) = x.shape, y.shape
    (kh, kw), (sh, sw), (dh, dw) = op.kernel, op.strides, op.dilations
    body: TransposedBody = FloatTransposedBody(
        n, h, w, c, oh, ow, oc, kh, kw, sh, sw, dh, dw, op.pads[0][0], op.pads[1][0], op.groups,
        op.activation,
    )  # fmt: skip
    if x.dtype is Elem.FLOAT32:
        return (Use(body, (x, y), 4 * oc + 4 * weights.size),)
    symmetric = weights.quant is not None and not any(weights.quant.zero_point)
    if not symmetric or x.quant is None or y.quant is None or y.dtype is not Elem.INT8:
        return ()
    if rounding is Rounding.ONNX:
        return ()
    assert weights.quant is not None
    ratios = [float(x.quant.scale[0] * s / y.quant.scale[0]) for s in weights.quant.scale]
    scales = tuple(Scale(*fixed_point(r), once=rounding is Rounding.TFLITE_SINGLE) for r in ratios)
    low, high = clamp(op.activation, y, rounding)
    body = TransposedBody(
        n, h, w, c, oh, ow, oc, kh, kw, sh, sw, dh, dw, op.pads[0][0], op.pads[1][0], op.groups,
        op.activation, "int8_t", x.quant.zero_point[0], (), y.quant.zero_point[0], scales,
        low, high,
    )  # fmt: skip
    return (Use(body, (x, y), 4 * oc + weights.size),)


__all__ = ["linear", "lrn", "transposed"]

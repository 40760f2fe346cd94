"""The oracle: what a layer must compute, in float64, and how far a kernel may be from it.

    y = act(b + sum over taps and channels of x * w)

One matrix product per tap over the output positions where that tap lies inside the image: taps in
the padding contribute nothing, not even 0 * Inf. It shares no code with the generated kernels.

Every image is looked at as one of rows, columns and channels: a 1-D one has a single row, and the
rows of a 3-D one are those of all its planes, one plane after the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.spec.elements import ELEMENTS, stored, widened
from convgen.spec.layouts import image_nhwc, in_layout, weights_hwio
from convgen.spec.model import Act, Activation, ConvSpec, DType
from convgen.spec.window import Axis

Array = NDArray[Any]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Rounding:
    """``unit``: largest relative error of one rounding. ``tiny``: absolute error of underflow."""

    unit: float
    tiny: float


NUMPY_DTYPES: Mapping[DType, np.dtype[Any]] = {
    DType.FLOAT32: np.dtype(np.float32),
    DType.FLOAT64: np.dtype(np.float64),
    DType.FLOAT16: np.dtype(np.float16),
    DType.BFLOAT16: np.dtype(np.uint16),  # its bits
}
ROUNDING: Mapping[DType, Rounding] = {
    DType.FLOAT32: Rounding(2.0**-24, 2.0**-150),
    DType.FLOAT64: Rounding(2.0**-53, 2.0**-1074),
    # 16-bit elements are summed in float32; what storing the output costs is STORING.
    DType.FLOAT16: Rounding(2.0**-24, 2.0**-150),
    DType.BFLOAT16: Rounding(2.0**-24, 2.0**-150),
}
LEAST = 2.0**-126  # the least normal number of float32 and bfloat16
STORING: Mapping[DType, Rounding] = {
    DType.FLOAT16: Rounding(2.0**-11, 2.0**-25),
    DType.BFLOAT16: Rounding(2.0**-8, 2.0**-134),
}


@dataclass(frozen=True)
class ActError:
    """What a kernel's activation may add to the error of its argument v, in units of rounding u.

    |kernel(v) - act(v)| <= u * (absolute * s + relative * |act(v)|) + 4 underflows, where s is 1,
    or max(1, |v|) if ``grows``. ``lipschitz`` bounds |act'|: it carries the error of v through.
    NaN passes through every one of them.
    """

    lipschitz: float
    absolute: float = 0.0
    relative: float = 0.0
    grows: bool = False

    @property
    def rounded(self) -> bool:
        """At most one correctly rounded operation: of an exact v the result is known to the bit."""
        return self.absolute == 0 and self.relative <= 1


# The kernels' epilogues are written to this table, and every build is checked against it. The
# Lipschitz constants are the suprema of |act'|, rounded up: silu at v = 2.3994, gelu at sqrt(2)
# (Phi + sqrt(2) * phi), gelu_tanh near 1.47, hardswish at v = 3.
ACT_ERRORS: Mapping[Act, ActError] = {
    Act.NONE: ActError(1.0),
    Act.RELU: ActError(1.0),
    Act.RELU6: ActError(1.0),
    Act.CLIP: ActError(1.0),
    Act.LEAKY_RELU: ActError(1.0, relative=1.0),  # lipschitz: max(1, |alpha|), see act_error
    Act.HARDSWISH: ActError(1.5, absolute=2.0, relative=4.0, grows=True),
    Act.SIGMOID: ActError(0.25, absolute=4.0, relative=16.0),
    Act.TANH: ActError(1.0, absolute=4.0, relative=16.0),
    Act.SILU: ActError(1.1, absolute=4.0, relative=16.0, grows=True),
    Act.GELU: ActError(1.13, absolute=4.0, relative=16.0, grows=True),
    Act.GELU_TANH: ActError(1.13, absolute=4.0, relative=16.0, grows=True),
}


@dataclass(frozen=True)
class Points:
    """Output positions, the outer product of five sorted index lists.

    ``oc`` counts within a group: every group is included at the same places. ``od``: planes, of
    which a layer without depth has one. Arrays of positions are [n, od*oh, ow, oc].
    """

    n: Indices
    oh: Indices
    ow: Indices
    oc: Indices
    od: Indices = field(default_factory=lambda: np.arange(1))

    @classmethod
    def every(cls, spec: ConvSpec, batch: int) -> Points:
        sizes = (batch, spec.oh, spec.ow, spec.ocg, spec.od)
        return cls(*(np.arange(size) for size in sizes))

    def rows(self, spec: ConvSpec) -> Indices:
        """The rows of the output, plane after plane."""
        flat = self.od[:, None] * spec.oh + self.oh
        return flat.reshape(-1)

    def channels(self, spec: ConvSpec) -> Indices:
        """The output channels, group after group."""
        flat = np.arange(spec.groups)[:, None] * spec.ocg + self.oc
        return flat.reshape(-1)

    def count(self, spec: ConvSpec) -> int:
        rows = len(self.od) * len(self.oh)
        return len(self.n) * rows * len(self.ow) * len(self.oc) * spec.groups

    def take(self, spec: ConvSpec, y: Array) -> Array:
        """These positions of an output in the layer's layout, as [n, od*oh, ow, oc]."""
        return image_nhwc(spec, y)[np.ix_(self.n, self.rows(spec), self.ow, self.channels(spec))]


def reference(spec: ConvSpec, x: Any, w: Any, b: Any = None, *, dtype: Any = None) -> Array:
    """The layer's exact output up to float64 rounding: y in the layer's layout, dtype float64.

    ``x``: ``spec.x_shape`` (any number of images with ``batch: any``), ``w``: ``spec.w_shape``,
    ``b``: [oc], or None without bias. ``dtype`` defaults to float64, longdouble for float64
    layers. Raises ``ValueError`` for a wrong shape.
    """
    x, w, b = checked(spec, x, w, b)
    points = Points.every(spec, x.shape[0])
    return in_layout(spec, reference_at(spec, x, w, b, points, dtype=dtype))


def reference_at(
    spec: ConvSpec, x: Array, w: Array, b: Array | None, points: Points, *, dtype: Any = None
) -> Array:
    """``reference`` at some positions only: [n, od*oh, ow, oc] of ``points``."""
    v = accumulate(spec, x, w, b, points, dtype or wide(spec))
    return activation(spec.activation, v, spec.dtype)


def error_bound(spec: ConvSpec, x: Any, w: Any, b: Any = None) -> Array:
    """How far a correct kernel may be from ``reference``, elementwise, same shape.

    gamma_{K+2} * (|x| conv |w| + |b|) + (K+1) * tiny, with K = KH*KW*C/G multiply-adds and
    gamma_n = n*u / (1 - n*u), the usual bound on a sum in any order (Higham, Accuracy and
    Stability, section 3.1); through the activation by its Lipschitz constant, plus its own error.
    """
    x, w, b = checked(spec, x, w, b)
    points = Points.every(spec, x.shape[0])
    v = accumulate(spec, x, w, b, points, wide(spec))
    value = activation(spec.activation, v, spec.dtype)
    error = sum_bound(spec, x, w, b, points)
    return in_layout(spec, through_activation(spec, v, value, error))


def sum_bound(spec: ConvSpec, x: Array, w: Array, b: Array | None, points: Points) -> Array:
    """The error bound of the sum before the activation, [n, od*oh, ow, oc] of ``points``."""
    x, w = np.abs(values(spec, x)), np.abs(values(spec, w))
    b = None if b is None else np.abs(values(spec, b))
    size = accumulate(spec, x, w, b, points, np.dtype(np.float64))
    gamma, tiny = gamma_tiny(spec)
    bound: Array = size * gamma + tiny
    return bound


def flush_bound(spec: ConvSpec, x: Array, w: Array, points: Points) -> Array:
    """What sums lose where numbers below 2^-126 count as 0: the products of such inputs and
    weights, and as much as that in each of 2K+4 further places: [n, od*oh, ow, oc] of ``points``.
    """
    kind, places = np.dtype(np.float64), 2 * spec.taps * spec.icg + 4
    x, w = np.abs(values(spec, x)), np.abs(values(spec, w))
    normal_x, normal_w = (np.where(array < LEAST, 0, array) for array in (x, w))
    lost = accumulate(spec, x, w, None, points, kind)
    lost = lost - accumulate(spec, normal_x, normal_w, None, points, kind)
    bound: Array = lost * (1 + 2**-40) + places * LEAST
    return bound


def gamma_tiny(spec: ConvSpec) -> tuple[float, float]:
    """gamma_{K+2}, and the underflows of K+1 operations."""
    rounding = ROUNDING[spec.dtype]
    taps = spec.taps * spec.icg
    steps = (taps + 2) * rounding.unit
    # Near 2^24 products gamma_n has its pole; n*u alone holds there too (Jeannerod and Rump 2013).
    gamma = steps / (1 - steps) if steps < 0.5 else 2 * steps
    return gamma, (taps + 1) * rounding.tiny


def through_activation(spec: ConvSpec, v: Array, value: Array, error: Array | float) -> Array:
    """The error bound after the activation: v is known to within ``error``, act(v) is ``value``."""
    rounding = ROUNDING[spec.dtype]
    rule = act_error(spec.activation)
    scale = np.maximum(1.0, np.abs(v) + error) if rule.grows else 1.0
    own = rounding.unit * (rule.absolute * scale + rule.relative * np.abs(value))
    carried = rule.lipschitz * error * (1 + rule.relative * rounding.unit)
    bound: Array = carried + own + (4 * rounding.tiny if rule.relative else 0.0)
    if storing := STORING.get(spec.dtype):
        bound = bound + storing.unit * (np.abs(value) + bound) + storing.tiny
    return bound


def act_error(act: Activation) -> ActError:
    """The table's row for this activation; leaky_relu's slope can exceed 1."""
    row = ACT_ERRORS[act.kind]
    if act.kind is Act.LEAKY_RELU:
        return ActError(max(1.0, abs(act.alpha)), row.absolute, row.relative)
    return row


def activation(act: Activation, v: Array, dtype: DType = DType.FLOAT32) -> Array:
    """act(v), elementwise; NaN stays NaN in every activation, ReLU included.

    ``alpha``, ``min`` and ``max`` count as the nearest value of the layer's ``dtype``, since that
    is the number a kernel holds.
    """
    v = np.asarray(v)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        match act.kind:
            case Act.NONE:
                return v
            case Act.RELU:
                return _clip(v, 0.0, None)
            case Act.RELU6:
                return _clip(v, 0.0, 6.0)
            case Act.CLIP:
                low, high = (None if x is None else _as(x, dtype) for x in (act.low, act.high))
                return _clip(v, low, high)
            case Act.LEAKY_RELU:
                return np.where(v < 0, _as(act.alpha, dtype) * v, v)
            case _:
                return _smooth(act.kind, v)


def _smooth(kind: Act, v: Array) -> Array:
    match kind:
        case Act.HARDSWISH:
            return np.asarray(v * _clip(v + 3, 0.0, 6.0) / 6)
        case Act.SIGMOID:
            return _sigmoid(v)
        case Act.TANH:
            return np.asarray(np.tanh(v))
        case Act.SILU:
            return np.asarray(v * _sigmoid(v))
        case Act.GELU:
            # v * Phi(v) through erfc: 1 + erf would cancel for negative v.
            root = math.sqrt(0.5)
            tail = [math.erfc(-root * t) for t in v.reshape(-1).tolist()]
            return np.asarray(v * 0.5 * np.array(tail, v.dtype).reshape(v.shape))
        case Act.GELU_TANH:
            # (1 + tanh t) / 2 = sigmoid(2t), again without cancellation.
            inner = 2 * math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v)
            return np.asarray(v * _sigmoid(inner))
        case _:
            raise AssertionError(kind)


def _sigmoid(v: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-v)))


def _clip(v: Array, low: float | None, high: float | None) -> Array:
    # Comparisons that NaN fails leave it as it is.
    if low is not None:
        v = np.where(v < low, low, v)
    return v if high is None else np.where(v > high, high, v)


def _as(value: float, dtype: DType) -> float:
    compute = ELEMENTS[dtype].compute
    return float(NUMPY_DTYPES[compute or DType.FLOAT32].type(value))


def accumulate(
    spec: ConvSpec, x: Array, w: Array, b: Array | None, points: Points, dtype: Any
) -> Array:
    """Bias plus the sum over all taps, before the activation: [n, od*oh, ow, oc] of ``points``."""
    filters = weights_hwio(spec, values(spec, w))
    bias = None if b is None else values(spec, b)
    return summed(spec, values(spec, x), filters, bias, points, dtype)


def summed(
    spec: ConvSpec, x: Array, filters: Array, b: Array | None, points: Points, dtype: Any
) -> Array:
    """``accumulate`` with numbers, the weights as [kd*kh, kw, c/g, oc]."""
    g, images = spec.groups, image_nhwc(spec, x)[_lean(points.n)]
    planes = images.reshape(len(points.n), spec.d, spec.h, spec.w, spec.c)
    places = (points.od, points.oh, points.ow)
    shape = (g, len(points.n), *map(len, places), len(points.oc))
    split = (spec.kd, spec.kh, spec.kw, spec.icg, g, spec.ocg)
    taps = filters.reshape(split)[..., _lean(points.oc)]
    taps = np.ascontiguousarray(taps.transpose(0, 1, 2, 4, 3, 5), dtype=dtype)
    total = np.zeros(shape, dtype)
    deep, high, wide = (
        [(k, *met) for k in range(axis.taps) if len((met := _met(axis, k, at))[0])]
        for axis, at in zip(spec.axes, places, strict=True)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        for kd, depths, id_ in deep:  # taps that meet padding alone are left out
            for kh, rows, ih in high:
                strip = planes[:, _lean(id_)][:, :, _lean(ih)]
                for kw, cols, iw in wide:
                    patch = strip[:, :, :, _lean(iw)]
                    lines = patch.astype(dtype).reshape(math.prod(patch.shape[:4]), g, spec.icg)
                    part = lines.transpose(1, 0, 2) @ taps[kd, kh, kw]
                    sums = (g, len(points.n), len(depths), len(rows), len(cols))
                    total[_block(depths, rows, cols)] += part.reshape(*sums, len(points.oc))
        y = total.reshape(g, shape[1], shape[2] * shape[3], *shape[4:]).transpose(1, 2, 3, 0, 4)
        y = y.reshape(*y.shape[:3], g * shape[5])
        return y if b is None else y + b[points.channels(spec)].astype(dtype)


def _met(axis: Axis, tap: int, outputs: Indices) -> tuple[Indices, Indices]:
    """Which of some ascending outputs meet an input by this tap: their places, and those inputs.

    A convolution's window reads input o*S - P + k*D; a transposed one's input i writes to output
    i*S - P + k*D.
    """
    shift = tap * axis.dilation - axis.before
    if axis.transposed:
        inputs, rest = np.divmod(outputs - shift, axis.stride)
    else:
        inputs, rest = outputs * axis.stride + shift, np.zeros_like(outputs)
    live = np.flatnonzero((rest == 0) & (inputs >= 0) & (inputs < axis.size))
    return live, inputs[live]


def values(spec: ConvSpec, array: Array) -> Array:
    """The numbers of a layer's array: bfloat16 comes as its bits."""
    return widened(array, ELEMENTS[spec.dtype]) if spec.dtype is DType.BFLOAT16 else array


def held(spec: ConvSpec, wanted: Array) -> Array:
    """Exact outputs as the layer's elements hold them, rounded once; float64."""
    element = ELEMENTS[spec.dtype]
    return widened(stored(wanted, element), element).astype(np.float64)


def _block(depths: Indices, rows: Indices, cols: Indices) -> tuple[Any, ...]:
    """An index of [group, n, od, oh, ow, oc] for these places: slices where all are evenly spread,
    so that sums are added in place."""
    lean = tuple(_lean(index) for index in (depths, rows, cols))
    whole = slice(None)
    if all(isinstance(index, slice) for index in lean):
        return (whole, whole, *lean)
    return (whole, whole, *np.ix_(depths, rows, cols))


def _lean(index: Indices) -> Indices | slice:
    """An ascending index list as a slice where its steps are even: a view instead of a copy."""
    if len(index) == 0:
        return slice(0, 0)
    step = int(index[1] - index[0]) if len(index) > 1 else 1
    if step > 0 and bool((np.diff(index) == step).all()):
        return slice(int(index[0]), int(index[-1]) + 1, step)
    return index


def checked(spec: ConvSpec, x: Any, w: Any, b: Any) -> tuple[Array, Array, Array | None]:
    x, w = _bits(np.asarray(x)), _bits(np.asarray(w))
    want = spec.x_shape
    images = "any number of images" if spec.batch_any else f"batch {spec.batch}"
    if x.shape != want and not (spec.batch_any and x.ndim == len(want) and x.shape[1:] == want[1:]):
        raise ValueError(f"x: expected {want} ({spec.layout}, {images}), got {x.shape}")
    if w.shape != spec.w_shape:
        raise ValueError(f"w: expected {spec.w_shape} ({spec.weight_layout}), got {w.shape}")
    if spec.bias != (b is not None):
        rule = f"needs b, of shape {spec.b_shape}" if spec.bias else "has no bias, but b was given"
        raise ValueError(f"b: layer {spec.name} {rule}")
    if b is None:
        return x, w, None
    b = _bits(np.asarray(b))
    if b.shape != spec.b_shape:
        raise ValueError(f"b: expected {spec.b_shape}, got {b.shape}")
    return x, w, b


def _bits(array: Array) -> Array:
    """ml_dtypes' bfloat16 as the bits that it is."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def wide(spec: ConvSpec) -> Any:
    """longdouble for float64 layers: an oracle as rough as the kernel would judge nothing."""
    return np.dtype(np.longdouble if spec.dtype is DType.FLOAT64 else np.float64)

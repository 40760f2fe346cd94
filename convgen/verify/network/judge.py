"""Is a step's output right? To the bit where nothing may round, within a stated bound elsewhere.

Convolutions are judged as layers are. Other steps of floats, u = 2^-24, g(n) = n*u / (1 - n*u):

    add sub mul div    one rounding: u*|v|, dequantise too; prelu: 2*u*|v|
    mean, sum          g(n) * sum of |x|, over the count, and a rounding of the quotient
    matmul             g(K + 1) * sum of |a * b|
    transposed         g(K + 2) * (sum of |x * w| + |b|), K = KH*KW*C/G
    resize             4*u * (as much |x| as it takes)
    response norm      |y| * (g(n + 4) + 32*u)
    functions          elu, exp, pow ...: 16*u of the largest part; floor, sign ... exact
    softmax            y * (g(n + 16) + 3*u*beta*(max - min))
    max, min, copies   exact
    activations        as a convolution's, after the operation's own error
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.network import ops
from convgen.network.graph import Graph, Node, Value
from convgen.network.meaning import run_node
from convgen.network.ops.face import Elem, Op
from convgen.network.ops.resize import ResizeMode
from convgen.network.plan import Slot
from convgen.oracle.floats import through_activation
from convgen.oracle.points import choose_points
from convgen.spec.model import Activation, ConvSpec
from convgen.spec.quant import Rounding
from convgen.verify.bound import judge_bounded
from convgen.verify.fills import Fill
from convgen.verify.network.task import StepTask

Array = NDArray[Any]
UNIT = 2.0**-24
TINY = 2.0**-149


@dataclass(frozen=True)
class Judged:
    """``ratio``: largest error / bound, 0 where all is exact. ``detail``: what is wrong, or ""."""

    error: float
    ratio: float
    detail: str


def judge(
    task: StepTask, inputs: Sequence[Array | None], outputs: Sequence[Array], rounding: Rounding,
    seed: int,
) -> Judged:  # fmt: skip
    """One step, given copies of what it read and what it wrote, in their slots' shapes."""
    if task.spec is not None:
        return _convolution(task, inputs, outputs[0], seed)
    if task.moves:
        return _moved(task, inputs, outputs)
    worst = Judged(0.0, 0.0, "")
    wanted = meaning(task, inputs, rounding)
    for slot, got, want in zip(task.outputs, outputs, wanted, strict=True):
        if slot.dtype.is_float:
            given = [*inputs, *(array for array, _ in task.constants)]
            bound = bound_of(task.op, given, want)
        else:
            bound = np.zeros(want.shape)
        found = _within(got, want, bound)
        worst = found if found.detail or found.ratio > worst.ratio else worst
    return worst


def _convolution(task: StepTask, inputs: Sequence[Array | None], y: Array, seed: int) -> Judged:
    spec = task.spec
    x = inputs[0]
    assert spec is not None and x is not None and task.w is not None
    fill = Fill(x.reshape(spec.x_shape), task.w, task.b)
    points = choose_points(spec, seed)
    verdict = judge_bounded(spec, fill, y.reshape(spec.y_shape), points, task.leeway)
    return Judged(verdict.max_error, verdict.ratio, "" if verdict.passed else verdict.detail)


def _moved(task: StepTask, inputs: Sequence[Array | None], outputs: Sequence[Array]) -> Judged:
    """Copies are exact: bit patterns are compared."""
    for move, source, got in zip(task.moves, inputs, outputs, strict=True):
        want = np.full(got.shape, move.fill, got.dtype) if source is None else source
        differing = int((bits(got) != bits(want)).sum())
        if differing:
            return Judged(0.0, np.inf, f"{differing} of {got.size} elements are not what is copied")
    return Judged(0.0, 0.0, "")


def bits(a: Array) -> Array:
    """An array's elements as unsigned integers."""
    unsigned: np.dtype[Any] = np.dtype(f"u{a.dtype.itemsize}")
    return np.frombuffer(a.tobytes(), unsigned)


def meaning(
    task: StepTask, inputs: Sequence[Array | None], rounding: Rounding
) -> tuple[Array, ...]:
    """What the step's operator makes of these arrays: a graph of one node, run."""
    values = {}
    arrays = {}
    names = []
    for at, (slot, array) in enumerate(zip(task.inputs, inputs, strict=True)):
        if slot is None or array is None:
            names.append("")
            continue
        name = f"x{at}"
        names.append(name)
        values[name] = Value(name, slot.shape, slot.dtype, slot.quant)
        arrays[name] = array.astype(np.float64) if array.dtype.kind == "f" else array
    for at, (array, quant) in enumerate(task.constants):
        name = f"c{at}"
        names.append(name)
        values[name] = Value(name, array.shape, Elem(array.dtype.name), quant)
        arrays[name] = array.astype(np.float64) if array.dtype.kind == "f" else array
    made = []
    for at, slot in enumerate(task.outputs):
        made.append(f"y{at}")
        values[made[-1]] = Value(made[-1], slot.shape, slot.dtype, slot.quant)
    node = Node("step", task.op, tuple(names), tuple(made))
    given = tuple(name for name in names if name)
    graph = Graph(
        "step",
        given,
        tuple(made),
        (node,),
        MappingProxyType(values),
        MappingProxyType({}),
        rounding,
    )
    return run_node(graph, node, arrays)


def _within(got: Array, want: Array, bound: Array) -> Judged:
    exact = want.astype(np.float64)
    have = got.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(have == exact, 0.0, np.abs(have - exact))
        both = np.isnan(have) & np.isnan(exact)
        wrong = ~(error <= bound) & ~both
        ratio = np.where(error > 0, error / bound, 0.0)
    error, ratio = np.where(both, 0.0, error), np.where(both, 0.0, ratio)
    top = float(error.max()) if error.size else 0.0
    worst = float(ratio.max()) if ratio.size else 0.0
    count = int(wrong.sum())
    if not count:
        return Judged(top, worst, "")
    place = tuple(int(i[0]) for i in np.nonzero(wrong))
    detail = f"{count} of {wrong.size} outputs wrong, the first at {place}: "
    return Judged(top, worst, f"{detail}got {have[place]:.9g}, expected {exact[place]:.9g}")


# -- Bounds of floats ---------------------------------------------------------------------------


def bound_of(op: Op, inputs: Sequence[Array | None], want: Array) -> Array:
    """How far each output may be off."""
    rule: Callable[..., Array] = BOUNDS.get(type(op), _exact)
    return rule(op, [a for a in inputs if a is not None], want)


def _gamma(n: int) -> float:
    return n * UNIT / (1 - n * UNIT)


def _exact(op: Any, inputs: list[Array], want: Array) -> Array:
    return np.zeros(want.shape)


def _acted(act: Activation, v: Array, want: Array, error: Array | float) -> Array:
    spec = ConvSpec("any", 1, 1, 1, 1, 1, 1, activation=act)
    return through_activation(spec, v, want, error)


def _binary(op: ops.Binary, inputs: list[Array], want: Array) -> Array:
    from convgen.network.meaning import elementwise

    a, b = (array.astype(np.float64) for array in inputs)
    with np.errstate(all="ignore"):
        v = elementwise.binary(ops.Binary(op.fn), a, b)
    rounded = {"max": 0.0, "min": 0.0, "pow": 16 * UNIT}.get(op.fn, UNIT)
    return _acted(op.activation, v, want, rounded * np.abs(v) + TINY)


def _activate(op: ops.Activate, inputs: list[Array], want: Array) -> Array:
    return _acted(op.activation, inputs[0].astype(np.float64), want, 0.0)


def _prelu(op: ops.PRelu, inputs: list[Array], want: Array) -> Array:
    return np.asarray(2 * UNIT * np.abs(want) + TINY)


def _dequantize(op: ops.Dequantize, inputs: list[Array], want: Array) -> Array:
    return np.asarray(UNIT * np.abs(want))


def _average(op: ops.AvgPool, inputs: list[Array], want: Array) -> Array:
    n = int(np.prod(op.kernel))
    plain = type(op)(
        op.kernel, op.strides, op.pads, op.dilations, op.channels_last,
        ceil=op.ceil, include_pad=op.include_pad,
    )  # fmt: skip
    from convgen.network.meaning import sliding

    sizes = sliding.average_pool(plain, np.abs(inputs[0].astype(np.float64)))
    v = sliding.average_pool(plain, inputs[0].astype(np.float64))
    return _acted(op.activation, v, want, _gamma(n + 1) * sizes + TINY)


def _reduce(op: ops.Reduce, inputs: list[Array], want: Array) -> Array:
    if op.fn in ("max", "min"):
        return np.zeros(want.shape)
    x = np.abs(inputs[0].astype(np.float64))
    n = int(np.prod([x.shape[axis] for axis in op.axes]))
    sizes = x.sum(axis=tuple(op.axes), keepdims=op.keepdims)
    share = 1.0 / n if op.fn == "mean" else 1.0
    return np.asarray(_gamma(n + 1) * sizes * share + TINY)


def _matmul(op: ops.MatMul, inputs: list[Array], want: Array) -> Array:
    a, b = (np.abs(array.astype(np.float64)) for array in inputs)
    depth = a.shape[-1]
    return np.asarray(_gamma(depth + 1) * (a @ b) + (depth + 1) * TINY)


def _transposed(op: ops.ConvTransposed, inputs: list[Array], want: Array) -> Array:
    from convgen.network.meaning import sliding

    wide = [a.astype(np.float64) for a in inputs]
    plain = replace(op, activation=Activation())
    v = sliding.transposed(plain, *wide)
    sizes = sliding.transposed(plain, *(np.abs(a) for a in wide))
    depth = int(np.prod(inputs[1].shape[:-1]))
    return _acted(op.activation, v, want, _gamma(depth + 2) * sizes + (depth + 1) * TINY)


def _resize(op: ops.Resize, inputs: list[Array], want: Array) -> Array:
    """Linear weights lie between 0 and 1: sizes are the same interpolation of |x|; the weights
    themselves are rounded to float32, and so are sums and products."""
    from convgen.network.meaning import resizing

    if op.mode is ResizeMode.NEAREST:
        return np.zeros(want.shape)
    sizes = resizing.resize(op, np.abs(inputs[0].astype(np.float64)))
    top = np.abs(inputs[0]).max() if inputs[0].size else 0.0
    return np.asarray(8 * UNIT * np.maximum(sizes, top) + TINY)


def _lrn(op: ops.LocalResponseNorm, inputs: list[Array], want: Array) -> Array:
    return np.asarray(np.abs(want) * (_gamma(op.size + 4) * (1 + op.beta) + 32 * UNIT) + 2.0**-124)


def _unary(op: ops.Unary, inputs: list[Array], want: Array) -> Array:
    x = np.abs(inputs[0].astype(np.float64))
    match op.fn:
        case "abs" | "neg" | "floor" | "ceil" | "round" | "sign" | "thresholded_relu":
            return np.zeros(want.shape)
        case "square" | "reciprocal":
            return np.asarray(UNIT * np.abs(want) + TINY)
        case "hard_sigmoid":
            return np.asarray(3 * UNIT * (abs(op.alpha) * x + abs(op.beta)) + TINY)
        case _:
            part = abs(op.alpha) * abs(op.gamma) if op.fn != "exp" else 0.0
            return np.asarray(16 * UNIT * (np.abs(want) + part) + 2.0**-124)


def _softmax(op: ops.Softmax, inputs: list[Array], want: Array) -> Array:
    x = inputs[0].astype(np.float64) * op.beta
    span = x.max(axis=op.axis, keepdims=True) - x.min(axis=op.axis, keepdims=True)
    relative = _gamma(x.shape[op.axis] + 16) + 3 * UNIT * np.minimum(span, 100)
    return np.asarray(want * relative + 2.0**-124)  # e^-87 and below count as e^-87


BOUNDS: dict[type[Any], Callable[..., Array]] = {
    ops.Binary: _binary,
    ops.Activate: _activate,
    ops.PRelu: _prelu,
    ops.Dequantize: _dequantize,
    ops.AvgPool: _average,
    ops.Reduce: _reduce,
    ops.Softmax: _softmax,
    ops.ConvTransposed: _transposed,
    ops.MatMul: _matmul,
    ops.Resize: _resize,
    ops.LocalResponseNorm: _lrn,
    ops.Unary: _unary,
}


def copied(slot: Slot, raw: NDArray[np.uint8], start: int) -> Array:
    """A copy of a slot's elements; ``start``: byte offset of its buffer in ``raw``."""
    size = slot.dtype.size
    dtype = np.dtype("uint16" if slot.dtype == "bfloat16" else str(slot.dtype))
    whole = raw[start:]
    low, high = slot.reach
    held = np.frombuffer(whole[low * size : high * size].tobytes(), dtype)
    strides = tuple(stride * size for stride in slot.strides)
    first = (slot.offset - low) * size
    view: Array = np.ndarray(slot.shape, dtype, held.tobytes(), first, strides)
    return view.copy()

"""How each layer of a network's YAML becomes nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from convgen.network import ops
from convgen.network.graph import Quantization
from convgen.network.ops import Elem, ShapeError
from convgen.network.ops.face import axis_of
from convgen.network.ops.windows import channels, spatial
from convgen.network.text.entries import Entry
from convgen.network.text.keys import Norm, Order
from convgen.spec import nested
from convgen.spec.fields import Remainder
from convgen.spec.geometry import Axis
from convgen.spec.model import Activation, Padding, WeightLayout
from convgen.spec.nested import PadMode as SameMode

if TYPE_CHECKING:
    from convgen.network.text.derive import Derivation

Outputs = tuple[str | None, ...] | None
_LABELS = {1: ("width",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def _broadcast(d: Derivation, entry: Entry, key: str, rank: int, default: int) -> tuple[int, ...]:
    """One number for every axis, or one for each."""
    value = entry.get(key, default)
    if isinstance(value, int):
        return (value,) * rank
    if len(value) != rank:
        d.refuse(entry, "E117", f"{len(value)} entries for {rank} spatial axes; give {rank}", key)
        raise _RefusedError
    return tuple(value)


class _RefusedError(Exception):
    """The layer has a mistake that is told already."""


def _pads(
    d: Derivation, entry: Entry, sizes: tuple[int, ...], window: dict[str, Any]
) -> tuple[tuple[int, int], ...]:
    value, rank = entry.get("padding", 0), len(sizes)
    match value:
        case SameMode.SAME | SameMode.SAME_LOWER:
            lower = value is SameMode.SAME_LOWER
            shape = (window["kernel"], window["strides"], window["dilations"])
            return ops.same(sizes, *shape, lower=lower)
        case SameMode.VALID:
            return ((0, 0),) * rank
        case Padding() as p if rank == 2:
            return ((p.top, p.bottom), (p.left, p.right))
        case Padding() as p if p.top == p.left == p.bottom == p.right:
            return ((p.top, p.top),) * rank
        case Padding():
            text = f"four sides belong to two axes, here are {rank}: write {{before, after}}"
            d.refuse(entry, "E117", text, "padding")
            raise _RefusedError
        case int():
            return ((value, value),) * rank
    sides = []
    for side in value:
        side = (side,) * rank if isinstance(side, int) else side
        if len(side) != rank:
            text = f"{len(side)} entries for {rank} spatial axes; give {rank}"
            d.refuse(entry, "E117", text, "padding")
            raise _RefusedError
        sides.append(side)
    return tuple(zip(*sides, strict=True))


def _window(d: Derivation, entry: Entry, x: str, *, pool: bool = False) -> dict[str, Any]:
    """kernel, strides, pads, dilations, channels_last of a sliding operator."""
    last = d.channels_last(entry)
    shape = d.shape(x)
    rank = len(shape) - 2
    if not 1 <= rank <= 3:
        raise ShapeError(
            f"its input has {len(shape)} axes: images have 3 to 5 (batch, 1 to 3, channels)"
        )
    sizes = spatial(shape, channels_last=last)
    window: dict[str, Any] = {
        "kernel": _broadcast(d, entry, "kernel", rank, 1),
        "strides": _broadcast(d, entry, "stride", rank, 1),
        "dilations": _broadcast(d, entry, "dilation", rank, 1),
        "channels_last": last,
        "activation": entry.get("activation", Activation()),
    }
    window["pads"] = _pads(d, entry, sizes, window)
    if not (pool and entry.get("ceil")) and entry.kind != "transposed":
        _fits(d, entry, sizes, window)
    return window


def _fits(d: Derivation, entry: Entry, sizes: tuple[int, ...], window: dict[str, Any]) -> None:
    """Does a window fit, and is no real input dropped unawares?"""
    by_definition = isinstance(entry.get("padding"), SameMode)
    floor = by_definition or entry.get("remainder") is Remainder.FLOOR
    for at, label in enumerate(_LABELS[len(sizes)]):
        (before, after), taps = window["pads"][at], window["kernel"][at]
        unit = {"height": "row", "width": "column"}.get(label, "plane")
        axis = Axis(
            label, unit, sizes[at], before, after, taps,
            window["dilations"][at], window["strides"][at],
        )  # fmt: skip
        if not axis.out:
            text = f"no window fits: {label} {axis.sum} is negative; a smaller kernel, or padding"
            d.refuse(entry, "E201", text, "kernel", "padding")
            raise _RefusedError
        if not floor and not axis.harmless:
            text = (
                f"{label}: {axis.sum} leaves {axis.left} {unit}s that no window reaches at stride "
                f"{axis.stride}; write `remainder: floor`, `p: same`, or another stride"
            )
            d.refuse(entry, "E202", text, "stride", "padding", "kernel")
            raise _RefusedError


def _meaning(d: Derivation, entry: Entry, x: str) -> Quantization | None:
    """What 8-bit weights mean; None of real ones. Raises where the layer does not say."""
    value = d.builder.values[x]
    if not value.dtype.eight_bit:
        return None
    quant: Quantization | None = entry.get("weight_quant")
    if quant is None or entry.get("quant") is None:
        keys = "`weight_quant: {scale: 0.01}` and `quant: {scale: 0.1}`"
        text = f"a layer on {value.dtype} says what its weights and outputs mean: add {keys}"
        d.refuse(entry, "E401", text)
        raise _RefusedError
    return quant


def _weights(
    d: Derivation, entry: Entry, name: str, x: str, kernel: tuple[int, ...], depth: int
) -> list[str]:
    """w and b of a layer that sums over ``depth`` inputs at each tap."""
    filters, rank = entry.get("filters"), len(kernel)
    meaning = _meaning(d, entry, x)
    dtype = d.builder.values[x].dtype if meaning is None else Elem.INT8
    shape = (*kernel, depth, filters)
    stored, perm, axes = _stored(entry.get("weight_layout", WeightLayout.HWIO), shape, rank)
    named = axes if rank else "in, out"
    w = d.parameter(entry, name, "w", shape, dtype, named, stored=stored, perm=perm, quant=meaning)
    if not entry.get("bias", True):
        return [w]
    b_type = dtype if meaning is None else Elem.INT32
    return [w, d.parameter(entry, name, "b", (filters,), b_type, "one per filter", drawn=0.0)]


def _stored(
    layout: WeightLayout, shape: tuple[int, ...], rank: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None, str]:
    """The shape in the file, how its axes become HWIO, and what they are."""
    taps = tuple(range(rank))
    order = {
        WeightLayout.HWIO: (*taps, rank, rank + 1),
        WeightLayout.OIHW: (rank + 1, rank, *taps),
        WeightLayout.OHWI: (rank + 1, *taps, rank),
    }[layout]
    if layout is WeightLayout.HWIO:
        return shape, None, "kernel, C/G, filters"
    perm = tuple(order.index(axis) for axis in range(rank + 2))
    return tuple(shape[axis] for axis in order), perm, str(layout)


def _conv(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    window = _window(d, entry, ins[0])
    depth = channels(d.shape(ins[0]), channels_last=window["channels_last"])
    groups = entry.get("groups", 1) or depth
    if "groups" in entry.values and entry.get("groups") is None:
        groups = depth
    for code, count, what in (
        ("E203", depth, "input channels"),
        ("E204", entry.get("filters"), "filters"),
    ):
        if count % groups:
            text = f"{count} {what} do not split into {groups} equal groups"
            d.refuse(entry, code, text, "groups", "filters")
            raise _RefusedError
    constants = _weights(d, entry, name, ins[0], window["kernel"], depth // groups)
    if entry.kind == "conv":
        op: Any = ops.Conv(**window, groups=groups)
    else:
        rank = len(window["kernel"])
        extra = _broadcast(d, entry, "output_padding", rank, 0)
        op = ops.ConvTransposed(**window, groups=groups, output_padding=extra)
    return d.node(entry, name, op, [ins[0], *constants])


def _pool(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    last, shape = d.channels_last(entry), d.shape(ins[0])
    if entry.get("global"):
        axes = tuple(range(1, len(shape) - 1)) if last else tuple(range(2, len(shape)))
        fn = ops.ReduceFn.MAX if entry.kind == "maxpool" else ops.ReduceFn.MEAN
        return d.node(entry, name, ops.Reduce(fn, axes), ins)
    window = _window(d, entry, ins[0], pool=True)
    ceil = entry.get("ceil", False)
    if entry.kind == "maxpool":
        return d.node(entry, name, ops.MaxPool(**window, ceil=ceil), ins)
    include = entry.get("include_pad", False)
    return d.node(entry, name, ops.AvgPool(**window, ceil=ceil, include_pad=include), ins)


def _dense(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """An image is flattened first, as it lies in the graph's axes."""
    x, shape = ins[0], d.shape(ins[0])
    if len(shape) > 2 and entry.get("flatten", True):
        flat = ops.Reshape((shape[0], prod(shape[1:])))
        value = d.builder.values[x]
        (x,) = d.builder.node(f"{name}.flat", flat, [x], quants=[value.quant])
    constants = _weights(d, entry, name, x, (), d.shape(x)[-1])
    return d.node(entry, name, ops.Dense(entry.get("activation", Activation())), [x, *constants])


def _binary(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """Two or more values, or one and a number; more than two are taken in turn."""
    fn = ops.BinaryFn(entry.kind)
    ins = list(ins)
    if "by" in entry.values:
        ins.append(_inline(d, f"{name}.by", entry.get("by"), d.builder.values[ins[0]].dtype))
    if len(ins) < 2:
        text = f"{entry.kind} takes two inputs or more: write `of: [skip, previous]`, or `by: 2`"
        d.refuse(entry, "E504", text, "of")
        raise _RefusedError
    if len(ins) > 2 and fn in (ops.BinaryFn.SUB, ops.BinaryFn.DIV):
        d.refuse(entry, "E504", f"{fn} takes two inputs, {len(ins)} are given", "of")
        raise _RefusedError
    total = ins[0]
    for at, other in enumerate(ins[1:-1]):
        (total,) = d.builder.node(f"{name}.{at}", ops.Binary(fn), [total, other])
    op = ops.Binary(fn, entry.get("activation", Activation()))
    return d.node(entry, name, op, [total, ins[-1]])


def _inline(d: Derivation, name: str, values: tuple[Any, ...], dtype: Elem) -> str:
    import numpy as np

    array = np.array(values if len(values) != 1 else values[0]).astype(str(dtype))
    return d.builder.constant(name, array)


def _channel_axis(d: Derivation, entry: Entry, x: str) -> int:
    """Of an image the channels', else the last axis."""
    return len(d.shape(x)) - 1 if d.channels_last(entry) or len(d.shape(x)) < 3 else 1


def _concat(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    axis = entry.get("axis", _channel_axis(d, entry, ins[0]))
    return d.node(entry, name, ops.Concat(axis), ins)


def _split(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    shape = d.shape(ins[0])
    axis = axis_of(entry.get("axis", _channel_axis(d, entry, ins[0])), len(shape))
    sizes, parts = entry.get("sizes"), entry.get("parts")
    if (sizes is None) == (parts is None):
        d.refuse(entry, "E103", "split needs `parts: 2`, or `sizes: [8, 24]`; one of the two")
        raise _RefusedError
    if parts is not None and shape[axis] % parts:
        text = f"{shape[axis]} elements do not split into {parts} equal parts; give `sizes`"
        d.refuse(entry, "E504", text, "parts")
        raise _RefusedError
    sizes = sizes or (shape[axis] // parts,) * parts
    names = [f"{name}.{at}" for at in range(len(sizes))]
    return d.node(entry, name, ops.Split(axis, sizes), ins, names)


def _slice(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    starts, ends = entry.get("starts"), entry.get("ends")
    axes, steps = entry.get("axes", tuple(range(len(starts)))), entry.get("steps")
    if len({len(starts), len(ends), len(axes), len(steps or starts)}) != 1:
        d.refuse(entry, "E117", "starts, ends, axes and steps have one entry each for an axis")
        raise _RefusedError
    op = ops.sliced(d.shape(ins[0]), starts, ends, axes, steps)
    return d.node(entry, name, op, ins)


def _pad(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    mode = entry.get("mode", ops.PadMode.CONSTANT)
    return d.node(entry, name, ops.Pad(entry.get("pads"), mode, entry.get("value", 0.0)), ins)


def _resize(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    shape, last = d.shape(ins[0]), d.channels_last(entry)
    rank = len(shape)
    first = 1 if last else 2
    sizes, scales = list(shape), [1.0] * rank
    given = [key for key in ("size", "scale", "sizes", "scales") if key in entry.values]
    whole = given in (["sizes"], ["sizes", "scales"])
    if len(given) != 1 and not whole:
        text = "resize needs one of `size: 56x56`, `scale: 2`, or `sizes` of every axis"
        d.refuse(entry, "E103", text)
        raise _RefusedError
    if whole:
        sizes, found = list(entry.get("sizes")), entry.get("scales")
        scales = list(found) if found else []
    elif given == ["size"]:
        sizes[first : first + rank - 2] = _broadcast(d, entry, "size", rank - 2, 1)
        scales = []
    elif given == ["scales"]:
        scales = list(entry.get("scales"))
        sizes = [int(n * r) for n, r in zip(shape, scales, strict=False)]
    else:
        factors = entry.get("scale")
        factors = factors * (rank - 2) if len(factors) == 1 else factors
        for at, factor in enumerate(factors[: rank - 2]):
            scales[first + at] = factor
            sizes[first + at] = int(shape[first + at] * factor)
    op = ops.Resize(
        tuple(sizes),
        tuple(scales),
        entry.get("mode", ops.ResizeMode.NEAREST),
        entry.get("coordinates", ops.Coordinates.HALF_PIXEL),
        entry.get("nearest", ops.Nearest.ROUND_PREFER_FLOOR),
        entry.get("cubic", -0.75),
        entry.get("exclude_outside", False),
    )
    return d.node(entry, name, op, ins)


def _reshape(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """-1 stands once for what is left."""
    x, wanted = d.shape(ins[0]), entry.get("shape")
    if entry.kind == "flatten":
        wanted = (x[0], -1)
    if wanted.count(-1) > 1 or min(wanted) < -1:
        d.refuse(entry, "E504", "a shape has one -1 at most, and no other negative size", "shape")
        raise _RefusedError
    rest = prod(size for size in wanted if size != -1)
    if -1 in wanted:
        left = prod(x) // rest if rest and prod(x) % rest == 0 else 0
        wanted = tuple(left if size == -1 else size for size in wanted)
    return d.node(entry, name, ops.Reshape(wanted), ins)


def _prelu(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """One slope for each channel, or of ``shape``."""
    x = d.builder.values[ins[0]]
    axis = _channel_axis(d, entry, ins[0])
    default = tuple(size if at == axis else 1 for at, size in enumerate(x.shape))[axis:]
    shape = entry.get("shape", default)
    slope = d.parameter(entry, name, "slope", shape, x.dtype, "slopes", drawn=0.25)
    return d.node(entry, name, ops.PRelu(), [ins[0], slope])


def _norm(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    x = d.builder.values[ins[0]]
    axis = entry.get("axis", _channel_axis(d, entry, ins[0]))
    epsilon = entry.get("epsilon", 1e-5)

    def row(key: str, shape: tuple[int, ...], drawn: float) -> str:
        return d.parameter(entry, name, key, shape, x.dtype, "one per channel", drawn=drawn)

    match entry.get("kind"):
        case Norm.BATCH:
            shape: tuple[int, ...] = (x.shape[axis_of(axis, len(x.shape))],)
            rows = [
                row(key, shape, drawn)
                for key, drawn in (("scale", 1.0), ("shift", 0.0), ("mean", 0.0), ("var", 1.0))
            ]
            return d.node(entry, name, ops.BatchNorm(axis, epsilon), [ins[0], *rows])
        case Norm.LAYER:
            shape = x.shape[axis_of(axis, len(x.shape)) :]
            scale = row("scale", shape, 1.0) if entry.get("scale", True) else ""
            rows = [scale, row("shift", shape, 0.0) if entry.get("shift", True) else ""]
            while rows and not rows[-1]:
                rows.pop()
            return d.node(entry, name, ops.LayerNorm(axis, epsilon), [ins[0], *rows])
        case _:
            op = ops.LocalResponseNorm(
                entry.get("size", 5),
                entry.get("alpha", 1e-4),
                entry.get("beta", 0.75),
                entry.get("bias", 1.0),
                axis,
            )
            return d.node(entry, name, op, ins)


def _depth_to_space(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    last, block = d.channels_last(entry), entry.get("block")
    if entry.kind == "space_to_depth":
        return d.node(entry, name, ops.SpaceToDepth(block, last), ins)
    op = ops.DepthToSpace(block, entry.get("order") is Order.CRD, last)
    return d.node(entry, name, op, ins)


def _gather(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    import numpy as np

    axis, shape = entry.get("axis", 0), entry.get("shape", (-1,))
    size = d.shape(ins[0])[axis_of(axis, len(d.shape(ins[0])))]
    indices = np.array(entry.get("indices"), np.int64)
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        d.refuse(entry, "E504", f"indices lie in {-size}..{size - 1}", "indices")
        raise _RefusedError
    shape = () if shape == () or shape == (0,) else shape
    held = d.builder.constant(f"{name}.indices", indices.reshape(shape))
    return d.node(entry, name, ops.Gather(axis), [ins[0], held])


def _constant(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """A tensor written out, or one of the network's .npz."""
    dtype, shape = entry.get("dtype", Elem.FLOAT32), entry.get("shape", ())
    if "value" in entry.values:
        import numpy as np

        values = np.array(entry.get("value")).astype(str(dtype))
        if values.size not in (1, prod(shape)) and "shape" in entry.values:
            text = f"{values.size} values for a shape of {prod(shape)}; give one, or as many"
            d.refuse(entry, "E117", text, "value")
            raise _RefusedError
        made = np.broadcast_to(values, shape) if values.size == 1 else values.reshape(shape or -1)
        return (d.builder.constant(name, made, entry.get("quant")),)
    held = d.parameter(entry, name, "value", shape, dtype, "as given", quant=entry.get("quant"))
    return (held,)


def _conversion(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    if entry.kind == "dequantize":
        (made,) = d.builder.node(name, ops.Dequantize(), ins)
        return (made,)
    scales = entry.get("scale")
    zeros = entry.get("zero_point", (0,))
    quant = Quantization(scales[:1], zeros[:1])
    dtype = entry.get("dtype", Elem.INT8)
    kind = ops.Quantize if entry.kind == "quantize" else ops.Requantize
    return d.builder.node(name, kind(dtype), ins, quants=[quant])


def _simple(make: Callable[[Entry], Any]) -> Layer:
    def build(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
        return d.node(entry, name, make(entry), ins)

    return build


def _softmax(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    axis = entry.get("axis", _channel_axis(d, entry, ins[0]))
    op = ops.Softmax(axis, entry.get("beta", 1.0), entry.kind == "log_softmax")
    return d.node(entry, name, op, ins)


def _reduce(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    rank = len(d.shape(ins[0]))
    axes = tuple(sorted({axis_of(axis, rank) for axis in entry.get("axes")}))
    op = ops.Reduce(entry.get("fn", ops.ReduceFn.MEAN), axes, entry.get("keep", True))
    return d.node(entry, name, op, ins)


def _activate(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """The layer's own keys are the activation's parameters."""
    from pydantic import ValidationError
    from pydantic_core import PydanticCustomError

    keys = ("alpha", "min", "max", "approximate")
    given = {key: entry.values[key] for key in keys if key in entry.values}
    try:
        act = nested.activation({"kind": entry.kind, **given})
    except (PydanticCustomError, ValidationError) as error:
        found = error.errors()[0] if isinstance(error, ValidationError) else None
        code = str(found["type"]) if found else str(getattr(error, "type", "E119"))
        text = str(found["msg"]) if found else str(error)
        d.refuse(entry, code if code.startswith("E") else "E119", text, *keys)
        raise _RefusedError from None
    return d.node(entry, name, ops.Activate(act), ins)


def _unary(entry: Entry) -> Any:
    fn = ops.UnaryFn(entry.kind)
    defaults = {
        ops.UnaryFn.SELU: (1.6732632, 0.0, 1.0507010),
        ops.UnaryFn.HARD_SIGMOID: (1 / 6, 0.5, 1.0),
    }
    alpha, beta, gamma = defaults.get(fn, (1.0, 0.0, 1.0))
    return ops.Unary(
        fn, entry.get("alpha", alpha), entry.get("beta", beta), entry.get("gamma", gamma)
    )


def _safely(build: Layer) -> Layer:
    def built(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
        try:
            return build(d, entry, name, ins)
        except _RefusedError:
            return None

    return built


Layer = Callable[["Derivation", Entry, str, list[str]], Outputs]
_ACTS = [a for a in nested.ActKind if a is not nested.ActKind.NONE]
LAYERS: Mapping[str, Layer] = {
    kind: _safely(build)
    for kind, build in {
        "conv": _conv,
        "transposed": _conv,
        "maxpool": _pool,
        "avgpool": _pool,
        "dense": _dense,
        "matmul": _simple(lambda e: ops.MatMul()),
        **{str(fn): _binary for fn in ops.BinaryFn},
        "concat": _concat,
        "split": _split,
        "slice": _slice,
        "pad": _pad,
        "resize": _resize,
        "reshape": _reshape,
        "flatten": _reshape,
        "transpose": _simple(lambda e: ops.Transpose(e.get("perm"))),
        "softmax": _softmax,
        "log_softmax": _softmax,
        "prelu": _prelu,
        "norm": _norm,
        "reduce": _reduce,
        "depth_to_space": _depth_to_space,
        "space_to_depth": _depth_to_space,
        "tile": _simple(lambda e: ops.Tile(e.get("repeats"))),
        "broadcast": _simple(lambda e: ops.Broadcast(e.get("shape"))),
        "gather": _gather,
        "where": _simple(lambda e: ops.Where()),
        "cast": _simple(lambda e: ops.Cast(e.get("dtype"))),
        "constant": _constant,
        "quantize": _conversion,
        "requantize": _conversion,
        "dequantize": _conversion,
        "identity": _simple(lambda e: ops.Identity()),
        **{str(fn): _simple(_unary) for fn in ops.UnaryFn},
        **{str(act): _activate for act in _ACTS},
    }.items()
}

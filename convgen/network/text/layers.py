"""How each layer of a network's YAML becomes nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from convgen.network import ops
from convgen.network.graph import Quantization
from convgen.network.ops import Elem
from convgen.network.ops.face import axis_of
from convgen.network.text.axes import Outputs, RefusedError, broadcast, channel_axis
from convgen.network.text.entries import Entry
from convgen.network.text.keys import Norm, Order
from convgen.network.text.windows import convolution, dense, pool
from convgen.spec import nested
from convgen.spec.model import Activation
from convgen.spec.reading import Mistake, Mistakes, placed

if TYPE_CHECKING:
    from convgen.network.text.derive import Derivation


def _binary(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """Two or more values, or one and a number; more than two are taken in turn."""
    fn = ops.BinaryFn(entry.kind)
    ins = list(ins)
    if "by" in entry.values:
        ins.append(_inline(d, f"{name}.by", entry.get("by"), d.builder.values[ins[0]].dtype))
    if len(ins) < 2:
        text = f"{entry.kind} takes two inputs or more: write `of: [skip, previous]`, or `by: 2`"
        d.refuse(entry, "E504", text, "of")
        raise RefusedError
    if len(ins) > 2 and fn in (ops.BinaryFn.SUB, ops.BinaryFn.DIV):
        d.refuse(entry, "E504", f"{fn} takes two inputs, {len(ins)} are given", "of")
        raise RefusedError
    total = ins[0]
    for at, other in enumerate(ins[1:-1]):
        (total,) = d.builder.node(f"{name}.{at}", ops.Binary(fn), [total, other])
    op = ops.Binary(fn, entry.get("activation", Activation()))
    return d.node(entry, name, op, [total, ins[-1]])


def _inline(d: Derivation, name: str, values: tuple[Any, ...], dtype: Elem) -> str:
    import numpy as np

    array = np.array(values if len(values) != 1 else values[0]).astype(str(dtype))
    return d.builder.constant(name, array)


def _concat(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    axis = entry.get("axis", channel_axis(d, entry, ins[0]))
    return d.node(entry, name, ops.Concat(axis), ins)


def _split(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    shape = d.shape(ins[0])
    axis = axis_of(entry.get("axis", channel_axis(d, entry, ins[0])), len(shape))
    sizes, parts = entry.get("sizes"), entry.get("parts")
    if (sizes is None) == (parts is None):
        d.refuse(entry, "E103", "split needs `parts: 2`, or `sizes: [8, 24]`; one of the two")
        raise RefusedError
    if parts is not None and shape[axis] % parts:
        text = f"{shape[axis]} elements do not split into {parts} equal parts; give `sizes`"
        d.refuse(entry, "E504", text, "parts")
        raise RefusedError
    sizes = sizes or (shape[axis] // parts,) * parts
    names = [f"{name}.{at}" for at in range(len(sizes))]
    return d.node(entry, name, ops.Split(axis, sizes), ins, names)


def _slice(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    starts, ends = entry.get("starts"), entry.get("ends")
    axes, steps = entry.get("axes", tuple(range(len(starts)))), entry.get("steps")
    if len({len(starts), len(ends), len(axes), len(steps or starts)}) != 1:
        d.refuse(entry, "E117", "starts, ends, axes and steps have one entry each for an axis")
        raise RefusedError
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
        raise RefusedError
    if whole:
        sizes, found = list(entry.get("sizes")), entry.get("scales")
        scales = list(found) if found else []
    elif given == ["size"]:
        sizes[first : first + rank - 2] = broadcast(d, entry, "size", rank - 2, 1)
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
        raise RefusedError
    rest = prod(size for size in wanted if size != -1)
    if -1 in wanted:
        left = prod(x) // rest if rest and prod(x) % rest == 0 else 0
        wanted = tuple(left if size == -1 else size for size in wanted)
    return d.node(entry, name, ops.Reshape(wanted), ins)


def _prelu(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """One slope for each channel, or of ``shape``."""
    x = d.builder.values[ins[0]]
    axis = channel_axis(d, entry, ins[0])
    default = tuple(size if at == axis else 1 for at, size in enumerate(x.shape))[axis:]
    shape = entry.get("shape", default)
    slope = d.parameter(entry, name, "slope", shape, x.dtype, "slopes", drawn=0.25)
    return d.node(entry, name, ops.PRelu(), [ins[0], slope])


def _norm(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    x = d.builder.values[ins[0]]
    axis = entry.get("axis", channel_axis(d, entry, ins[0]))
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
        raise RefusedError
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
            raise RefusedError
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
    axis = entry.get("axis", channel_axis(d, entry, ins[0]))
    op = ops.Softmax(axis, entry.get("beta", 1.0), entry.kind == "log_softmax")
    return d.node(entry, name, op, ins)


def _reduce(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    rank = len(d.shape(ins[0]))
    axes = tuple(sorted({axis_of(axis, rank) for axis in entry.get("axes")}))
    op = ops.Reduce(entry.get("fn", ops.ReduceFn.MEAN), axes, entry.get("keep", True))
    return d.node(entry, name, op, ins)


def _activate(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """The layer's own keys are the activation's parameters."""
    keys = ("alpha", "min", "max", "approximate")
    given = {key: entry.values[key] for key in keys if key in entry.values}
    try:
        act = nested.activation({"kind": entry.kind, **given})
    except (Mistake, Mistakes) as error:
        (_, found), *_ = placed(error, entry.kind)
        d.refuse(entry, found.code if found.code.startswith("E") else "E119", found.text, *keys)
        raise RefusedError from None
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
        except RefusedError:
            return None

    return built


Layer = Callable[["Derivation", Entry, str, list[str]], Outputs]
_ACTS = [a for a in nested.ActKind if a is not nested.ActKind.NONE]
LAYERS: Mapping[str, Layer] = {
    kind: _safely(build)
    for kind, build in {
        "conv": convolution,
        "transposed": convolution,
        "maxpool": pool,
        "avgpool": pool,
        "dense": dense,
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

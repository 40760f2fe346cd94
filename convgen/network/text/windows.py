"""Layers with windows and with weights: conv, transposed, pools, dense."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from convgen.network import ops
from convgen.network.graph import Quantization
from convgen.network.ops import Elem, ShapeError
from convgen.network.ops.windows import channels, spatial
from convgen.network.text.axes import Outputs, RefusedError, broadcast
from convgen.network.text.entries import Entry
from convgen.spec.fields import Remainder
from convgen.spec.model import Activation, Padding, WeightLayout
from convgen.spec.nested import PadMode as SameMode
from convgen.spec.window import Axis

if TYPE_CHECKING:
    from convgen.network.text.derive import Derivation

_LABELS = {1: ("width",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def _pads(
    d: Derivation, entry: Entry, sizes: tuple[int, ...], window: dict[str, Any]
) -> tuple[tuple[int, int], ...]:
    value, rank = entry.get("padding", 0), len(sizes)
    match value:
        case SameMode.SAME | SameMode.SAME_LOWER:
            lower = value is SameMode.SAME_LOWER
            shape = (window["kernel"], window["strides"], window["dilations"])
            if entry.kind == "transposed":
                return _same_transposed(window, lower=lower)
            return ops.same(sizes, *shape, lower=lower)
        case SameMode.VALID:
            return ((0, 0),) * rank
        case Padding() as p:
            given = ((p.front, p.back), (p.top, p.bottom), (p.left, p.right))
            if any(a or b for a, b in given[: 3 - rank]):
                text = f"the input has {rank} spatial axes: these sides are not all there"
                d.refuse(entry, "E117", text, "padding")
                raise RefusedError
            return given[3 - rank :]
        case int():
            return ((value, value),) * rank
    sides = []
    for side in value:
        side = (side,) * rank if isinstance(side, int) else side
        if len(side) != rank:
            text = f"{len(side)} entries for {rank} spatial axes; give {rank}"
            d.refuse(entry, "E117", text, "padding")
            raise RefusedError
        sides.append(side)
    return tuple(zip(*sides, strict=True))


def _same_transposed(window: dict[str, Any], *, lower: bool) -> tuple[tuple[int, int], ...]:
    """Pads that make every output size * stride where the filter is at least as wide as a step."""
    found = []
    steps = zip(window["kernel"], window["strides"], window["dilations"], strict=True)
    for taps, stride, dilation in steps:
        total = max(0, (taps - 1) * dilation + 1 - stride)
        before = total - total // 2 if lower else total // 2
        found.append((before, total - before))
    return tuple(found)


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
        "kernel": broadcast(d, entry, "kernel", rank, 1),
        "strides": broadcast(d, entry, "stride", rank, 1),
        "dilations": broadcast(d, entry, "dilation", rank, 1),
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
            sizes[at],
            taps,
            window["strides"][at],
            window["dilations"][at],
            before,
            after,
        )
        told = f"({axis.size} + {before} + {after} - {axis.extent})"
        if not axis.out:
            text = f"no window fits: {label} {told} is negative; a smaller kernel, or padding"
            d.refuse(entry, "E201", text, "kernel", "padding")
            raise RefusedError
        if not floor and not axis.harmless:
            text = (
                f"{label}: {told} leaves {axis.left} {unit}s that no window reaches at stride "
                f"{axis.stride}; write `remainder: floor`, `p: same`, or another stride"
            )
            d.refuse(entry, "E202", text, "stride", "padding", "kernel")
            raise RefusedError


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
        raise RefusedError
    return quant


def _weights(
    d: Derivation, entry: Entry, name: str, x: str, kernel: tuple[int, ...], depth: int
) -> list[str]:
    """w and b of a layer that sums over ``depth`` inputs at each tap."""
    filters, rank = entry.get("filters"), len(kernel)
    meaning = _meaning(d, entry, x)
    dtype = d.builder.values[x].dtype if meaning is None else Elem.INT8
    shape = (*kernel, depth, filters)
    groups = 1
    if entry.kind == "transposed":  # as layers have them: every input channel, filters of a group
        groups = d.shape(x)[-1 if d.channels_last(entry) else 1] // depth
    seen = (*kernel, depth * groups, filters // groups)
    stored, perm, axes = _stored(entry.get("weight_layout", WeightLayout.HWIO), seen, rank)
    named = axes if rank else "in, out"
    w = d.parameter(
        entry,
        name,
        "w",
        shape,
        dtype,
        named,
        stored=stored,
        perm=perm,
        groups=groups,
        quant=meaning,
    )
    if not entry.get("bias", True):
        return [w]
    b_type = dtype if meaning is None else Elem.INT32
    return [w, d.parameter(entry, name, "b", (filters,), b_type, "one per filter", drawn=0.0)]


def _stored(
    layout: WeightLayout, shape: tuple[int, ...], rank: int
) -> tuple[tuple[int, ...], tuple[int, ...] | None, str]:
    """The shape in the file, how its axes become HWIO, and what they are."""
    taps, place = tuple(range(rank)), {"I": (rank,), "O": (rank + 1,)}
    order: tuple[int, ...] = ()
    for letter in str(layout).replace("HW", "K"):
        order += taps if letter == "K" else place[letter]
    if layout is WeightLayout.HWIO:
        return shape, None, "kernel, C/G, filters"
    perm = tuple(order.index(axis) for axis in range(rank + 2))
    return tuple(shape[axis] for axis in order), perm, str(layout)


def convolution(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
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
            raise RefusedError
    constants = _weights(d, entry, name, ins[0], window["kernel"], depth // groups)
    if entry.kind == "conv":
        op: Any = ops.Conv(**window, groups=groups)
    else:
        rank = len(window["kernel"])
        extra = broadcast(d, entry, "output_padding", rank, 0)
        op = ops.ConvTransposed(**window, groups=groups, output_padding=extra)
    return d.node(entry, name, op, [ins[0], *constants])


def pool(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
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


def dense(d: Derivation, entry: Entry, name: str, ins: list[str]) -> Outputs:
    """An image is flattened first, as it lies in the graph's axes."""
    x, shape = ins[0], d.shape(ins[0])
    if len(shape) > 2 and entry.get("flatten", True):
        flat = ops.Reshape((shape[0], prod(shape[1:])))
        value = d.builder.values[x]
        (x,) = d.builder.node(f"{name}.flat", flat, [x], quants=[value.quant])
    constants = _weights(d, entry, name, x, (), d.shape(x)[-1])
    return d.node(entry, name, ops.Dense(entry.get("activation", Activation())), [x, *constants])

"""TFLite's operators that move elements and compute nothing."""

from __future__ import annotations

from math import prod

from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.tflite.context import (
    CONVERT,
    fused,
    meaning,
    meanings,
    put,
    put_with,
    result_dtype,
)
from convgen.importers.translate import Draft
from convgen.network.ops import (
    Broadcast,
    Concat,
    Coordinates,
    DepthToSpace,
    Gather,
    Nearest,
    Pad,
    PadMode,
    Reshape,
    Resize,
    ResizeMode,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
)


def reshape(draft: Draft, node: Node) -> None:
    """RESHAPE: the shape stands in the second input, or in the options."""
    x = draft.name(node, 0)
    given = node.attributes.get("NewShape")
    wanted = draft.ints(node, 1, "shape") if draft.has(node, 1) else given
    if wanted is None:
        raise Refusal("M023", "it says no shape", "repair the model")
    put(draft, node, Reshape(completed(draft.shape(x), wanted)), x)


def completed(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """A shape whose one -1 is what is left over. Raises ``Refusal``."""
    rest = prod(n for n in wanted if n != -1)
    if wanted.count(-1) > 1 or any(n < -1 for n in wanted):
        raise Refusal("M023", f"{list(wanted)} is no shape", "repair the model")
    if -1 in wanted and rest:
        return tuple(prod(shape) // rest if n == -1 else n for n in wanted)
    return wanted


def squeeze(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    shape = draft.shape(x)
    axes = {a + len(shape) if a < 0 else a for a in node.attributes["SqueezeDims"] or ()}
    if any(not 0 <= a < len(shape) or shape[a] != 1 for a in axes):
        raise Refusal("M023", f"axes {sorted(axes)} of {list(shape)}", "repair the model")
    kept = [n for at, n in enumerate(shape) if (at not in axes if axes else n != 1)]
    put(draft, node, Reshape(tuple(kept)), x)


def expand_dims(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    (axis,) = draft.ints(node, 1, "axis")
    shape = list(draft.shape(x))
    if not -len(shape) - 1 <= axis <= len(shape):
        raise Refusal("M023", f"axis {axis} of {shape}", "repair the model")
    shape.insert(axis + len(shape) + 1 if axis < 0 else axis, 1)
    put(draft, node, Reshape(tuple(shape)), x)


def transpose(draft: Draft, node: Node) -> None:
    put(draft, node, Transpose(draft.ints(node, 1, "order of axes")), draft.name(node, 0))


def concat(draft: Draft, node: Node) -> None:
    """CONCATENATION: 8-bit inputs must have the output's meaning, as TFLite demands of int8."""
    names = [draft.name(node, at) for at in range(len(node.inputs))]
    if result_dtype(draft, node).eight_bit:
        wanted = meanings(draft, node)[0]
        if any(draft.quant(name) != wanted for name in names):
            raise Refusal("M021", "its 8-bit inputs have other scales than its output", CONVERT)
    op = Concat(node.attributes["Axis"])
    put_with(draft, node, op, fused(draft, node), *names)


def pad(draft: Draft, node: Node) -> None:
    """PAD with zeros, PADV2 with the third input."""
    x = draft.name(node, 0)
    value = 0.0
    if draft.has(node, 2):
        number = float(draft.constant(node, 2, "value").reshape(-1)[0])
        quant = meaning(draft, draft.name(node, 2)) if draft.dtype(x).eight_bit else None
        value = number if quant is None else quant.scale[0] * (number - quant.zero_point[0])
    put(draft, node, Pad(_pads(draft, node, x), value=value), x)


def mirror_pad(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    mode = PadMode.SYMMETRIC if node.attributes["Mode"] else PadMode.REFLECT
    put(draft, node, Pad(_pads(draft, node, x), mode), x)


def _pads(draft: Draft, node: Node, x: str) -> tuple[tuple[int, int], ...]:
    table = draft.constant(node, 1, "pads")
    if table.shape != (len(draft.shape(x)), 2) or (table < 0).any():
        raise Refusal("M023", f"its pads have the shape {list(table.shape)}", "repair the model")
    return tuple((int(a), int(b)) for a, b in table)


def resize(draft: Draft, node: Node) -> None:
    """RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR."""
    x, a = draft.name(node, 0), node.attributes
    shape, sizes = draft.shape(x), draft.ints(node, 1, "size")
    if len(shape) != 4 or len(sizes) != 2:
        raise Refusal("M023", f"sizes {list(sizes)} for {list(shape)}", "repair the model")
    corners, half = a["AlignCorners"], a["HalfPixelCenters"]
    if corners and half:
        raise Refusal("M023", "aligned corners and half pixels at once", "repair the model")
    coordinates = Coordinates.ASYMMETRIC
    if corners or half:
        coordinates = Coordinates.ALIGN_CORNERS if corners else Coordinates.HALF_PIXEL
    linear = node.op == "RESIZE_BILINEAR"
    op = Resize(
        sizes=(shape[0], *sizes, shape[3]),
        mode=ResizeMode.LINEAR if linear else ResizeMode.NEAREST,
        coordinates=coordinates,
        nearest=Nearest.ROUND_PREFER_CEIL if corners or half else Nearest.FLOOR,
    )
    put(draft, node, op, x)


def strided_slice(draft: Draft, node: Node) -> None:
    """STRIDED_SLICE, its masks resolved: a slice, and a reshape where axes come or go."""
    x, a = draft.name(node, 0), node.attributes
    shape = draft.shape(x)
    begin, end, step = (draft.ints(node, at, what) for at, what in _SLICE)
    if a["EllipsisMask"] or a["NewAxisMask"] or a["Offset"]:
        raise Refusal("M021", "ellipsis, new axes and offsets are not taken", "cut it off (--cut)")
    if not len(begin) == len(end) == len(step) <= len(shape) or 0 in step:
        raise Refusal("M023", f"{len(begin)} starts for {list(shape)}", "repair the model")
    starts, sizes = [0] * len(shape), list(shape)
    steps, gone = [1] * len(shape), []
    for at, pace in enumerate(step):
        bit = 1 << at
        first = None if a["BeginMask"] & bit else begin[at]
        last = None if a["EndMask"] & bit else end[at]
        if a["ShrinkAxisMask"] & bit:
            place = begin[at] + shape[at] if begin[at] < 0 else begin[at]
            if not 0 <= place < shape[at]:
                raise Refusal("M023", f"index {begin[at]} of {shape[at]}", "repair the model")
            taken = range(place, place + 1)
            gone.append(at)
        else:
            taken = range(shape[at])[slice(first, last, pace)]
        starts[at], sizes[at], steps[at] = (taken[0] if taken else 0), len(taken), taken.step
    _slice(draft, node, x, Slice(tuple(starts), tuple(sizes), tuple(steps)), gone)


_SLICE = ((1, "start"), (2, "end"), (3, "step"))


def _slice(draft: Draft, node: Node, x: str, op: Slice, gone: list[int]) -> None:
    if not gone:
        put(draft, node, op, x)
        return
    quants = meanings(draft, node)
    part = draft.add(node, op, [draft.value(x)], quants=quants, part="slice")
    kept = tuple(n for at, n in enumerate(op.sizes) if at not in gone)
    draft.add(node, Reshape(kept), [part], quants=quants)


def plain_slice(draft: Draft, node: Node) -> None:
    """SLICE: starts and sizes, where -1 is all that is left."""
    x = draft.name(node, 0)
    starts, sizes = draft.ints(node, 1, "start"), draft.ints(node, 2, "size")
    shape = draft.shape(x)
    counts = [n - s if c == -1 else c for n, s, c in zip(shape, starts, sizes, strict=True)]
    put(draft, node, Slice(starts, tuple(counts), (1,) * len(shape)), x)


def split(draft: Draft, node: Node) -> None:
    """SPLIT: the axis, x; equal parts."""
    (axis,) = draft.ints(node, 0, "axis")
    x = draft.name(node, 1)
    size, parts = draft.shape(x)[axis], len(node.outputs)
    if parts < 1 or size % parts or node.attributes["NumSplits"] != parts:
        raise Refusal("M023", f"{parts} parts of {size}", "repair the model")
    put(draft, node, Split(axis, (size // parts,) * parts), x)


def split_v(draft: Draft, node: Node) -> None:
    """SPLIT_V: x, the sizes (one may be -1), the axis."""
    x, sizes = draft.name(node, 0), draft.ints(node, 1, "sizes")
    (axis,) = draft.ints(node, 2, "axis")
    left = draft.shape(x)[axis] - sum(n for n in sizes if n >= 0)
    if len(sizes) != len(node.outputs) or sum(n < 0 for n in sizes) > 1:
        raise Refusal("M023", f"parts of sizes {list(sizes)}", "repair the model")
    put(draft, node, Split(axis, tuple(left if n < 0 else n for n in sizes)), x)


def pack(draft: Draft, node: Node) -> None:
    """PACK: inputs of one shape along a new axis."""
    names = [draft.name(node, at) for at in range(len(node.inputs))]
    shape, quants = draft.shape(names[0]), meanings(draft, node)
    axis = node.attributes["Axis"]
    axis += len(shape) + 1 if axis < 0 else 0
    if not 0 <= axis <= len(shape):
        raise Refusal("M023", f"axis {axis} of {list(shape)}", "repair the model")
    if result_dtype(draft, node).eight_bit and any(draft.quant(n) != quants[0] for n in names):
        raise Refusal("M021", "its 8-bit inputs have other scales than its output", CONVERT)
    new = Reshape((*shape[:axis], 1, *shape[axis:]))
    parts = [
        draft.add(node, new, [draft.value(name)], quants=quants, part=f"part{at}")
        for at, name in enumerate(names)
    ]
    draft.add(node, Concat(axis), parts, quants=quants)


def unpack(draft: Draft, node: Node) -> None:
    """UNPACK: one output for each index of an axis, which goes."""
    x, count = draft.name(node, 0), len(node.outputs)
    shape, axis = draft.shape(x), node.attributes["Axis"]
    axis += len(shape) if axis < 0 else 0
    if not 0 <= axis < len(shape) or shape[axis] != count:
        raise Refusal("M023", f"{count} parts of {list(shape)}", "repair the model")
    kept = Reshape((*shape[:axis], *shape[axis + 1 :]))
    quants = meanings(draft, node)
    names = [draft.fresh(f"{name}/part") for name in node.outputs]
    cut = Split(axis, (1,) * count)
    draft.add(node, cut, [draft.value(x)], names, quants, part="split")
    for part, name, quant in zip(names, node.outputs, quants, strict=True):
        draft.add(node, kept, [part], [name], [quant], part=name)


def depth_to_space(draft: Draft, node: Node) -> None:
    kind = DepthToSpace if node.op == "DEPTH_TO_SPACE" else SpaceToDepth
    put(
        draft,
        node,
        kind(block=node.attributes["BlockSize"], channels_last=True),
        draft.name(node, 0),
    )


def broadcast_to(draft: Draft, node: Node) -> None:
    put(draft, node, Broadcast(draft.ints(node, 1, "shape")), draft.name(node, 0))


def tile(draft: Draft, node: Node) -> None:
    put(draft, node, Tile(draft.ints(node, 1, "repeats")), draft.name(node, 0))


def gather(draft: Draft, node: Node) -> None:
    if node.attributes["BatchDims"]:
        raise Refusal("M021", "batch axes of a gather are not taken", "cut it off (--cut)")
    op = Gather(node.attributes["Axis"])
    put(draft, node, op, draft.name(node, 0), draft.name(node, 1))


def shape(draft: Draft, node: Node) -> None:
    """SHAPE: known now, since every shape is."""
    import numpy as np

    sizes = draft.shape(draft.name(node, 0))
    draft.fold(node, [np.array(sizes, str(result_dtype(draft, node)))])

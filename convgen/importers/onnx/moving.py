"""ONNX's operators that move elements and compute nothing."""

from __future__ import annotations

from math import prod

from convgen.importers.onnx.context import (
    REPAIR,
    attribute,
    axes_of,
    ints,
    positive,
    put,
)
from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.translate import Draft
from convgen.network.ops import (
    Broadcast,
    Concat,
    DepthToSpace,
    Gather,
    Pad,
    PadMode,
    Reshape,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
    sliced,
)


def reshape(draft: Draft, node: Node) -> None:
    """Reshape: 0 copies a size (unless ``allowzero``), one -1 is what is left over."""
    x = draft.name(node, 0)
    shape, wanted = draft.shape(x), list(draft.ints(node, 1, "shape"))
    if not attribute(node, "allowzero", 0):
        for at, size in enumerate(wanted):
            if size == 0:
                if at >= len(shape):
                    raise Refusal("M023", f"{wanted} copies an axis that is not there", REPAIR)
                wanted[at] = shape[at]
    rest = prod(n for n in wanted if n != -1)
    if wanted.count(-1) > 1 or any(n < -1 for n in wanted) or (-1 in wanted and not rest):
        raise Refusal("M023", f"{wanted} is no shape", REPAIR)
    sizes = tuple(prod(shape) // rest if n == -1 else n for n in wanted)
    _shaped(draft, node, x, sizes)


def _shaped(draft: Draft, node: Node, x: str, shape: tuple[int, ...]) -> None:
    """A reshape, or nothing where the shape is the same."""
    if shape == draft.shape(x):
        draft.same(node, x)
    else:
        put(draft, node, Reshape(shape), x)


def flatten(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    shape, axis = draft.shape(x), attribute(node, "axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise Refusal("M023", f"axis {axis} of {list(shape)}", REPAIR)
    axis += len(shape) if axis < 0 else 0
    _shaped(draft, node, x, (prod(shape[:axis]), prod(shape[axis:])))


def squeeze(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    shape, axes = draft.shape(x), axes_of(draft, node, 1, 13)
    if axes is None:
        gone = tuple(at for at, n in enumerate(shape) if n == 1)
    else:
        gone = positive(axes, len(shape))
    if any(shape[at] != 1 for at in gone):
        raise Refusal("M023", f"axes {list(gone)} of {list(shape)}", REPAIR)
    _shaped(draft, node, x, tuple(n for at, n in enumerate(shape) if at not in gone))


def unsqueeze(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    axes = axes_of(draft, node, 1, 13)
    if axes is None:
        raise Refusal("M023", "it has no axes", REPAIR)
    shape = list(draft.shape(x))
    for axis in sorted(positive(axes, len(shape) + len(axes))):
        shape.insert(axis, 1)
    _shaped(draft, node, x, tuple(shape))


def transpose(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    perm = ints(node, "perm") or tuple(reversed(range(len(draft.shape(x)))))
    if perm == tuple(range(len(draft.shape(x)))):
        draft.same(node, x)
    else:
        put(draft, node, Transpose(perm), x)


def concat(draft: Draft, node: Node) -> None:
    """Concat; inputs without elements are left out."""
    names = [draft.name(node, at) for at in range(len(node.inputs))]
    full = [name for name in names if 0 not in draft.shape(name)] or names
    if len(full) == 1:
        draft.same(node, full[0])
        return
    (axis,) = positive((attribute(node, "axis", 1),), len(draft.shape(names[0])))
    put(draft, node, Concat(axis), *full)


def split(draft: Draft, node: Node) -> None:
    """Split: the sizes were an attribute before operator set 13."""
    x, count = draft.name(node, 0), len(node.outputs)
    shape = draft.shape(x)
    (axis,) = positive((attribute(node, "axis", 0),), len(shape))
    sizes = axes_of(draft, node, 1, 13, "split")
    if sizes is None:
        if attribute(node, "num_outputs", count) != count or not count:
            raise Refusal("M023", f"{count} outputs", REPAIR)
        each = -(-shape[axis] // count)
        sizes = (each,) * (count - 1)
        sizes = (*sizes, shape[axis] - sum(sizes))
    if len(sizes) != count:
        raise Refusal("M023", f"{count} outputs of sizes {list(sizes)}", REPAIR)
    outputs = tuple(name or draft.fresh(f"{node.label}/unused") for name in node.outputs)
    draft.add(node, Split(axis, sizes), [draft.value(x)], outputs)


def slice_(draft: Draft, node: Node) -> None:
    """Slice: starts, ends and axes were attributes before operator set 10."""
    x = draft.name(node, 0)
    starts = axes_of(draft, node, 1, 10, "starts")
    ends = axes_of(draft, node, 2, 10, "ends")
    axes = axes_of(draft, node, 3, 10, "axes")
    steps = axes_of(draft, node, 4, 10, "steps")
    if starts is None or ends is None or len(starts) != len(ends):
        raise Refusal("M023", "starts and ends are not as many", REPAIR)
    if any(given is not None and len(given) != len(starts) for given in (axes, steps)):
        raise Refusal("M023", "axes or steps are not as many as starts", REPAIR)
    shape = draft.shape(x)
    if axes is not None:
        axes = positive(axes, len(shape))
    op = sliced(shape, starts, ends, axes, steps)
    if op.sizes == shape and set(op.steps) <= {1}:
        draft.same(node, x)
    else:
        put(draft, node, op, x)


def pad(draft: Draft, node: Node) -> None:
    """Pad: pads and value were attributes before operator set 11."""
    x = draft.name(node, 0)
    rank = len(draft.shape(x))
    mode = attribute(node, "mode", "constant")
    pads = axes_of(draft, node, 1, 11, "pads")
    axes = axes_of(draft, node, 3, 18) if node.version >= 18 else None
    axes = tuple(range(rank)) if axes is None else positive(axes, rank)
    if pads is None or len(pads) != 2 * len(axes) or mode not in set(PadMode) - {"symmetric"}:
        raise Refusal("M023", f"pads {pads} of mode {mode!r}", REPAIR)
    value = attribute(node, "value", 0.0) if node.version < 11 else 0.0
    if node.version >= 11 and draft.has(node, 2):
        given = draft.constant(node, 2, "value").reshape(-1)
        value = float(given[0]) if given.size else 0.0
    table = [(0, 0)] * rank
    for at, axis in enumerate(axes):
        table[axis] = (pads[at], pads[at + len(axes)])
    if not any(any(pair) for pair in table):
        draft.same(node, x)
    else:
        put(draft, node, Pad(tuple(table), PadMode(mode), value), x)


def expand(draft: Draft, node: Node) -> None:
    from convgen.network.ops.face import broadcast

    x = draft.name(node, 0)
    shape = broadcast(draft.shape(x), draft.ints(node, 1, "shape"))
    if shape == draft.shape(x):
        draft.same(node, x)
    else:
        put(draft, node, Broadcast(shape), x)


def tile(draft: Draft, node: Node) -> None:
    put(draft, node, Tile(draft.ints(node, 1, "repeats")), draft.name(node, 0))


def gather(draft: Draft, node: Node) -> None:
    x, indices = draft.name(node, 0), draft.name(node, 1)
    (axis,) = positive((attribute(node, "axis", 0),), len(draft.shape(x)))
    known = draft.known.get(draft.alias.get(indices, indices))
    size = draft.shape(x)[axis]
    if known is not None and known.size and not (-size <= known.min() and known.max() < size):
        raise Refusal("M023", f"an index outside of {size} elements", REPAIR)
    put(draft, node, Gather(axis), x, indices)


def depth_to_space(draft: Draft, node: Node) -> None:
    mode = attribute(node, "mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise Refusal("M023", f"mode is {mode!r}", REPAIR)
    op = DepthToSpace(attribute(node, "blocksize", 0), columns_first=mode == "CRD")
    put(draft, node, op, draft.name(node, 0))


def space_to_depth(draft: Draft, node: Node) -> None:
    """SpaceToDepth; its mode CRD, where channels stand before their blocks, from its parts."""
    x, mode = draft.name(node, 0), attribute(node, "mode", "DCR")
    op = SpaceToDepth(attribute(node, "blocksize", 0))
    if mode == "DCR":
        put(draft, node, op, x)
        return
    if mode != "CRD" or len(draft.shape(x)) != 4:
        raise Refusal("M023", f"mode is {mode!r}", REPAIR)
    n, c, h, w = draft.shape(x)
    b = op.block
    blocks = Reshape((n, c, h // b, b, w // b, b))
    parts = draft.add(node, blocks, [draft.value(x)], part="blocks")
    turned = draft.add(node, Transpose((0, 1, 3, 5, 2, 4)), [parts], part="turned")
    draft.add(node, Reshape((n, c * b * b, h // b, w // b)), [turned])


def shape(draft: Draft, node: Node) -> None:
    """Shape: known now, since every shape is."""
    import numpy as np

    sizes = draft.shape(draft.name(node, 0))
    start, end = attribute(node, "start", 0), node.attributes.get("end")
    if end is not None and not isinstance(end, int):
        raise Refusal("M023", f"end is {end!r}", REPAIR)
    draft.fold(node, [np.array(sizes[slice(start, end)], np.int64)])


def size(draft: Draft, node: Node) -> None:
    import numpy as np

    draft.fold(node, [np.array(prod(draft.shape(draft.name(node, 0))), np.int64)])

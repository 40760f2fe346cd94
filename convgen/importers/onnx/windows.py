"""ONNX's operators with a window: convolution, its transpose, pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convgen.importers.onnx.context import REPAIR, attribute, floats, ints, one_output
from convgen.importers.onnx.weights import Weights, weights
from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.translate import Draft
from convgen.network.ops import AvgPool, Conv, ConvTransposed, MaxPool, Reduce, ReduceFn, same

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Ints = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


class Frame:
    """The attributes that all of them share, one entry for each spatial axis."""

    def __init__(self, draft: Draft, node: Node, x: str, kernel: Ints | None = None) -> None:
        self.node = node
        self.sizes = image(draft, x)[2:]
        rank = len(self.sizes)
        said = ints(node, "kernel_shape")
        self.kernel = kernel or said or ()
        self.strides = ints(node, "strides") or (1,) * rank
        self.dilations = ints(node, "dilations") or (1,) * rank
        self.given = ints(node, "pads") or (0,) * (2 * rank)
        self.auto = attribute(node, "auto_pad", "NOTSET")
        lengths = {len(self.kernel), len(self.strides), len(self.dilations)}
        if lengths != {rank} or len(self.given) != 2 * rank or not 1 <= rank <= 3:
            raise Refusal("M023", f"its attributes do not fit {rank} spatial axes", REPAIR)
        if min(*self.kernel, *self.strides, *self.dilations) < 1 or min(self.given) < 0:
            raise Refusal("M023", "kernel, strides, dilations or pads are out of bounds", REPAIR)
        if said is not None and said != self.kernel:
            raise Refusal("M023", f"kernel_shape {list(said)} is not the weights'", REPAIR)
        if self.auto not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
            raise Refusal("M023", f"auto_pad is {self.auto!r}", REPAIR)

    @property
    def pads(self) -> Pads:
        """(before, after) of every axis, auto_pad resolved."""
        if self.auto.startswith("SAME"):
            lower = self.auto == "SAME_LOWER"
            return same(self.sizes, self.kernel, self.strides, self.dilations, lower=lower)
        if self.auto == "VALID":
            return ((0, 0),) * len(self.sizes)
        rank = len(self.sizes)
        return tuple((self.given[at], self.given[at + rank]) for at in range(rank))


def conv(draft: Draft, node: Node) -> None:
    """Conv: x [N, C, ...], W [M, C/G, ...], perhaps B [M]."""
    x = draft.name(node, 0)
    floats(draft, x)
    w = weights(draft, node, 1)
    groups, frame = _filters(draft, node, x, w)
    op = Conv(
        kernel=frame.kernel,
        strides=frame.strides,
        pads=frame.pads,
        dilations=frame.dilations,
        groups=groups,
    )
    rank = w.values.ndim
    inputs = [draft.value(x), w.turned((*range(2, rank), 1, 0))]
    if draft.has(node, 2):
        inputs.append(weights(draft, node, 2).turned((0,)))
    draft.add(node, op, inputs)


def _filters(draft: Draft, node: Node, x: str, w: Weights) -> tuple[int, Frame]:
    if w.values.ndim != len(image(draft, x)) or 0 in w.values.shape:
        raise Refusal("M023", f"its weights have the shape {list(w.values.shape)}", REPAIR)
    return attribute(node, "group", 1), Frame(draft, node, x, tuple(w.values.shape[2:]))


def transposed(draft: Draft, node: Node) -> None:
    """ConvTranspose: x [N, C, ...], W [C, M/G, ...], perhaps B [M]."""
    x = draft.name(node, 0)
    floats(draft, x)
    w = weights(draft, node, 1)
    groups, frame = _filters(draft, node, x, w)
    depth, each = w.values.shape[:2]
    if groups < 1 or depth % groups or depth != image(draft, x)[1]:
        raise Refusal("M023", f"weights {depth} deep, {groups} groups", REPAIR)
    pads, extra = _transposed_pads(node, frame)
    op = ConvTransposed(
        kernel=frame.kernel,
        strides=frame.strides,
        pads=pads,
        dilations=frame.dilations,
        groups=groups,
        output_padding=extra,
    )
    inputs = [draft.value(x), w.grouped(groups)]
    if draft.has(node, 2):
        inputs.append(weights(draft, node, 2).turned((0,)))
    assert each >= 1
    draft.add(node, op, inputs)


def _transposed_pads(node: Node, frame: Frame) -> tuple[Pads, Ints]:
    """Pads and output_padding: given, or what reaches the wanted size.

    A wanted size beyond the natural one is reached at the end, as in ONNX Runtime: a negative pad.
    """
    rank = len(frame.sizes)
    extra = ints(node, "output_padding") or (0,) * rank
    wanted = ints(node, "output_shape")
    if len(extra) != rank or min(extra) < 0:
        raise Refusal("M023", f"output_padding {list(extra)}", REPAIR)
    if wanted is None and not frame.auto.startswith("SAME"):
        return frame.pads, extra
    wanted = wanted or tuple(n * s for n, s in zip(frame.sizes, frame.strides, strict=True))
    wanted = wanted[-rank:]
    found = []
    for at, out in enumerate(wanted):
        extent = (frame.kernel[at] - 1) * frame.dilations[at] + 1
        total = (frame.sizes[at] - 1) * frame.strides[at] + extra[at] + extent - out
        half = max(0, total) // 2
        before = half if frame.auto == "SAME_UPPER" else max(0, total) - half
        found.append((before, total - before))
    return tuple(found), extra


def max_pool(draft: Draft, node: Node) -> None:
    node = one_output(node, draft)
    x = draft.name(node, 0)
    if attribute(node, "storage_order", 0):
        raise Refusal("M021", "storage_order 1 only matters to the indices", REPAIR)
    frame = Frame(draft, node, x)
    op = MaxPool(
        kernel=frame.kernel,
        strides=frame.strides,
        pads=frame.pads,
        dilations=frame.dilations,
        ceil=bool(attribute(node, "ceil_mode", 0)),
    )
    draft.add(node, op, [draft.value(x)])


def average_pool(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    floats(draft, x)
    frame = Frame(draft, node, x)
    op = AvgPool(
        kernel=frame.kernel,
        strides=frame.strides,
        pads=frame.pads,
        dilations=frame.dilations,
        ceil=bool(attribute(node, "ceil_mode", 0)),
        include_pad=bool(attribute(node, "count_include_pad", 0)),
    )
    draft.add(node, op, [draft.value(x)])


def global_pool(draft: Draft, node: Node) -> None:
    """GlobalAveragePool and GlobalMaxPool: reductions over the spatial axes."""
    x = draft.name(node, 0)
    floats(draft, x)
    fn = ReduceFn.MEAN if node.op == "GlobalAveragePool" else ReduceFn.MAX
    axes = tuple(range(2, len(image(draft, x))))
    draft.add(node, Reduce(fn, axes, keepdims=True), [draft.value(x)])


def image(draft: Draft, x: str) -> tuple[int, ...]:
    """The shape of an input that must have batch, channels and something spatial."""
    shape = draft.shape(x)
    if not 3 <= len(shape) <= 5:
        raise Refusal(
            "M021", f"its input has {len(shape)} axes; taken are 1 to 3 spatial ones", REPAIR
        )
    return shape

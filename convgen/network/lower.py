"""From nodes to steps: every operand a strided view, every step in canonical axes.

What only renames elements (reshape, transpose, slice, split, broadcast) makes no step as long as
its reader can use the view. Images are channels-last in memory, whatever the model's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from convgen.errors import ConvgenError
from convgen.network import moves, problems
from convgen.network.graph import Graph, Node, Value, identifiers
from convgen.network.layouts import View, ordered, reshape_order, same_strides
from convgen.network.ops import (
    Activate,
    AvgPool,
    Binary,
    Broadcast,
    Cast,
    Concat,
    Conv,
    ConvTransposed,
    Dense,
    DepthToSpace,
    Dequantize,
    Gather,
    Identity,
    LayerNorm,
    LocalResponseNorm,
    MatMul,
    MaxPool,
    Pad,
    PRelu,
    Quantize,
    Reduce,
    Requantize,
    Reshape,
    Resize,
    Slice,
    Softmax,
    SpaceToDepth,
    Split,
    Tile,
    Transpose,
    Unary,
    Where,
)
from convgen.network.plan import Buffer, Move, Moves, Room, Slot, Step, contiguous
from convgen.spec.model import Layout

Ints = tuple[int, ...]
_POINTWISE = (
    Activate, Binary, Cast, Dequantize, PRelu, Quantize, Requantize, Unary, Where,
)  # fmt: skip
_ALONG = (Softmax, LocalResponseNorm)


class LowerError(ConvgenError):
    """Nodes that no kernel can carry out yet, all of them: name, operator, reason, advice."""


@dataclass(frozen=True, eq=False)
class Lowered:
    """Steps in an order in which they can run, and the buffers they use."""

    graph: Graph
    steps: tuple[Step, ...]
    buffers: Mapping[str, Buffer]


def lower(graph: Graph) -> Lowered:
    """The steps of a simplified graph. Raises ``LowerError`` naming every node that has none."""
    return _Lowering(graph).run()


class _Lowering:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.buffers: dict[str, Buffer] = {}
        self.views: dict[str, list[View]] = {}
        self.steps: list[Step] = []
        self.refused: list[str] = []
        self.claimed: set[str] = set()

    def run(self) -> Lowered:
        for at, name in enumerate(self.graph.inputs):
            self._root(name, Room.INPUT, at)
        for node in self.graph.nodes:
            try:
                self._node(node)
            except _RefusedError as error:
                self.refused.append(f"{node.op.kind} `{node.name}`: {error}")
                for value in self.graph.results(node):  # so that later nodes are looked at, too
                    self._view(value.name, self._arena(value, contiguous(value.shape)))
        if self.refused:
            raise LowerError("\n".join(self.refused))
        for at, name in enumerate(self.graph.outputs):
            self._deliver(name, at)
        return Lowered(self.graph, _named(self.steps), MappingProxyType(self.buffers))

    def _node(self, node: Node) -> None:
        op = node.op
        match op:
            case Reshape() | Transpose() | Slice() | Split() | Broadcast() | Identity():
                self._renamed(node)
            case Conv():
                self._conv(node)
            case Dense():
                self._dense(node)
            case ConvTransposed():
                self._transposed(node)
            case MaxPool() | AvgPool():
                self._pool(node)
            case MatMul():
                self._matmul(node)
            case Reduce():
                self._reduce(node)
            case Concat() | Pad() | Tile() | DepthToSpace() | SpaceToDepth():
                self._moved(node)
            case Resize():
                self._resize(node)
            case Gather():
                self._gather(node)
            case LayerNorm():
                self._layer_norm(node)
            case _ if isinstance(op, _POINTWISE):
                self._pointwise(node)
            case _ if isinstance(op, _ALONG):
                self._along(node)
            case _:
                raise _RefusedError("no kernel computes it yet; cut the network before it (--cut)")

    # Values and views

    def _root(self, name: str, room: Room, index: int = 0) -> View:
        value = self.graph.values[name]
        buffer = _fresh(self.buffers, name)
        self.buffers[buffer] = Buffer(buffer, room, value.bytes, index)
        return self._view(name, View(buffer, value.shape, contiguous(value.shape)))

    def _view(self, name: str, view: View) -> View:
        self.views.setdefault(name, []).append(view)
        return view

    def view(self, name: str) -> View:
        """The value's elements, as they were written first."""
        if name not in self.views:
            assert name in self.graph.constants, name
            self._root(name, Room.WEIGHTS)
        return self.views[name][0]

    def _arena(self, value: Value, strides: Ints) -> View:
        buffer = _fresh(self.buffers, value.name)
        self.buffers[buffer] = Buffer(buffer, Room.ARENA, value.bytes)
        return View(buffer, value.shape, strides)

    def result(self, value: Value, strides: Ints) -> View:
        """Where a new value goes: into the output itself when its bytes are those of the output."""
        if same_strides(value.shape, strides, contiguous(value.shape)):
            target = self._delivered_as(value.name)
            if target is not None:
                at = self.graph.outputs.index(target)
                buffer = _fresh(self.buffers, target)
                self.buffers[buffer] = Buffer(buffer, Room.OUTPUT, value.bytes, at)
                self.claimed.add(target)
                return self._view(value.name, View(buffer, value.shape, contiguous(value.shape)))
        return self._view(value.name, self._arena(value, strides))

    def _delivered_as(self, name: str) -> str | None:
        """The output of the graph that has the same bytes, if no other step claims its buffer."""
        while True:
            if name in self.graph.outputs:
                return None if name in self.claimed else name
            users = self.graph.users[name]
            if len(users) != 1 or not isinstance(users[0].op, (Reshape, Identity)):
                return None
            name = users[0].output

    def slot(self, value: Value, view: View) -> Slot:
        return Slot(
            value.name, view.buffer, view.shape, view.strides, value.dtype, value.quant, view.offset
        )

    def _copied(self, name: str, order: Sequence[int] | None = None) -> View:
        """A view that is dense in an order of the axes, made by a copy where there is none."""
        value = self.graph.values[name]
        self.view(name)
        for view in self.views[name]:
            if view.dense(order):
                return view
        view = self._view(name, self._arena(value, ordered(value.shape, order)))
        copy = moves.Copy(self.views[name][0], view)
        self._moves("copy", value.name, [copy], value, value, (), f"{name} in another order")
        return view

    def _deliver(self, name: str, at: int) -> None:
        """The output's own buffer, filled by a copy where no step writes it."""
        value = self.graph.values[name]
        if name in self.claimed and at == self.graph.outputs.index(name):
            return
        source = self.view(name)
        buffer = _fresh(self.buffers, name)
        self.buffers[buffer] = Buffer(buffer, Room.OUTPUT, value.bytes, at)
        target = View(buffer, value.shape, contiguous(value.shape))
        copy = moves.Copy(source, target)
        self._moves("copy", name, [copy], value, value, (), "an output in the order of its axes")

    def _moves(
        self,
        kind: str,
        name: str,
        copies: Sequence[moves.Copy],
        source: Value | Sequence[Value],
        target: Value,
        nodes: tuple[str, ...],
        note: str = "",
        fill: float = 0.0,
    ) -> None:
        """One step of copies and fills; ``source``: whose elements each copy reads."""
        sources = [source] * len(copies) if isinstance(source, Value) else list(source)
        made = []
        for copy, value in zip(copies, sources, strict=True):
            read = None if copy.source is None else self.slot(value, copy.source)
            made.append(_tidied(Move(read, self.slot(target, copy.target), fill)))
        notes = (note,) if note else ()
        self.steps.append(Step(name, Moves(kind), (), (), nodes, moves=tuple(made), notes=notes))

    # Nodes

    def _renamed(self, node: Node) -> None:
        """No step: views of the input, if strides can say it."""
        op, name = node.op, node.inputs[0]
        if isinstance(op, Reshape):
            # The newest copy may allow what the first view does not.
            made = next((v for x in self._all(name) if (v := x.reshaped(op.shape))), None)
            made = made or self._copied(name, reshape_order(self.view(name), op.shape)).reshaped(
                op.shape
            )
            assert made is not None, node
            self._view(node.output, made)
            return
        view = self.view(name)
        match op:
            case Transpose():
                for other in self._all(name):
                    self._view(node.output, other.permuted(op.perm))
            case Slice():
                self._view(node.output, view.window(op.starts, op.sizes, op.steps))
            case Broadcast():
                repeated = view.repeated(op.shape)
                assert repeated is not None, node
                self._view(node.output, repeated)
            case Split():
                at = 0
                for output, size in zip(node.outputs, op.sizes, strict=True):
                    rank, axis = len(view.shape), op.axis % len(view.shape)
                    starts = [at if i == axis else 0 for i in range(rank)]
                    sizes = [size if i == axis else n for i, n in enumerate(view.shape)]
                    self._view(output, view.window(starts, sizes, [1] * rank))
                    at += size
            case _:
                for other in self._all(name):
                    self._view(node.output, other)

    def _all(self, name: str) -> list[View]:
        self.view(name)
        return self.views[name]

    def _step(
        self, node: Node, op: Any, inputs: Sequence[Slot | None], output: Slot, **more: Any
    ) -> None:
        self.steps.append(
            Step(
                node.name,
                op,
                tuple(inputs),
                (output,),
                (node.name,),
                macs=self.graph.macs(node),
                notes=node.notes,
                **more,
            )
        )

    def _weights(self, node: Node) -> dict[str, Any]:
        """The names of a step's packed constants."""
        if any(name not in self.graph.constants for name in node.given[1:]):
            raise _RefusedError("its weights are computed at run time; they must be constants")
        bias = node.inputs[2] if len(node.given) > 2 else None
        return {"weights": node.inputs[1], "bias": bias}

    def _image(self, name: str, *, channels_last: bool) -> View:
        """A value as a dense image [N, (D,) H, W, C]; 1-D has height 1."""
        rank = len(self.graph.values[name].shape)
        order = _image_order(rank, channels_last=channels_last)
        return _with_height(self._copied(name, order).permuted(order))

    def _new_image(self, node: Node, *, channels_last: bool) -> View:
        """The node's output as such an image."""
        value = self.graph.values[node.output]
        order = _image_order(len(value.shape), channels_last=channels_last)
        view = self.result(value, ordered(value.shape, order))
        return _with_height(view.permuted(order))

    def _conv(self, node: Node) -> None:
        op = node.op
        assert isinstance(op, Conv)
        if len(op.kernel) > 2:
            raise _RefusedError("convolutions in three dimensions have no kernel in networks yet")
        if any(min(pair) < 0 for pair in op.pads):
            raise _RefusedError("its pads are negative; put a slice before it")
        constants = self._weights(node)
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        if self._planar(node):
            spec = problems.conv_spec(self.graph, node, node.name, Layout.NCHW)
            ins = self.slot(x, self._copied(x.name))
            out = self.slot(y, self.result(y, contiguous(y.shape)))
        else:
            spec = problems.conv_spec(self.graph, node, node.name, Layout.NHWC)
            ins = self.slot(x, self._image(x.name, channels_last=op.channels_last))
            out = self.slot(y, self._new_image(node, channels_last=op.channels_last))
        self._step(node, op, [ins], out, spec=spec, **constants)

    def _planar(self, node: Node) -> bool:
        """Do x and y both lie channels first, so that a planar kernel takes them as they are?"""
        op, name = node.op, node.output
        assert isinstance(op, Conv)
        if op.channels_last or len(op.kernel) != 2 or self._delivered_as(name) is None:
            return False
        order = _image_order(4, channels_last=False)
        y = self.graph.values[name]
        flat = same_strides(y.shape, contiguous(y.shape), ordered(y.shape, order))
        return not flat and not any(v.dense(order) for v in self._all(node.inputs[0]))

    def _dense(self, node: Node) -> None:
        constants = self._weights(node)
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        spec = problems.dense_spec(self.graph, node, node.name)
        rows = (1, 1, spec.w)
        ins = self._copied(x.name).reshaped((*rows, spec.c))
        out = self.result(y, contiguous(y.shape)).reshaped((*rows, spec.oc))
        assert ins is not None and out is not None
        self._step(node, node.op, [self.slot(x, ins)], self.slot(y, out), spec=spec, **constants)

    def _transposed(self, node: Node) -> None:
        op = node.op
        assert isinstance(op, ConvTransposed)
        if len(op.kernel) > 2:
            raise _RefusedError("transposed convolutions in three dimensions have no kernel yet")
        constants = self._weights(node)
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        ins = self.slot(x, self._image(x.name, channels_last=op.channels_last))
        out = self.slot(y, self._new_image(node, channels_last=op.channels_last))
        self._step(node, _canonical(op), [ins], out, **constants)

    def _pool(self, node: Node) -> None:
        op = node.op
        assert isinstance(op, (MaxPool, AvgPool))
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        order = _image_order(len(x.shape), channels_last=op.channels_last)
        view = self.view(x.name).permuted(order)
        if view.shape[-1] != 1 and view.strides[-1] != 1:
            view = self._copied(x.name, order).permuted(order)
        ins = self.slot(x, _with_height(view))
        out = self.slot(y, self._new_image(node, channels_last=op.channels_last))
        self._step(node, _canonical(op), [ins], out)

    def _matmul(self, node: Node) -> None:
        a, b = (self.graph.values[name] for name in node.inputs)
        y = self.graph.values[node.output]
        out = self.result(y, contiguous(y.shape))
        slots = []
        for value in (a, b):
            lead = y.shape[:-2]
            full = self._copied(value.name).repeated((*lead, *value.shape[-2:]))
            assert full is not None, node
            slots.append(self.slot(value, full))
        self._step(node, node.op, slots, self.slot(y, out))

    def _pointwise(self, node: Node) -> None:
        """All operands repeated to the output's shape, axes in the output's memory order."""
        y = self.graph.values[node.output]
        values = [v for v in self.graph.operands(node) if v is not None]
        full = []
        for value in values:
            view = self.view(value.name).repeated(y.shape)
            assert view is not None, node
            full.append(view)
        leader = next((v for v in full if v.compact and not _repeats(v)), None)
        strides = contiguous(y.shape) if leader is None else ordered(y.shape, leader.order)
        out = self.result(y, strides)
        order = out.order
        slots = [
            self.slot(value, view.permuted(order)) for value, view in zip(values, full, strict=True)
        ]
        target = self.slot(y, out.permuted(order))
        over = tuple(at for at, slot in enumerate(slots) if self._may_share(slot, target))
        self._step(node, node.op, slots, target, over=over)

    def _may_share(self, one: Slot, two: Slot) -> bool:
        """Element on element, of one size, both in the arena, both from the buffer's start?"""
        arena = all(self.buffers[slot.buffer].room is Room.ARENA for slot in (one, two))
        alike = one.dtype.size == two.dtype.size and one.offset == two.offset == 0
        return arena and alike and same_strides(one.shape, one.strides, two.strides)

    def _along(self, node: Node) -> None:
        """Operators with an axis; the output lies as the input does."""
        op = node.op
        assert isinstance(op, _ALONG)
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        view = self.view(x.name)
        if not view.compact:
            view = self._copied(x.name)
        out = self.result(y, ordered(y.shape, view.order))
        order = out.order
        axis = order.index(op.axis % len(order))
        slots = [self.slot(x, view.permuted(order))]
        self._step(node, replace(op, axis=axis), slots, self.slot(y, out.permuted(order)))

    def _layer_norm(self, node: Node) -> None:
        """The normalised axes stay the last ones, in their logical order."""
        op = node.op
        assert isinstance(op, LayerNorm)
        values = self.graph.operands(node)
        y = self.graph.values[node.output]
        slots: list[Slot | None] = []
        for value in values:
            slots.append(None if value is None else self.slot(value, self._copied(value.name)))
        out = self.slot(y, self.result(y, contiguous(y.shape)))
        axis = op.axis % len(y.shape)
        self._step(node, replace(op, axis=axis), slots, out)

    def _reduce(self, node: Node) -> None:
        op = node.op
        assert isinstance(op, Reduce)
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        axes = tuple(sorted(axis % len(x.shape) for axis in op.axes))
        view = self.view(x.name)
        kept = tuple(1 if at in axes else size for at, size in enumerate(x.shape))
        alive = [at for at in range(len(x.shape)) if op.keepdims or at not in axes]
        order = view.order
        strides = tuple(ordered(kept, order)[at] for at in alive)
        out = self.result(y, strides)
        wide = _kept(out, alive, len(x.shape))
        new = replace(op, axes=tuple(sorted(order.index(axis) for axis in axes)), keepdims=True)
        slots = [self.slot(x, view.permuted(order))]
        self._step(node, new, slots, self.slot(y, wide.permuted(order)))

    def _moved(self, node: Node) -> None:
        """Copies between views; the output's axes lie as those of the first input."""
        op = node.op
        values = [v for v in self.graph.operands(node) if v is not None]
        y = self.graph.values[node.output]
        views = [self.view(value.name) for value in values]
        leader = next((v for v in views if v.compact), views[0])
        out = self.result(y, ordered(y.shape, leader.order))
        x, fill = views[0], 0.0
        match op:
            case Concat():
                self._moves(
                    "concat", node.name, _beside(op.axis, views, out), values, y, (node.name,)
                )
                return
            case Pad():
                copies = moves.padded(op, x, out)
                fill = self._fill(op, values[0])
            case Tile():
                copies = moves.tiled(op, x, out)
            case DepthToSpace():
                copies = moves.depth_to_space(op, x, out)
            case SpaceToDepth():
                copies = moves.space_to_depth(op, x, out)
            case _:
                raise AssertionError(node)
        self._moves(op.kind, node.name, copies, values[0], y, (node.name,), fill=fill)

    def _fill(self, op: Pad, value: Value) -> float:
        """The stored value of a border."""
        if value.quant is None:
            return op.value
        import numpy as np

        from convgen.network.meaning.fixed import stored

        return float(stored(value, np.array(op.value), self.graph.rounding))

    def _resize(self, node: Node) -> None:
        op = node.op
        assert isinstance(op, Resize)
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        view = self.view(x.name)
        if not view.compact:
            view = self._copied(x.name)
        out = self.result(y, ordered(y.shape, view.order))
        factors = moves.whole_factors(op, view)
        if factors is not None:
            copies = moves.enlarged(factors, view, out)
            self._moves("resize", node.name, copies, x, y, (node.name,))
            return
        order = out.order
        new = replace(
            op,
            sizes=tuple(op.sizes[axis] for axis in order),
            scales=tuple(op.scales[axis] for axis in order) if op.scales else (),
        )
        slots = [self.slot(x, view.permuted(order))]
        self._step(node, new, slots, self.slot(y, out.permuted(order)))

    def _gather(self, node: Node) -> None:
        """Constant indices: a copy for each run of neighbours."""
        op = node.op
        assert isinstance(op, Gather)
        indices = self.graph.constants.get(node.inputs[1])
        if indices is None:
            raise _RefusedError("its indices are computed at run time; they must be constants")
        x, y = self.graph.values[node.inputs[0]], self.graph.values[node.output]
        axis = op.axis % len(x.shape)
        view = self.view(x.name)
        flat = (*x.shape[:axis], int(indices.size), *x.shape[axis + 1 :])
        out = self.result(y, contiguous(y.shape)).reshaped(flat)
        assert out is not None
        copies = []
        picked = [int(i) % x.shape[axis] for i in indices.reshape(-1)]
        for at, start, count, step in _runs(picked):
            first = [start if i == axis else 0 for i in range(len(flat))]
            place = [at if i == axis else 0 for i in range(len(flat))]
            sizes = [count if i == axis else n for i, n in enumerate(x.shape)]
            pace = [step if i == axis else 1 for i in range(len(flat))]
            ones = [1] * len(flat)
            source, target = view.window(first, sizes, pace), out.window(place, sizes, ones)
            copies.append(moves.Copy(source, target))
        self._moves("gather", node.name, copies, x, y, (node.name,))


class _RefusedError(Exception):
    """Why a node cannot be carried out, and what to do."""


def _fresh(taken: Mapping[str, Any], name: str) -> str:
    number = 1
    while (name if number == 1 else f"{name}#{number}") in taken:
        number += 1
    return name if number == 1 else f"{name}#{number}"


def _image_order(rank: int, *, channels_last: bool) -> Ints:
    """Which logical axis stands where in [N, ..., C]."""
    return tuple(range(rank)) if channels_last else (0, *range(2, rank), 1)


def _with_height(view: View) -> View:
    """[N, W, C] as [N, 1, W, C]."""
    if len(view.shape) != 3:
        return view
    (n, w, c), (a, b, d) = view.shape, view.strides
    return replace(view, shape=(n, 1, w, c), strides=(a, w * b, b, d))


def _canonical(op: Any) -> Any:
    """A window operator over [N, H, W, C], or [N, D, H, W, C]."""
    changes: dict[str, Any] = {"channels_last": True}
    if len(op.kernel) == 1:
        for name, fill in (("kernel", 1), ("strides", 1), ("dilations", 1), ("pads", (0, 0))):
            changes[name] = (fill, *getattr(op, name))
        if isinstance(op, ConvTransposed):
            changes["output_padding"] = (0, *op.output_padding)
    return replace(op, **changes)


def _repeats(view: View) -> bool:
    return any(
        size != 1 and stride == 0 for size, stride in zip(view.shape, view.strides, strict=True)
    )


def _kept(view: View, alive: Sequence[int], rank: int) -> View:
    """A reduced view with its lost axes back, size 1."""
    shape, strides = [1] * rank, [0] * rank
    for at, axis in enumerate(alive):
        shape[axis], strides[axis] = view.shape[at], view.strides[at]
    return replace(view, shape=tuple(shape), strides=tuple(strides))


def _beside(axis: int, parts: Sequence[View], out: View) -> list[moves.Copy]:
    """Each part's place in the output."""
    rank, copies, at = len(out.shape), [], 0
    axis %= rank
    for part in parts:
        starts = [at if i == axis else 0 for i in range(rank)]
        copies.append(moves.Copy(part, out.window(starts, part.shape, [1] * rank)))
        at += part.shape[axis]
    return copies


def _runs(indices: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """(place, first index, how many, step) of runs of evenly spaced indices."""
    found, at = [], 0
    while at < len(indices):
        end, step = at + 1, 1
        if end < len(indices):
            step = indices[end] - indices[at]
            while end < len(indices) and indices[end] - indices[end - 1] == step:
                end += 1
        found.append((at, indices[at], end - at, step if end - at > 1 else 1))
        at = end
    return found


def _tidied(move: Move) -> Move:
    """Axes in the target's memory order, without those of size 1."""
    from convgen.network.layouts import memory_order

    target = move.target
    order = [a for a in memory_order(target.shape, target.strides) if target.shape[a] != 1]

    def pick(slot: Slot) -> Slot:
        shape = tuple(slot.shape[a] for a in order)
        return replace(slot, shape=shape, strides=tuple(slot.strides[a] for a in order))

    return replace(
        move, source=None if move.source is None else pick(move.source), target=pick(target)
    )


def _named(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Steps with C identifiers for names; specs get them as well."""
    keys = [f"{at}\0{step.name}" for at, step in enumerate(steps)]
    words = identifiers(
        keys, {}, of={key: step.name for key, step in zip(keys, steps, strict=True)}
    )
    named = []
    for key, step in zip(keys, steps, strict=True):
        spec = None if step.spec is None else replace(step.spec, name=words[key])
        named.append(replace(step, name=words[key], spec=spec))
    return tuple(named)

"""What lowering has made so far: buffers, the views of every value, steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convgen.network.graph import Graph, Node, Value
from convgen.network.layouts import View, memory_order, ordered, same_strides
from convgen.network.moves import Copy
from convgen.network.ops import Identity, Reshape
from convgen.network.plan import Buffer, Move, Moves, Room, Slot, Step, contiguous
from convgen.network.steps.homes import Home, homes
from convgen.network.steps.homes import axis_of as channel_axis

Ints = tuple[int, ...]


class RefusedError(Exception):
    """Why a node cannot be carried out, and what to do."""


class Work:
    """The steps of a graph in the making. Every value has views: the first is where it was written,
    others are copies in another order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.buffers: dict[str, Buffer] = {}
        self.views: dict[str, list[View]] = {}
        self.steps: list[Step] = []
        self.claimed: set[str] = set()
        self.homes = homes(graph)
        self.roots: dict[str, View] = {}

    def root(self, name: str, room: Room, index: int = 0) -> View:
        value = self.graph.values[name]
        buffer = fresh(self.buffers, name)
        self.buffers[buffer] = Buffer(buffer, room, value.bytes, index)
        return self.put(name, View(buffer, value.shape, contiguous(value.shape)))

    def put(self, name: str, view: View) -> View:
        self.views.setdefault(name, []).append(view)
        return view

    def view(self, name: str) -> View:
        """The value's elements, as they were written first."""
        if name not in self.views:
            assert name in self.graph.constants, name
            self.root(name, Room.WEIGHTS)
        return self.views[name][0]

    def arena(self, value: Value, strides: Ints) -> View:
        buffer = fresh(self.buffers, value.name)
        self.buffers[buffer] = Buffer(buffer, Room.ARENA, value.bytes)
        return View(buffer, value.shape, strides)

    def result(self, value: Value, strides: Ints) -> View:
        """Where a new value goes: into the output itself when its bytes are those of the output."""
        if same_strides(value.shape, strides, contiguous(value.shape)):
            target = self.delivered_as(value.name)
            if target is not None:
                at = self.graph.outputs.index(target)
                buffer = fresh(self.buffers, target)
                self.buffers[buffer] = Buffer(buffer, Room.OUTPUT, value.bytes, at)
                self.claimed.add(target)
                return self.put(value.name, View(buffer, value.shape, contiguous(value.shape)))
        home = self.homes.get(value.name)
        if home is not None:
            return self.put(value.name, self.at_home(value, home))
        return self.put(value.name, self.arena(value, strides))

    def at_home(self, value: Value, home: Home) -> View:
        """The value's place among the channels of a concatenation."""
        root = self.root_view(home.root)
        maker = self.graph.producer[home.root]
        axis = channel_axis(self.graph, maker)
        assert axis is not None
        starts = [home.first if at == axis else 0 for at in range(len(value.shape))]
        return root.window(starts, value.shape, [1] * len(value.shape))

    def is_home(self, part: str, whole: str) -> bool:
        """Does a part of a concatenation lie in its buffer?"""
        home, other = self.homes.get(part), self.homes.get(whole)
        return home is not None and home.root == (whole if other is None else other.root)

    def root_view(self, name: str) -> View:
        """The buffer of a concatenation that has parts at home, channels last."""
        if name not in self.roots:
            value = self.graph.values[name]
            axis = channel_axis(self.graph, self.graph.producer[name])
            order = image_order(len(value.shape), channels_last=axis != 1)
            self.roots[name] = self.arena(value, ordered(value.shape, order))
        return self.roots[name]

    def delivered_as(self, name: str) -> str | None:
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

    def copied(self, name: str, order: Sequence[int] | None = None) -> View:
        """A view that is dense in an order of the axes, made by a copy where there is none."""
        value = self.graph.values[name]
        self.view(name)
        for view in self.views[name]:
            if view.dense(order):
                return view
        view = self.put(name, self.arena(value, ordered(value.shape, order)))
        copy = Copy(self.views[name][0], view)
        self.moves("copy", value.name, [copy], value, value, (), f"{name} in another order")
        return view

    def deliver(self, name: str, at: int) -> None:
        """The output's own buffer, filled by a copy where no step writes it."""
        value = self.graph.values[name]
        if name in self.claimed and at == self.graph.outputs.index(name):
            return
        source = self.view(name)
        buffer = fresh(self.buffers, name)
        self.buffers[buffer] = Buffer(buffer, Room.OUTPUT, value.bytes, at)
        target = View(buffer, value.shape, contiguous(value.shape))
        copy = Copy(source, target)
        self.moves("copy", name, [copy], value, value, (), "an output in the order of its axes")

    def moves(
        self,
        kind: str,
        name: str,
        copies: Sequence[Copy],
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
            made.append(tidied(Move(read, self.slot(target, copy.target), fill)))
        notes = (note,) if note else ()
        self.steps.append(Step(name, Moves(kind), (), (), nodes, moves=tuple(made), notes=notes))

    def all(self, name: str) -> list[View]:
        self.view(name)
        return self.views[name]

    def step(
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

    def weights(self, node: Node) -> dict[str, Any]:
        """The names of a step's packed constants."""
        if any(name not in self.graph.constants for name in node.given[1:]):
            raise RefusedError("its weights are computed at run time; they must be constants")
        bias = node.inputs[2] if len(node.given) > 2 else None
        return {"weights": node.inputs[1], "bias": bias}

    def wide_image(self, name: str, *, channels_last: bool) -> View:
        """The same, where pixels may lie further apart than the channels are wide."""
        rank = len(self.graph.values[name].shape)
        order = image_order(rank, channels_last=channels_last)
        for view in self.all(name):
            found = view.permuted(order)
            if pixel_of(found) is not None:
                return with_height(found)
        return self.image(name, channels_last=channels_last)

    def image(self, name: str, *, channels_last: bool) -> View:
        """A value as a dense image [N, (D,) H, W, C]; 1-D has height 1."""
        rank = len(self.graph.values[name].shape)
        order = image_order(rank, channels_last=channels_last)
        return with_height(self.copied(name, order).permuted(order))

    def new_image(self, node: Node, *, channels_last: bool) -> View:
        """The node's output as such an image."""
        value = self.graph.values[node.output]
        order = image_order(len(value.shape), channels_last=channels_last)
        view = self.result(value, ordered(value.shape, order))
        return with_height(view.permuted(order))


def fresh(taken: Mapping[str, Any], name: str) -> str:
    number = 1
    while (name if number == 1 else f"{name}#{number}") in taken:
        number += 1
    return name if number == 1 else f"{name}#{number}"


def image_order(rank: int, *, channels_last: bool) -> Ints:
    """Which logical axis stands where in [N, ..., C]."""
    return tuple(range(rank)) if channels_last else (0, *range(2, rank), 1)


def with_height(view: View) -> View:
    """[N, W, C] as [N, 1, W, C]."""
    if len(view.shape) != 3:
        return view
    (n, w, c), (a, b, d) = view.shape, view.strides
    return replace(view, shape=(n, 1, w, c), strides=(a, w * b, b, d))


def tidied(move: Move) -> Move:
    """Axes in the target's memory order, without those of size 1."""
    target = move.target
    order = [a for a in memory_order(target.shape, target.strides) if target.shape[a] != 1]

    def pick(slot: Slot) -> Slot:
        shape = tuple(slot.shape[a] for a in order)
        return replace(slot, shape=shape, strides=tuple(slot.strides[a] for a in order))

    return replace(
        move, source=None if move.source is None else pick(move.source), target=pick(target)
    )


def pixel_of(view: View) -> int | None:
    """Elements from one pixel of [N, ..., C] to the next, where all pixels lie evenly and their
    channels close together; None elsewhere.
    """
    *sizes, channels = view.shape
    *strides, last = view.strides
    if channels != 1 and last != 1:
        return None
    pixel, step = channels, 0
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size == 1:
            continue
        if not step:
            pixel = step = stride
        if stride != step or stride < channels:
            return None
        step = stride * size
    return pixel

"""``Graph``: what a network computes. A frozen value, checked once; everything later trusts it.

A graph is a list of nodes in an order in which they can run. Every tensor has a name, a static
shape, an element type and, when it holds quantised integers, their meaning. Axes stand in the model
file's own order (ONNX: N, C, H, W; TFLite: N, H, W, C); an operator whose meaning depends on the
order says which one it is in its attributes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from convgen.network.ops.face import Elem, Op, ShapeError, Type
from convgen.spec.quant import Rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

ABSENT = ""  # the name of an optional input that is not given


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point): one entry for the tensor, or one per index of ``axis``.

    Scales are float32 numbers. ``zero_point`` has as many entries as ``scale``.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...] = (0,)
    axis: int | None = None

    def __post_init__(self) -> None:
        assert len(self.scale) == len(self.zero_point) >= 1, self
        assert len(self.scale) == 1 or self.axis is not None, self

    @property
    def per_tensor(self) -> bool:
        return len(self.scale) == 1


@dataclass(frozen=True)
class Value:
    """One tensor: an input of the graph, a constant, or an output of a node."""

    name: str
    shape: tuple[int, ...]
    dtype: Elem
    quant: Quantization | None = None

    @property
    def type(self) -> Type:
        return Type(self.shape, self.dtype)

    @property
    def size(self) -> int:
        """Elements."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.size


@dataclass(frozen=True)
class Node:
    """One operator at work. ``inputs`` and ``outputs`` name values; ``ABSENT`` stands for an
    optional input left out. ``notes`` say what was folded or fused into the node, and why.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[str, ...]:
        """The inputs without those left out."""
        return tuple(name for name in self.inputs if name != ABSENT)

    @property
    def output(self) -> str:
        """The one output of a node that has one."""
        assert len(self.outputs) == 1, self
        return self.outputs[0]


@dataclass(frozen=True, eq=False)
class Graph:
    """A network. ``values`` holds every tensor by name; ``constants`` the arrays of those that are
    known before the network runs (read-only, in C order, in their storage type).

    ``rounding``: the framework whose arithmetic the quantised nodes have. ``metadata``: what the
    model file says about itself (licence, author, producer), as text to print. ``notes``: what
    happened to nodes that are gone.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    constants: Mapping[str, NDArray[Any]]
    rounding: Rounding = Rounding.TFLITE
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = {*self.inputs, *self.constants}
        assert not set(self.inputs) & set(self.constants), "an input with a constant's name"
        for node in self.nodes:
            missing = [name for name in node.given if name not in known]
            assert not missing, (node.name, missing)
            assert not known & set(node.outputs), (node.name, "assigns a value again")
            known.update(node.outputs)
        assert known == set(self.values), sorted(known ^ set(self.values))
        assert all(name in known for name in self.outputs), self.outputs

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """The node that makes a value; inputs and constants have none."""
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def users(self) -> Mapping[str, tuple[Node, ...]]:
        """The nodes that read a value, in order, each as often as it reads it."""
        found: dict[str, list[Node]] = {name: [] for name in self.values}
        for node in self.nodes:
            for name in node.given:
                found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def operands(self, node: Node) -> tuple[Value | None, ...]:
        """The node's input values, None where one is left out."""
        return tuple(None if name == ABSENT else self.values[name] for name in node.inputs)

    def results(self, node: Node) -> tuple[Value, ...]:
        return tuple(self.values[name] for name in node.outputs)

    def macs(self, node: Node) -> int:
        """Multiply-adds of one node, taps in the padding included (the usual convention)."""
        ins = tuple(None if v is None else v.type for v in self.operands(node))
        return node.op.macs(ins, tuple(value.type for value in self.results(node)))

    @property
    def total_macs(self) -> int:
        return sum(self.macs(node) for node in self.nodes)

    def parameters(self, node: Node) -> int:
        """Elements of the node's constants."""
        return sum(self.values[name].size for name in node.given if name in self.constants)


class Builder:
    """A graph in the making: each node's output shapes follow from its operator's rule.

    ``node`` raises ``ShapeError`` when the inputs do not fit the operator; the message does not
    name the node, because only the caller knows what its user calls it.
    """

    def __init__(self, name: str, *, rounding: Rounding = Rounding.TFLITE) -> None:
        self.name = name
        self.rounding = rounding
        self.inputs: list[str] = []
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {}
        self.constants: dict[str, NDArray[Any]] = {}
        self.metadata: dict[str, str] = {}
        self.notes: list[str] = []

    def input(
        self, name: str, shape: Sequence[int], dtype: Elem, quant: Quantization | None = None
    ) -> str:
        self._new(Value(name, tuple(shape), dtype, quant))
        self.inputs.append(name)
        return name

    def constant(self, name: str, array: NDArray[Any], quant: Quantization | None = None) -> str:
        """A tensor known before the network runs; the array is copied unless it is read-only."""
        held = frozen(array)
        self._new(Value(name, held.shape, Elem(held.dtype.name), quant))
        self.constants[name] = held
        return name

    def node(
        self,
        name: str,
        op: Op,
        inputs: Sequence[str],
        outputs: Sequence[str] = (),
        quants: Sequence[Quantization | None] = (),
        *,
        dtypes: Sequence[Elem] = (),
        notes: Sequence[str] = (),
    ) -> tuple[str, ...]:
        """Append a node and return the names of its outputs.

        ``outputs`` may be left out where there is one: it takes the node's name. ``quants`` are the
        meanings of quantised outputs. ``dtypes`` replaces the element types that the rule gives,
        where only the file knows them (8-bit convolutions with int32 outputs, quantisation).
        """
        ins = tuple(None if i == ABSENT else self.values[i].type for i in inputs)
        types = op.infer(ins)
        names = tuple(outputs) or (name,)
        assert len(names) == len(types), (name, names, types)
        for at, (made, type_) in enumerate(zip(names, types, strict=True)):
            dtype = dtypes[at] if at < len(dtypes) else type_.dtype
            quant = quants[at] if at < len(quants) else None
            self._new(Value(made, type_.shape, dtype, quant))
        self.nodes.append(Node(name, op, tuple(inputs), names, tuple(notes)))
        return names

    def shape(self, name: str) -> tuple[int, ...]:
        return self.values[name].shape

    def finish(self, outputs: Sequence[str]) -> Graph:
        return Graph(
            self.name,
            tuple(self.inputs),
            tuple(outputs),
            tuple(self.nodes),
            MappingProxyType(dict(self.values)),
            MappingProxyType(dict(self.constants)),
            self.rounding,
            MappingProxyType(dict(self.metadata)),
            tuple(self.notes),
        )

    def _new(self, value: Value) -> None:
        assert value.name and value.name not in self.values, f"two values named {value.name!r}"
        assert all(size >= 0 for size in value.shape), value
        self.values[value.name] = value


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The array in C order, read-only; copied only where it is neither."""
    import numpy as np

    if not array.flags.c_contiguous or array.flags.writeable:
        array = np.array(array, order="C", copy=True)
        array.flags.writeable = False
    return array


def edited(
    graph: Graph,
    nodes: Iterable[Node],
    *,
    values: Mapping[str, Value] | None = None,
    constants: Mapping[str, NDArray[Any]] | None = None,
    outputs: Sequence[str] | None = None,
    notes: Iterable[str] = (),
) -> Graph:
    """The graph with other nodes. ``values`` and ``constants`` are added or replaced; values that
    nothing makes, reads or returns any more are dropped.
    """
    nodes = tuple(nodes)
    outputs = graph.outputs if outputs is None else tuple(outputs)
    used = {*graph.inputs, *outputs}
    for node in nodes:
        used.update(node.given)
        used.update(node.outputs)
    arrays = {**graph.constants, **{k: frozen(v) for k, v in (constants or {}).items()}}
    made = {name for node in nodes for name in node.outputs}
    arrays = {k: v for k, v in arrays.items() if k in used and k not in made}
    table = {**graph.values, **(values or {})}
    for name, array in arrays.items():
        if name not in table:
            table[name] = Value(name, array.shape, Elem(array.dtype.name))
    return replace(
        graph,
        nodes=nodes,
        outputs=outputs,
        values=MappingProxyType({k: v for k, v in table.items() if k in used}),
        constants=MappingProxyType(arrays),
        notes=(*graph.notes, *notes),
    )


_WORD = re.compile(r"[^A-Za-z0-9]+")


def identifiers(
    names: Iterable[str], taken: Iterable[str] = (), of: Mapping[str, str] | None = None
) -> dict[str, str]:
    """A C identifier for each name (any text), unique and stable: the same names, the same words.
    ``of``: the texts to make words of, where names alone are not unique.

    Lower case, letters, digits and single underscores; a name without any such character becomes
    ``t``; clashes are numbered in order. The caller adds the network's prefix, so that neither
    keywords nor a leading digit matter.
    """
    found: dict[str, str] = {}
    used = set(taken)
    for name in names:
        text = name if of is None else of[name]
        word = _WORD.sub("_", text).strip("_").lower()[:40].rstrip("_") or "t"
        unique, number = word, 2
        while unique in used:
            unique, number = f"{word}_{number}", number + 1
        used.add(unique)
        found[name] = unique
    return found


def fresh(taken: Mapping[str, Any] | set[str], wanted: str) -> str:
    """``wanted``, or ``wanted`` with the first number that makes it a new name."""
    if wanted not in taken:
        return wanted
    number = 2
    while f"{wanted}.{number}" in taken:
        number += 1
    return f"{wanted}.{number}"


def toposort(nodes: Iterable[Node], ready: Iterable[str]) -> Iterator[Node]:
    """The nodes in an order in which they can run, as near to the given one as that allows.

    Raises ``ShapeError`` when some nodes wait for each other, or for values that nothing makes.
    """
    waiting = list(nodes)
    made = {*ready, ABSENT}
    need = {id(node): sum(name not in made for name in set(node.inputs)) for node in waiting}
    readers: dict[str, list[int]] = {}
    for at, node in enumerate(waiting):
        for name in set(node.inputs) - made:
            readers.setdefault(name, []).append(at)
    import heapq

    heap = [at for at, node in enumerate(waiting) if not need[id(node)]]
    heapq.heapify(heap)
    done = 0
    while heap:
        node = waiting[heapq.heappop(heap)]
        yield node
        done += 1
        for name in node.outputs:
            for at in readers.pop(name, ()):
                need[id(waiting[at])] -= 1
                if not need[id(waiting[at])]:
                    heapq.heappush(heap, at)
    if done < len(waiting):
        stuck = [node.name for node in waiting if need[id(node)]]
        shown = ", ".join(stuck[:5]) + (" ..." if len(stuck) > 5 else "")
        raise ShapeError(f"these nodes wait for each other or for a missing tensor: {shown}")


__all__ = [
    "ABSENT",
    "Builder",
    "Elem",
    "Graph",
    "Node",
    "Op",
    "Quantization",
    "ShapeError",
    "Type",
    "Value",
    "edited",
    "fresh",
    "frozen",
    "identifiers",
    "toposort",
]

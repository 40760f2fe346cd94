"""A graph while it is rewritten: who makes and who reads each value is always at hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from convgen.network.graph import ABSENT, Graph, Node, Quantization, Value, fresh, frozen
from convgen.network.ops.face import Elem, Op
from convgen.spec.quant import Rounding

if TYPE_CHECKING:
    from numpy.typing import NDArray

Place = tuple[int, ...]


class Draft:
    """Nodes are known by their first output. ``place`` sorts them: new nodes come before or take
    the place of those that they were made from.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values = dict(graph.values)
        self.constants = dict(graph.constants)
        self.nodes: dict[str, Node] = {}
        self.place: dict[str, Place] = {}
        self.readers: dict[str, dict[str, None]] = {name: {} for name in self.values}
        self.maker: dict[str, str] = {}
        self.notes: list[str] = list(graph.notes)
        self._made = 0
        for at, node in enumerate(graph.nodes):
            self._add(node, (at, 1))

    @property
    def rounding(self) -> Rounding:
        return self.graph.rounding

    def operands(self, node: Node) -> tuple[Value | None, ...]:
        """As of a ``Graph``."""
        return tuple(None if name == ABSENT else self.values[name] for name in node.inputs)

    def results(self, node: Node) -> tuple[Value, ...]:
        return tuple(self.values[name] for name in node.outputs)

    def each(self) -> Iterator[Node]:
        """Every node in order; rewriting on the way is allowed."""
        for key in sorted(self.nodes, key=lambda key: self.place[key]):
            if key in self.nodes:
                yield self.nodes[key]

    def array(self, name: str) -> NDArray[Any] | None:
        """The constant of that name, or None."""
        return self.constants.get(name)

    def made_by(self, name: str) -> Node | None:
        key = self.maker.get(name)
        return None if key is None else self.nodes[key]

    def sole_reader(self, name: str) -> Node | None:
        """The one node that reads a value, if it reads it once and nothing else needs it."""
        if name in self.graph.outputs or len(self.readers[name]) != 1:
            return None
        node = self.nodes[next(iter(self.readers[name]))]
        return node if node.inputs.count(name) == 1 else None

    def private(self, name: str) -> Node | None:
        """The node that makes a value which exactly one node reads."""
        return None if self.sole_reader(name) is None else self.made_by(name)

    def exact(self, node: Node) -> bool:
        """Is it a node on real numbers (no 8-bit arithmetic to keep)?"""
        return all(self.values[name].dtype.is_float for name in (*node.given, *node.outputs))

    def constant(self, array: Any, hint: str, quant: Quantization | None = None) -> str:
        """A new constant; its name begins with ``hint``."""
        name = fresh(self.values, hint)
        held = frozen(array)
        self.values[name] = Value(name, held.shape, Elem(held.dtype.name), quant)
        self.constants[name] = held
        self.readers[name] = {}
        return name

    def before(
        self, node: Node, name: str, op: Op, inputs: Sequence[str], notes: Sequence[str] = ()
    ) -> str:
        """A new node with one output, in front of ``node``; returns the output's name."""
        ins = tuple(None if i == ABSENT else self.values[i].type for i in inputs)
        (made,) = op.infer(ins)
        output = fresh(self.values, name)
        self.values[output] = Value(output, made.shape, made.dtype)
        self.readers[output] = {}
        self._made += 1
        place = (*self.place[node.outputs[0]][:1], 0, self._made)
        self._add(Node(output, op, tuple(inputs), (output,), tuple(notes)), place)
        return output

    def update(self, node: Node, note: str = "", **changes: Any) -> Node:
        """The node with other fields; its first output may not change."""
        notes = (*node.notes, note) if note else node.notes
        new = replace(node, **{"notes": notes, **changes})
        assert new.outputs[0] == node.outputs[0]
        place = self.place[node.outputs[0]]
        self._drop(node)
        self._add(new, place)
        return new

    def remove(self, node: Node) -> None:
        """A node whose outputs nobody reads."""
        assert not any(self.readers[name] for name in node.outputs), node
        assert not set(node.outputs) & set(self.graph.outputs), node
        self._drop(node)
        for name in node.outputs:
            del self.values[name]

    def bypass(self, node: Node, source: str) -> bool:
        """Let every reader of the node's output read ``source``, and drop the node.

        An output of the graph keeps its name: then the maker of ``source`` makes it, if nothing
        else speaks against that. False where a copy cannot be avoided.
        """
        target = node.output
        if target not in self.graph.outputs:
            self._redirect(target, source)
            self.remove(node)
            return True
        maker = self.made_by(source)
        if maker is None or source in self.graph.outputs:
            return False
        # ``source`` is renamed to ``target``.
        self._drop(node)
        self.values[target] = replace(self.values[source], name=target)
        self._redirect(source, target)
        outputs = tuple(target if name == source else name for name in maker.outputs)
        place = self.place[maker.outputs[0]]
        self._drop(maker)
        self._add(replace(maker, outputs=outputs), place)
        del self.values[source]
        return True

    def take_over(self, node: Node, target: str) -> None:
        """Let ``node`` make ``target``, whose maker is dropped; its own output has no reader left
        but that maker.
        """
        old = self.made_by(target)
        assert old is not None
        own = node.output
        place = self.place[own]
        self._drop(old)
        self._drop(node)
        self._add(replace(node, outputs=(target,)), place)
        if own != target:
            del self.values[own]

    def finish(self) -> Graph:
        """The graph, without nodes and constants that nothing needs."""
        needed = set(self.graph.outputs)
        kept: list[Node] = []
        for node in reversed(list(self.each())):
            if needed & set(node.outputs):
                kept.append(node)
                needed.update(node.given)
        kept.reverse()
        live = needed | set(self.graph.inputs) | {n for node in kept for n in node.outputs}
        return replace(
            self.graph,
            nodes=tuple(kept),
            values=MappingProxyType({k: v for k, v in self.values.items() if k in live}),
            constants=MappingProxyType({k: v for k, v in self.constants.items() if k in live}),
            notes=tuple(self.notes),
        )

    def _redirect(self, old: str, new: str) -> None:
        for key in list(self.readers[old]):
            node = self.nodes[key]
            inputs = tuple(new if name == old else name for name in node.inputs)
            self.update(node, inputs=inputs)

    def _add(self, node: Node, place: Place) -> None:
        key = node.outputs[0]
        self.nodes[key] = node
        self.place[key] = place
        for name in node.outputs:
            self.maker[name] = key
            self.readers.setdefault(name, {})
        for name in node.given:
            self.readers[name][key] = None

    def _drop(self, node: Node) -> None:
        key = node.outputs[0]
        del self.nodes[key], self.place[key]
        for name in node.outputs:
            del self.maker[name]
        for name in node.given:
            self.readers[name].pop(key, None)

"""From a ``Source`` to a ``Graph``: the frame that both formats share.

One function per operator (``Rule``) appends graph nodes to a ``Draft``. A rule that cannot take its
node raises ``Refusal``; the rest of the model is translated all the same, so that everything that
cannot be taken is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from convgen.importers.limits import MAX_ELEMENTS, MAX_RANK
from convgen.importers.refusal import Refusal, Refused, shown
from convgen.importers.source import ABSENT, Meaning, Node, Source
from convgen.network.graph import Builder, Elem, Graph, Op, Quantization, ShapeError, Type, fresh
from convgen.network.ops import Identity
from convgen.spec.quant import Rounding

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# What a rule stumbles over when a node's attributes are nonsense that no check foresaw.
MALFORMED = (
    ValueError, TypeError, IndexError, KeyError, OverflowError, ZeroDivisionError, AttributeError,
)  # fmt: skip


COMPUTED = "computed now"


@dataclass(frozen=True)
class Row:
    """What became of one node of the file: ``outcome`` is taken, folded or refused."""

    node: str
    op: str
    outcome: str
    detail: str = ""


@dataclass
class Draft:
    """A graph in the making, seen from the file: tensors go by the file's names.

    ``known``: tensors whose values are known now; they become constants of the graph where a node
    uses one. ``packed``: of some of those, the integers and the meaning that they were made of.
    ``alias``: tensors that are another one under a new name. ``lost``: what refused nodes would
    have made.
    """

    source: Source
    builder: Builder
    known: dict[str, Array] = field(default_factory=dict)
    packed: dict[str, tuple[Array, Quantization]] = field(default_factory=dict)
    meanings: dict[str, Quantization] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    labels: dict[str, None] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    detail: str = ""
    named: set[str] = field(init=False)

    def __post_init__(self) -> None:
        """``named``: every name that the file uses anywhere."""
        self.named = {*self.source.tensors, *self.source.inputs, *self.source.outputs}
        for node in self.source.nodes:
            self.named.update(node.inputs, node.outputs, node.captured)

    # -- what is there

    def has(self, node: Node, at: int) -> bool:
        """Is this optional input given?"""
        return at < len(node.inputs) and node.inputs[at] != ABSENT

    def name(self, node: Node, at: int) -> str:
        """The file's name of a required input."""
        if not self.has(node, at):
            raise Refusal("M023", f"input {at} is missing", "repair the model")
        return node.inputs[at]

    def shape(self, name: str) -> tuple[int, ...]:
        name = self.alias.get(name, name)
        if name in self.known:
            return tuple(self.known[name].shape)
        self._there(name)
        return self.builder.shape(name)

    def dtype(self, name: str) -> Elem:
        name = self.alias.get(name, name)
        if name in self.known:
            return element(self.known[name].dtype.name)
        self._there(name)
        return self.builder.values[name].dtype

    def quant(self, name: str) -> Quantization | None:
        name = self.alias.get(name, name)
        if name in self.builder.values:
            return self.builder.values[name].quant
        return self.meanings.get(name)

    def constant(self, node: Node, at: int, what: str) -> Array:
        """The values of an input that must be known when the network is built."""
        name = self.name(node, at)
        found = self.known.get(self.alias.get(name, name))
        if found is None:
            raise Refusal(
                "M025",
                f"its {what} (input {at}, {shown(name)}) is computed while the network runs",
                "make it a constant of the model (onnxslim or onnx-simplifier may do so), or cut "
                "the node off with --cut",
            )
        return found

    def ints(self, node: Node, at: int, what: str) -> tuple[int, ...]:
        """The same for integers, flat."""
        found = self.constant(node, at, what)
        if found.dtype.kind not in "iu":
            raise Refusal("M023", f"its {what} are no integers", "repair the model")
        return tuple(int(v) for v in found.reshape(-1))

    # -- what is added

    def value(self, name: str) -> str:
        """The graph's value for a tensor of the file; known ones are added as constants."""
        name = self.alias.get(name, name)
        if name in self.known and name not in self.builder.values:
            element(self.known[name].dtype.name)
            self.builder.constant(name, self.known[name], self.meanings.get(name))
        self._there(name)
        return name

    def _there(self, name: str) -> None:
        """Refuse a tensor that nobody has made: of a type that no graph has, or left out."""
        if name in self.builder.values:
            return
        tensor = self.source.tensors.get(name)
        if tensor is not None and tensor.unread:
            element(tensor.dtype)
        raise Refusal("M022", f"tensor {shown(name)} holds no numbers", "repair the model")

    def new_constant(self, wanted: str, array: Array, quant: Quantization | None = None) -> str:
        """A constant that the file does not have as it is, transposed weights for example."""
        element(array.dtype.name)
        return self.builder.constant(self.fresh(wanted), array, quant)

    def fresh(self, wanted: str) -> str:
        """A name that neither the file nor the graph has."""
        name, number = wanted, 1
        while any(name in names for names in (self.named, self.builder.values, self.known)):
            number += 1
            name = f"{wanted}.{number}"
        return name

    def add(
        self,
        node: Node,
        op: Op,
        inputs: Sequence[str],
        outputs: Sequence[str] | None = None,
        quants: Sequence[Quantization | None] = (),
        dtypes: Sequence[Elem] = (),
        part: str = "",
    ) -> str:
        """Append one graph node for the file's ``node``; the first output's name.

        ``outputs``: names; by default the node's own. ``part``: which of several graph nodes for
        one node of the file this is; its output gets a name of its own then.
        """
        if outputs is None:
            outputs = (self.fresh(f"{node.outputs[0]}/{part}"),) if part else node.outputs
        if len(outputs) != len(op.infer(self._types(inputs))) or ABSENT in outputs:
            raise Refusal("M023", f"it has {len(outputs)} outputs", "repair the model")
        label = fresh(self.labels, f"{node.label}/{part}" if part else node.label)
        self.labels[label] = None
        names = self.builder.node(label, op, inputs, outputs, quants, dtypes=dtypes)
        for name in names:
            bounded(self.builder.shape(name))
        return names[0]

    def _types(self, inputs: Sequence[str]) -> list[Type | None]:
        return [None if name == ABSENT else self.builder.values[name].type for name in inputs]

    def same(self, node: Node, name: str) -> None:
        """The node's output is the tensor ``name`` itself."""
        self.alias[node.outputs[0]] = self.alias.get(name, name)
        self.detail = "nothing to compute"

    def fold(self, node: Node, arrays: Sequence[Array]) -> None:
        """The node's outputs are known."""
        for name, array in zip(node.outputs, arrays, strict=False):
            if name != ABSENT:
                bounded(array.shape)
                self.known[name] = array
        self.detail = COMPUTED


Rule = Callable[[Draft, Node], None]
Fold = Callable[[Draft, Node], bool]


@dataclass(frozen=True)
class Format:
    """What is particular to a format. ``fold`` computes a node whose inputs are all known, and says
    whether it could. ``declared``: shape and type of a tensor that a refused node would have made,
    or None. ``checked``: is what a node made what the file says of it? It raises ``Refusal``."""

    rules: Mapping[str, Rule]
    fold: Fold
    why_not: Callable[[Node], Refusal]
    declared: Callable[[str], tuple[tuple[int, ...], Elem, Quantization | None] | None]
    rounding: Rounding
    checked: Rule


@dataclass(frozen=True)
class Translated:
    """``graph``: None when nodes were refused."""

    graph: Graph | None
    rows: tuple[Row, ...]
    refused: tuple[Refused, ...]


def translate(
    source: Source,
    form: Format,
    name: str,
    inputs: Iterable[tuple[str, tuple[int, ...], Elem, Quantization | None]],
) -> Translated:
    """The whole model as a graph, or every node that cannot be taken."""
    draft = Draft(source, Builder(name, rounding=form.rounding))
    for tensor in source.tensors.values():
        if tensor.data is not None:
            draft.known[tensor.name] = tensor.data
            if tensor.meaning is not None:
                draft.meanings[tensor.name] = quantization(tensor.meaning)
    for given in inputs:
        draft.known.pop(given[0], None)
        draft.builder.input(*given)
    for node in source.nodes:
        take(draft, node, form)
    if draft.refused:
        return Translated(None, tuple(draft.rows), tuple(draft.refused))
    draft.builder.metadata |= dict(source.metadata)
    draft.builder.notes += source.notes
    graph = draft.builder.finish(_outputs(draft, source))
    return Translated(graph, tuple(draft.rows), ())


def take(draft: Draft, node: Node, form: Format) -> None:
    """One node: folded, translated or refused."""
    given = [draft.alias.get(name, name) for name in node.inputs if name != ABSENT]
    rule = form.rules.get(node.kind)
    try:
        if any(name in draft.lost for name in given):
            if rule is None and not all(name in draft.known for name in given):
                raise form.why_not(node)
            draft.lost |= set(node.outputs)  # what it takes from was refused: that is told already
            return
        draft.detail = ""
        if all(name in draft.known for name in given) and form.fold(draft, node):
            form.checked(draft, node)
            draft.rows.append(Row(node.label, node.op, "folded", draft.detail))
            return
        if rule is None:
            raise form.why_not(node)
        before = len(draft.builder.nodes)
        rule(draft, node)
        form.checked(draft, node)
        made = " + ".join(n.op.kind for n in draft.builder.nodes[before:])
        outcome = "taken" if made else "folded"
        draft.rows.append(Row(node.label, node.op, outcome, made or draft.detail))
    except Refusal as why:
        _refuse(draft, node, form, why.code, why.reason, why.advice)
    except ShapeError as error:
        _refuse(draft, node, form, "M023", str(error), "repair the model")
    except MemoryError:
        _refuse(draft, node, form, "M026", "its values need too much memory", "make it smaller")
    except MALFORMED as error:
        reason = f"its attributes or inputs make no sense ({type(error).__name__}: {error})"
        _refuse(draft, node, form, "M023", reason, "repair the model")


def _refuse(draft: Draft, node: Node, form: Format, code: str, reason: str, advice: str) -> None:
    """Remember why, and go on as if the node's outputs came from outside, where that is known."""
    draft.refused.append(Refused(code, node.label, node.op, reason, advice))
    draft.rows.append(Row(node.label, node.op, "refused", reason))
    for name in node.outputs:
        if name == ABSENT or name in draft.builder.values:
            continue
        found = form.declared(name)
        if found is None:
            draft.lost.add(name)
        else:
            draft.builder.input(name, *found)


def _outputs(draft: Draft, source: Source) -> list[str]:
    """The graph's outputs under the file's names: a tensor that is another one, an input or a
    constant gets a node of its own."""
    names: list[str] = []
    for name in source.outputs:
        value = draft.value(name)
        plain = value == name and value not in draft.builder.constants
        if not plain or value in draft.builder.inputs or name in names:
            quant = draft.builder.values[value].quant
            made = name if value != name else draft.fresh(f"{name}/output")
            made = made if made not in draft.builder.values else draft.fresh(f"{made}/output")
            draft.builder.node(fresh(draft.labels, made), Identity(), (value,), (made,), (quant,))
            draft.labels[made] = None
            value = made
        names.append(value)
    return names


def quantization(meaning: Meaning) -> Quantization:
    """The graph's form of what a tensor's integers mean."""
    count = len(meaning.scale)
    zeros = meaning.zero_point * count if len(meaning.zero_point) == 1 else meaning.zero_point
    return Quantization(meaning.scale, zeros, meaning.axis if count > 1 else None)


def element(dtype: str) -> Elem:
    """The element type of a name that a reader gave it. Raises ``Refusal``."""
    if dtype not in set(Elem) - {Elem.BFLOAT16}:
        raise Refusal(
            "M022",
            f"elements of type {dtype or 'unknown'} are not taken",
            "convert the model to float32, or to 8-bit integers",
        )
    return Elem(dtype)


def bounded(shape: Sequence[int]) -> None:
    """Refuses what no real network has."""
    if len(shape) > MAX_RANK or prod(shape) > MAX_ELEMENTS:
        text = "x".join(map(str, shape))
        raise Refusal(
            "M026", f"a tensor of {text} elements is beyond the bounds", "give a smaller --shape"
        )

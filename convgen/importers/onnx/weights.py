"""Weights of ONNX's operators in the graph's order of axes, float or behind a DequantizeLinear."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from convgen.importers.source import Node
from convgen.importers.translate import Draft, element
from convgen.network.graph import Quantization
from convgen.network.ops import Dequantize

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Weights:
    """A constant operand. ``values``: as the file has them; ``quant``: None of floats.

    8-bit weights that the file dequantises stay integers, with a Dequantize node behind them: the
    graph's simplification makes an integer layer of the three where it may.
    """

    draft: Draft
    node: Node
    name: str
    values: Array
    quant: Quantization | None

    def turned(self, perm: tuple[int, ...]) -> str:
        """The graph's value for these weights with their axes in the order ``perm``."""

        def turn(array: Array) -> Array:
            return array.transpose(perm)

        axis = None if self.quant is None or self.quant.axis is None else self.quant.axis
        return self._added(turn, None if axis is None else perm.index(axis))

    def grouped(self, groups: int) -> str:
        """[C, M/G, *kernel] as [*kernel, C/G, M]: what a transposed convolution takes."""
        depth, each, *kernel = self.values.shape
        rank = len(kernel)

        def turn(array: Array) -> Array:
            parts = array.reshape(groups, depth // groups, each, *kernel)
            turned = parts.transpose(*range(3, 3 + rank), 1, 0, 2)
            return turned.reshape(*kernel, depth // groups, groups * each)

        quant = self.quant
        if quant is None or quant.axis is None:
            return self._added(turn, None)
        if quant.axis == 1 and groups == 1:
            return self._added(turn, rank + 1)
        return replace(self, values=self.real(), quant=None).grouped(groups)

    def real(self) -> Array:
        """The numbers that the integers stand for."""
        return self.draft.known[self.name]

    def _added(self, turn: Callable[[Array], Array], axis: int | None) -> str:
        wanted = f"{self.name}/{self.node.op}"
        if self.quant is None:
            return self.draft.new_constant(wanted, turn(self.values))
        quant = replace(self.quant, axis=axis)
        whole = self.draft.new_constant(wanted, turn(self.values), quant)
        return self.draft.add(self.node, Dequantize(), [whole], part=f"dequantize {self.name}")


def weights(draft: Draft, node: Node, at: int, what: str = "weights") -> Weights:
    """A constant input of a node. Raises ``Refusal`` when it is none."""
    values = draft.constant(node, at, what)
    name = draft.name(node, at)
    name = draft.alias.get(name, name)
    if name in draft.packed:
        return Weights(draft, node, name, *draft.packed[name])
    return Weights(draft, node, name, values, None)


def operand(draft: Draft, node: Node, at: int) -> str:
    """The graph's value for an input; a constant that the file dequantises keeps its integers."""
    name = draft.name(node, at)
    name = draft.alias.get(name, name)
    if name not in draft.packed:
        return draft.value(name)
    array, quant = draft.packed[name]
    if not element(array.dtype.name).eight_bit or quant.axis is not None:
        return draft.value(name)
    return Weights(draft, node, name, array, quant).turned(tuple(range(array.ndim)))

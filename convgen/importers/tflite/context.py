"""What TFLite's rules share: activations, paddings, meanings of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convgen.importers.refusal import Refusal
from convgen.importers.source import Node, Tensor
from convgen.importers.translate import Draft, Rule, quantization
from convgen.network.graph import Elem, Quantization
from convgen.network.ops import Activate, Op
from convgen.spec.model import Act, Activation

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SAME, VALID = 0, 1  # schema.fbs: Padding
FUSED = {  # schema.fbs: ActivationFunctionType
    0: Activation(),
    1: Activation(Act.RELU),
    2: Activation(Act.CLIP, low=-1.0, high=1.0),
    3: Activation(Act.RELU6),
    4: Activation(Act.TANH),
}
CONVERT = "convert the model with full integer quantisation, or as float32"


def fused(draft: Draft, node: Node) -> Activation:
    """The activation inside the operator. Raises ``Refusal``."""
    number = node.attributes["FusedActivationFunction"]
    found = FUSED.get(number)
    if found is None:
        raise Refusal(
            "M021", f"the fused activation {number} (SIGN_BIT) is not taken", "cut it off (--cut)"
        )
    if found.kind is Act.TANH and result_dtype(draft, node).eight_bit:
        raise Refusal("M021", "a fused tanh of 8-bit integers has no meaning", CONVERT)
    return found


def result_dtype(draft: Draft, node: Node, at: int = 0) -> Elem:
    """The element type that the file gives an output."""
    from convgen.importers.translate import element

    return element(draft.source.tensors[node.outputs[at]].dtype)


def meanings(draft: Draft, node: Node) -> tuple[Quantization | None, ...]:
    """What the integers of the node's outputs mean; None of floats."""
    return tuple(meaning(draft, name) for name in node.outputs)


def meaning(draft: Draft, name: str) -> Quantization | None:
    return meaning_of(draft.source.tensors[name])


def meaning_of(tensor: Tensor) -> Quantization | None:
    """What a tensor's integers mean; None of floats, whatever the file says beside them."""
    if tensor.meaning is None or not tensor.dtype.startswith(("int", "uint")):
        return None
    return quantization(tensor.meaning)


def put(draft: Draft, node: Node, op: Op, *inputs: str) -> None:
    """Append the node as one operator, with its outputs' types and meanings as the file has them.

    ``inputs``: the file's names.
    """
    dtypes = [result_dtype(draft, node, at) for at in range(len(node.outputs))]
    values = [draft.value(name) for name in inputs]
    draft.add(node, op, values, quants=meanings(draft, node), dtypes=dtypes)


def put_with(draft: Draft, node: Node, op: Op, activation: Activation, *inputs: str) -> None:
    """``put`` of an operator that has no room for the fused activation: a node of its own."""
    if activation.kind is Act.NONE:
        put(draft, node, op, *inputs)
        return
    values = [draft.value(name) for name in inputs]
    quants, dtype = meanings(draft, node), result_dtype(draft, node)
    between = draft.add(node, op, values, quants=quants, dtypes=[dtype], part=op.kind)
    draft.add(node, Activate(activation), [between], quants=quants, dtypes=[dtype])


def arithmetic(draft: Draft, node: Node, *names: str) -> None:
    """Refuse integers that nobody can calculate with: without a scale, or of mixed types."""
    for name in (*names, *node.outputs):
        tensor = draft.source.tensors.get(name)
        dtype = Elem(draft.dtype(name)) if name in names else result_dtype(draft, node)
        if dtype in (Elem.INT16, Elem.UINT16):
            raise Refusal("M022", "16-bit activations are not taken", CONVERT)
        if not dtype.eight_bit:
            continue
        found = None if tensor is None else meaning(draft, name)
        if found is None or not all(s > 0 for s in found.scale):
            raise Refusal("M023", "it calculates with 8-bit integers that have no scale", CONVERT)
        if not found.per_tensor:
            raise Refusal("M021", "activations with a scale per channel are not taken", CONVERT)
    if (
        names
        and len(
            {draft.dtype(name).eight_bit for name in names} | {result_dtype(draft, node).eight_bit}
        )
        > 1
    ):
        raise Refusal("M022", "it mixes 8-bit integers with other numbers", CONVERT)


def checked(rule: Rule) -> Rule:
    """A rule whose every input is calculated with."""

    def check_first(draft: Draft, node: Node) -> None:
        arithmetic(draft, node, *(name for name in node.inputs if name))
        rule(draft, node)

    return check_first

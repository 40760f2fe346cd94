"""If whose condition is known when the network is built: the branch taken stands in its place."""

from __future__ import annotations

from convgen.importers.onnx.context import CUT, REPAIR
from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.translate import Draft, Format, take


def branch(draft: Draft, node: Node, form: Format) -> None:
    """If: PyTorch's exporter writes one around a squeeze, for example."""
    from convgen.importers.onnx.read import Inner

    condition = draft.constant(node, 0, "condition")
    if condition.size != 1:
        raise Refusal("M023", f"a condition of {condition.size} elements", REPAIR)
    taken = bool(condition.reshape(-1)[0])
    inner = node.attributes.get("then_branch" if taken else "else_branch")
    if not isinstance(inner, Inner) or len(inner.outputs) != len(node.outputs):
        raise Refusal("M023", "its branches do not have its outputs", REPAIR)
    for name, tensor in inner.tensors.items():
        if tensor.data is not None:
            draft.known[name] = tensor.data
    for step in inner.nodes:
        take(draft, step, form)
    for name, found in zip(node.outputs, inner.outputs, strict=True):
        if draft.alias.get(found, found) in draft.lost:
            raise Refusal("M021", "its branch holds a node that is not taken", CUT)
        if name:
            draft.alias[name] = draft.alias.get(found, found)
    draft.detail = "the branch is known"

"""What ONNX's rules share: attributes, inputs that were attributes once, integers with a scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from convgen.importers.refusal import Refusal
from convgen.importers.source import ABSENT, Node
from convgen.importers.translate import Draft
from convgen.network.graph import Elem, Op

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

T = TypeVar("T", int, float, str)
REPAIR = "repair the model"
CUT = "build the part before or after it with --cut A:B"


def attribute(node: Node, name: str, default: T) -> T:
    """An attribute of the type that its default has. Raises ``Refusal``."""
    found = node.attributes.get(name, default)
    if isinstance(default, float) and isinstance(found, int):
        found = float(found)
    if type(found) is not type(default):
        raise Refusal("M023", f"its attribute {name} is {found!r}", REPAIR)
    return found


def ints(node: Node, name: str) -> tuple[int, ...] | None:
    """A list of numbers, None where the node has none. Raises ``Refusal``."""
    found = node.attributes.get(name)
    if found is None:
        return None
    if not isinstance(found, tuple) or not all(isinstance(v, int) for v in found):
        raise Refusal("M023", f"its attribute {name} is {found!r}", REPAIR)
    return found


def axes_of(
    draft: Draft, node: Node, at: int, since: int, name: str = "axes"
) -> tuple[int, ...] | None:
    """Numbers that were an attribute before operator set ``since`` and are input ``at`` from then
    on; None where they are left out."""
    if node.version < since:
        return ints(node, name)
    return draft.ints(node, at, name) if draft.has(node, at) else None


def positive(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from 0. Raises ``Refusal``."""
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) < len(axes):
        raise Refusal("M023", f"axes {list(axes)} of a tensor with {rank}", REPAIR)
    return tuple(a % rank for a in axes)


def one_output(node: Node, draft: Draft) -> Node:
    """The node with its first output only. Raises ``Refusal`` when somebody uses another."""
    used = {name for other in draft.source.nodes for name in (*other.inputs, *other.captured)}
    used |= set(draft.source.outputs)
    for at, name in enumerate(node.outputs[1:], 1):
        if name != ABSENT and name in used:
            raise Refusal("M021", f"its output {at} is used; only the first is computed", CUT)
    from dataclasses import replace

    return replace(node, outputs=node.outputs[:1])


def put(draft: Draft, node: Node, op: Op, *inputs: str) -> None:
    """Append the node as one operator. ``inputs``: the file's names."""
    draft.add(node, op, [draft.value(name) for name in inputs], outputs=_first(node))


def _first(node: Node) -> tuple[str, ...]:
    return node.outputs


def floats(draft: Draft, *names: str) -> Elem:
    """Refuse what is no floating-point number; the element type."""
    for name in names:
        dtype = draft.dtype(name)
        if not dtype.is_float:
            raise Refusal("M022", f"elements of type {dtype} are not taken here", CUT)
    return draft.dtype(names[0])


def real_like(draft: Draft, name: str, values: Any) -> Array:
    """Numbers in the element type of a tensor."""
    import numpy as np

    return np.asarray(values, str(draft.dtype(name)))

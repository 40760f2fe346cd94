"""TFLite's operators on constants, computed now: what models do to their weights and shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convgen.importers.limits import MAX_FOLDED
from convgen.importers.source import ABSENT, Node
from convgen.importers.translate import Draft

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def fold(draft: Draft, node: Node) -> bool:
    """Compute the node if it only moves or converts constants."""
    computed = FOLDS.get(node.op)
    if computed is None:
        return False
    given = [draft.known[draft.alias.get(n, n)] for n in node.inputs if n != ABSENT]
    draft.fold(node, [computed(node, *given)])
    name, first = node.outputs[0], node.inputs[0] if node.inputs else ABSENT
    quant = draft.quant(first) if first else None
    if quant is not None and quant.per_tensor:  # moved elements keep their meaning
        draft.meanings[name] = quant
    return True


def _reshape(node: Node, x: Array, shape: Array | None = None) -> Array:
    wanted = shape if shape is not None else node.attributes["NewShape"]
    return x.reshape(tuple(int(n) for n in wanted))


def _squeeze(node: Node, x: Array) -> Array:
    axes = node.attributes["SqueezeDims"]
    return x.squeeze(tuple(axes)) if axes else x.squeeze()


def _cast(node: Node, x: Array) -> Array:
    from convgen.importers.tflite.read import DTYPES, type_name

    return x.astype(DTYPES[type_name(node.attributes["OutDataType"])])


def _densified(node: Node, x: Array) -> Array:
    return x  # the reader made it dense


def _expand_dims(node: Node, x: Array, axis: Array) -> Array:
    import numpy as np

    return np.expand_dims(x, int(axis.reshape(-1)[0]))


def _concat(node: Node, *parts: Array) -> Array:
    import numpy as np

    return np.concatenate(parts, node.attributes["Axis"])


def _pack(node: Node, *parts: Array) -> Array:
    import numpy as np

    return np.stack(parts, node.attributes["Axis"])


def _transpose(node: Node, x: Array, perm: Array) -> Array:
    return x.transpose(tuple(int(p) for p in perm))


def _gather(node: Node, x: Array, indices: Array) -> Array:
    if node.attributes["BatchDims"]:
        raise ValueError("batch axes")
    return x.take(indices, node.attributes["Axis"])


def _fill(node: Node, shape: Array, value: Array) -> Array:
    import numpy as np

    return np.full(_bounded(shape), value.reshape(-1)[0], value.dtype)


def _zeros(node: Node, x: Array) -> Array:
    import numpy as np

    return np.zeros_like(x)


def _range(node: Node, start: Array, limit: Array, step: Array) -> Array:
    import numpy as np

    first, last, pace = (float(a.reshape(-1)[0]) for a in (start, limit, step))
    (count,) = _bounded(np.ceil([max(0.0, (last - first) / pace)]))
    return np_result(first + np.arange(count) * pace, start)


def _rank(node: Node, x: Array) -> Array:
    import numpy as np

    return np.array(x.ndim, np.int32)


def _floor_div(node: Node, a: Array, b: Array) -> Array:
    return np_result(a // b, a)


def _floor_mod(node: Node, a: Array, b: Array) -> Array:
    return np_result(a % b, a)


def np_result(found: Any, like: Array) -> Array:
    """An array of the operands' type, also where NumPy gives a scalar."""
    import numpy as np

    return np.asarray(found, like.dtype)


def _bounded(shape: Array) -> tuple[int, ...]:
    """A shape that fits into the bounds. Raises ``ValueError``."""
    from math import prod

    sizes = tuple(int(n) for n in shape.reshape(-1))
    if min(sizes, default=1) < 0 or prod(sizes) > MAX_FOLDED:
        raise ValueError(f"a constant of shape {list(sizes)}")
    return sizes


FOLDS: dict[str, Callable[..., Array]] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "CAST": _cast,
    "DENSIFY": _densified,
    "EXPAND_DIMS": _expand_dims,
    "CONCATENATION": _concat,
    "PACK": _pack,
    "TRANSPOSE": _transpose,
    "GATHER": _gather,
    "FILL": _fill,
    "ZEROS_LIKE": _zeros,
    "RANGE": _range,
    "RANK": _rank,
    "FLOOR_DIV": _floor_div,
    "FLOOR_MOD": _floor_mod,
}

"""ONNX's operators on constants, computed now by ONNX's own reference implementation.

Models compute shapes, axes and limits this way. The reference is Python and NumPy; like all of the
importer it runs in a process with bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convgen.importers.limits import MAX_FOLDED
from convgen.importers.source import ABSENT, Node
from convgen.importers.translate import Draft

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_WORDS = """
    Abs Add And BatchNormalization Cast CastLike Ceil Clip Compress Concat ConstantOfShape Conv Cos
    CumSum DepthToSpace Div Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gemm
    Greater GreaterOrEqual Less LessOrEqual Log MatMul Max Mean Min Mod Mul Neg NonZero Not OneHot
    Or Pad Pow QuantizeLinear Range Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd
    ReduceSum Relu Reshape Round ScatterElements ScatterND Shape Sigmoid Sign Sin Size Slice
    SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile Transpose Trilu Unsqueeze Where Xor
"""
FOLDABLE = frozenset(_WORDS.split())
NUMBERS = "biuf"  # NumPy's kinds of truth values, integers and floats


def fold(draft: Draft, node: Node) -> bool:
    """Compute the node if it has one right result; whether that could be done."""
    if node.op == "Constant":
        draft.fold(node, [_constant(node)])
        return True
    if node.op not in FOLDABLE or node.captured:
        return False
    given = {name: draft.known[draft.alias.get(name, name)] for name in node.inputs if name}
    if any(array.dtype.kind not in NUMBERS for array in given.values()):
        return False
    arrays = _computed(node, given)
    if arrays is None or sum(array.size for array in arrays) > MAX_FOLDED:
        return False
    draft.fold(node, arrays)
    return True


def _constant(node: Node) -> Array:
    """The value of a Constant node, whichever of its attributes holds it."""
    import numpy as np

    a = node.attributes
    for name in ("value", "sparse_value"):
        if name in a:
            return np.asarray(a[name])
    for name, dtype in (("float", np.float32), ("int", np.int64)):
        for key in (f"value_{name}", f"value_{name}s"):
            if key in a:
                return np.asarray(a[key], dtype)
    return np.asarray("")  # a text: whoever takes it is refused


def _computed(node: Node, given: dict[str, Array]) -> list[Array] | None:
    """What the reference makes of the node, None where it cannot."""
    import numpy as np
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    names = [name for name in node.outputs if name != ABSENT]
    graph = helper.make_graph(
        [node.origin],
        "fold",
        [helper.make_empty_tensor_value_info(name) for name in given],
        [helper.make_empty_tensor_value_info(name) for name in names],
    )
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(graph, opsets={"": node.version}).run(None, given)
    except MemoryError:
        raise
    except Exception:  # of whatever kind: the node then stands as it is, and its rule judges it
        return None
    arrays = [np.asarray(array) for array in found]
    if any(array.dtype.kind not in NUMBERS for array in arrays):
        return None
    return arrays

"""ONNX's operators that look along an axis: products, reductions, softmax, normalisation."""

from __future__ import annotations

from math import prod

from convgen.importers.onnx.context import (
    CUT,
    REPAIR,
    attribute,
    axes_of,
    floats,
    one_output,
    positive,
    put,
    real_like,
)
from convgen.importers.onnx.weights import weights
from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.translate import Draft, Rule
from convgen.network.ops import (
    BatchNorm,
    Binary,
    BinaryFn,
    Dense,
    LayerNorm,
    LocalResponseNorm,
    MatMul,
    Reduce,
    ReduceFn,
    Reshape,
    Softmax,
    Transpose,
)

TURNED = (1, 0)
LEAST = 2.0**-126  # the smallest normal float32: 0 divided by it is 0


def gemm(draft: Draft, node: Node) -> None:
    """Gemm: alpha * A' * B' + beta * C. A constant B makes a dense layer."""
    a, b = draft.name(node, 0), draft.name(node, 1)
    floats(draft, a, b)
    if len(draft.shape(a)) != 2 or len(draft.shape(b)) != 2:
        raise Refusal("M023", "it takes matrices", REPAIR)
    x = draft.value(a)
    if attribute(node, "transA", 0):
        x = draft.add(node, Transpose(TURNED), [x], part="turned a")
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    turned = bool(attribute(node, "transB", 0))
    known = draft.alias.get(b, b) in draft.known
    bias = _gemm_bias(draft, node, beta) if known and alpha == 1.0 else None
    rest = draft.has(node, 2) and beta != 0.0 and bias is None
    if known:
        w = weights(draft, node, 1).turned(TURNED if turned else (0, 1))
        inputs = [x, w] if bias is None else [x, w, bias]
        made = draft.add(node, Dense(), inputs, part="product" if rest or alpha != 1.0 else "")
    else:
        y = draft.value(b)
        if turned:
            y = draft.add(node, Transpose(TURNED), [y], part="turned b")
        made = draft.add(node, MatMul(), [x, y], part="product" if rest or alpha != 1.0 else "")
    if alpha != 1.0:
        made = _scaled(draft, node, made, alpha, "alpha", last=not rest)
    if rest:
        c = draft.value(draft.name(node, 2))
        if beta != 1.0:
            c = _scaled(draft, node, c, beta, "beta", last=False)
        draft.add(node, Binary(BinaryFn.ADD), [made, c])


def _gemm_bias(draft: Draft, node: Node, beta: float) -> str | None:
    """C as a bias, where it is a constant with one number for each output."""
    if not draft.has(node, 2) or beta != 1.0:
        return None
    name = draft.name(node, 2)
    name = draft.alias.get(name, name)
    c = draft.known.get(name)
    columns = draft.shape(draft.name(node, 1))[0 if attribute(node, "transB", 0) else 1]
    if c is None or c.shape != (columns,):
        return None
    return weights(draft, node, 2, "bias").turned((0,))


def _scaled(draft: Draft, node: Node, x: str, by: float, word: str, *, last: bool) -> str:
    import numpy as np

    number = np.asarray(by, str(draft.builder.values[x].dtype))
    factor = draft.new_constant(f"{node.outputs[0]}/{word}", number)
    return draft.add(node, Binary(BinaryFn.MUL), [x, factor], part="" if last else word)


def matmul(draft: Draft, node: Node) -> None:
    """MatMul in NumPy's sense; a constant matrix on the right makes a dense layer."""
    a, b = draft.name(node, 0), draft.name(node, 1)
    floats(draft, a, b)
    left, right = draft.shape(a), draft.shape(b)
    if not left or not right:
        raise Refusal("M023", "it takes no scalars", REPAIR)
    if draft.alias.get(b, b) in draft.known and len(right) == 2:
        draft.add(node, Dense(), [draft.value(a), weights(draft, node, 1).turned((0, 1))])
        return
    x, y = draft.value(a), draft.value(b)
    if len(left) == 1:
        x = draft.add(node, Reshape((1, *left)), [x], part="row")
    if len(right) == 1:
        y = draft.add(node, Reshape((*right, 1)), [y], part="column")
    vector = len(left) == 1 or len(right) == 1
    made = draft.add(node, MatMul(), [x, y], part="product" if vector else "")
    if vector:
        shape = list(draft.builder.shape(made))
        if len(right) == 1:
            del shape[-1]
        if len(left) == 1:
            del shape[-1 if len(right) == 1 else -2]
        draft.add(node, Reshape(tuple(shape)), [made])


def softmax(draft: Draft, node: Node) -> None:
    """Softmax and LogSoftmax. Before operator set 13 all axes from ``axis`` on counted as one."""
    x = draft.name(node, 0)
    floats(draft, x)
    shape, log = draft.shape(x), node.op == "LogSoftmax"
    (axis,) = positive((attribute(node, "axis", -1 if node.version >= 13 else 1),), len(shape))
    if node.version >= 13 or prod(shape[axis + 1 :]) == 1:
        put(draft, node, Softmax(axis, log=log), x)
        return
    flat = Reshape((prod(shape[:axis]), prod(shape[axis:])))
    rows = draft.add(node, flat, [draft.value(x)], part="rows")
    made = draft.add(node, Softmax(1, log=log), [rows], part="softmax")
    draft.add(node, Reshape(shape), [made])


def reduce(fn: ReduceFn, since: int = 18) -> Rule:
    """The axes were an attribute before operator set ``since``."""

    def rule(draft: Draft, node: Node) -> None:
        x = draft.name(node, 0)
        shape = draft.shape(x)
        axes = axes_of(draft, node, 1, since)
        nothing = attribute(node, "noop_with_empty_axes", 0)
        if not axes and nothing:
            if fn in (ReduceFn.MEAN, ReduceFn.SUM, ReduceFn.MAX, ReduceFn.MIN, ReduceFn.PROD):
                draft.same(node, x)
                return
            raise Refusal("M021", "a reduction over no axes is not taken", CUT)
        found = positive(axes, len(shape)) if axes else tuple(range(len(shape)))
        keepdims = bool(attribute(node, "keepdims", 1))
        put(draft, node, Reduce(fn, tuple(sorted(found)), keepdims), x)

    return rule


def batch_norm(draft: Draft, node: Node) -> None:
    if attribute(node, "training_mode", 0) or not attribute(node, "spatial", 1):
        raise Refusal("M021", "it is in training mode", "export the model for inference")
    if node.version < 7 and not attribute(node, "is_test", 0):
        raise Refusal("M021", "it is in training mode", "export the model for inference")
    node = one_output(node, draft)
    names = [draft.name(node, at) for at in range(5)]
    floats(draft, *names)
    put(draft, node, BatchNorm(axis=1, epsilon=attribute(node, "epsilon", 1e-5)), *names)


def layer_norm(draft: Draft, node: Node) -> None:
    node = one_output(node, draft)
    x = draft.name(node, 0)
    floats(draft, x)
    (axis,) = positive((attribute(node, "axis", -1),), len(draft.shape(x)))
    inputs = [draft.value(name) if name else "" for name in node.inputs]
    op = LayerNorm(axis=axis, epsilon=attribute(node, "epsilon", 1e-5))
    draft.add(node, op, inputs)


def instance_norm(draft: Draft, node: Node) -> None:
    """InstanceNormalization: each channel of each image by itself, then scale and bias."""
    x = draft.name(node, 0)
    floats(draft, x)
    shape = draft.shape(x)
    if len(shape) < 3:
        raise Refusal("M023", f"its input has {len(shape)} axes", REPAIR)
    op = LayerNorm(axis=2, epsilon=attribute(node, "epsilon", 1e-5))
    made = draft.add(node, op, [draft.value(x)], part="normalised")
    _affine(draft, node, made, (shape[1], *(1,) * (len(shape) - 2)))


def group_norm(draft: Draft, node: Node) -> None:
    """GroupNormalization of operator set 21: each group of channels by itself."""
    x = draft.name(node, 0)
    floats(draft, x)
    shape, groups = draft.shape(x), attribute(node, "num_groups", 0)
    if len(shape) < 3 or groups < 1 or shape[1] % groups:
        raise Refusal("M023", f"{groups} groups of {list(shape)}", REPAIR)
    if node.version < 21:
        raise Refusal("M021", "its scale has one number a group", "raise the operator set to 21")
    parts = Reshape((shape[0], groups, prod(shape[1:]) // groups))
    rows = draft.add(node, parts, [draft.value(x)], part="groups")
    op = LayerNorm(axis=2, epsilon=attribute(node, "epsilon", 1e-5))
    made = draft.add(node, op, [rows], part="normalised")
    whole = draft.add(node, Reshape(shape), [made], part="whole")
    _affine(draft, node, whole, (shape[1], *(1,) * (len(shape) - 2)))


def _affine(draft: Draft, node: Node, x: str, shape: tuple[int, ...]) -> None:
    """Times the second input, plus the third, one number a channel."""
    rows = []
    for at, word in ((1, "scale"), (2, "bias")):
        values = draft.constant(node, at, word).reshape(shape)
        rows.append(draft.new_constant(f"{draft.name(node, at)}/{node.op}", values))
    scaled = draft.add(node, Binary(BinaryFn.MUL), [x, rows[0]], part="scaled")
    draft.add(node, Binary(BinaryFn.ADD), [scaled, rows[1]])


def local_response_norm(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    floats(draft, x)
    op = LocalResponseNorm(
        size=attribute(node, "size", 0),
        alpha=attribute(node, "alpha", 1e-4),
        beta=attribute(node, "beta", 0.75),
        bias=attribute(node, "bias", 1.0),
        axis=1,
    )
    put(draft, node, op, x)


def lp_norm(draft: Draft, node: Node) -> None:
    """LpNormalization: divided by the length along an axis; what has none stays 0."""
    x = draft.name(node, 0)
    floats(draft, x)
    (axis,) = positive((attribute(node, "axis", -1),), len(draft.shape(x)))
    p = attribute(node, "p", 2)
    if p not in (1, 2):
        raise Refusal("M023", f"p is {p}", REPAIR)
    fn = ReduceFn.L2 if p == 2 else ReduceFn.L1
    value = draft.value(x)
    length = draft.add(node, Reduce(fn, (axis,), keepdims=True), [value], part="length")
    least = draft.new_constant(f"{node.outputs[0]}/least", real_like(draft, x, LEAST))
    divisor = draft.add(node, Binary(BinaryFn.MAX), [length, least], part="divisor")
    draft.add(node, Binary(BinaryFn.DIV), [value, divisor])

"""TFLite's operators that work element by element or along an axis."""

from __future__ import annotations

from convgen.importers.refusal import Refusal
from convgen.importers.source import Node
from convgen.importers.tflite.context import (
    CONVERT,
    arithmetic,
    fused,
    meanings,
    put,
    result_dtype,
)
from convgen.importers.tflite.windows import real
from convgen.importers.translate import Draft, Rule
from convgen.network.graph import Elem
from convgen.network.ops import (
    Activate,
    Binary,
    BinaryFn,
    Cast,
    Dequantize,
    LocalResponseNorm,
    MatMul,
    PRelu,
    Quantize,
    Reduce,
    ReduceFn,
    Requantize,
    Softmax,
    Transpose,
    Unary,
    UnaryFn,
    Where,
)
from convgen.spec.model import Act, Activation

L2_LEAST = 1e-6  # of a sum of squares, in TFLite's L2Normalization


def binary(fn: BinaryFn) -> Rule:
    """x fn y, then the fused activation where the operator has one."""

    def rule(draft: Draft, node: Node) -> None:
        a, b = draft.name(node, 0), draft.name(node, 1)
        if fn.compares:
            if draft.dtype(a).eight_bit:
                raise Refusal("M021", "comparing 8-bit integers is not taken", CONVERT)
        else:
            arithmetic(draft, node, a, b)
        act = fused(draft, node) if "FusedActivationFunction" in node.attributes else Activation()
        put(draft, node, Binary(fn, act), a, b)

    return rule


def activate(activation: Activation) -> Rule:
    def rule(draft: Draft, node: Node) -> None:
        x = draft.name(node, 0)
        arithmetic(draft, node, x)
        put(draft, node, Activate(activation), x)

    return rule


def leaky_relu(draft: Draft, node: Node) -> None:
    activate(Activation(Act.LEAKY_RELU, alpha=node.attributes["Alpha"]))(draft, node)


def gelu(draft: Draft, node: Node) -> None:
    kind = Act.GELU_TANH if node.attributes["Approximate"] else Act.GELU
    activate(Activation(kind))(draft, node)


def unary(fn: UnaryFn) -> Rule:
    def rule(draft: Draft, node: Node) -> None:
        x = draft.name(node, 0)
        arithmetic(draft, node, x)
        put(draft, node, Unary(fn), x)

    return rule


def prelu(draft: Draft, node: Node) -> None:
    x, slope = draft.name(node, 0), draft.name(node, 1)
    arithmetic(draft, node, x, slope)
    put(draft, node, PRelu(), x, slope)


def softmax(draft: Draft, node: Node) -> None:
    x = draft.name(node, 0)
    arithmetic(draft, node, x)
    beta = node.attributes.get("Beta", 1.0)
    put(draft, node, Softmax(axis=-1, beta=beta, log=node.op == "LOG_SOFTMAX"), x)


def reduce(fn: ReduceFn) -> Rule:
    """Over the axes of the second input."""

    def rule(draft: Draft, node: Node) -> None:
        x = draft.name(node, 0)
        arithmetic(draft, node, x)
        rank = len(draft.shape(x))
        axes = {a + rank if a < 0 else a for a in draft.ints(node, 1, "axes")}
        op = Reduce(fn, tuple(sorted(axes)), keepdims=node.attributes["KeepDims"])
        put(draft, node, op, x)

    return rule


def quantize(draft: Draft, node: Node) -> None:
    """QUANTIZE: of real numbers, or from one quantisation to another."""
    x, dtype = draft.name(node, 0), result_dtype(draft, node)
    if not dtype.eight_bit or meanings(draft, node)[0] is None:
        raise Refusal("M022", f"quantising to {dtype} is not taken", CONVERT)
    if draft.dtype(x) is Elem.FLOAT32:
        put(draft, node, Quantize(dtype), x)
    elif draft.dtype(x).eight_bit and draft.quant(x) is not None:
        put(draft, node, Requantize(dtype), x)
    else:
        raise Refusal("M022", f"quantising {draft.dtype(x)} is not taken", CONVERT)


def dequantize(draft: Draft, node: Node) -> None:
    """DEQUANTIZE; of a constant at once."""
    x = draft.name(node, 0)
    known = draft.known.get(draft.alias.get(x, x))
    if known is not None:
        quant = draft.quant(x)
        draft.fold(node, [real(known, quant, (quant.axis if quant else None) or 0)])
        return
    if draft.dtype(x).eight_bit and draft.quant(x) is None:
        raise Refusal("M023", "it has no scale", CONVERT)
    put(draft, node, Dequantize(), x)


def cast(draft: Draft, node: Node) -> None:
    put(draft, node, Cast(result_dtype(draft, node)), draft.name(node, 0))


def where(draft: Draft, node: Node) -> None:
    condition, a, b = (draft.name(node, at) for at in range(3))
    if draft.dtype(a).eight_bit:
        raise Refusal("M021", "selecting among 8-bit integers is not taken", CONVERT)
    put(draft, node, Where(), condition, a, b)


def local_response_norm(draft: Draft, node: Node) -> None:
    """TFLite's radius counts one side, and its alpha is not divided by the size."""
    a, x = node.attributes, draft.name(node, 0)
    arithmetic(draft, node, x)
    size = 2 * a["Radius"] + 1
    put(draft, node, LocalResponseNorm(size, a["Alpha"] * size, a["Beta"], a["Bias"], axis=-1), x)


def l2_norm(draft: Draft, node: Node) -> None:
    """x / sqrt(max(sum of squares along the last axis, 1e-6)), from its parts."""
    import numpy as np

    x = draft.name(node, 0)
    if draft.dtype(x) is not Elem.FLOAT32:
        raise Refusal("M022", "L2 normalisation of integers is not taken", CONVERT)
    value, last = draft.value(x), len(draft.shape(x)) - 1
    squares = Reduce(ReduceFn.SUM_SQUARE, (last,), keepdims=True)
    total = draft.add(node, squares, [value], part="squares")
    least = draft.new_constant(f"{node.outputs[0]}/least", np.array(L2_LEAST, np.float32))
    kept = draft.add(node, Binary(BinaryFn.MAX), [total, least], part="max")
    length = draft.add(node, Unary(UnaryFn.SQRT), [kept], part="sqrt")
    draft.add(node, Binary(BinaryFn.DIV, fused(draft, node)), [value, length])


def squared_difference(draft: Draft, node: Node) -> None:
    a, b = draft.name(node, 0), draft.name(node, 1)
    if draft.dtype(a) is not Elem.FLOAT32:
        raise Refusal("M022", "a squared difference of integers is not taken", CONVERT)
    parts = [draft.value(a), draft.value(b)]
    difference = draft.add(node, Binary(BinaryFn.SUB), parts, part="sub")
    draft.add(node, Unary(UnaryFn.SQUARE), [difference])


def batch_matmul(draft: Draft, node: Node) -> None:
    names = [draft.name(node, 0), draft.name(node, 1)]
    if any(draft.dtype(name) is not Elem.FLOAT32 for name in names):
        raise Refusal("M022", "a product of integer matrices is not taken", CONVERT)
    sides = []
    for name, turned in zip(names, ("AdjX", "AdjY"), strict=True):
        value = draft.value(name)
        if node.attributes[turned]:
            rank = len(draft.shape(name))
            perm = (*range(rank - 2), rank - 1, rank - 2)
            value = draft.add(node, Transpose(perm), [value], part=turned.lower())
        sides.append(value)
    draft.add(node, MatMul(), sides)

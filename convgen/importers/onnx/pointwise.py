"""ONNX's operators that work element by element."""

from __future__ import annotations

import math
from collections.abc import Callable

from convgen.importers.onnx.context import CUT, REPAIR, attribute, floats, put, real_like
from convgen.importers.onnx.weights import operand
from convgen.importers.refusal import Refusal
from convgen.importers.source import ABSENT, Node
from convgen.importers.translate import Draft, Rule, element
from convgen.network.graph import Elem
from convgen.network.ops import (
    Activate,
    Binary,
    BinaryFn,
    Cast,
    PRelu,
    Reshape,
    Unary,
    UnaryFn,
    Where,
)
from convgen.spec.model import Act, Activation

SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946)
MISSING = -math.inf  # no default: the attribute must be there


def binary(fn: BinaryFn) -> Rule:
    def rule(draft: Draft, node: Node) -> None:
        a, b = draft.name(node, 0), draft.name(node, 1)
        if fn is BinaryFn.DIV and not draft.dtype(a).is_float:
            raise Refusal("M022", "a division of integers is not taken", CUT)
        draft.add(node, Binary(fn), [operand(draft, node, 0), _spread(draft, node, a, b)])

    return rule


def _spread(draft: Draft, node: Node, a: str, b: str) -> str:
    """The second operand, whose axes could begin at any of the first's before operator set 7."""
    value = operand(draft, node, 1)
    if node.version >= 7:
        return value
    given = node.attributes.get("axis")
    if not attribute(node, "broadcast", 0) or given is None:
        return value
    shape, rank = draft.shape(b), len(draft.shape(a))
    axis = attribute(node, "axis", 0)
    after = rank - (axis + rank if axis < 0 else axis) - len(shape)
    if after < 0:
        raise Refusal("M023", f"axis {axis} of {rank} axes for {list(shape)}", REPAIR)
    if not after:
        return value
    return draft.add(node, Reshape((*shape, *(1,) * after)), [value], part="spread")


def power(draft: Draft, node: Node) -> None:
    """Pow: the result has the type of the base; an exponent of another is converted."""
    x, exponent = draft.name(node, 0), draft.name(node, 1)
    dtype = floats(draft, x)
    if draft.dtype(exponent) is dtype:
        operands = [draft.value(x), _spread(draft, node, x, exponent)]
        draft.add(node, Binary(BinaryFn.POW), operands)
        return
    known = draft.known.get(draft.alias.get(exponent, exponent))
    if known is not None:
        value = draft.new_constant(f"{exponent}/{node.op}", known.astype(str(dtype)))
    else:
        value = draft.add(node, Cast(dtype), [draft.value(exponent)], part="exponent")
    draft.add(node, Binary(BinaryFn.POW), [draft.value(x), value])


def folded(fn: BinaryFn, *, mean: bool = False) -> Rule:
    """Sum, Max, Min, Mean: any number of inputs, two by two from the left."""

    def rule(draft: Draft, node: Node) -> None:
        names = [draft.name(node, at) for at in range(len(node.inputs))]
        if mean:
            floats(draft, *names)
        if len(names) == 1:
            draft.same(node, names[0])
            return
        made = draft.value(names[0])
        for at, name in enumerate(names[1:], 2):
            last = at == len(names) and not mean
            part = "" if last else f"part{at}"
            made = draft.add(node, Binary(fn), [made, draft.value(name)], part=part)
        if mean:
            count = real_like(draft, names[0], len(names))
            divisor = draft.new_constant(f"{node.outputs[0]}/count", count)
            draft.add(node, Binary(BinaryFn.DIV), [made, divisor])

    return rule


def activate(chosen: Activation | Callable[[Node], Activation]) -> Rule:
    def rule(draft: Draft, node: Node) -> None:
        x = draft.name(node, 0)
        activation = chosen if isinstance(chosen, Activation) else chosen(node)
        if activation.kind is Act.RELU and not draft.dtype(x).is_float:
            zero = draft.new_constant(f"{node.outputs[0]}/zero", real_like(draft, x, 0))
            draft.add(node, Binary(BinaryFn.MAX), [draft.value(x), zero])
            return
        floats(draft, x)
        put(draft, node, Activate(activation), x)

    return rule


def leaky(node: Node) -> Activation:
    return Activation(Act.LEAKY_RELU, alpha=attribute(node, "alpha", 0.01))


def gelu(node: Node) -> Activation:
    approximate = attribute(node, "approximate", "none")
    if approximate not in ("none", "tanh"):
        raise Refusal("M023", f"approximate is {approximate!r}", REPAIR)
    return Activation(Act.GELU_TANH if approximate == "tanh" else Act.GELU)


def swish(draft: Draft, node: Node) -> None:
    """Swish: x*sigmoid(alpha*x)."""
    x = draft.name(node, 0)
    floats(draft, x)
    alpha = attribute(node, "alpha", 1.0)
    if alpha == 1.0:
        put(draft, node, Activate(Activation(Act.SILU)), x)
        return
    slope = draft.new_constant(f"{node.outputs[0]}/alpha", real_like(draft, x, alpha))
    scaled = draft.add(node, Binary(BinaryFn.MUL), [draft.value(x), slope], part="scaled")
    gate = draft.add(node, Activate(Activation(Act.SIGMOID)), [scaled], part="gate")
    draft.add(node, Binary(BinaryFn.MUL), [draft.value(x), gate])


def clip(draft: Draft, node: Node) -> None:
    """Clip: limits were attributes before operator set 11, inputs from then on."""
    x = draft.name(node, 0)
    ends = [_limit(draft, node, 1, "min"), _limit(draft, node, 2, "max")]
    low, high = (None if end is None else end for end in ends)
    plain = all(end is None or isinstance(end, float) for end in ends)
    if low is None and high is None:
        draft.same(node, x)
    elif plain and draft.dtype(x).is_float and not (_number(low, -1) > _number(high, 1)):
        activation = Activation(Act.CLIP, low=_open(low), high=_open(high))
        if (low, high) == (0.0, 6.0):
            activation = Activation(Act.RELU6)
        elif (low, _open(high)) == (0.0, None):
            activation = Activation(Act.RELU)
        elif activation.low is None and activation.high is None:
            draft.same(node, x)
            return
        put(draft, node, Activate(activation), x)
    else:
        _clip_by_parts(draft, node, x, low, high)


def _number(end: float | str | None, sign: int) -> float:
    return end if isinstance(end, float) else sign * math.inf


def _open(end: float | str | None) -> float | None:
    return end if isinstance(end, float) and math.isfinite(end) else None


def _limit(draft: Draft, node: Node, at: int, name: str) -> float | str | None:
    """A number, the name of a tensor that holds it when the network runs, or None."""
    if node.version < 11:
        found = node.attributes.get(name)
        return None if found is None else float(found)
    if not draft.has(node, at):
        return None
    tensor = draft.name(node, at)
    known = draft.known.get(draft.alias.get(tensor, tensor))
    if known is None:
        return tensor
    if known.size != 1:
        raise Refusal("M023", f"its {name} has {known.size} elements", REPAIR)
    value = float(known.reshape(-1)[0])
    if math.isnan(value):
        raise Refusal("M023", f"its {name} is not a number", REPAIR)
    return value


def _clip_by_parts(
    draft: Draft, node: Node, x: str, low: float | str | None, high: float | str | None
) -> None:
    """min(max(x, low), high) as operators of their own: of integers, or of limits yet to come."""
    made = draft.value(x)
    for end, fn, word in ((low, BinaryFn.MAX, "low"), (high, BinaryFn.MIN, "high")):
        if end is None:
            continue
        if isinstance(end, float):
            number = real_like(draft, x, end)
            operand = draft.new_constant(f"{node.outputs[0]}/{word}", number)
        else:
            operand = draft.value(end)
        last = fn is BinaryFn.MIN or high is None
        made = draft.add(node, Binary(fn), [made, operand], part="" if last else word)


def unary(fn: UnaryFn, **constants: tuple[str, float]) -> Rule:
    """``constants``: the operator's field, and the attribute's name with its default."""

    def rule(draft: Draft, node: Node) -> None:
        x = draft.name(node, 0)
        if fn is UnaryFn.NOT:
            if draft.dtype(x) is not Elem.BOOL:
                raise Refusal("M022", "Not takes truth values", REPAIR)
        elif fn not in (UnaryFn.ABS, UnaryFn.NEG, UnaryFn.SIGN):
            floats(draft, x)
        values = {field: attribute(node, *said) for field, said in constants.items()}
        put(draft, node, Unary(fn, **values), x)

    return rule


def prelu(draft: Draft, node: Node) -> None:
    x, slope = draft.name(node, 0), draft.name(node, 1)
    floats(draft, x, slope)
    value, shape = draft.value(slope), draft.shape(slope)
    if node.version < 7 and len(shape) == 1 and shape[0] > 1:  # then one of each channel
        spread = Reshape((*shape, *(1,) * (len(draft.shape(x)) - 2)))
        value = draft.add(node, spread, [value], part="spread")
    draft.add(node, PRelu(), [draft.value(x), value])


def cast(draft: Draft, node: Node) -> None:
    """Cast and CastLike."""
    x = draft.name(node, 0)
    dtype = draft.dtype(draft.name(node, 1)) if node.op == "CastLike" else _type(node)
    if dtype is draft.dtype(x):
        draft.same(node, x)
    else:
        put(draft, node, Cast(dtype), x)


def _type(node: Node) -> Elem:
    from convgen.importers.onnx.read import type_name

    return element(type_name(attribute(node, "to", 0)))


def where(draft: Draft, node: Node) -> None:
    put(draft, node, Where(), *(draft.name(node, at) for at in range(3)))


def same(draft: Draft, node: Node) -> None:
    """Identity."""
    draft.same(node, draft.name(node, 0))


def dropout(draft: Draft, node: Node) -> None:
    """Dropout does nothing once the network is trained; its mask is not computed."""
    from convgen.importers.onnx.context import one_output

    if draft.has(node, 2) and bool(draft.constant(node, 2, "training_mode").reshape(-1)[0]):
        raise Refusal("M021", "it is in training mode", "export the model for inference")
    if node.version < 7 and not attribute(node, "is_test", 0):
        raise Refusal("M021", "it is in training mode", "export the model for inference")
    draft.same(one_output(node, draft), draft.name(node, 0))
    for name in node.outputs[1:]:
        if name != ABSENT:
            draft.lost.add(name)  # nobody uses it

"""Quantised ONNX graphs: dequantise, compute, quantise becomes arithmetic on integers.

TFLite has integer arithmetic of its own, so what is real there stays real.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convgen.network.graph import Node, Quantization, Value
from convgen.network.ops import (
    Activate,
    Binary,
    BinaryFn,
    Concat,
    Conv,
    ConvTransposed,
    Dense,
    Dequantize,
    Elem,
    MatMul,
    MaxPool,
    Quantize,
    Requantize,
    Reshape,
    Resize,
    ResizeMode,
    Slice,
    Transpose,
    Unary,
)
from convgen.network.ops.moving import DepthToSpace, SpaceToDepth
from convgen.network.passes.draft import Draft
from convgen.spec.model import Act
from convgen.spec.quant import Rounding, float32

_MOVES = (Concat, DepthToSpace, MaxPool, Reshape, Slice, SpaceToDepth, Transpose)
_WEIGHTED = (Conv, ConvTransposed, Dense, MatMul)
_ARITHMETIC = frozenset({BinaryFn.ADD, BinaryFn.SUB, BinaryFn.MUL, BinaryFn.DIV})
_CLIPS = frozenset({Act.NONE, Act.RELU, Act.RELU6, Act.CLIP})


def through_constants(draft: Draft) -> None:
    """Transposes and reshapes of dequantised constants move the integers instead, so that weights
    can be told from activations.
    """
    import numpy as np

    for node in draft.each():
        if not isinstance(node.op, (Transpose, Reshape)):
            continue
        scale = draft.made_by(node.inputs[0])
        if scale is None or not isinstance(scale.op, Dequantize):
            continue
        array = draft.array(scale.inputs[0])
        quant = draft.values[scale.inputs[0]].quant
        if array is None or (quant is None and not draft.values[scale.inputs[0]].dtype.is_float):
            continue
        if isinstance(node.op, Transpose):
            moved = array.transpose(node.op.perm)
            if quant is not None and quant.axis is not None:
                axis = node.op.perm.index(quant.axis % array.ndim)
                quant = replace(quant, axis=axis)
        elif quant is None or quant.per_tensor:
            moved = array.reshape(node.op.shape)
        else:
            continue
        name = draft.constant(np.ascontiguousarray(moved), f"{scale.inputs[0]}.moved", quant)
        draft.update(node, f"moves the integers of `{scale.name}`", op=Dequantize(), inputs=(name,))


def fuse_quantised(draft: Draft) -> None:
    """Nodes between Dequantize and Quantize that integers can do."""
    for node in draft.each():
        if not isinstance(node.op, Quantize):
            continue
        core = draft.private(node.inputs[0])
        if core is None:
            continue
        act = None
        if isinstance(core.op, Activate) and core.op.activation.kind in _CLIPS:
            before = draft.private(core.inputs[0])
            if before is not None and isinstance(before.op, (*_WEIGHTED, Binary)):
                act, core = core, before
        if isinstance(core.op, _WEIGHTED):
            _weighted(draft, node, core, act)
        elif isinstance(core.op, Binary):
            _arithmetic(draft, node, core, act)
        elif isinstance(core.op, (Activate, Unary)):
            _looked_up(draft, node, core)
        elif _moves(core):
            _moved(draft, node, core)


def _moves(node: Node) -> bool:
    """Does the node take elements as they are?"""
    nearest = isinstance(node.op, Resize) and node.op.mode is ResizeMode.NEAREST
    return nearest or isinstance(node.op, _MOVES)


def _integers(draft: Draft, name: str) -> Value | None:
    """The quantised value behind a dequantised one."""
    node = draft.made_by(name)
    if node is None or not isinstance(node.op, Dequantize):
        return None
    value = draft.values[node.inputs[0]]
    return value if value.quant is not None and value.dtype.eight_bit else None


def _weighted(draft: Draft, node: Node, core: Node, act: Node | None) -> None:
    """x and w dequantised (w constant, int8), b an int32 constant of their scale."""
    x, w = (_integers(draft, name) for name in core.inputs[:2])
    y = draft.values[node.output]
    if x is None or w is None or w.name not in draft.constants or not w.dtype.eight_bit:
        return
    assert x.quant is not None and w.quant is not None and y.quant is not None
    if isinstance(core.op, MatMul):
        if len(w.shape) != 2:
            return
        core = draft.update(core, op=Dense())
    op = core.op
    assert isinstance(op, (Conv, ConvTransposed, Dense))
    by_channel = w.quant.per_tensor or w.quant.axis == len(w.shape) - 1
    kind = op.activation.kind
    if not (x.quant.per_tensor and y.quant.per_tensor and by_channel) or x.dtype != y.dtype:
        return
    if kind not in _CLIPS or (act is not None and kind is not Act.NONE):
        return
    inputs = [x.name, w.name]
    if len(core.given) > 2:
        bias = _bias(draft, core.inputs[2], x.quant, w.quant)
        if bias is None:
            return
        inputs.append(bias)
    if act is not None:
        op = replace(op, activation=act.op.activation)  # type: ignore[attr-defined]
    note = f"{core.op.kind} `{core.name}` between Dequantize and Quantize: on the integers"
    draft.update(node, note, op=op, inputs=tuple(inputs), name=core.name)


def _bias(draft: Draft, name: str, x: Quantization, w: Quantization) -> str | None:
    """An int32 constant with the scale of the sums; real ones are brought to it."""
    import numpy as np

    node = draft.made_by(name)
    if node is not None and isinstance(node.op, Dequantize):
        value = draft.values[node.inputs[0]]
        wanted = [float32(x.scale[0] * scale) for scale in w.scale]
        held = value.quant.scale if value.quant is not None else ()
        fits = value.dtype is Elem.INT32 and node.inputs[0] in draft.constants
        near = all(
            abs(a - b) <= 1e-5 * b
            for a, b in zip(held * (len(wanted) // max(1, len(held))), wanted, strict=False)
        )
        return node.inputs[0] if fits and held and near else None
    array = draft.array(name)
    if array is None:
        return None
    scale = np.asarray(w.scale, np.float64) * x.scale[0]
    sums = np.clip(np.rint(array.astype(np.float64) / scale), -(2**31), 2**31 - 1)
    return draft.constant(sums.astype(np.int32), f"{name}.int32")


def _arithmetic(draft: Draft, node: Node, core: Node, act: Node | None) -> None:
    """Two 8-bit operands: real numbers are made of them, and of those integers, on the way."""
    op = core.op
    assert isinstance(op, Binary)
    found = [_integers(draft, name) for name in core.inputs]
    y = draft.values[node.output]
    real = draft.rounding is Rounding.ONNX
    if not real or op.fn not in _ARITHMETIC or not all(_plain(v) for v in (*found, y)):
        return
    if act is not None:
        if op.activation.kind is not Act.NONE:
            return
        op = replace(op, activation=act.op.activation)  # type: ignore[attr-defined]
    a, b = found
    assert a is not None and b is not None
    if op.activation.kind not in _CLIPS or a.dtype != b.dtype or a.dtype != y.dtype:
        return
    note = f"{op.kind} `{core.name}` between Dequantize and Quantize: of 8-bit operands"
    draft.update(node, note, op=op, inputs=(a.name, b.name), name=core.name)


def _looked_up(draft: Draft, node: Node, core: Node) -> None:
    """A function of one 8-bit number has 256 results."""
    x, y = _integers(draft, core.inputs[0]), draft.values[node.output]
    if draft.rounding is not Rounding.ONNX or not _plain(x) or not _plain(y):
        return
    assert x is not None
    note = f"{core.op.kind} `{core.name}` between Dequantize and Quantize: a table"
    draft.update(node, note, op=core.op, inputs=(x.name,), name=core.name)


def _plain(value: Value | None) -> bool:
    """An 8-bit value with one scale."""
    return (
        value is not None
        and value.dtype.eight_bit
        and value.quant is not None
        and value.quant.per_tensor
    )


def _moved(draft: Draft, node: Node, core: Node) -> None:
    """A move of integers; inputs whose meaning is not the output's are brought to it before."""
    y = draft.values[node.output]
    found = [_integers(draft, name) for name in core.inputs]
    activation: Any = getattr(core.op, "activation", None)
    if activation is not None and activation.kind is not Act.NONE:
        return
    other = [v for v in found if v is None or v.quant != y.quant or v.dtype != y.dtype]
    real = draft.rounding is Rounding.ONNX and all(_plain(v) for v in (*other, y))
    if other and not real:
        return
    names = []
    for value in found:
        assert value is not None and y.quant is not None
        name = value.name
        if value in other:
            name = draft.before(node, f"{value.name}.requantised", Requantize(y.dtype), [name])
            draft.values[name] = replace(draft.values[name], quant=y.quant)
        names.append(name)
    note = f"{core.op.kind} `{core.name}` between Dequantize and Quantize: moves the integers"
    draft.update(node, note, op=core.op, inputs=tuple(names), name=core.name)


def drop_round_trips(draft: Draft) -> None:
    """Quantize of what was dequantised: nothing where both have one meaning, else a table."""
    for node in draft.each():
        if not isinstance(node.op, Quantize):
            continue
        source = _integers(draft, node.inputs[0])
        y = draft.values[node.output]
        if source is None:
            continue
        if source.quant != y.quant or source.dtype != y.dtype:
            if draft.rounding is Rounding.ONNX and _plain(source) and _plain(y):
                op = Requantize(y.dtype)
                draft.update(node, "from one scale to the other", op=op, inputs=(source.name,))
            continue
        if draft.bypass(node, source.name):
            draft.notes.append(f"quantize `{node.name}`: undoes a dequantise of the same meaning")


def signed_weights(draft: Draft) -> None:
    """uint8 weights as int8 ones with their zero point moved by as much: the same products."""
    import numpy as np

    for node in draft.each():
        if not isinstance(node.op, (Conv, ConvTransposed, Dense)) or draft.exact(node):
            continue
        value, array = draft.values[node.inputs[1]], draft.array(node.inputs[1])
        if value.dtype is not Elem.UINT8 or array is None or value.quant is None:
            continue
        moved = (array.astype(np.int16) - 128).astype(np.int8)
        zeros = tuple(zero - 128 for zero in value.quant.zero_point)
        name = draft.constant(moved, value.name, replace(value.quant, zero_point=zeros))
        inputs = (node.inputs[0], name, *node.inputs[2:])
        draft.update(node, "uint8 weights as int8, the zero point with them", inputs=inputs)

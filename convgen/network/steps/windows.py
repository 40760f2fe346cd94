"""Operators with windows, dense layers, matrix products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from convgen.network import problems
from convgen.network.graph import Node
from convgen.network.layouts import View, ordered, same_strides
from convgen.network.ops import AvgPool, Conv, ConvTransposed, MaxPool
from convgen.network.plan import Slot, contiguous
from convgen.network.steps.homes import takes_wide
from convgen.network.steps.work import RefusedError, Work, image_order, pixel_of, with_height
from convgen.spec.model import Layout


def convolution(work: Work, node: Node) -> None:
    op = node.op
    assert isinstance(op, Conv)
    if any(min(pair) < 0 for pair in op.pads):
        raise RefusedError("its pads are negative; put a slice before it")
    constants = work.weights(node)
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    if _planar(work, node):
        spec = problems.conv_spec(work.graph, node, node.name, Layout.NCHW)
        ins = work.slot(x, work.copied(x.name))
        out = work.slot(y, work.result(y, contiguous(y.shape)))
    else:
        spec = problems.conv_spec(work.graph, node, node.name, Layout.NHWC)
        image = work.wide_image if takes_wide(work.graph, node) else work.image
        ins = work.slot(x, image(x.name, channels_last=op.channels_last))
        out = work.slot(y, work.new_image(node, channels_last=op.channels_last))
        spec = replace(spec, x_pixel=_wide(ins, spec.c), y_pixel=_wide(out, spec.oc))
    work.step(node, op, [ins], out, spec=spec, **constants)


def _wide(slot: Slot, channels: int) -> int:
    """``ConvSpec.x_pixel`` and ``y_pixel``: 0 where pixels lie close."""
    pixel = pixel_of(View(slot.buffer, slot.shape, slot.strides))
    assert pixel is not None, slot
    return 0 if pixel == channels else pixel


def _planar(work: Work, node: Node) -> bool:
    """Do x and y both lie channels first, so that a planar kernel takes them as they are?"""
    op, name = node.op, node.output
    assert isinstance(op, Conv)
    if op.channels_last or len(op.kernel) != 2 or work.delivered_as(name) is None:
        return False
    order = image_order(4, channels_last=False)
    y = work.graph.values[name]
    flat = same_strides(y.shape, contiguous(y.shape), ordered(y.shape, order))
    return not flat and not any(v.dense(order) for v in work.all(node.inputs[0]))


def dense(work: Work, node: Node) -> None:
    constants = work.weights(node)
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    spec = problems.dense_spec(work.graph, node, node.name)
    rows = (1, 1, spec.w)
    ins = work.copied(x.name).reshaped((*rows, spec.c))
    out = work.result(y, contiguous(y.shape)).reshaped((*rows, spec.oc))
    assert ins is not None and out is not None
    work.step(node, node.op, [work.slot(x, ins)], work.slot(y, out), spec=spec, **constants)


def transposed(work: Work, node: Node) -> None:
    op = node.op
    assert isinstance(op, ConvTransposed)
    if len(op.kernel) > 2:
        raise RefusedError("transposed convolutions in three dimensions have no kernel yet")
    constants = work.weights(node)
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    ins = work.slot(x, work.image(x.name, channels_last=op.channels_last))
    out = work.slot(y, work.new_image(node, channels_last=op.channels_last))
    work.step(node, _canonical(op), [ins], out, **constants)


def pool(work: Work, node: Node) -> None:
    op = node.op
    assert isinstance(op, (MaxPool, AvgPool))
    x, y = work.graph.values[node.inputs[0]], work.graph.values[node.output]
    order = image_order(len(x.shape), channels_last=op.channels_last)
    view = work.view(x.name).permuted(order)
    if view.shape[-1] != 1 and view.strides[-1] != 1:
        view = work.copied(x.name, order).permuted(order)
    ins = work.slot(x, with_height(view))
    out = work.slot(y, work.new_image(node, channels_last=op.channels_last))
    work.step(node, _canonical(op), [ins], out)


def matmul(work: Work, node: Node) -> None:
    a, b = (work.graph.values[name] for name in node.inputs)
    y = work.graph.values[node.output]
    out = work.result(y, contiguous(y.shape))
    slots = []
    for value in (a, b):
        lead = y.shape[:-2]
        full = work.copied(value.name).repeated((*lead, *value.shape[-2:]))
        assert full is not None, node
        slots.append(work.slot(value, full))
    work.step(node, node.op, slots, work.slot(y, out))


def _canonical(op: Any) -> Any:
    """A window operator over [N, H, W, C], or [N, D, H, W, C]."""
    changes: dict[str, Any] = {"channels_last": True}
    if len(op.kernel) == 1:
        for name, fill in (("kernel", 1), ("strides", 1), ("dilations", 1), ("pads", (0, 0))):
            changes[name] = (fill, *getattr(op, name))
        if isinstance(op, ConvTransposed):
            changes["output_padding"] = (0, *op.output_padding)
    return replace(op, **changes)

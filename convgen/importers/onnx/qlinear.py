"""Operators on 8-bit tensors of ONNX Runtime's own domain, which its quantiser writes (QOperator).

Each is the operator on real numbers between DequantizeLinear and QuantizeLinear, and is taken as
that; the graph's simplification makes steps of integers of it, as of a model in QDQ form. Their
inputs: docs/ContribOperators.md of ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from convgen.importers.onnx import along, moving, pointwise, windows
from convgen.importers.onnx.context import CUT, attribute
from convgen.importers.onnx.integers import dequantize, quantize
from convgen.importers.refusal import Refusal
from convgen.importers.source import ABSENT, Node
from convgen.importers.translate import Draft, Rule
from convgen.network.ops import BinaryFn, ReduceFn
from convgen.spec.model import Act, Activation

DOMAIN = "com.microsoft"
VERSION = 13  # of the operators on real numbers, whose attributes these have


def quantised(rule: Rule, operands: Sequence[int], target: int, plain: Sequence[int] = ()) -> Rule:
    """``rule`` on real numbers. ``operands``: places of 8-bit inputs, each before its scale and
    zero point; ``target``: of the output's scale; ``plain``: of inputs in front, taken as is."""

    def taken(draft: Draft, node: Node) -> None:
        if attribute(node, "channels_last", 0):
            reason = "channels_last is not taken: export the model without it"
            raise Refusal("M021", reason, CUT)
        given = [draft.name(node, at) for at in plain]
        _add(draft, node, rule, [*given, *_reals(draft, node, operands)], target)

    return taken


def concat(draft: Draft, node: Node) -> None:
    """QLinearConcat: the output's scale and zero point, then every input with its own."""
    reals = _reals(draft, node, range(2, len(node.inputs), 3))
    _add(draft, node, moving.concat, [*reals], 0)


def softmax(draft: Draft, node: Node) -> None:
    """QLinearSoftmax: its attribute says which operator set's meaning it has."""
    version = attribute(node, "opset", VERSION)
    _add(draft, node, along.softmax, [*_reals(draft, node, (0,))], 3, version)


def gemm(draft: Draft, node: Node) -> None:
    """QGemm: int32 biases have the scale of the sums; without a scale of its own y is real."""
    import numpy as np

    channels = 0 if attribute(node, "transB", 0) else 1
    inputs = [*_reals(draft, node, (0,)), *_reals(draft, node, (3,), channels)]
    if draft.has(node, 6):
        sums = draft.constant(node, 1, "scale") * draft.constant(node, 4, "scale")
        bias = draft.constant(node, 6, "bias").astype(np.float32)
        name = draft.fresh(f"{node.label}/bias")
        draft.known[name] = bias * sums.reshape(-1)
        inputs.append(name)
    _add(draft, node, along.gemm, inputs, 7)


def _reals(draft: Draft, node: Node, operands: Sequence[int], axis: int = 1) -> Iterator[str]:
    """The names of 8-bit inputs as real numbers; ``axis``: of scales, where there are several."""
    for at in operands:
        name = draft.name(node, at)
        made = draft.fresh(f"{node.label}/{at}")
        zero = node.inputs[at + 2] if draft.has(node, at + 2) else ABSENT
        inputs = (name, draft.name(node, at + 1), zero)
        dequantize(draft, _inner(node, "DequantizeLinear", inputs, made, axis=axis))
        draft.detail = ""
        yield made


def _add(
    draft: Draft,
    node: Node,
    rule: Rule,
    inputs: Sequence[str],
    target: int,
    version: int = VERSION,
) -> None:
    """The operator on real numbers, and its output as 8-bit integers where that has a scale."""
    integers = draft.has(node, target)
    made = draft.fresh(f"{node.label}/y") if integers else node.outputs[0]
    op = node.op.removeprefix("QLinear").removeprefix("Q")
    own = replace(node, op=op, domain="", version=version, inputs=tuple(inputs), outputs=(made,))
    rule(draft, own)
    if integers:
        zero = node.inputs[target + 1] if draft.has(node, target + 1) else ABSENT
        ends = (made, node.inputs[target], zero)
        quantize(draft, _inner(node, "QuantizeLinear", ends, node.outputs[0]))


def _inner(node: Node, op: str, inputs: Sequence[str], output: str, **attributes: int) -> Node:
    return replace(
        node, label=f"{node.label}/{op}", op=op, domain="", version=VERSION, inputs=tuple(inputs),
        outputs=(output,), attributes=attributes,
    )  # fmt: skip


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        f"{DOMAIN}.{op}": rule
        for op, rule in {
            "QLinearAdd": quantised(pointwise.binary(BinaryFn.ADD), (0, 3), 6),
            "QLinearMul": quantised(pointwise.binary(BinaryFn.MUL), (0, 3), 6),
            "QLinearSigmoid": quantised(pointwise.activate(Activation(Act.SIGMOID)), (0,), 3),
            "QLinearLeakyRelu": quantised(pointwise.activate(pointwise.leaky), (0,), 3),
            "QLinearAveragePool": quantised(windows.average_pool, (0,), 3),
            "QLinearGlobalAveragePool": quantised(windows.global_pool, (0,), 3),
            "QLinearReduceMean": quantised(along.reduce(ReduceFn.MEAN), (0,), 3),
            "QLinearWhere": quantised(pointwise.where, (1, 4), 7, plain=(0,)),
            "QLinearConcat": concat,
            "QLinearSoftmax": softmax,
            "QGemm": gemm,
            "QuantizeLinear": quantize,
            "DequantizeLinear": dequantize,
        }.items()
    }
)

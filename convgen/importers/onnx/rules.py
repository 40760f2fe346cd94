"""Which rule takes which of ONNX's operators, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from convgen.importers.onnx import along, integers, moving, pointwise, qlinear, resize, windows
from convgen.importers.onnx.branches import branch
from convgen.importers.onnx.context import CUT
from convgen.importers.onnx.fold import FOLDABLE, fold
from convgen.importers.onnx.read import Watched
from convgen.importers.refusal import Refusal, Refused, shown
from convgen.importers.source import Node, Source
from convgen.importers.translate import COMPUTED, Draft, Format, Rule, element
from convgen.network.graph import Elem, Quantization
from convgen.network.ops import BinaryFn, ReduceFn, UnaryFn
from convgen.spec.model import Act, Activation
from convgen.spec.quant import Rounding


def _branch(draft: Draft, node: Node) -> None:
    branch(draft, node, onnx_format(draft.source))


_BINARY = {
    "Add": BinaryFn.ADD, "Sub": BinaryFn.SUB, "Mul": BinaryFn.MUL, "Div": BinaryFn.DIV,
    "Equal": BinaryFn.EQUAL, "Less": BinaryFn.LESS,
    "LessOrEqual": BinaryFn.LESS_EQUAL, "Greater": BinaryFn.GREATER,
    "GreaterOrEqual": BinaryFn.GREATER_EQUAL, "And": BinaryFn.AND, "Or": BinaryFn.OR,
    "Xor": BinaryFn.XOR,
}  # fmt: skip
_UNARY = {
    "Abs": UnaryFn.ABS, "Neg": UnaryFn.NEG, "Exp": UnaryFn.EXP, "Log": UnaryFn.LOG,
    "Sqrt": UnaryFn.SQRT, "Reciprocal": UnaryFn.RECIPROCAL, "Erf": UnaryFn.ERF,
    "Sin": UnaryFn.SIN, "Cos": UnaryFn.COS, "Floor": UnaryFn.FLOOR, "Ceil": UnaryFn.CEIL,
    "Round": UnaryFn.ROUND, "Sign": UnaryFn.SIGN, "Not": UnaryFn.NOT,
    "Softplus": UnaryFn.SOFTPLUS, "Softsign": UnaryFn.SOFTSIGN, "Mish": UnaryFn.MISH,
}  # fmt: skip
_ALPHA = ("alpha", 1.0)
_REDUCE = {
    "ReduceMean": ReduceFn.MEAN, "ReduceMax": ReduceFn.MAX, "ReduceMin": ReduceFn.MIN,
    "ReduceProd": ReduceFn.PROD, "ReduceL1": ReduceFn.L1, "ReduceL2": ReduceFn.L2,
    "ReduceSumSquare": ReduceFn.SUM_SQUARE, "ReduceLogSum": ReduceFn.LOG_SUM,
    "ReduceLogSumExp": ReduceFn.LOG_SUM_EXP,
}  # fmt: skip

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Conv": windows.conv,
        "ConvTranspose": windows.transposed,
        "MaxPool": windows.max_pool,
        "AveragePool": windows.average_pool,
        "GlobalAveragePool": windows.global_pool,
        "GlobalMaxPool": windows.global_pool,
        "Gemm": along.gemm,
        "MatMul": along.matmul,
        "Softmax": along.softmax,
        "LogSoftmax": along.softmax,
        "BatchNormalization": along.batch_norm,
        "LayerNormalization": along.layer_norm,
        "InstanceNormalization": along.instance_norm,
        "GroupNormalization": along.group_norm,
        "LRN": along.local_response_norm,
        "LpNormalization": along.lp_norm,
        **{op: along.reduce(fn) for op, fn in _REDUCE.items()},
        "ReduceSum": along.reduce(ReduceFn.SUM, since=13),
        **{op: pointwise.binary(fn) for op, fn in _BINARY.items()},
        **{op: pointwise.unary(fn) for op, fn in _UNARY.items()},
        "Pow": pointwise.power,
        "Sum": pointwise.folded(BinaryFn.ADD),
        "Max": pointwise.folded(BinaryFn.MAX),
        "Min": pointwise.folded(BinaryFn.MIN),
        "Mean": pointwise.folded(BinaryFn.ADD, mean=True),
        "Relu": pointwise.activate(Activation(Act.RELU)),
        "Sigmoid": pointwise.activate(Activation(Act.SIGMOID)),
        "Tanh": pointwise.activate(Activation(Act.TANH)),
        "HardSwish": pointwise.activate(Activation(Act.HARDSWISH)),
        "LeakyRelu": pointwise.activate(pointwise.leaky),
        "Gelu": pointwise.activate(pointwise.gelu),
        "Swish": pointwise.swish,
        "Clip": pointwise.clip,
        "Elu": pointwise.unary(UnaryFn.ELU, alpha=_ALPHA),
        "Celu": pointwise.unary(UnaryFn.CELU, alpha=_ALPHA),
        "ThresholdedRelu": pointwise.unary(UnaryFn.THRESHOLDED_RELU, alpha=_ALPHA),
        "Selu": pointwise.unary(
            UnaryFn.SELU, alpha=("alpha", pointwise.SELU[0]), gamma=("gamma", pointwise.SELU[1])
        ),
        "HardSigmoid": pointwise.unary(
            UnaryFn.HARD_SIGMOID, alpha=("alpha", 0.2), beta=("beta", 0.5)
        ),
        "PRelu": pointwise.prelu,
        "Cast": pointwise.cast,
        "CastLike": pointwise.cast,
        "Where": pointwise.where,
        "Identity": pointwise.same,
        "Dropout": pointwise.dropout,
        "Reshape": moving.reshape,
        "Flatten": moving.flatten,
        "Squeeze": moving.squeeze,
        "Unsqueeze": moving.unsqueeze,
        "Transpose": moving.transpose,
        "Concat": moving.concat,
        "Split": moving.split,
        "Slice": moving.slice_,
        "Pad": moving.pad,
        "Expand": moving.expand,
        "Tile": moving.tile,
        "Gather": moving.gather,
        "DepthToSpace": moving.depth_to_space,
        "SpaceToDepth": moving.space_to_depth,
        "Shape": moving.shape,
        "Size": moving.size,
        "Resize": resize.resize,
        "Upsample": resize.upsample,
        "QuantizeLinear": integers.quantize,
        "DequantizeLinear": integers.dequantize,
        "QLinearConv": integers.qlinear_conv,
        "QLinearMatMul": integers.qlinear_matmul,
        "If": _branch,
        **qlinear.RULES,
    }
)
# Attributes that change nothing in a trained network, or nothing in the forms that are taken.
MEANINGLESS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "BatchNormalization": frozenset({"momentum"}),
        "Cast": frozenset({"saturate", "round_mode"}),
        "CastLike": frozenset({"saturate", "round_mode"}),
        "Concat": frozenset({"axis"}),
        **{op: frozenset({"keepdims"}) for op in ("ReduceSum", *_REDUCE)},
        "Dropout": frozenset({"ratio", "seed"}),
        "Gemm": frozenset({"beta", "broadcast"}),
        "GroupNormalization": frozenset({"stash_type"}),
        "If": frozenset({"then_branch", "else_branch"}),
        "LayerNormalization": frozenset({"stash_type"}),
        "QuantizeLinear": frozenset({"axis", "saturate", "precision", "output_dtype"}),
        "DequantizeLinear": frozenset({"axis", "output_dtype"}),
        "Resize": frozenset(
            {"roi", "extrapolation_value", "keep_aspect_ratio_policy", "cubic_coeff_a"}
            | {"exclude_outside", "nearest_mode"}
        ),
        "Pad": frozenset({"value"}),
    }
)
CONTROL = frozenset({"Loop", "Scan"})
RECURRENT = frozenset({"LSTM", "GRU", "RNN"})


def why_not(node: Node) -> Refusal:
    """Why an operator is not taken at all, and what can be done."""
    if node.domain:
        return Refusal("M020", f"it is a custom operator, of the domain {node.domain}", CUT)
    if node.op in CONTROL:
        return Refusal("M020", "control flow is not taken", "export the model without it")
    if node.op in RECURRENT:
        return Refusal("M020", "recurrent layers are not taken", CUT)
    if node.op in FOLDABLE:
        return Refusal(
            "M025",
            "it is only taken where all that it takes is known when the network is built",
            CUT,
        )
    return Refusal("M020", "the operator is not known to convgen", CUT)


def unknown(source: Source) -> Iterator[Refused]:
    """The nodes that no rule takes and nobody computes beforehand, whatever their inputs are."""
    for node in source.nodes:
        if node.kind not in (RULES.keys() | FOLDABLE | {"Constant"}):
            why = why_not(node)
            yield Refused(why.code, node.label, node.op, why.reason, why.advice)


def onnx_format(source: Source) -> Format:
    """ONNX's rules. Files often describe their inner tensors, and often wrongly: what they say is
    only used in place of a refused node's outputs, so that all refusals come at once."""

    def declared(name: str) -> tuple[tuple[int, ...], Elem, Quantization | None] | None:
        tensor = source.tensors.get(name)
        if tensor is None or tensor.shape is None:
            return None
        sizes = tuple(n for n in tensor.shape if isinstance(n, int))
        try:
            dtype = element(tensor.dtype)
        except Refusal:
            return None
        return (sizes, dtype, None) if len(sizes) == len(tensor.shape) else None

    def checked(draft: Draft, node: Node) -> None:
        """Has the rule asked for every attribute that matters?"""
        if draft.detail == COMPUTED or not isinstance(node.attributes, Watched):
            return
        unread = set(node.attributes.unread) - MEANINGLESS.get(node.op, frozenset())
        if unread:
            names = ", ".join(shown(name) for name in sorted(unread))
            raise Refusal("M021", f"its attribute {names} is not known to convgen", CUT)

    return Format(RULES, fold, why_not, declared, Rounding.ONNX, checked)

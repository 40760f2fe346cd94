"""Which rule takes which of TFLite's operators, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from convgen.importers.compute import compute
from convgen.importers.refusal import Refusal, model_error, shown
from convgen.importers.source import Node, Source, Tensor
from convgen.importers.tflite import moving, pointwise, windows
from convgen.importers.tflite.context import meaning_of
from convgen.importers.tflite.fold import fold
from convgen.importers.translate import Draft, Format, Rule, element
from convgen.network.graph import Elem, Quantization
from convgen.network.ops import BinaryFn, ReduceFn, UnaryFn
from convgen.spec.model import Act, Activation
from convgen.spec.quant import Rounding

_ACTIVATIONS = {
    "RELU": Activation(Act.RELU),
    "RELU6": Activation(Act.RELU6),
    "RELU_N1_TO_1": Activation(Act.CLIP, low=-1.0, high=1.0),
    "RELU_0_TO_1": Activation(Act.CLIP, low=0.0, high=1.0),
    "LOGISTIC": Activation(Act.SIGMOID),
    "TANH": Activation(Act.TANH),
    "HARD_SWISH": Activation(Act.HARDSWISH),
}
_BINARY = {
    "ADD": BinaryFn.ADD, "SUB": BinaryFn.SUB, "MUL": BinaryFn.MUL, "DIV": BinaryFn.DIV,
    "MAXIMUM": BinaryFn.MAX, "MINIMUM": BinaryFn.MIN, "POW": BinaryFn.POW,
    "EQUAL": BinaryFn.EQUAL, "LESS": BinaryFn.LESS, "LESS_EQUAL": BinaryFn.LESS_EQUAL,
    "GREATER": BinaryFn.GREATER, "GREATER_EQUAL": BinaryFn.GREATER_EQUAL,
    "LOGICAL_AND": BinaryFn.AND, "LOGICAL_OR": BinaryFn.OR,
}  # fmt: skip
_UNARY = {
    "ABS": UnaryFn.ABS, "NEG": UnaryFn.NEG, "EXP": UnaryFn.EXP, "LOG": UnaryFn.LOG,
    "SQRT": UnaryFn.SQRT, "RSQRT": UnaryFn.RSQRT, "SQUARE": UnaryFn.SQUARE, "SIN": UnaryFn.SIN,
    "COS": UnaryFn.COS, "FLOOR": UnaryFn.FLOOR, "CEIL": UnaryFn.CEIL, "ROUND": UnaryFn.ROUND,
    "SIGN": UnaryFn.SIGN, "ELU": UnaryFn.ELU, "LOGICAL_NOT": UnaryFn.NOT,
}  # fmt: skip
_REDUCE = {
    "MEAN": ReduceFn.MEAN, "SUM": ReduceFn.SUM, "REDUCE_MAX": ReduceFn.MAX,
    "REDUCE_MIN": ReduceFn.MIN, "REDUCE_PROD": ReduceFn.PROD,
}  # fmt: skip

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "CONV_2D": windows.conv,
        "DEPTHWISE_CONV_2D": windows.depthwise,
        "TRANSPOSE_CONV": windows.transposed,
        "FULLY_CONNECTED": windows.dense,
        "AVERAGE_POOL_2D": windows.pool,
        "MAX_POOL_2D": windows.pool,
        **{op: pointwise.activate(act) for op, act in _ACTIVATIONS.items()},
        **{op: pointwise.binary(fn) for op, fn in _BINARY.items()},
        **{op: pointwise.unary(fn) for op, fn in _UNARY.items()},
        **{op: pointwise.reduce(fn) for op, fn in _REDUCE.items()},
        "LEAKY_RELU": pointwise.leaky_relu,
        "GELU": pointwise.gelu,
        "PRELU": pointwise.prelu,
        "SOFTMAX": pointwise.softmax,
        "LOG_SOFTMAX": pointwise.softmax,
        "QUANTIZE": pointwise.quantize,
        "DEQUANTIZE": pointwise.dequantize,
        "CAST": pointwise.cast,
        "SELECT": pointwise.where,
        "SELECT_V2": pointwise.where,
        "LOCAL_RESPONSE_NORMALIZATION": pointwise.local_response_norm,
        "L2_NORMALIZATION": pointwise.l2_norm,
        "SQUARED_DIFFERENCE": pointwise.squared_difference,
        "BATCH_MATMUL": pointwise.batch_matmul,
        "RESHAPE": moving.reshape,
        "SQUEEZE": moving.squeeze,
        "EXPAND_DIMS": moving.expand_dims,
        "TRANSPOSE": moving.transpose,
        "CONCATENATION": moving.concat,
        "PAD": moving.pad,
        "PADV2": moving.pad,
        "MIRROR_PAD": moving.mirror_pad,
        "RESIZE_BILINEAR": moving.resize,
        "RESIZE_NEAREST_NEIGHBOR": moving.resize,
        "STRIDED_SLICE": moving.strided_slice,
        "SLICE": moving.plain_slice,
        "SPLIT": moving.split,
        "SPLIT_V": moving.split_v,
        "PACK": moving.pack,
        "UNPACK": moving.unpack,
        "DEPTH_TO_SPACE": moving.depth_to_space,
        "SPACE_TO_DEPTH": moving.depth_to_space,
        "BROADCAST_TO": moving.broadcast_to,
        "TILE": moving.tile,
        "GATHER": moving.gather,
        "SHAPE": moving.shape,
    }
)
STATE = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"})
CONTROL = frozenset({"IF", "WHILE", "CALL"})
RECURRENT = frozenset(
    {
        "LSTM", "RNN", "SVDF", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
        "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN",
    }
)  # fmt: skip
CUT = "build the part before or after it with --cut A:B"


def why_not(node: Node) -> Refusal:
    """Why an operator is not taken at all, and what can be done."""
    if node.domain == "custom":
        return Refusal("M020", "it is a custom operator of whoever made the model", CUT)
    if node.op in STATE:
        return Refusal(
            "M024",
            "the model keeps state between calls",
            "export it without state (the whole window as input), or " + CUT,
        )
    if node.op in CONTROL:
        return Refusal("M020", "control flow is not taken", "export the model without it")
    if node.op in RECURRENT:
        return Refusal("M020", "recurrent layers are not taken", CUT)
    return Refusal("M020", "the operator is not known to convgen", CUT)


def known(draft: Draft, node: Node) -> bool:
    """Compute a node of which all is known: shapes above all."""
    rule = RULES.get(node.op)
    return fold(draft, node) or (rule is not None and compute(draft, node, rule))


def declared_type(source: Source, name: str, path: str) -> tuple[Elem, Quantization | None]:
    """The element type and meaning of an input. Raises ``ModelError``."""
    tensor = source.tensors[name]
    try:
        return element(tensor.dtype), meaning_of(tensor)
    except Refusal as why:
        raise model_error(path, "M022", f"input {shown(name)}: {why}; {why.advice}") from None


def tflite_format(source: Source, *, resized: bool = False) -> Format:
    """TFLite's rules. The file says every tensor's shape: that must be the one that follows from
    the operators, unless the inputs have been ``resized``."""

    def declared(name: str) -> tuple[tuple[int, ...], Elem, Quantization | None] | None:
        tensor = source.tensors.get(name)
        if tensor is None or tensor.shape is None:
            return None
        try:
            return sizes_of(tensor), element(tensor.dtype), meaning_of(tensor)
        except Refusal:
            return None

    def checked(draft: Draft, node: Node) -> None:
        for name in node.outputs:
            said, found = sizes_of(source.tensors[name]), draft.shape(name)
            if found != said and not resized:
                raise Refusal(
                    "M023",
                    f"its output has the shape {list(found)}, the file says {list(said)}",
                    "repair the model",
                )

    return Format(RULES, known, why_not, declared, Rounding.TFLITE, checked)


def sizes_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape in numbers: TFLite has no others."""
    return tuple(n for n in tensor.shape or () if isinstance(n, int))

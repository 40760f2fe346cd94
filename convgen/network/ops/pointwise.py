"""Operators that work element by element."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from convgen.network.ops.face import Elem, Plain, ShapeError, Type, Types, broadcast, need, times
from convgen.spec.model import Activation


class BinaryFn(StrEnum):
    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    DIV = "div"
    MAX = "max"
    MIN = "min"
    POW = "pow"
    EQUAL = "equal"
    LESS = "less"
    LESS_EQUAL = "less_equal"
    GREATER = "greater"
    GREATER_EQUAL = "greater_equal"
    AND = "and"
    OR = "or"
    XOR = "xor"

    @property
    def compares(self) -> bool:
        """Is the result a truth value?"""
        return self in _COMPARES


_COMPARES = frozenset(
    {
        BinaryFn.EQUAL,
        BinaryFn.LESS,
        BinaryFn.LESS_EQUAL,
        BinaryFn.GREATER,
        BinaryFn.GREATER_EQUAL,
        BinaryFn.AND,
        BinaryFn.OR,
        BinaryFn.XOR,
    }
)


class UnaryFn(StrEnum):
    """``elu``: alpha*(e^x - 1) below 0. ``hard_sigmoid``: clip(alpha*x + beta, 0, 1).
    ``squared_difference`` and the like are written with their parts."""

    ABS = "abs"
    NEG = "neg"
    EXP = "exp"
    LOG = "log"
    SQRT = "sqrt"
    RSQRT = "rsqrt"
    SQUARE = "square"
    RECIPROCAL = "reciprocal"
    ERF = "erf"
    SIN = "sin"
    COS = "cos"
    FLOOR = "floor"
    CEIL = "ceil"
    ROUND = "round"
    SIGN = "sign"
    NOT = "not"
    ELU = "elu"
    SELU = "selu"
    CELU = "celu"
    HARD_SIGMOID = "hard_sigmoid"
    SOFTPLUS = "softplus"
    SOFTSIGN = "softsign"
    MISH = "mish"
    THRESHOLDED_RELU = "thresholded_relu"


@dataclass(frozen=True)
class Binary(Plain):
    """fn(a, b) with NumPy's broadcasting, then an activation. 8-bit inputs: TFLite's arithmetic."""

    fn: BinaryFn = BinaryFn.ADD
    activation: Activation = field(default_factory=Activation)

    @property
    def kind(self) -> str:
        return str(self.fn)

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        a, b = need(inputs, 2)
        if a.dtype != b.dtype:
            raise ShapeError(f"elements of two types, {a.dtype} and {b.dtype}: cast one")
        dtype = Elem.BOOL if self.fn.compares else a.dtype
        return (Type(broadcast(a.shape, b.shape), dtype),)


@dataclass(frozen=True)
class Activate(Plain):
    """One of the activations that a convolution's epilogue knows (spec.model.Act)."""

    activation: Activation = field(default_factory=Activation)

    @property
    def kind(self) -> str:
        return str(self.activation.kind)

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        return need(inputs, 1)


@dataclass(frozen=True)
class Unary(Plain):
    """A function of one number that no epilogue knows. ``alpha``, ``beta``, ``gamma``: its
    constants, where it has some (``celu`` and ``thresholded_relu``: alpha; ``selu``: alpha, gamma).
    """

    fn: UnaryFn = UnaryFn.ABS
    alpha: float = 1.0
    beta: float = 0.0
    gamma: float = 1.0

    @property
    def kind(self) -> str:
        return str(self.fn)

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        return need(inputs, 1)


@dataclass(frozen=True)
class PRelu(Plain):
    """x where x >= 0, slope*x elsewhere. Inputs: x, slope (broadcast to x's shape)."""

    word: ClassVar[str] = "prelu"

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        x, slope = need(inputs, 2)
        if broadcast(x.shape, slope.shape) != x.shape:
            raise ShapeError(f"slopes {times(slope.shape)} do not fit into {times(x.shape)}")
        return (x,)


@dataclass(frozen=True)
class Where(Plain):
    """a where the condition holds, else b. Inputs: condition (bool), a, b; they broadcast."""

    word: ClassVar[str] = "where"

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        condition, a, b = need(inputs, 3)
        if condition.dtype is not Elem.BOOL or a.dtype != b.dtype:
            raise ShapeError("takes a bool condition and two tensors of one element type")
        return (Type(broadcast(condition.shape, a.shape, b.shape), a.dtype),)


@dataclass(frozen=True)
class Cast(Plain):
    """The same numbers as elements of another type (C's conversions: fractions are cut)."""

    word: ClassVar[str] = "cast"
    dtype: Elem = Elem.FLOAT32

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        return (Type(x.shape, self.dtype),)


@dataclass(frozen=True)
class Quantize(Plain):
    """Real numbers to 8-bit (or int16, int32) integers; the output value's quantisation says how.

    q = clamp(zero + round(x / scale)): halves away from 0 (TFLite) or to even (ONNX).
    """

    word: ClassVar[str] = "quantize"
    dtype: Elem = Elem.INT8

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        return (Type(x.shape, self.dtype),)


@dataclass(frozen=True)
class Requantize(Plain):
    """Integers of one quantisation to those of another (TFLite's QUANTIZE of an 8-bit tensor)."""

    word: ClassVar[str] = "requantize"
    dtype: Elem = Elem.INT8

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        return (Type(x.shape, self.dtype),)


@dataclass(frozen=True)
class Dequantize(Plain):
    """Integers (or float16 numbers, which need no scale) to float32."""

    word: ClassVar[str] = "dequantize"

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        return (Type(x.shape, Elem.FLOAT32),)

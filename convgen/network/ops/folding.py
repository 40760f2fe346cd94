"""Operators that look along an axis: reductions, softmax, normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from convgen.network.ops.face import Plain, ShapeError, Type, Types, axis_of, need, times


class ReduceFn(StrEnum):
    MEAN = "mean"
    SUM = "sum"
    MAX = "max"
    MIN = "min"
    PROD = "prod"
    L1 = "l1"
    L2 = "l2"
    SUM_SQUARE = "sum_square"
    LOG_SUM = "log_sum"
    LOG_SUM_EXP = "log_sum_exp"


@dataclass(frozen=True)
class Reduce(Plain):
    """Over ``axes`` (counted from 0, ascending). Global pools are reductions over spatial axes."""

    word: ClassVar[str] = "reduce"
    fn: ReduceFn = ReduceFn.MEAN
    axes: tuple[int, ...] = ()
    keepdims: bool = True

    @property
    def kind(self) -> str:
        return f"reduce_{self.fn}"

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        axes = {axis_of(axis, x.rank) for axis in self.axes}
        kept = [1 if at in axes else size for at, size in enumerate(x.shape)]
        if not self.keepdims:
            kept = [size for at, size in enumerate(x.shape) if at not in axes]
        return (Type(tuple(kept), x.dtype),)


@dataclass(frozen=True)
class Softmax(Plain):
    """e^(beta*(x - max)) over its sum along ``axis``; ``log``: its logarithm.

    8-bit: TFLite's arithmetic, output scale 1/256 and zero point -128 (int8) or 0 (uint8).
    """

    word: ClassVar[str] = "softmax"
    axis: int = -1
    beta: float = 1.0
    log: bool = False

    @property
    def kind(self) -> str:
        return "log_softmax" if self.log else "softmax"

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        axis_of(self.axis, x.rank)
        return (x,)


@dataclass(frozen=True)
class BatchNorm(Plain):
    """scale*(x - mean)/sqrt(var + epsilon) + bias, per index of ``axis``.

    Inputs: x, scale, bias, mean, var, the last four of shape [C].
    """

    word: ClassVar[str] = "batch_norm"
    axis: int = 1
    epsilon: float = 1e-5

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        x, *rows = need(inputs, 5)
        size = x.shape[axis_of(self.axis, x.rank)]
        for row in rows:
            if row.shape != (size,):
                raise ShapeError(f"{times(row.shape)} numbers for {size} channels")
        return (x,)


@dataclass(frozen=True)
class LayerNorm(Plain):
    """(x - mean)/sqrt(variance + epsilon) over the axes from ``axis`` on, times scale, plus bias.

    Inputs: x, scale (may be left out), bias (may be left out), both of the normalised axes' shape.
    """

    word: ClassVar[str] = "layer_norm"
    axis: int = -1
    epsilon: float = 1e-5

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1, 3)
        shape = x.shape[axis_of(self.axis, x.rank) :]
        for row in inputs[1:]:
            if row is not None and row.shape != shape:
                raise ShapeError(f"{times(row.shape)} numbers for axes {times(shape)}")
        return (x,)


@dataclass(frozen=True)
class LocalResponseNorm(Plain):
    """x / (bias + alpha/size * sum of squares over ``size`` neighbours along ``axis``)^beta.

    The neighbours of c: max(0, c - (size-1)//2) .. min(C-1, c + size//2), as ONNX counts.
    TFLite multiplies by alpha without dividing by size: its importer scales alpha.
    """

    word: ClassVar[str] = "local_response_norm"
    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    bias: float = 1.0
    axis: int = 1

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        axis_of(self.axis, x.rank)
        if self.size < 1:
            raise ShapeError("size is at least 1")
        return (x,)

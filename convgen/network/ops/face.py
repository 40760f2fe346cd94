"""What every operator is: a frozen value whose fields are its attributes, with a shape rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import ClassVar, Protocol

from convgen.errors import ConvgenError


class ShapeError(ConvgenError):
    """Inputs do not fit an operator, or nodes do not form a graph. Says what and how to mend it."""


class Elem(StrEnum):
    """Element types of tensors; the words are NumPy's, except bfloat16."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    UINT8 = "uint8"
    INT16 = "int16"
    UINT16 = "uint16"
    INT32 = "int32"
    UINT32 = "uint32"
    INT64 = "int64"
    UINT64 = "uint64"
    BOOL = "bool"

    @property
    def size(self) -> int:
        """Bytes."""
        return _SIZES[self]

    @property
    def is_float(self) -> bool:
        return self in (Elem.FLOAT32, Elem.FLOAT64, Elem.FLOAT16, Elem.BFLOAT16)

    @property
    def eight_bit(self) -> bool:
        return self in (Elem.INT8, Elem.UINT8)


_SIZES = {
    Elem.FLOAT32: 4,
    Elem.FLOAT64: 8,
    Elem.FLOAT16: 2,
    Elem.BFLOAT16: 2,
    Elem.INT8: 1,
    Elem.UINT8: 1,
    Elem.INT16: 2,
    Elem.UINT16: 2,
    Elem.INT32: 4,
    Elem.UINT32: 4,
    Elem.INT64: 8,
    Elem.UINT64: 8,
    Elem.BOOL: 1,
}


@dataclass(frozen=True)
class Type:
    """A tensor's shape and element type."""

    shape: tuple[int, ...]
    dtype: Elem = Elem.FLOAT32

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __str__(self) -> str:
        return f"{times(self.shape)} {self.dtype}"


Types = Sequence[Type | None]


class Op(Protocol):
    """An operator's attributes, and what follows from them and the inputs.

    ``kind`` is the operator's word in YAML, tables and file names.
    """

    @property
    def kind(self) -> str: ...

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        """Shapes and element types of the outputs. Raises ``ShapeError``."""
        ...

    def macs(self, inputs: Types, outputs: Sequence[Type]) -> int:
        """Multiply-adds, taps in the padding included."""
        ...


@dataclass(frozen=True)
class Plain:
    """What most operators share: no multiply-adds worth counting."""

    word: ClassVar[str] = ""

    @property
    def kind(self) -> str:
        return self.word

    def macs(self, inputs: Types, outputs: Sequence[Type]) -> int:
        return 0


def times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def need(inputs: Types, least: int, most: int | None = None) -> tuple[Type, ...]:
    """The first ``least`` inputs, all of which must be given."""
    most = least if most is None else most
    if not least <= len(inputs) <= most or any(t is None for t in inputs[:least]):
        wanted = str(least) if least == most else f"{least} to {most}"
        given = sum(t is not None for t in inputs)
        raise ShapeError(f"takes {wanted} inputs, {given} are given")
    return tuple(t for t in inputs[:least] if t is not None)


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from 0; negative ones count from the end."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} of a tensor with {rank} axes: use {-rank} to {rank - 1}")
    return axis % rank


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """NumPy's rule: sizes agree from the last axis on, or one of them is 1."""
    rank = max(map(len, shapes), default=0)
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    found = []
    for sizes in zip(*padded, strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            shown = " and ".join(times(shape) for shape in shapes)
            raise ShapeError(f"shapes {shown} do not go together: sizes must agree, or be 1")
        found.append(wide.pop() if wide else 1)
    return tuple(found)

"""Operators that move elements and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import ClassVar

from convgen.network.ops.face import Plain, ShapeError, Type, Types, axis_of, broadcast, need, times

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Reshape(Plain):
    """The same elements in the same logical order under another shape (all sizes known).

    Flatten, squeeze, unsqueeze and expand-dims are reshapes.
    """

    word: ClassVar[str] = "reshape"
    shape: Ints = ()

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        if prod(self.shape) != x.size:
            raise ShapeError(
                f"{times(x.shape)} holds {x.size} elements, {times(self.shape)} "
                f"{prod(self.shape)}: a reshape keeps their number"
            )
        return (Type(self.shape, x.dtype),)


@dataclass(frozen=True)
class Transpose(Plain):
    """Output axis i is input axis ``perm[i]``."""

    word: ClassVar[str] = "transpose"
    perm: Ints = ()

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        if sorted(self.perm) != list(range(x.rank)):
            raise ShapeError(f"perm {list(self.perm)} is no order of the {x.rank} axes")
        return (Type(tuple(x.shape[p] for p in self.perm), x.dtype),)


@dataclass(frozen=True)
class Concat(Plain):
    """Inputs (one or more) side by side along ``axis``."""

    word: ClassVar[str] = "concat"
    axis: int = 1

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        parts = need(inputs, max(1, len(inputs)))
        axis = axis_of(self.axis, parts[0].rank)
        first = parts[0]
        for part in parts[1:]:
            fits = part.rank == first.rank and part.dtype == first.dtype
            if not fits or any(
                a != b
                for at, (a, b) in enumerate(zip(first.shape, part.shape, strict=True))
                if at != axis
            ):
                raise ShapeError(f"{first} and {part} differ in more than axis {axis}")
        total = sum(part.shape[axis] for part in parts)
        return (Type((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype),)


@dataclass(frozen=True)
class Split(Plain):
    """One output per entry of ``sizes``, cut along ``axis``."""

    word: ClassVar[str] = "split"
    axis: int = 1
    sizes: Ints = ()

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        axis = axis_of(self.axis, x.rank)
        if sum(self.sizes) != x.shape[axis] or min(self.sizes, default=0) < 0:
            raise ShapeError(f"sizes {list(self.sizes)} do not add up to {x.shape[axis]}")
        return tuple(
            Type((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype) for size in self.sizes
        )


@dataclass(frozen=True)
class Slice(Plain):
    """Of every axis: ``sizes`` elements from ``starts`` on, ``steps`` apart (negative: backwards).

    ``sliced`` makes one from starts and ends that may be negative or beyond the array.
    """

    word: ClassVar[str] = "slice"
    starts: Ints = ()
    sizes: Ints = ()
    steps: Ints = ()

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        if not len(self.starts) == len(self.sizes) == len(self.steps) == x.rank:
            raise ShapeError(f"a slice says start, size and step of all {x.rank} axes")
        for at, size in enumerate(x.shape):
            start, count, step = self.starts[at], self.sizes[at], self.steps[at]
            last = start + (count - 1) * step
            if count and not (0 <= start < size and 0 <= last < size and step):
                raise ShapeError(f"axis {at} has {size} elements, the slice takes {start}..{last}")
        return (Type(self.sizes, x.dtype),)


def sliced(
    shape: Ints,
    starts: Sequence[int],
    ends: Sequence[int],
    axes: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
) -> Slice:
    """A slice in Python's (and ONNX's) terms: starts and ends clamped, negative from the end."""
    axes = range(len(starts)) if axes is None else [axis_of(a, len(shape)) for a in axes]
    steps = [1] * len(starts) if steps is None else steps
    first, count, pace = [0] * len(shape), list(shape), [1] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step == 0:
            raise ShapeError("a slice's step is not 0")
        taken = (
            range(shape[axis])[slice(start, end, step)]
            if step > 0
            else _back(shape[axis], start, end, step)
        )
        first[axis], count[axis], pace[axis] = (taken[0] if taken else 0), len(taken), step
    return Slice(tuple(first), tuple(count), tuple(pace))


def _back(size: int, start: int, end: int, step: int) -> range:
    """Backwards, an end before the first element (ONNX writes a very negative one) keeps it."""
    start = min(start + size if start < 0 else start, size - 1)
    end = max(end + size if end < 0 else end, -1)
    return range(start, end, step)


class PadMode(StrEnum):
    CONSTANT = "constant"
    REFLECT = "reflect"
    EDGE = "edge"
    SYMMETRIC = "symmetric"
    WRAP = "wrap"


@dataclass(frozen=True)
class Pad(Plain):
    """``pads``: (before, after) of every axis; negative ones cut. ``value`` fills in mode constant:
    a real number, quantised where the tensor is (TFLite's PAD fills with the zero point).
    """

    word: ClassVar[str] = "pad"
    pads: tuple[tuple[int, int], ...] = ()
    mode: PadMode = PadMode.CONSTANT
    value: float = 0.0

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        if len(self.pads) != x.rank:
            raise ShapeError(f"pads for {len(self.pads)} axes of a tensor with {x.rank}")
        for at, ((before, after), size) in enumerate(zip(self.pads, x.shape, strict=True)):
            room = {PadMode.REFLECT: size - 1, PadMode.SYMMETRIC: size}.get(self.mode)
            if room is not None and max(before, after) > room:
                raise ShapeError(
                    f"axis {at} has {size} elements: mode {self.mode} pads at most {room}"
                )
            if size + before + after < 0:
                raise ShapeError(f"axis {at} would have {size + before + after} elements")
        shape = tuple(s + a + b for s, (a, b) in zip(x.shape, self.pads, strict=True))
        return (Type(shape, x.dtype),)


@dataclass(frozen=True)
class DepthToSpace(Plain):
    """Blocks of channels become blocks of pixels (2-D). ``columns_first``: ONNX's mode CRD, where
    the channel is c*b*b + row*b + column; else DCR, (row*b + column)*C + c.
    """

    word: ClassVar[str] = "depth_to_space"
    block: int = 2
    columns_first: bool = False
    channels_last: bool = False

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        n, h, w, c = _plane(need(inputs, 1)[0], channels_last=self.channels_last)
        b = self.block
        if b < 1 or c % (b * b):
            raise ShapeError(f"{c} channels are no multiple of {b}*{b}")
        return (_image(inputs, (n, h * b, w * b, c // (b * b)), last=self.channels_last),)


@dataclass(frozen=True)
class SpaceToDepth(Plain):
    """Blocks of pixels become channels (2-D): channel (row*b + column)*C + c."""

    word: ClassVar[str] = "space_to_depth"
    block: int = 2
    channels_last: bool = False

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        n, h, w, c = _plane(need(inputs, 1)[0], channels_last=self.channels_last)
        b = self.block
        if b < 1 or h % b or w % b:
            raise ShapeError(f"{h}x{w} pixels do not split into blocks of {b}x{b}")
        return (_image(inputs, (n, h // b, w // b, c * b * b), last=self.channels_last),)


def _plane(x: Type, *, channels_last: bool) -> tuple[int, int, int, int]:
    if x.rank != 4:
        raise ShapeError(f"takes images of 4 axes, not {times(x.shape)}")
    n, a, b, c = x.shape
    return (n, a, b, c) if channels_last else (n, b, c, a)


def _image(inputs: Types, nhwc: tuple[int, int, int, int], *, last: bool) -> Type:
    x = inputs[0]
    assert x is not None
    n, h, w, c = nhwc
    return Type(nhwc if last else (n, c, h, w), x.dtype)


@dataclass(frozen=True)
class Broadcast(Plain):
    """Repeats axes of size 1 up to ``shape`` (ONNX's Expand)."""

    word: ClassVar[str] = "broadcast"
    shape: Ints = ()

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        if broadcast(x.shape, self.shape) != self.shape:
            raise ShapeError(f"{times(x.shape)} cannot be repeated to {times(self.shape)}")
        return (Type(self.shape, x.dtype),)


@dataclass(frozen=True)
class Tile(Plain):
    """The tensor ``repeats[i]`` times along axis i."""

    word: ClassVar[str] = "tile"
    repeats: Ints = ()

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        if len(self.repeats) != x.rank or min(self.repeats, default=0) < 0:
            raise ShapeError(f"repeats of each of the {x.rank} axes, none negative")
        shape = tuple(s * r for s, r in zip(x.shape, self.repeats, strict=True))
        return (Type(shape, x.dtype),)


@dataclass(frozen=True)
class Gather(Plain):
    """Elements along ``axis`` at the indices of the second input (negative ones from the end)."""

    word: ClassVar[str] = "gather"
    axis: int = 0

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        x, indices = need(inputs, 2)
        axis = axis_of(self.axis, x.rank)
        return (Type((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype),)


@dataclass(frozen=True)
class Identity(Plain):
    """The input itself. Simplification removes it, except between an input and an output."""

    word: ClassVar[str] = "identity"

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        return need(inputs, 1)

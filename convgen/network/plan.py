"""The plan of a network: its steps, in order, and where everything they touch lies.

A step is one call of one kernel. Its slots say which elements it reads and writes: a buffer, an
offset and a stride for each axis. Slots are in canonical axes (see ``Step``), so that a kernel
never asks whether the model file had its channels first or last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from types import MappingProxyType
from typing import ClassVar

from convgen.network.graph import Graph, Quantization
from convgen.network.ops.face import Elem, Op, Plain, Type, Types
from convgen.spec.model import ConvSpec

ALIGN = 64  # of the arena, of every buffer in it, and of every item of the weights


class Room(StrEnum):
    """Where a buffer lies. ``INPUT`` and ``OUTPUT`` are the caller's arrays, aligned to their
    element only; ``WEIGHTS`` is the blob of constants, packed and raw.
    """

    ARENA = "arena"
    INPUT = "input"
    OUTPUT = "output"
    WEIGHTS = "weights"


@dataclass(frozen=True)
class Buffer:
    """A run of bytes. ``index``: which input or output of the network it is, from 0."""

    name: str
    room: Room
    bytes: int
    index: int = 0


@dataclass(frozen=True)
class Slot:
    """Elements of a buffer: ``offset`` and ``strides`` count elements, not bytes.

    ``value``: the graph's value whose elements these are. A stride may be 0 (a size repeated, where
    an operand broadcasts) or negative (read backwards). That of an axis of size 1 says nothing: it
    is what it would be in C order, so that equal places have equal strides.
    """

    value: str
    buffer: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Elem
    quant: Quantization | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "strides", _settled(self.shape, self.strides))

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def dense(self) -> bool:
        """In C order without gaps?"""
        return self.strides == contiguous(self.shape)

    @property
    def reach(self) -> tuple[int, int]:
        """The first element touched and the one behind the last, from the buffer's start."""
        if not self.size:
            return self.offset, self.offset
        spans = [(n - 1) * s for n, s in zip(self.shape, self.strides, strict=True)]
        low = self.offset + sum(span for span in spans if span < 0)
        return low, self.offset + sum(span for span in spans if span > 0) + 1


def _settled(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...]:
    """With strides of C order where an axis has one element."""
    found: list[int] = []
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        found.append(step if size == 1 else stride)
        step = size * abs(found[-1])
    return tuple(reversed(found))


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of C order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


@dataclass(frozen=True)
class Move:
    """Copies ``source`` to ``target`` (same shape), or fills it with ``fill`` where that is None.

    ``fill`` is a stored value: a float, or an integer of the target's type.
    """

    source: Slot | None
    target: Slot
    fill: float = 0.0


@dataclass(frozen=True)
class Moves(Plain):
    """The operator of steps that only move elements: transpose, slice, concat, split, pad, tile,
    depth to space, nearest resizing by whole factors. The step's ``moves`` say what goes where;
    they write disjoint elements and read none that the step writes, so their order is free.
    """

    word: ClassVar[str] = "move"
    was: str = "transpose"

    @property
    def kind(self) -> str:
        return self.was

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        raise AssertionError("a step's operator, never a node's")


@dataclass(frozen=True)
class Step:
    """One kernel call. ``name``: a C identifier, unique in the network, without its prefix.

    Canonical axes: operators with a window see [N, H, W, C] (1-D: H is 1; 3-D: [N, D, H, W, C]) and
    have ``channels_last`` and kernels of that rank; element-wise operators, reductions, softmax and
    normalisations see the axes in the order that their output has in memory, with the operator's
    ``axis`` or ``axes`` renumbered. Operands that broadcast are repeated by strides of 0, so every
    operand of an element-wise operator has its output's shape. Reductions keep their axes with
    size 1.

    ``inputs``: slots in the order of the operator's inputs, None for absent ones and for the
    constants of a convolution or dense operator, which are packed: ``weights`` and ``bias`` name
    them in ``Graph.constants`` (HWIO and [OC]). ``spec``: the problem of a convolution or dense
    operator; its layout says how x and y lie. ``over``: inputs whose buffer the output may share,
    element on element. ``nodes``: the graph's nodes that the step carries out.
    """

    name: str
    op: Op
    inputs: tuple[Slot | None, ...]
    outputs: tuple[Slot, ...]
    nodes: tuple[str, ...]
    spec: ConvSpec | None = None
    weights: str | None = None
    bias: str | None = None
    moves: tuple[Move, ...] = ()
    over: tuple[int, ...] = ()
    macs: int = 0
    notes: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[Slot, ...]:
        """Every slot that it reads."""
        sources = tuple(move.source for move in self.moves if move.source is not None)
        return tuple(slot for slot in self.inputs if slot is not None) + sources

    @property
    def writes(self) -> tuple[Slot, ...]:
        return self.outputs + tuple(move.target for move in self.moves)


@dataclass(frozen=True)
class Needs:
    """What a step's kernel asks for. ``workspace``: bytes for each running part. ``packed``: bytes
    of its packed weights in the blob, 0 without.
    """

    workspace: int = 0
    packed: int = 0


@dataclass(frozen=True)
class Arena:
    """Where arena buffers lie: byte offsets, multiples of ``ALIGN``.

    ``bytes`` includes one workspace; each further running part takes ``part_bytes`` behind it.
    ``max_live``: the most bytes that are live at once in this order of steps, the bound from below.
    """

    places: Mapping[str, int]
    workspace_at: Mapping[str, int]
    bytes: int
    part_bytes: int
    max_live: int
    peak_step: str = ""


@dataclass(frozen=True)
class WeightItem:
    """Bytes of the weights blob. ``step``: whose packed weights; or ``constant``: a raw array."""

    offset: int
    bytes: int
    step: str = ""
    constant: str = ""


@dataclass(frozen=True, eq=False)
class NetworkPlan:
    """All there is to render: steps in their order, buffers by name, the arena and the weights."""

    graph: Graph
    steps: tuple[Step, ...]
    buffers: Mapping[str, Buffer]
    arena: Arena
    weights: tuple[WeightItem, ...]
    needs: Mapping[str, Needs] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def weights_bytes(self) -> int:
        return max((item.offset + item.bytes for item in self.weights), default=0)

"""The order of packed weights, and the loops of the reduction over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from convgen.spec.model import ConvSpec


@dataclass(frozen=True)
class Packing:
    """Order of the packed weights: per group and block of ``lanes`` channels, first the biases,
    then for every tap and input channel one vector of weights: [g][block][1 + taps*ic][lanes].

    Channels that do not exist hold zeros. ``w_*``: strides of the caller's weights. ``winograd``:
    (m, r) down and across, where kh x kw stands for the transformed filters' m+r-1, else None.
    ``side``: how many input channels lie side by side: [g][block][1 + taps*rows][lanes][side],
    where the last number of each lane in the first row is its bias, those before it 0, and so are
    those that a tap's last row has no channels for. ``kh`` counts the rows of taps of all planes.
    ``rows``, ``columns``: which of the caller's each packed row and column of taps is, where they
    are packed in another order. ``w_group``: from one group of the caller's weights to the next.
    """

    lanes: int
    groups: int
    oc: int
    kh: int
    kw: int
    ic: int
    w_kh: int
    w_kw: int
    w_ic: int
    w_oc: int
    winograd: tuple[tuple[int, int], tuple[int, int]] | None = None
    side: int = 1
    w_group: int = 0
    rows: tuple[int, ...] = ()
    columns: tuple[int, ...] = ()

    @property
    def blocks(self) -> int:
        return -(-self.oc // self.lanes)

    @property
    def depth(self) -> int:
        """Multiply-adds per output, K = KH * KW * ic."""
        return self.kh * self.kw * self.ic

    @property
    def w_tap(self) -> int:
        """From one tap of the caller's weights to the next: in every layout a row of taps ends
        where the next begins."""
        assert self.w_kh == self.kw * self.w_kw, self
        return self.w_kw

    @property
    def row(self) -> int:
        """Numbers of the row of biases, and of each row of weights."""
        return self.lanes * self.side

    @property
    def tap(self) -> int:
        """Numbers of all rows of one tap."""
        return -(-self.ic // self.side) * self.row

    @property
    def block_stride(self) -> int:
        return self.row + self.kh * self.kw * self.tap

    @property
    def group_stride(self) -> int:
        return self.blocks * self.block_stride

    @property
    def elements(self) -> int:
        return self.groups * self.group_stride

    def offset(self, channel: int) -> int:
        """Where a channel's numbers begin in its group."""
        return channel // self.lanes * self.block_stride + channel % self.lanes * self.side


@dataclass(frozen=True)
class Loop:
    """One loop of the reduction: ``for (var = 0; var < count; ++var)``; ``count`` is C text."""

    var: str
    count: str
    x_step: int
    w_step: int


@dataclass(frozen=True)
class Rest:
    """A step inside the first ``depth`` loops alone: where its input and weights lie from there."""

    depth: int
    x: int
    w: int


class ByteOrder(Protocol):
    """How 8-bit weights are packed: their order is the room's business."""

    def size(self, filters: int, depth: int) -> int:
        """Bytes of all packed weights of this many filters of this depth."""
        ...

    @property
    def biases(self) -> int:
        """Bytes of each bias, where every bias comes first as it is; else 0."""
        ...

    @property
    def block_stride(self) -> int:
        """Bytes of a block of channels, 0 where weights come filter by filter."""
        ...

    @property
    def patterns(self) -> tuple[tuple[int, int, int, int], ...]:
        """The rows of taps that four bytes of a weight come from, where rows go in fours."""
        ...

    def rounds(self, spec: ConvSpec) -> frozenset[int]:
        """How often loops over packed weights go round at most, beside those over taps."""
        ...

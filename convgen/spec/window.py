"""Windows: how many outputs an axis gives, and which inputs each of them sees.

A convolution's output o sees, by tap k, the input o*S - P + k*D; a transposed convolution is its
gradient over the input, so there the input i reaches, by tap k, the output i*S - P + k*D.
"""

from __future__ import annotations

from dataclasses import dataclass


def out_size(size: int, before: int, after: int, taps: int, dilation: int, stride: int) -> int:
    """floor((size + before + after - ((taps-1)*dilation + 1)) / stride) + 1, or 0: no window fits.

    The sign is checked before the division: a floor of a negative number is not a size.
    """
    room = size + before + after - ((taps - 1) * dilation + 1)
    return room // stride + 1 if room >= 0 else 0


def spread_size(
    size: int, before: int, after: int, taps: int, dilation: int, stride: int, extra: int
) -> int:
    """(size-1)*stride - before - after + (taps-1)*dilation + 1 + extra, at least 0: the outputs of
    a transposed convolution; ``extra`` is its output padding."""
    return max(0, (size - 1) * stride - before - after + (taps - 1) * dilation + 1 + extra)


@dataclass(frozen=True)
class Axis:
    """One direction of a layer, in rows (or columns, or planes): a window that moves over it.

    ``before``, ``after``: padding around the input, which a transposed convolution takes from its
    output instead. ``extra``: outputs more at the end of a transposed one (``output_padding``).
    """

    size: int
    taps: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    transposed: bool = False
    extra: int = 0

    @property
    def extent(self) -> int:
        """f: rows from a window's first tap to its last."""
        return (self.taps - 1) * self.dilation + 1

    @property
    def padded(self) -> int:
        """Rows of the padded input; of a transposed axis, the input's own."""
        return self.size if self.transposed else self.size + self.before + self.after

    @property
    def out(self) -> int:
        """Outputs: windows that fit; 0 when there are none."""
        if self.transposed:
            return spread_size(
                self.size, self.before, self.after, self.taps, self.dilation, self.stride,
                self.extra,
            )  # fmt: skip
        return out_size(self.size, self.before, self.after, self.taps, self.dilation, self.stride)

    @property
    def reach(self) -> int:
        """Input rows that one output sees at most, those in between included."""
        return -(-self.extent // self.stride) if self.transposed else self.extent

    @property
    def left(self) -> int:
        """r: rows after the last window. Asked only where a window fits."""
        return 0 if self.transposed else (self.padded - self.extent) % self.stride

    @property
    def harmless(self) -> bool:
        """Whether nothing real is lost beyond what every gap between windows skips."""
        return self.left <= self.after + max(0, self.stride - self.extent)

    @property
    def idle(self) -> bool:
        """Whether the axis does nothing: one input, one tap, one output."""
        return (self.size, self.taps, self.out, self.before) == (1, 1, 1, 0)

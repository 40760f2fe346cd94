"""The plan of a kernel of gathered windows, and the order of its packed weights."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.plan.kernel import Body
from convgen.spec.model import ConvSpec
from convgen.target.arm.windows import WindowKernel


@dataclass(frozen=True)
class WindowPacking:
    """Packed weights: every bias, then [group][block of ``filters``][step][filter][depth], bytes.

    A filter's ``taps`` weights are filled up with zeros to whole steps of ``depth``. The last block
    of a group begins early enough to be whole: some filters stand in two blocks. ``zero``: what a
    bias is less by, times the sum of the filter's weights.
    """

    groups: int
    oc: int
    filters: int
    depth: int
    taps: int
    zero: int

    @property
    def blocks(self) -> int:
        """Of one group."""
        return -(-self.oc // self.filters)

    @property
    def padded(self) -> int:
        """Weights of one filter, whole steps."""
        return -(-self.taps // self.depth) * self.depth

    @property
    def block_stride(self) -> int:
        return self.filters * self.padded

    @property
    def weights_at(self) -> int:
        return 4 * self.groups * self.oc

    def first(self, block: int) -> int:
        """The first filter of a block."""
        return min(block * self.filters, self.oc - self.filters)

    @property
    def biases(self) -> int:
        """None stands as it is: each is less by what the zero point adds."""
        return 0

    @property
    def patterns(self) -> tuple[()]:
        """Rows go one by one."""
        return ()

    def rounds(self, spec: ConvSpec) -> frozenset[int]:
        """Those over the list of the taps that a window meets."""
        far = spec.c * (spec.h * spec.w - 1)
        return frozenset({self.taps, self.filters * (self.taps - 1), far})

    def size(self, filters: int, depth: int) -> int:
        """Bytes of all; the arguments are those of ``Sections.size``."""
        return self.weights_at + self.groups * self.blocks * self.block_stride


@dataclass(frozen=True, kw_only=True)
class WindowBody(Body):
    """``kernel``: its operations. ``depthwise``: channels lie in lanes, else windows are gathered.
    ``direct``: windows are read where they lie. ``staged``: their bytes are gathered first, and
    widened from there. ``scratch``: bytes of windows, the staged ones behind them."""

    kernel: WindowKernel
    depthwise: bool
    direct: bool
    staged: bool
    scratch: int

    @property
    def wraps(self) -> bool:
        return True

    @property
    def table_in(self) -> str:
        return "run_part"

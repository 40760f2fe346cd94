"""The plan of an 8-bit vector kernel: products of several inputs summed into one int32 lane.

Inputs count from the zero point by way of the weights: sum of (x - zero) * w is the sum of x' * w
less (zero + offset) times the sum of w, where x' = x + offset is what the instructions read. Those
sums are packed for every tap, since at the image's edge only the taps inside it count.
"""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels.tiled.quads import Pattern
from convgen.plan.kernel import Body
from convgen.spec.model import ConvSpec

SLACK = 64  # bytes after a staged image, which the last steps of a row of taps may read


@dataclass(frozen=True)
class DotPacking:
    """Packed weights: [group][block of lanes][bias | sums of each tap | weights], bytes.

    A bias and a sum take four bytes a channel, the least significant first; the weights of a run
    of ``run`` bytes, ``depth`` of one channel side by side, zeros at its end: ``runs`` of them, one
    for every tap, or for every row of taps where ``flat``. ``zero``: what the sums are multiplied
    by; ``summed``: whether they are packed, else the biases have them in. ``patterns``: where not
    empty, a run is one pattern in one column of taps: the rows of taps its bytes come from, -1 for
    a zero; ``taps``: how many sums there are then.
    """

    lanes: int
    depth: int
    groups: int
    oc: int
    runs: int
    run: int
    flat: bool
    zero: int
    summed: bool
    bias: str = "int8_t"
    weight: str = "int8_t"
    weight_size: int = 1
    patterns: tuple[Pattern, ...] = ()
    taps: int = 0

    @property
    def blocks(self) -> int:
        return -(-self.oc // self.lanes)

    @property
    def sums_at(self) -> int:
        return 4 * self.lanes

    @property
    def weights_at(self) -> int:
        return 4 * self.lanes * (1 + ((self.taps or self.runs) if self.summed else 0))

    @property
    def block_stride(self) -> int:
        return self.weights_at + self.runs * self.run * self.lanes

    @property
    def biases(self) -> int:
        """None stands as it is: each is less by what the zero point adds."""
        return 0

    def rounds(self, spec: ConvSpec) -> frozenset[int]:
        """None beside the taps."""
        return frozenset()

    def size(self, filters: int, depth: int) -> int:
        """Bytes of all; the arguments are those of ``Sections.size``."""
        return self.groups * self.blocks * self.block_stride


@dataclass(frozen=True)
class Stage:
    """The image copied before it is read: padded with the zero point, channels side by side.

    ``d`` planes of ``h`` x ``w`` pixels; the image itself stands at plane ``front``, row ``top``,
    column ``left``.
    """

    d: int
    h: int
    w: int
    c: int
    front: int
    top: int
    left: int
    zero: int

    @property
    def bytes(self) -> int:
        return -(-(self.d * self.h * self.w * self.c + SLACK) // 64) * 64


@dataclass(frozen=True)
class DotBody(Body):
    """``stage``: what is copied first, None where tiles read x itself. ``single``: one product a
    lane, of a depthwise layer."""

    stage: Stage | None = None
    single: bool = False

    @property
    def batches(self) -> bool:
        """Whether outputs of unrolled windows are stored four vectors at a time."""
        return "narrow4" in self.operations

"""Output columns of one remainder by the stride meet the same taps: a phase. Within a phase the
columns stand side by side in x, so a tile of them shares each vector of weights."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.kernels.integer import Scale
from convgen.spec.model import Activation

TILE = 4  # output columns of a phase that share a vector of weights
MOST = 2  # vectors of channels of a tile


@dataclass(frozen=True)
class Phase:
    """Columns ``first`` + t * SW for t = 0 .. ``count`` - 1. ``taps``: (kw, column of x at t = 0)
    of each tap that reaches them. All taps lie inside the image for t in ``low`` .. ``high`` - 1.
    """

    first: int
    count: int
    taps: tuple[tuple[int, int], ...]
    low: int
    high: int

    @property
    def spans(self) -> tuple[tuple[int, int, int, bool], ...]:
        """(first t, end, columns at a time, whether all taps lie inside) that cover the phase."""
        tiled = self.low + (self.high - self.low) // TILE * TILE
        found = (
            (0, self.low, 1, False),
            (self.low, tiled, TILE, True),
            (tiled, self.high, 1, True),
            (self.high, self.count, 1, False),
        )
        return tuple(span for span in found if span[1] > span[0])


@dataclass(frozen=True)
class TransposedBody:
    """y[n, i*SH - PT + kh*DH, ...] += x[n, i, ...] * w[kh, kw, ic, oc] of dense NHWC images.

    Weights lie as OC biases, then [kh][kw][ic][oc]. Integers: bytes, biases of four each;
    ``scales``: one for each output channel, or one for all.
    """

    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    oc: int
    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    pt: int
    pl: int
    groups: int
    act: Activation
    element: str = "float"
    x_zero: int = 0
    w_zeros: tuple[int, ...] = ()
    y_zero: int = 0
    scales: tuple[Scale, ...] = ()
    low: int = 0
    high: int = 0

    @property
    def template(self) -> str:
        kind = "transposed" if self.element == "float" else "transposed_int"
        return f"kernels/transposed/{kind}.j2"

    @property
    def types(self) -> tuple[str, ...]:
        """The packed weights stand between x and y."""
        return (self.element, "float" if self.element == "float" else "int8_t", self.element)

    @property
    def icg(self) -> int:
        return self.c // self.groups

    @property
    def ocg(self) -> int:
        return self.oc // self.groups

    @property
    def units(self) -> int:
        return self.n * self.oh

    @property
    def functions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(scale.function for scale in self.scales))

    @property
    def phases(self) -> tuple[Phase, ...]:
        found = []
        for first in range(min(self.sw, self.ow)):
            count = (self.ow - first + self.sw - 1) // self.sw
            taps = []
            for kw in range(self.kw):
                place, rest = divmod(first + self.pl - kw * self.dw, self.sw)
                if rest == 0:
                    taps.append((kw, place))
            low = max([0, *(-place for _, place in taps)])
            high = min([count, *(self.w - place for _, place in taps)])
            found.append(Phase(first, count, tuple(taps), low, max(low, high)))
        return tuple(found)

    @property
    def words(self) -> str:
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return (
            f"y = {self.oc} filters {self.kh}x{self.kw}x{self.icg} transposed, stride "
            f"{self.sh}x{self.sw}{groups}: {self.h}x{self.w}x{self.c} to {self.oh}x{self.ow}"
        )


@dataclass(frozen=True)
class FloatTransposedBody(TransposedBody):
    """Of floats: output channels go into vectors."""

    def channels(self, lanes: int) -> tuple[tuple[int, int, int, int], ...]:
        """(first, last, vectors, lanes of the last one that are channels) of a group's outputs."""
        step = MOST * lanes
        whole = self.ocg // step * step
        found = [(0, whole, MOST, lanes)] if whole else []
        rest = self.ocg - whole
        if rest:
            vectors = -(-rest // lanes)
            found.append((whole, self.ocg, vectors, rest - (vectors - 1) * lanes))
        return tuple(found)

    def operations(self, lanes: int) -> tuple[str, ...]:
        used = {"set1", "fma"}
        tails = [tail for _, _, vectors, tail in self.channels(lanes) if tail < lanes]
        full = any(vectors > 1 or tail == lanes for _, _, vectors, tail in self.channels(lanes))
        used |= {"load", "store"} if full else set()
        used |= {"load_part", "store_part"} if tails else set()
        return tuple(sorted(used))

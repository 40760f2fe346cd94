"""Windows clipped to the image by arithmetic; channels in runs of a few vectors each."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.spec.model import Activation

MOST = 4  # vectors of channels that a window is reduced into side by side


@dataclass(frozen=True)
class Run:
    """Channels ``first`` to ``last`` - 1, ``step`` at a time in ``vectors``; ``part``: how many
    lanes of the one vector are channels, 0 for all."""

    first: int
    last: int
    step: int
    vectors: int
    part: int


@dataclass(frozen=True)
class PoolBody:
    """Max or mean over kh x kw windows of images [n][h][w][c].

    Strides count elements, the channel's is 1. ``padded``: windows of a mean count what they cover
    of the padding too (zeros), down to ``pb`` and ``pr`` beyond the image; else they count pixels
    of the image alone. ``element``: C type of the arrays; ``low``, ``high``: limits of 8-bit
    outputs.
    """

    kind: str
    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    pt: int
    pl: int
    pb: int
    pr: int
    padded: bool
    x_image: int
    x_row: int
    x_pixel: int
    y_image: int
    y_row: int
    y_pixel: int
    act: Activation
    element: str = "float"
    low: int = 0
    high: int = 0

    inputs = 1

    @property
    def template(self) -> str:
        return "kernels/pool/pool.j2" if self.element == "float" else "kernels/pool/pool_int.j2"

    @property
    def types(self) -> tuple[str, ...]:
        return (self.element, self.element)

    @property
    def units(self) -> int:
        return self.n * self.oh

    @property
    def clipped(self) -> bool:
        """Whether any window reaches beyond the image."""
        last_h = (self.oh - 1) * self.sh - self.pt + (self.kh - 1) * self.dh
        last_w = (self.ow - 1) * self.sw - self.pl + (self.kw - 1) * self.dw
        return self.pt > 0 or self.pl > 0 or last_h >= self.h or last_w >= self.w

    @property
    def hollow(self) -> bool:
        """Whether some window has no pixel of the image at all."""

        def none(size: int, outs: int, taps: int, stride: int, dilation: int, before: int) -> bool:
            places = (range(o * stride - before, o * stride - before + (taps - 1) * dilation + 1,
                            dilation) for o in range(outs))  # fmt: skip
            return any(not any(0 <= i < size for i in window) for window in places)

        return none(self.h, self.oh, self.kh, self.sh, self.dh, self.pt) or none(
            self.w, self.ow, self.kw, self.sw, self.dw, self.pl
        )

    @property
    def sum(self) -> str:
        """The C type that holds every sum of 8-bit numbers of a window, and half its count."""
        return "int32_t" if self.kh * self.kw < 1 << 22 else "int64_t"

    @property
    def window_type(self) -> str:
        """The C type in which a window of 8-bit numbers is reduced."""
        return self.element if self.kind == "max" else self.sum

    @property
    def capped(self) -> bool:
        """Whether the largest 8-bit output is less than its type holds."""
        return self.high < (127 if self.element == "int8_t" else 255)

    def channels(self, lanes: int) -> tuple[Run, ...]:
        """The channels of 8-bit kernels in blocks; ``lanes``: 1 where there are no vectors.

        Whole vectors of bytes come in blocks of constant sizes, of which compilers make vectors.
        """
        found: list[Run] = []
        sizes = (64, 16) if lanes > 1 else (64,)
        for size in (*sizes, 0):
            at = found[-1].last if found else 0
            step = size or self.c - at
            last = at + (self.c - at) // step * step if step else at
            if last > at:
                found.append(Run(at, last, step, 1, 0))
        return tuple(found)

    @property
    def fixed(self) -> int:
        """What every mean is divided by, 0 where it depends on the window."""
        if not self.clipped:
            return self.kh * self.kw
        if not self.padded:
            return 0
        bottom = (self.oh - 1) * self.sh - self.pt + (self.kh - 1) * self.dh
        right = (self.ow - 1) * self.sw - self.pl + (self.kw - 1) * self.dw
        inside = bottom < self.h + self.pb and right < self.w + self.pr
        return self.kh * self.kw if inside else 0

    def runs(self, lanes: int) -> tuple[Run, ...]:
        """The channels cut into runs of four vectors, of one, and what is left."""
        found = []
        at = 0
        for vectors in (MOST, 1):
            step = vectors * lanes
            last = at + (self.c - at) // step * step
            if last > at:
                found.append(Run(at, last, step, vectors, 0))
                at = last
        if at < self.c:
            found.append(Run(at, self.c, self.c - at, 1, self.c - at))
        return tuple(found)

    def operations(self, lanes: int) -> tuple[str, ...]:
        used = {"max"} if self.kind == "max" else {"add", "mul" if self._exact else "div"}
        used |= {"set1"} if self.kind == "avg" else set()
        runs = self.runs(lanes)
        if any(not run.part for run in runs) or lanes == 1:
            used |= {"load", "store"}
        if any(run.part for run in runs) and lanes > 1:
            used |= {"load_part", "store_part"}
        return tuple(sorted(used))

    @property
    def _exact(self) -> bool:
        """Whether multiplying by the reciprocal is dividing: the count is a power of two."""
        return self.fixed > 0 and self.fixed & (self.fixed - 1) == 0

    @property
    def reciprocal(self) -> str:
        """1 / count as a C literal where that is exact, else ""."""
        from convgen.ctext.activations import float_literal

        return float_literal(1 / self.fixed) if self._exact else ""

    @property
    def words(self) -> str:
        what = "largest" if self.kind == "max" else "mean"
        pads = f", padding {self.pt} {self.pl} {self.pb} {self.pr}" if self.clipped else ""
        return (
            f"y = the {what} of {self.kh}x{self.kw} windows, stride {self.sh}x{self.sw}{pads}: "
            f"{self.h}x{self.w}x{self.c} to {self.oh}x{self.ow}x{self.c}"
        )

"""Kernels of gathered windows on Cortex-M as data: SMLAD in core registers, and Helium (MVE).

A window's inputs are copied side by side first, in the order in which the products take them, and
serve every filter; a depthwise layer is read as it lies, several channels at a time. The operations
(``D``: the kernel's prefix), each a C snippet with one meaning and a model in plain C:

    number(p)                  the int32 that the four bytes p[0..3] hold, the lowest first
    take(to, from, n)          n inputs less ``zero`` to a window; places of others lie between
    fill(to, n)                as many that lie outside the image
    steps_N(t)                 N steps: every pixel's next ``depth`` inputs times every filter's
                               next weights are added to t->sum[pixel * filters + filter]
    dots(t, x, n)              the same for one pixel's n inputs, in whole steps of weights
    start(t, p)                sums of ``lanes`` channels from the int32 biases at p
    window(t, x, w)            the products of a whole window, its taps ``taps`` from x
    tap(t, x, w)               and the products of a tap: x[i] less ``zero``, times w[i]
    spill(p, t)                the sums to p[0 ..]
    scaled(s, f, a)            floor((s * f + a) / 2^(32 + down)), saturated to an output
    scaled_signed(s, f, a, d)  the same with a - d for a where s is below 0
    out(y, t, f, s)            TFLite's scaling of all sums: factors f[i], shifts s[i] below 0, each
                               after the zero point is added kept to the limits

Loops that must keep to the registers are whole in one piece of assembly. It names no frame pointer,
and leaves a register to the loop around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Numbers:
    """What a layer's operations have as constants. ``tile``: pixels and filters of a tile;
    ``counts``: the N of ``steps_N``; ``zero``: what inputs count from; ``outside``: what an input
    outside the image is in a window; ``unsigned``: the inputs are uint8_t; ``out``: the zero point
    and the limits of outputs; ``taps``: where the taps of a
    depthwise window lie; ``down``: how far ``scaled`` shifts; ``y``: an output's C type."""

    tile: tuple[int, int]
    counts: tuple[int, ...]
    zero: int
    outside: int
    unsigned: bool
    out_zero: int = 0
    low: int = 0
    high: int = 0
    down: int = 0
    taps: tuple[int, ...] = ()
    y: str = "int8_t"

    @property
    def x(self) -> str:
        return "uint8_t" if self.unsigned else "int8_t"

    @property
    def type_low(self) -> int:
        return 0 if self.unsigned else -128

    @property
    def type_high(self) -> int:
        return 255 if self.unsigned else 127

    @property
    def positive(self) -> bool:
        """Sums below 0 end at the least output."""
        return self.low >= self.out_zero


Bodies = dict[str, str]


@dataclass(frozen=True)
class WindowKernel:
    """``depth``: inputs to a step; ``item``, ``item_size``: C type and bytes of one in a window.
    ``centred``: inputs count from their zero point, else the biases allow for it, and those of
    uint8_t from 128. ``tiles``: pixels and filters of the tiles there are. ``lanes``: channels of a
    depthwise step. ``looped``: one operation takes a whole window. ``vector_ends``: ``out`` is
    there. ``tile_type``, ``lane_type``: C structures; ``bodies``: C of the operations.
    """

    name: str
    prefix: str
    header: str
    condition: str
    depth: int
    item: str
    item_size: int
    centred: bool
    tiles: tuple[tuple[int, int], ...]
    lanes: int
    looped: bool
    vector_ends: bool
    lane_type: str
    bodies: Callable[[Numbers], Bodies]


# -- what both instruction sets write -------------------------------------------------------------


def window_of_taps(n: Numbers, lanes: int) -> str:
    """One tap after the other, of ``lanes`` weights each."""
    calls = (f"D_tap(t, x + {at}, w + {i * lanes});" for i, at in enumerate(n.taps))
    return "\n  ".join(calls)


def asm(lines: Iterable[str], outputs: str, inputs: str, clobbers: str) -> str:
    text = "\n".join(f'    "{line}\\n\\t"' for line in lines)
    lists = [outputs, inputs, clobbers] if clobbers else [outputs, inputs]
    return f"__asm__ volatile(\n{text}" + "".join(f"\n    : {x}".rstrip() for x in lists) + ");"


def saturated(n: Numbers, wide: str) -> str:
    """The high word needs no instruction, its shift none beside the saturation."""
    saturate = "usat" if n.unsigned else "ssat"
    shift = f", asr #{n.down}" if n.down else ""
    return (
        f"const int32_t high = (int32_t)(({wide}) >> 32);\n  int32_t q;\n"
        f'  __asm__("{saturate} %0, #8, %1{shift}" : "=r"(q) : "r"(high));\n  return q;'
    )


def held(sums: int, text: str) -> str:
    """Assembly whose sums are variables before and after, wherever the structure is."""
    names = ", ".join(f"s{i} = t->sum[{i}]" for i in range(sums))
    back = "".join(f"\n  t->sum[{i}] = s{i};" for i in range(sums))
    return f"int32_t {names};\n  {text}{back}"

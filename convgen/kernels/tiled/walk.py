"""How dense layers are walked: rows of pixels, or one long row where the layer is pointwise."""

from __future__ import annotations

import math
from dataclasses import replace

from convgen.kernels.face import flat_2d, view_of
from convgen.plan.problem import peel, problems_of
from convgen.plan.tile import Rectangle, View
from convgen.spec.elements import arrays_of
from convgen.spec.model import ConvSpec, Layout, Padding
from convgen.spec.schedule import Schedule
from convgen.target import VectorIsa

_READS = 2  # of an input, from which on a copy of it pays
_LINE, _FAR = 64, 2048  # bytes
_DENSE = (Padding(), 1, 1, 1)  # nothing around the image, every window a pixel further


def turned(spec: ConvSpec, schedule: Schedule) -> bool:
    """Whether planes are copied first, so that a row of taps is one run of memory: inputs that lie
    pages apart cost more than the copy, if tiles read them a few times. Plain C does without, and
    needs no room."""
    if not flat_2d(spec) or spec.layout is Layout.NHWC:
        return False
    if spec.quantized or spec.c == 1 or schedule.lanes == 1:
        return False
    blocks = -(-spec.ocg // (schedule.lanes * schedule.vectors))
    reads = spec.oh * spec.ow * spec.kh * spec.kw * blocks
    return reads >= _READS * spec.h * spec.w


def pitch_of(spec: ConvSpec) -> int:
    """Numbers from a pixel of the copy to the next. Pixels half a page apart or a whole one meet
    the same few sets of the first cache: a line more keeps those of a tile out of each other's way.
    Where a row of taps is a run of memory pixels lie close together."""
    size = arrays_of(spec).x.size
    return spec.c + (_LINE // size if spec.kw == 1 and spec.c * size % _FAR == 0 else 0)


def squares(spec: ConvSpec, isa: VectorIsa) -> bool:
    """Whether vectors transpose the image, square by square."""
    return isa.has("transpose") and isa.lanes <= min(spec.h * spec.w, spec.c)


def walk(spec: ConvSpec, schedule: Schedule) -> tuple[View, list[Rectangle]]:
    """Strides and rectangles; a pointwise image is cut into rows of whole tiles, and a rest."""
    view = view_of(spec)
    if turned(spec, schedule):  # x lies as in NHWC
        pitch = pitch_of(spec)
        view = replace(
            view, x_image=spec.h * spec.w * pitch, x_row=spec.w * pitch, x_pixel=pitch,
            x_channel=1, x_group=spec.icg,
        )  # fmt: skip
    if spec.transposed or spec.taps > 1 or (spec.padding, view.sd, view.sh, view.sw) != _DENSE:
        return view, peel(spec)
    pixels = spec.d * spec.h * spec.w
    tile = schedule.tile_h * schedule.tile_w
    # As many tiles in a row as there are rows: little overhead, and rows to deal out to threads.
    width = min(pixels, max(1, math.isqrt(pixels // tile)) * tile)
    rows, rest = divmod(pixels, width)
    sides = problems_of(spec)[0].axes
    areas = [Rectangle(0, rows, 0, width, 0, 1, 0, 1, sides=sides)]
    if rest:
        areas.append(Rectangle(rows, 1, 0, rest, 0, 1, 0, 1, sides=sides))
    flat = replace(view, x_row=width * view.x_pixel, y_row=width * view.y_pixel)
    return flat, areas

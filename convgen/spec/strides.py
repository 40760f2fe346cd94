"""How far apart the elements of a layer's arrays lie, in every layout: stated once."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.spec.model import ConvSpec, Layout


@dataclass(frozen=True)
class Strides:
    """Elements from one image, plane, row, pixel or channel to the next."""

    image: int
    plane: int
    row: int
    pixel: int
    channel: int


def x_strides(spec: ConvSpec) -> Strides:
    return _image(spec.layout, (spec.d, spec.h, spec.w), spec.c, spec.x_pixel)


def y_strides(spec: ConvSpec) -> Strides:
    return _image(spec.layout, (spec.od, spec.oh, spec.ow), spec.oc, spec.y_pixel)


def _image(layout: Layout, sizes: tuple[int, int, int], channels: int, pixel: int) -> Strides:
    """``pixel``: where the channels are a part of a wider buffer's, how many that has; else 0."""
    d, h, w = sizes
    if layout is Layout.NHWC:
        pixel = pixel or channels
        return Strides(d * h * w * pixel, h * w * pixel, w * pixel, pixel, 1)
    return Strides(channels * d * h * w, h * w, w, 1, d * h * w)


@dataclass(frozen=True)
class WeightStrides:
    """Elements from one row of taps (of all planes), tap, input channel of a group, output channel
    of a group or group to the next. A plane of taps ends where the next begins in every layout."""

    kh: int
    kw: int
    ic: int
    oc: int
    group: int


def w_strides(spec: ConvSpec) -> WeightStrides:
    """Strides of ``spec.w_shape``."""
    into, out = (spec.c, spec.ocg) if spec.transposed else (spec.icg, spec.oc)
    sizes = {"H": spec.kd * spec.kh, "W": spec.kw, "I": into, "O": out}
    steps, step = {}, 1
    for letter in reversed(str(spec.weight_layout)):
        steps[letter] = step
        step *= sizes[letter]
    group = spec.icg * steps["I"] if spec.transposed else spec.ocg * steps["O"]
    return WeightStrides(steps["H"], steps["W"], steps["I"], steps["O"], group)

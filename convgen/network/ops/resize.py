"""Resize: other sizes by looking up or interpolating."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from convgen.network.ops.face import Plain, ShapeError, Type, Types, need, times


class ResizeMode(StrEnum):
    NEAREST = "nearest"
    LINEAR = "linear"
    CUBIC = "cubic"


class Coordinates(StrEnum):
    """ONNX's words for where output element i lies in the input, r = out size / in size or the
    scale that was given.

    half_pixel (i + 0.5)/r - 0.5 · half_pixel_symmetric, the same about the exact centre ·
    pytorch_half_pixel, 0 where the output has one element · asymmetric i/r · align_corners
    i*(in - 1)/(out - 1).
    """

    HALF_PIXEL = "half_pixel"
    HALF_PIXEL_SYMMETRIC = "half_pixel_symmetric"
    PYTORCH_HALF_PIXEL = "pytorch_half_pixel"
    ASYMMETRIC = "asymmetric"
    ALIGN_CORNERS = "align_corners"


class Nearest(StrEnum):
    """How a place becomes an index: halves down, halves up, down, up."""

    ROUND_PREFER_FLOOR = "round_prefer_floor"
    ROUND_PREFER_CEIL = "round_prefer_ceil"
    FLOOR = "floor"
    CEIL = "ceil"


@dataclass(frozen=True)
class Resize(Plain):
    """``sizes``: the output's shape, every axis. ``scales``: per axis, as the file gives them (they
    can differ from the quotient of the sizes), or empty for that quotient.

    TFLite: nearest without half pixels is asymmetric and floor; with half pixels, or aligned
    corners, it is round_prefer_ceil.
    """

    word: ClassVar[str] = "resize"
    sizes: tuple[int, ...] = ()
    scales: tuple[float, ...] = ()
    mode: ResizeMode = ResizeMode.NEAREST
    coordinates: Coordinates = Coordinates.HALF_PIXEL
    nearest: Nearest = Nearest.ROUND_PREFER_FLOOR
    cubic: float = -0.75
    exclude_outside: bool = False

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        (x,) = need(inputs, 1)
        if len(self.sizes) != x.rank or len(self.scales) not in (0, x.rank):
            raise ShapeError(f"sizes {times(self.sizes)} for a tensor with {x.rank} axes")
        if min(self.sizes, default=1) < 1 or min(self.scales, default=1) <= 0:
            raise ShapeError("sizes are at least 1 and scales above 0")
        return (Type(self.sizes, x.dtype),)

    def scale(self, axis: int, size: int) -> float:
        """r of one axis whose input has ``size`` elements."""
        return self.scales[axis] if self.scales else self.sizes[axis] / size

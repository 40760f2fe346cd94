"""The kind of 8-bit kernels over gathered windows."""

from __future__ import annotations

from convgen.kernels.kind import Kind
from convgen.kernels.tiled.picture import tile_and_regions
from convgen.kernels.tiled.work import tiled_work
from convgen.kernels.windows.words import window_text

KIND = Kind(
    "kernels/windows/windows.c.j2",
    window_text,
    whole=True,
    work=tiled_work,
    picture=tile_and_regions,
)

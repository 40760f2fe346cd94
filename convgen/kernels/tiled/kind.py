"""The kind of register-tiled kernels of floats."""

from __future__ import annotations

from convgen.kernels.kind import Kind
from convgen.kernels.tiled.picture import tile_and_regions
from convgen.kernels.tiled.words import tiled_text
from convgen.kernels.tiled.work import tiled_work

KIND = Kind(
    "kernels/tiled/tiled.j2",
    tiled_text,
    work=tiled_work,
    picture=tile_and_regions,
    scattered=True,
)

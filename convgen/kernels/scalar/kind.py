"""The kind of 8-bit kernels in plain C and in core registers."""

from __future__ import annotations

from convgen.kernels.kind import Kind
from convgen.kernels.scalar.words import scalar_text
from convgen.kernels.tiled.picture import tile_and_regions
from convgen.kernels.tiled.work import tiled_work

KIND = Kind(
    "kernels/scalar/scalar.c.j2",
    scalar_text,
    whole=True,
    work=tiled_work,
    picture=tile_and_regions,
)

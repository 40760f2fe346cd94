"""The kind of 8-bit kernels on vectors."""

from __future__ import annotations

from convgen.kernels.dots.words import dot_text, scale_tables
from convgen.kernels.dots.work import dot_work
from convgen.kernels.kind import Kind
from convgen.kernels.tiled.picture import tile_and_regions

KIND = Kind(
    "kernels/dots/dots.c.j2",
    dot_text,
    whole=True,
    work=dot_work,
    picture=tile_and_regions,
    modelled=True,
    scales=scale_tables,
)

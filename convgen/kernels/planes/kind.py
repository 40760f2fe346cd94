"""The kind of kernels over planes."""

from __future__ import annotations

from convgen.kernels.kind import Kind
from convgen.kernels.planes.picture import tile_and_bands
from convgen.kernels.planes.words import planes_text
from convgen.kernels.planes.work import planes_work

KIND = Kind(
    "kernels/planes/planes.j2",
    planes_text,
    work=planes_work,
    picture=tile_and_bands,
)

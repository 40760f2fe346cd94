"""The kind of planar kernels."""

from __future__ import annotations

from convgen.kernels.kind import Kind
from convgen.kernels.planar.picture import tile_and_planes
from convgen.kernels.planar.words import planar_text
from convgen.kernels.planar.work import planar_work

KIND = Kind("kernels/planar/planar.j2", planar_text, work=planar_work, picture=tile_and_planes)

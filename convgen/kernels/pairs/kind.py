"""The kind of kernels that multiply pairs: tiled ones with a packing of their own."""

from __future__ import annotations

from dataclasses import replace

from convgen.kernels.tiled.kind import KIND as TILED

KIND = replace(TILED, template="kernels/pairs/pairs.j2")

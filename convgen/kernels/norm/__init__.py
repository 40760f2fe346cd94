"""Local response normalisation: each element by the squares of its neighbours along an axis."""

from __future__ import annotations

from convgen.kernels.norm.body import LrnBody

__all__ = ["LrnBody"]

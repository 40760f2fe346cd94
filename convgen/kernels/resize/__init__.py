"""Linear resizing of two axes of an image; nearest is a copy with tables (``kernels.copy``)."""

from __future__ import annotations

from convgen.kernels.resize.body import Between, ResizeBody

__all__ = ["Between", "ResizeBody"]

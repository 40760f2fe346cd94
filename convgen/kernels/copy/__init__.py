"""Copies: concat, split, slice, pad, transpose, depth to space, nearest resize, gather."""

from __future__ import annotations

from convgen.kernels.copy.body import Axis, CopyBody, copy_body, mapped_body

__all__ = ["Axis", "CopyBody", "copy_body", "mapped_body"]

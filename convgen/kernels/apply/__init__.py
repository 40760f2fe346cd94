"""Functions of the elements of one to three arrays in plain C: what vectors are not made for."""

from __future__ import annotations

from convgen.kernels.apply.body import ApplyBody, apply_body

__all__ = ["ApplyBody", "apply_body"]

"""Reductions: sums, means, extremes over some axes of an array."""

from __future__ import annotations

from convgen.kernels.reduce.body import ReduceBody, reduce_body

__all__ = ["ReduceBody", "reduce_body"]

"""Transposed convolution: each output gathers the inputs and taps that reach it."""

from __future__ import annotations

from convgen.kernels.transposed.body import FloatTransposedBody, Phase, TransposedBody

__all__ = ["FloatTransposedBody", "Phase", "TransposedBody"]

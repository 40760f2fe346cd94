"""Softmax along one axis: floats by e^x in vectors, 8-bit integers through a table of e^x."""

from __future__ import annotations

from convgen.kernels.softmax.body import SoftmaxBody, softmax_body

__all__ = ["SoftmaxBody", "softmax_body"]

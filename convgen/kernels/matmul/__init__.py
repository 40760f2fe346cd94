"""Products of two matrices that are both made at run time: a row of y at a time, lanes along it."""

from __future__ import annotations

from convgen.kernels.matmul.body import MatMulBody, matmul_body

__all__ = ["MatMulBody", "matmul_body"]

"""Steps of 8-bit integers in plain C: arithmetic in fixed point, tables, reductions, softmax."""

from __future__ import annotations

from convgen.kernels.integer.body import (
    DequantizeBody,
    IntEachBody,
    IntReduceBody,
    IntSoftmaxBody,
    QuantizeBody,
    Scale,
    SumBody,
    TableBody,
)

__all__ = [
    "DequantizeBody",
    "IntEachBody",
    "IntReduceBody",
    "IntSoftmaxBody",
    "QuantizeBody",
    "Scale",
    "SumBody",
    "TableBody",
]

"""Products of matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from convgen.network.ops.face import Plain, ShapeError, Type, Types, broadcast, need, times
from convgen.spec.model import Activation


@dataclass(frozen=True)
class Dense(Plain):
    """y[..., n] = act(b[n] + sum_k x[..., k] * w[k, n]). Inputs: x, w [K, N], and perhaps b [N]."""

    word: ClassVar[str] = "dense"
    activation: Activation = field(default_factory=Activation)

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        x, w = need(inputs, 2, 3)
        if x.rank < 1 or w.rank != 2 or x.shape[-1] != w.shape[0]:
            raise ShapeError(
                f"weights {times(w.shape)} (in x out) do not fit an input {times(x.shape)}: "
                "its last axis is what they sum over"
            )
        b = inputs[2] if len(inputs) > 2 else None
        if b is not None and b.shape != w.shape[1:]:
            raise ShapeError(f"a bias of shape {times(b.shape)} for {w.shape[1]} outputs")
        return (Type((*x.shape[:-1], w.shape[1]), x.dtype),)

    def macs(self, inputs: Types, outputs: Sequence[Type]) -> int:
        w = inputs[1]
        assert w is not None
        return outputs[0].size * w.shape[0]


@dataclass(frozen=True)
class MatMul(Plain):
    """NumPy's matmul of two tensors with at least two axes each; leading axes broadcast."""

    word: ClassVar[str] = "matmul"

    def infer(self, inputs: Types) -> tuple[Type, ...]:
        a, b = need(inputs, 2)
        if min(a.rank, b.rank) < 2 or a.shape[-1] != b.shape[-2]:
            raise ShapeError(f"{times(a.shape)} times {times(b.shape)}: the inner sizes differ")
        lead = broadcast(a.shape[:-2], b.shape[:-2])
        return (Type((*lead, a.shape[-2], b.shape[-1]), a.dtype),)

    def macs(self, inputs: Types, outputs: Sequence[Type]) -> int:
        a = inputs[0]
        assert a is not None
        return outputs[0].size * a.shape[-1]

"""Pooling: the largest or the mean of each window, channels side by side in vectors."""

from __future__ import annotations

from convgen.kernels.pool.body import PoolBody

__all__ = ["PoolBody"]

"""Elementwise: y = act(a op b), either operand repeated where its shape says so."""

from __future__ import annotations

from convgen.kernels.elementwise.body import CHUNK, EachBody, each_body

__all__ = ["CHUNK", "EachBody", "each_body"]

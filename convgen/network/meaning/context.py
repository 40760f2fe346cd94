"""As much of a graph as a node's meaning looks at."""

from __future__ import annotations

from typing import Protocol

from convgen.network.graph import Node, Value
from convgen.spec.quant import Rounding


class Context(Protocol):
    """A ``Graph``, or one in the making."""

    @property
    def rounding(self) -> Rounding: ...

    def operands(self, node: Node) -> tuple[Value | None, ...]: ...

    def results(self, node: Node) -> tuple[Value, ...]: ...

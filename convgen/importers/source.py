"""A model file as plain values: what both readers make and everything after them works on.

Nothing here has been checked beyond what the reader had to check in order to read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

ABSENT = ""  # stands for an optional input that is left out
Shape = tuple[int | str, ...]  # a number, or the name of an open dimension


@dataclass(frozen=True)
class Meaning:
    """What the integers of a tensor stand for: scale * (q - zero_point), per entry of ``axis``."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0


@dataclass(frozen=True)
class Tensor:
    """``shape``: None where the file does not say. ``data``: of constants, read-only. ``open``: the
    shape again, its open dimensions without a number, where the file suggests one for those.
    ``unread``: a constant of a type that no graph has."""

    name: str
    shape: Shape | None
    dtype: str
    data: np.ndarray[Any, Any] | None = None
    meaning: Meaning | None = None
    open: Shape | None = None
    unread: bool = False


@dataclass(frozen=True)
class Node:
    """One operation. ``label`` names it in messages; ``inputs`` and ``outputs`` name tensors.

    ``version``: of the operator (TFLite) or of its operator set (ONNX). ``domain``: "" of the
    format's own operators. ``captured``: tensors that its inner graphs take from around them.
    ``origin``: the node as the format's package has it, where folding needs it.
    """

    label: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""
    version: int = 1
    captured: tuple[str, ...] = ()
    origin: Any = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """What rules go by: the operator, behind its domain where that is not the format's own."""
        return f"{self.domain}.{self.op}" if self.domain else self.op


@dataclass(frozen=True)
class Source:
    """A whole model: ``nodes`` in an order in which they can run (``ordered`` gives one).

    ``notes``: what the user should know about the reading. ``metadata``: texts that the file
    carries about itself (producer, licence).
    """

    format: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)

"""What an import gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from convgen.importers.kinds import Format

if TYPE_CHECKING:
    from convgen.importers.translate import Row
    from convgen.network.graph import Graph


@dataclass(frozen=True)
class Imported:
    """``graph``: as the file has it, nothing fused. ``rows``: what became of each of its nodes."""

    graph: Graph
    rows: tuple[Row, ...]
    format: Format

"""A network as its YAML says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from convgen.errors import Diagnostic, SpecError
from convgen.network.graph import Graph
from convgen.network.text.sources import Source, load


@dataclass(frozen=True, eq=False)
class NetworkSpec:
    """A network as its YAML says it. ``graph``: with zeros for constants that lie in files or are
    still to be drawn (``sources``) and for those that nothing gives (``missing``).
    ``source``: the file as the user named it. ``notes``: accepted, but worth knowing.
    """

    graph: Graph
    source: str
    sources: Mapping[str, Source] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def load(self) -> Graph:
        """The graph with its weights. Raises ``SpecError`` with everything wrong with files."""
        return load(self.graph, self.sources, self.source)

    def complete(self) -> Graph:
        """The graph with its weights, all of which must be given. Raises ``SpecError``."""
        if self.missing:
            names = ", ".join(self.missing[:6]) + (", ..." if len(self.missing) > 6 else "")
            text = (
                f"the network {self.graph.name} has no weights for {names}: add `weights: net.npz` "
                "with arrays of these names, or `weights: {init: truncated_normal, stddev: 0.1}`"
            )
            raise SpecError([Diagnostic(self.source, 0, 0, "E304", text)])
        return self.load()

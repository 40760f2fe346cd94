"""A node whose inputs are all known, computed now by what its operator means.

The node is translated into a graph of its own, which is then run: what is folded and what would be
computed by the network cannot differ.
"""

from __future__ import annotations

from convgen.importers.source import ABSENT, Node
from convgen.importers.translate import Draft, Rule
from convgen.network.graph import Builder

SMALL = 1 << 20  # elements of a node's inputs: shapes, tables, masks, but not a network's weights


def compute(draft: Draft, node: Node, rule: Rule) -> bool:
    """Fold the node if it is small; whether it was. Raises what the rule raises."""
    from convgen.network.meaning import evaluate

    names = {draft.alias.get(name, name) for name in node.inputs if name != ABSENT}
    if not names or sum(draft.known[name].size for name in names) > SMALL:
        return False
    alone = Draft(draft.source, Builder("known", rounding=draft.builder.rounding))
    alone.known = {name: draft.known[name] for name in names}
    alone.meanings = {n: m for n, m in draft.meanings.items() if n in names}
    alone.alias = dict(draft.alias)
    rule(alone, node)
    made = [name for name in node.outputs if name in alone.builder.values]
    found = dict(alone.known)
    if made:
        graph = alone.builder.finish(made)
        values = evaluate(graph, {})
        found |= {name: values[name].astype(str(graph.values[name].dtype)) for name in made}
    arrays = [found[alone.alias.get(name, name)] for name in node.outputs]
    draft.fold(node, arrays)
    for name in made:
        quant = alone.builder.values[name].quant
        if quant is not None:
            draft.meanings[name] = quant
    return True

"""From a graph as a file has it to the graph that is built: fewer nodes, the same meaning.

Real arithmetic on constants is done in float64 and rounded once; nothing is approximated, and what
8-bit nodes compute stays the same to the bit. Each node's ``notes`` say what went into it,
``Graph.notes`` what became of nodes that are gone.
"""

from __future__ import annotations

from collections.abc import Callable

from convgen.network.graph import Graph
from convgen.network.passes import (
    epilogues,
    folding,
    forward,
    parts,
    patterns,
    quantised,
    tidy,
    windows,
)
from convgen.network.passes.draft import Draft

# In this order: quantised constants are told from real ones before constants are computed, scales
# are folded before activations close an epilogue.
PASSES: tuple[Callable[[Draft], None], ...] = (
    quantised.through_constants,
    quantised.fuse_quantised,
    quantised.drop_round_trips,
    quantised.signed_weights,
    tidy.fold_constants,
    tidy.drop_identities,
    tidy.merge_moves,
    patterns.recognise,
    folding.dense_from_matmul,
    folding.fold_batch_norm,
    folding.fold_scales,
    forward.fold_forward,
    forward.summand_first,
    windows.fold_pads,
    epilogues.fuse_activations,
    windows.split_volumes,
    parts.take_apart,
    tidy.drop_dead,
)
_ROUNDS = 8  # each round may open the way for another; chains longer than this stay as they are


def simplify(graph: Graph) -> Graph:
    """The graph with constants folded, moves merged, paddings, scales and activations fused."""
    draft = Draft(graph)
    for _ in range(_ROUNDS):
        before = list(draft.nodes.values())
        for run in PASSES:
            run(draft)
        if list(draft.nodes.values()) == before:
            break
    folding.dense_after_flatten(draft)
    tidy.merge_moves(draft)
    tidy.drop_identities(draft)
    return draft.finish()

"""What every operator computes: the oracle's side of networks, in NumPy.

Real tensors are float64 throughout, integers are what they are. No code here is shared with the
generated C or with what plans it.
"""

from __future__ import annotations

from convgen.network.meaning.run import bound_inputs, evaluate, run_node

__all__ = ["bound_inputs", "evaluate", "run_node"]

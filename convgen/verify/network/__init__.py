"""Verify a built network: every step against the oracle, on its own real inputs.

``task`` (what the child is told), ``child`` (loads and runs), ``judge`` (is a step's output right),
``record`` (which steps an earlier build judged), ``isolate`` (starts the child). NumPy comes with
the child.
"""

from __future__ import annotations

from convgen.verify.network.isolate import verify_network_in_child
from convgen.verify.network.task import NetworkTask, StepTask

__all__ = ["NetworkTask", "StepTask", "verify_network_in_child"]

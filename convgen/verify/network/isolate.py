"""Starts a network's verification in a process of its own."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from convgen.verify.isolate import report_of
from convgen.verify.network.record import known_steps
from convgen.verify.network.task import NetworkTask
from convgen.verify.report import Event, Report

if TYPE_CHECKING:
    from convgen.toolchain import Processes

SECONDS = 600.0


def verify_network_in_child(
    task: NetworkTask,
    *,
    timeout: float = SECONDS,
    processes: Processes | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Report:
    """Every check of a network; a crash or ``timeout`` (seconds) is a failed check.

    ``on_event`` hears of each as it ends. Raises as ``verify.verify_in_child``.
    """
    module = "convgen.verify.network.child"
    return report_of(module, pickle.dumps(_to_judge(task)), timeout, processes, on_event)


def _to_judge(task: NetworkTask) -> NetworkTask:
    """Without the constants of steps that an earlier build judged: they can be large."""
    known = known_steps(task.record)
    steps = (
        replace(step, w=None, b=None, constants=()) if step.key in known else step
        for step in task.steps
    )
    return replace(task, steps=tuple(steps))

"""Starts a network's verification in a process of its own."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from convgen.verify.isolate import report_of
from convgen.verify.network.task import NetworkTask
from convgen.verify.report import Report

if TYPE_CHECKING:
    from convgen.toolchain import Processes

SECONDS = 600.0


def verify_network_in_child(
    task: NetworkTask, *, timeout: float = SECONDS, processes: Processes | None = None
) -> Report:
    """Every check of a network; a crash or ``timeout`` (seconds) is a failed check.

    Raises as ``verify.verify_in_child``.
    """
    return report_of("convgen.verify.network.child", pickle.dumps(task), timeout, processes)

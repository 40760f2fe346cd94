"""Cross: the C of a layer compiled for other machines, its self test run there under emulation."""

from __future__ import annotations

from convgen.cross.page import targets_page
from convgen.cross.trial import Outcome, Trial, try_layer

__all__ = ["Outcome", "Trial", "targets_page", "try_layer"]

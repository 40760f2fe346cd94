"""Cross: the C of layers and networks for other machines, self tests run there under emulation."""

from __future__ import annotations

from convgen.cross.page import targets_page
from convgen.cross.trial import Outcome, Trial, try_layer, try_network

__all__ = ["Outcome", "Trial", "targets_page", "try_layer", "try_network"]

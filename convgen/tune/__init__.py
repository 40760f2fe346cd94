"""Tuning: measure what the model thinks best, remember what was quickest on this machine.

The chooser's cost model orders every schedule (``shortlist``); the best few are compiled side by
side and timed alone, in turn, across processes (``measure``, ``child``); ``judge`` names the
winner, ``session`` carries it through within a budget and ``store`` keeps every measurement.
"""

from __future__ import annotations

from convgen.tune.session import Progress, Setting, Tuned, tune_layer
from convgen.tune.store import Key, Store, Winner, default_store_path, key_of

__all__ = [
    "Key",
    "Progress",
    "Setting",
    "Store",
    "Tuned",
    "Winner",
    "default_store_path",
    "key_of",
    "tune_layer",
]

"""Verify a built library against the oracle, at every build.

``verify_in_child`` is what a build uses: a kernel that crashes takes the child down, and the
report names the signal. Names load on first use: what is unchanged needs the report alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = [
    "Check",
    "HasWeights",
    "Leeway",
    "Report",
    "Tiling",
    "leeway_of",
    "tiling_of",
    "verify_in_child",
    "verify_library",
    "verify_plan_in_child",
]

if TYPE_CHECKING:
    from convgen.verify.isolate import HasWeights, verify_in_child, verify_plan_in_child
    from convgen.verify.library import verify_library
    from convgen.verify.report import Check, Report
    from convgen.verify.tiling import Leeway, Tiling, leeway_of, tiling_of

_HOME = {
    "Check": "convgen.verify.report",
    "HasWeights": "convgen.verify.isolate",
    "Leeway": "convgen.verify.tiling",
    "Report": "convgen.verify.report",
    "Tiling": "convgen.verify.tiling",
    "leeway_of": "convgen.verify.tiling",
    "tiling_of": "convgen.verify.tiling",
    "verify_in_child": "convgen.verify.isolate",
    "verify_library": "convgen.verify.library",
    "verify_plan_in_child": "convgen.verify.isolate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convgen.verify' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)

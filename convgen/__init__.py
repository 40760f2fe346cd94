"""convgen: a YAML spec in, a specialised and verified C convolution kernel out.

Public names are loaded on first use, so that ``import convgen`` (and the command line) stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "ConvSpec",
    "ConvgenError",
    "__version__",
    "build",
    "build_together",
    "load",
    "quantize",
    "reference",
]

if TYPE_CHECKING:
    from convgen.api import build, build_together, load, quantize, reference
    from convgen.errors import ConvgenError
    from convgen.spec.model import ConvSpec

_HOME = {
    "build": "convgen.api",
    "build_together": "convgen.api",
    "load": "convgen.api",
    "quantize": "convgen.api",
    "reference": "convgen.api",
    "ConvgenError": "convgen.errors",
    "ConvSpec": "convgen.spec.model",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'convgen' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)

"""Built packages for tests: layers, bindings, compilers that misbehave; what to compare with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from places import ROOT

from convgen.api import import_package
from convgen.oracle import floats as oracle
from convgen.package.disk.binding import this_python
from convgen.package.disk.build import BuildOptions, BuildResult, build_layer
from convgen.spec.model import (
    Act,
    Activation,
    ConvSpec,
    InitWeights,
    Layer,
    Layout,
    Padding,
    WeightLayout,
)
from convgen.target import host_target

needs_cc = pytest.mark.needs("cc")
posix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
BINDINGS = [
    pytest.param(
        "api", marks=pytest.mark.skipif(not this_python().include, reason="no Python.h here")
    ),
    "abi",
]

RELU = Activation(Act.RELU)
LAYERS = {
    "layer": Layer(
        ConvSpec("layer", 12, 11, 3, 10, 5, 5, padding=Padding(2, 2, 2, 2), activation=RELU), "<t>"
    ),
    "plain": Layer(ConvSpec("plain", 6, 6, 4, 4, 3, 3, bias=False), "<t>"),
    "many": Layer(ConvSpec("many", 7, 5, 6, 8, 3, 3, batch_any=True, activation=RELU), "<t>"),
    "two": Layer(ConvSpec("two", 8, 8, 2, 3, 3, 3, batch=2), "<t>"),
    "planar": Layer(
        ConvSpec(
            "planar", 9, 8, 4, 6, 3, 2, layout=Layout.NCHW, weight_layout=WeightLayout.OIHW
        ),
        "<t>",
    ),
    "roomy": Layer(  # Winograd wherever there are vectors: a workspace
        ConvSpec("roomy", 14, 14, 32, 32, 3, 3, padding=Padding(1, 1, 1, 1)), "<t>"
    ),
    "baked": Layer(ConvSpec("baked", 9, 8, 4, 6, 3, 3), "<t>", weights=InitWeights(0.5, 3)),
}  # fmt: skip


def options(out: Path, **others: Any) -> BuildOptions:
    """Build for this machine, with a cache beside ``out`` instead of the user's."""
    settings: dict[str, Any] = {"cache_root": out / "the-cache", **others}
    return BuildOptions(out, settings.pop("target", host_target()), **settings)


def build(out: Path, layer: Layer, **others: Any) -> BuildResult:
    return build_layer(layer, options(out, **others))


def arrays(spec: ConvSpec, seed: int = 0, images: int | None = None) -> tuple[Any, Any, Any]:
    """x, w and b (None without bias) of normal numbers, float32."""
    rng = np.random.default_rng(seed)
    x_shape = spec.x_shape if images is None else (images, *spec.x_shape[1:])
    x = rng.standard_normal(x_shape, np.float32)
    w = rng.standard_normal(spec.w_shape, np.float32)
    return x, w, rng.standard_normal(spec.oc, np.float32) if spec.bias else None


Package = Callable[[str], ModuleType]


def packages(root: Path, binding: str, **others: Any) -> Package:
    """``package(name)``: the module of ``LAYERS[name]``, built on first use."""

    @cache
    def package(name: str) -> ModuleType:
        return import_package(build(root, LAYERS[name], binding=binding, **others).path)

    return package


TINY = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3), "<t>")
TINY_RELU = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3, activation=Activation(Act.RELU)), "<t>")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a package and its bytes, bytecode aside."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}


def works(out: Path, layer: Layer) -> bool:
    """Whether the package computes ``layer``; a fresh import of what is on disk."""
    x, w, b = arrays(layer.spec)
    y = import_package(out / layer.spec.name).conv(x, w, b)
    want, bound = oracle.reference(layer.spec, x, w, b), oracle.error_bound(layer.spec, x, w, b)
    return bool((np.abs(y - want) <= bound).all())


def fake_cc(path: Path, body: str) -> str:
    """A compiler that answers -v like the real one; ``body`` sees its arguments, and $REAL."""
    real = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    text = f'#!/bin/sh\nREAL={real}\nif [ "$1" = -v ]; then exec $REAL -v; fi\n{body}\n'
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


CHILD = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from convgen.package.disk.build import BuildOptions, build_layer, build_many
from convgen.spec.model import Act, Activation, ConvSpec, Layer
from convgen.target import host_target
TINY = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3), "<t>")
TINY_RELU = Layer(ConvSpec("tiny", 4, 4, 1, 2, 3, 3, activation=Activation(Act.RELU)), "<t>")
def options(out, **others):
    return BuildOptions(out, host_target(), cache_root=out / "the-cache", **others)
"""


def holds(name: str, y: Any, x: Any, w: Any, b: Any) -> bool:
    """Every element within the oracle's error bound for direct sums; Winograd is allowed more."""
    spec = LAYERS[name].spec
    bound = oracle.error_bound(spec, x, w, b) * (20 if name == "roomy" else 1)
    return bool((np.abs(y - oracle.reference(spec, x, w, b)) <= bound).all())


def folder_of(module: ModuleType) -> Path:
    assert module.__file__ is not None
    return Path(module.__file__).parent

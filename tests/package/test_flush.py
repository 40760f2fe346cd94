"""``flush_subnormals``: asked for by a call, and gone when the call is over, on every thread."""

from __future__ import annotations

import platform
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from built import LAYERS, needs_cc, packages

from convgen.api import import_package
from convgen.network import ops
from convgen.network.graph import Builder, Elem
from convgen.package.disk.build import BuildOptions
from convgen.package.network.build import build_network
from convgen.target import host_target

KNOWN = platform.machine().lower() in ("x86_64", "amd64", "aarch64", "arm64")
pytestmark = [needs_cc, pytest.mark.skipif(not KNOWN, reason="no register for it is known here")]
SMALL = np.float32(1e-40)


def whole() -> bool:
    """Whether this thread's arithmetic has subnormal numbers."""
    return bool(np.all(np.full(8, SMALL) * np.float32(2) > 0))


def faint(layer: ModuleType) -> tuple[np.ndarray, object]:
    x = np.full(LAYERS["layer"].spec.x_shape, SMALL)
    w = np.ones(layer.WEIGHT_SHAPE, np.float32)
    return x, layer.pack(w, np.zeros(layer.BIAS_SHAPE, np.float32))


def check(layer: ModuleType) -> None:
    x, packed = faint(layer)
    for threads in (1, 3):
        for _ in range(5):
            flushed = layer.run(x, packed, threads=threads, flush_subnormals=True)
            assert not flushed.any() and whole()
            # The same threads without it: none has kept the other call's mode.
            assert (layer.run(x, packed, threads=threads) > 0).all()
        assert not layer.bind(x, packed, threads=threads, flush_subnormals=True)().any() and whole()


def test_a_layer_flushes_when_told_and_only_then(layer: ModuleType) -> None:
    check(layer)
    x, _ = faint(layer)
    w = np.ones(layer.WEIGHT_SHAPE, np.float32)
    zero = np.zeros(layer.BIAS_SHAPE, np.float32)
    assert (layer.conv(x, w, zero) > 0).all()
    assert not layer.conv(x, w, zero, flush_subnormals=True).any()


def test_so_it_is_with_threads_of_python(tmp_path: Path) -> None:
    module = packages(tmp_path, "abi", cc="cc -DLAYER_NO_POOL")("layer")
    assert not module._pooled
    check(module)


def test_ordinary_numbers_stay_what_they_are(layer: ModuleType) -> None:
    x = np.random.default_rng(3).standard_normal(LAYERS["layer"].spec.x_shape, np.float32)
    packed = layer.pack(np.ones(layer.WEIGHT_SHAPE, np.float32), np.ones(10, np.float32))
    assert np.array_equal(layer.run(x, packed, flush_subnormals=True), layer.run(x, packed))


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_other_words_are_refused(layer: ModuleType, wrong: object) -> None:
    x, packed = faint(layer)
    for call in (layer.run, layer.bind):
        with pytest.raises(TypeError, match="flush_subnormals must be True or False"):
            call(x, packed, flush_subnormals=wrong)


def test_a_network_flushes_too(tmp_path: Path) -> None:
    b = Builder("faint")
    b.input("x", (1, 4, 6, 8), Elem.FLOAT32)
    b.constant("w", np.ones((1, 1, 4, 4), np.float32))
    b.node("y", ops.Conv((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), False), ("x", "w"))
    b.node("z", ops.Binary(ops.BinaryFn.ADD), ("y", "y"))
    options = BuildOptions(tmp_path, host_target(), cache_root=tmp_path / "the-cache")
    net = import_package(build_network(b.finish(["z"]), options).path)
    x = np.full((1, 4, 6, 8), SMALL)
    for threads in (1, 3):
        assert not net.run(x, threads=threads, flush_subnormals=True).any() and whole()
        assert (net.run(x, threads=threads) > 0).all()
        assert not net.bind(x, threads=threads, flush_subnormals=True)().any() and whole()
    with pytest.raises(TypeError, match="flush_subnormals"):
        net.run(x, flush_subnormals=2)

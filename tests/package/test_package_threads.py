"""Threads, fork and the GIL under the generated package."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from built import (
    BINDINGS,
    LAYERS,
    Package,
    arrays,
    build,
    holds,
    needs_cc,
    packages,
    posix_only,
)

from convgen.api import import_package
from convgen.spec.model import ConvSpec, Layer
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS

pytestmark = needs_cc


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7, 16, 64])
def test_threat_threads_any_number_gives_the_same_bits(layer: ModuleType, threads: int) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    want = layer.run(x, packed)
    for _ in range(20):
        assert np.array_equal(layer.run(x, packed, threads=threads), want)


@pytest.mark.parametrize("name", ["layer", "roomy"])
def test_threat_threads_many_callers_at_once(package: Package, name: str) -> None:
    """``roomy`` needs a workspace: one for each thread that is in a call."""
    layer, spec = package(name), LAYERS[name].spec
    jobs = [arrays(spec, seed) for seed in range(8)]
    wants = [layer.conv(*job) for job in jobs]

    def hammer(i: int) -> bool:
        x, w, b = jobs[i % 8]
        packed = layer.pack(w, b)
        call = layer.bind(x, packed, threads=1 + i % 3)
        return all(
            np.array_equal(layer.run(x, packed, threads=1 + n % 4), wants[i % 8])
            and np.array_equal(call(), wants[i % 8])
            for n in range(60)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(hammer, range(16)))


def test_threads_of_python_where_the_glue_has_none(tmp_path: Path) -> None:
    """As on Windows: the same results without the C pool."""
    names = " ".join(f"-D{name.upper()}_NO_POOL" for name in ("layer", "many"))
    package = packages(tmp_path, "abi", cc=f"cc {names}")
    for name, images in (("layer", None), ("many", 5)):
        module = package(name)
        assert not module._pooled
        x, w, b = arrays(LAYERS[name].spec, images=images)
        packed = module.pack(w, b)
        want = module.run(x, packed)
        assert holds(name, want, x, w, b)
        for threads in (2, 3, 9):
            assert np.array_equal(module.run(x, packed, threads=threads), want)
            assert np.array_equal(module.bind(x, packed, threads=threads)(), want)


@posix_only
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_threat_fork_while_the_pool_is_busy(layer: ModuleType) -> None:
    x, w, b = arrays(LAYERS["layer"].spec)
    packed = layer.pack(w, b)
    want = layer.run(x, packed, threads=3)
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            layer.run(x, packed, threads=3)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                good = all(np.array_equal(layer.run(x, packed, threads=t), want) for t in (1, 3, 4))
                os._exit(0 if good else 1)
            assert waited(child, 20) == 0
    finally:
        stop.set()
        thread.join()


def waited(child: int, seconds: float) -> int:
    """Exit code of a child process, killed after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    pytest.fail("the forked child hangs")


@pytest.mark.parametrize("binding", BINDINGS)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_gil_is_released(
    tmp_path_factory: pytest.TempPathFactory, binding: str, threads: int
) -> None:
    """While a long call runs in one thread, another one runs Python."""
    spec = ConvSpec("long_one", 64, 64, 128, 128, 5, 5)
    out = tmp_path_factory.getbasetemp() / f"gil-{binding}-{os.getpid()}"
    target = TARGETS["generic"]  # plain C: some tenths of a second
    layer = Layer(spec, "<t>", schedule=Schedule(Family.DIRECT, 1, 2, 2, 2))
    module = import_package(build(out, layer, target=target, binding=binding, verify=False).path)
    x, w, b = arrays(spec)
    call = module.bind(x, module.pack(w, b), threads=threads)
    call()
    span: list[float] = []

    def timed() -> None:
        span.append(time.perf_counter())
        call()
        span.append(time.perf_counter())

    thread = threading.Thread(target=timed)
    ticks = []
    thread.start()
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.002)
    start, end = span
    early, late = start + 0.2 * (end - start), start + 0.8 * (end - start)
    assert end - start > 0.05, "too short a call to show anything"
    assert [t for t in ticks if early < t < late]

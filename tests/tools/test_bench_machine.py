"""The loops that measure the machine: they compute what they say, for every instruction set."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from built import needs_cc
from kernels import ISAS

from convgen.bench import machine
from convgen.bench.machine import (
    STREAMS,
    Loops,
    accumulators,
    best_seconds,
    cache_sizes,
    measure_machine,
    per_burst,
    products_peak,
    source,
)
from convgen.bench.products import BF16_PAIRS, PRODUCTS, Products, compiled, pairs_of, products_of
from convgen.target import ISA_NAMES, TARGETS, host_target
from convgen.target.host import cpu_features
from convgen.toolchain import Unit, compile_shared, find_compiler


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    found = TARGETS[ISA_NAMES[request.param]].isa
    if not set(found.features) <= cpu_features():
        pytest.skip(f"this CPU lacks {found.name}")
    return found


@needs_cc
def test_loops_compute_what_they_are_timed_for(isa, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "machine.c").write_text(source(isa))
    made = compile_shared(find_compiler(), tmp_path, [Unit("machine.c")], "machine.so")
    assert made.warnings == ()
    library = ctypes.CDLL(str(made.library))
    library.machine_fma.restype = library.machine_read.restype = ctypes.c_float
    count = accumulators(isa)
    values = np.array([2, 1, *range(count)], np.float32)  # a -> 2a + 1, three times: 8a + 7
    pointer = ctypes.c_void_p(values.ctypes.data)
    assert library.machine_fma(pointer, ctypes.c_long(3)) == sum(8 * a + 7 for a in range(count))
    size = 3 * isa.lanes * STREAMS
    x, y = np.zeros(size, np.float32), np.full(size + 1, 9, np.float32)
    x[:: isa.lanes] = 1  # lane 0 of every vector
    place, n, passes = ctypes.c_void_p(x.ctypes.data), ctypes.c_size_t(size), ctypes.c_long(2)
    assert library.machine_read(place, n, passes) == 2 * 3 * STREAMS
    library.machine_copy(place, ctypes.c_void_p(y.ctypes.data), n, passes)
    assert (y[:-1] == x).all() and y[-1] == 9


@needs_cc
def test_peak_and_bandwidth_are_numbers(isa) -> None:  # type: ignore[no-untyped-def]
    loops = Loops(isa)
    assert loops.peak(bursts=1) > 0
    assert loops.peak(threads=2, bursts=1) > 0
    assert min(loops.bandwidth(1 << 14, bursts=1)) > 0
    assert min(loops.bandwidth(1, bursts=1)) > 0  # smaller than one step of the loop


@needs_cc
@pytest.mark.parametrize("way", PRODUCTS, ids=lambda way: way.name)
def test_8_bit_products_are_what_they_are_counted_as(way: Products) -> None:
    if not set(way.features) <= cpu_features():
        pytest.skip(f"this CPU lacks {way.name}")
    rng = np.random.default_rng(1)
    a = rng.integers(0, 128, way.bytes).astype(np.int8)
    b = rng.integers(-128, 128, way.bytes).astype(np.int8)
    factors, sums = np.concatenate([a, b]), np.zeros((way.sums, way.ints), np.int32)
    compiled(way)(factors.ctypes.data, sums.ctypes.data, 3)
    bits = "i1" if way.products == way.bytes else "<i2"  # four bytes of a sum, or two pairs
    products = a.view(bits).astype(np.int64) * b.view(bits)
    step = products.reshape(way.ints, -1).sum(axis=1)
    assert products.size == way.products
    wrapped = (a.view(np.int32) + 3 * step + 2**31) % 2**32 - 2**31
    assert (sums == wrapped).all()


@needs_cc
def test_bfloat16_products_are_what_they_are_counted_as() -> None:
    way = BF16_PAIRS
    if not set(way.features) <= cpu_features():
        pytest.skip(f"this CPU lacks {way.name}")
    rng = np.random.default_rng(2)
    numbers = rng.integers(-8, 9, (2, way.ints, 2)).astype(np.float32)
    numbers[0, :, 0] = 0  # the first factor is what sums start from: a float each
    factors = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    sums = np.zeros((way.sums, way.ints), np.float32)
    compiled(way)(factors.ctypes.data, sums.ctypes.data, 3)
    step = numbers[0] * numbers[1]
    assert step.size == way.products
    assert (sums == numbers[0, :, 1] + 3 * step.sum(axis=1)).all()


def test_pairs_are_for_targets_that_have_them() -> None:
    assert pairs_of(TARGETS["x86-64-avx512"]) is None
    there = set(BF16_PAIRS.features) <= cpu_features()
    assert pairs_of(TARGETS["x86-64-avx512bf16"]) is (BF16_PAIRS if there else None)


def test_the_widest_products_that_target_and_cpu_have() -> None:
    def name(target: str, *features: str) -> str | None:
        way = products_of(TARGETS[target], {"sse2", *features})
        return None if way is None else way.name

    new = ("avx2", "avxvnni", "avx512f", "avx512bw", "avx512vnni")
    assert name("x86-64-avx512", *new) == "avx512 vpdpbusd"
    assert name("x86-64-avx512", *new[:4]) == "avx512 vpmaddwd"
    assert name("x86-64-avx512f", *new) == "avx512 vpmaddwd"
    assert name("x86-64-avxvnni", *new) == "avx vpdpbusd"
    assert name("x86-64-avx2", *new) == "avx2 vpmaddwd"
    assert name("generic", *new) == "sse2 pmaddwd"
    assert products_of(TARGETS["aarch64-neon"], frozenset()) is None


@needs_cc
def test_the_machine_has_three_caches_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "BURSTS", 1)
    monkeypatch.setattr(machine, "MEMORY_BURSTS", 1)
    monkeypatch.setattr(machine, "MEMORY_BYTES", 1 << 20)
    found = measure_machine(host_target())
    assert [level.name for level in found.levels] == ["L1", "L2", "L3", "memory"]
    assert found.levels[-1].size is None and found.threads == 1 and found.cpu
    way = products_of(host_target())
    assert (found.int8_peak is None) == (way is None)
    assert way is None or products_peak(way, threads=2, bursts=1) > 0


def test_cache_sizes_fall_back_to_the_targets_model(monkeypatch: pytest.MonkeyPatch) -> None:
    target = TARGETS["generic"]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    assert cache_sizes(target) == (target.l1, target.l2, target.l3)


def test_a_burst_lasts_as_long_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_seconds", lambda burst, count: count * 1e-6)
    assert per_burst(lambda _: None, 1e-3) == 1000
    assert best_seconds(lambda _: None, 2) == pytest.approx(1e-6)

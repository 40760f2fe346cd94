"""What binds a step of a tile, and which tiles the registers hold."""

from __future__ import annotations

import pytest
from kernels import target_of

from convgen.kernels.tiled.lowering import most_pixels
from convgen.kernels.tiled.step import limits, most_vectors


def binding(isa: str, pixels: int, vectors: int) -> str:
    target = target_of(isa)
    found = limits(target, target.isa, pixels, vectors)
    return max(found, key=lambda part: found[part])


@pytest.mark.parametrize(
    ("isa", "pixels", "vectors", "part"),
    [
        ("avx2", 6, 2, "FMA"),
        ("avx2", 3, 4, "FMA"),
        ("avx2", 13, 1, "loads"),
        ("avx2", 2, 6, "loads"),  # each weight is loaded by both of its multiply-adds
        ("avx2", 2, 2, "FMA latency"),
        ("avx512", 14, 2, "FMA"),
        ("sse2", 2, 6, "instructions"),
        ("sse2", 4, 3, "instructions"),
    ],
)
def test_the_part_that_binds(isa: str, pixels: int, vectors: int, part: str) -> None:
    assert binding(isa, pixels, vectors) == part


def test_a_shuffle_serves_many_vectors() -> None:
    """Of twelve accumulators without fused multiply-adds, two inputs by six vectors cost least."""
    target = target_of("sse2")
    cost = {t: limits(target, target.isa, *t)["instructions"] for t in ((2, 6), (3, 4), (4, 3))}
    assert min(cost, key=lambda tile: cost[tile]) == (2, 6)
    assert most_vectors(target.isa) == 6 > most_vectors(target_of("avx2").isa)


@pytest.mark.parametrize(
    ("isa", "most"),
    [
        ("avx512", [29, 14, 9, 6]),
        ("avx2", [13, 6, 3, 3]),  # not 4x3: clang 19 broadcasts early, and spills
        ("sse2", [13, 6, 3, 2, 2, 2]),
        ("plain", [13, 6, 3, 2, 2, 2]),
    ],
)
def test_tiles_that_the_registers_hold(isa: str, most: list[int]) -> None:
    own = target_of(isa).isa
    assert [most_pixels(own, n) for n in range(1, len(most) + 1)] == most


def test_loads_that_cost_more() -> None:
    target = target_of("avx2")
    near = limits(target, target.isa, 6, 2)
    far = limits(target, target.isa, 6, 2, load_cost=2.0)
    assert far["loads"] == 2 * near["loads"] and far["FMA"] == near["FMA"]

"""Streams taken apart and interleaved: the picks of a network, carried out on numbers."""

from __future__ import annotations

import pytest

from convgen.kernels.planar.shuffle import (
    Network,
    interleaved,
    picks_per_vector,
    prime_factors,
    taken_apart,
)


def carried_out(network: Network, vectors: list[list[int]]) -> list[list[int]]:
    """What the picks make of the input vectors."""
    named = dict(zip(network.inputs, vectors, strict=True))
    for pick in network.picks:
        both = named[pick.a] + named[pick.b]
        named[pick.name] = [both[lane] for lane in pick.lanes]
    return [named[name] for name in network.outputs]


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("streams", range(1, 25))
def test_every_element_finds_its_place(streams: int, lanes: int) -> None:
    flat = list(range(streams * lanes))
    mixed = [flat[i * lanes : (i + 1) * lanes] for i in range(streams)]
    apart = [flat[i::streams] for i in range(streams)]
    assert carried_out(taken_apart(streams, lanes), mixed) == apart
    assert carried_out(interleaved(streams, lanes), apart) == mixed


@pytest.mark.parametrize("streams", [1, 2, 3, 5, 6, 8, 10, 12])
def test_a_vector_takes_as_many_picks_as_its_factors_say(streams: int) -> None:
    """For powers of two times one odd prime; wide streams may need fewer."""
    for network in (taken_apart(streams, 16), interleaved(streams, 16)):
        assert len(network.picks) == streams * picks_per_vector(streams)


def test_factors() -> None:
    assert [prime_factors(n) for n in (1, 2, 12, 35, 49)] == [(), (2,), (2, 2, 3), (5, 7), (7, 7)]

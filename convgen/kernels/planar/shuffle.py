"""Streams of floats interleaved, or taken apart, in vectors: as picks of lanes from two vectors.

K streams that lie one after the other, element by element, are told apart in steps, one per prime
factor of K: a step knows every lane's way by its index alone. ``pick(a, b, lanes)`` chooses from
the 2L lanes of a and b.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

Place = tuple[int, int]  # vector, lane


@dataclass(frozen=True)
class Pick:
    """``name`` = pick(``a``, ``b``, ``lanes``): lanes of a count from 0, those of b from L."""

    name: str
    a: str
    b: str
    lanes: tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """``inputs`` are the names before, ``outputs`` those after all the ``picks``."""

    inputs: tuple[str, ...]
    picks: tuple[Pick, ...]
    outputs: tuple[str, ...]


def prime_factors(number: int) -> tuple[int, ...]:
    """Ascending; none for 1."""
    found = []
    factor = 2
    while number > 1:
        while number % factor == 0:
            found.append(factor)
            number //= factor
        factor += 1
    return tuple(found)


def picks_per_vector(streams: int) -> int:
    """How many picks a vector of K streams takes."""
    return sum(factor - 1 for factor in prime_factors(streams))


@cache
def taken_apart(streams: int, lanes: int) -> Network:
    """K vectors of interleaved streams to one vector of each stream."""
    network = _Builder(streams, lanes)
    apart = 1  # streams that are told apart already; each has `together` vectors
    together = streams
    for factor in reversed(prime_factors(streams)):
        element = together // factor
        wanted = []
        for block in range(apart):
            for stream in range(factor):
                for vector in range(element):
                    places = []
                    for lane in range(lanes):
                        unit, within = divmod(vector * lanes + lane, element)
                        at = (unit * factor + stream) * element + within
                        places.append((block * together + at // lanes, at % lanes))
                    wanted.append(places)
        network.step(wanted)
        apart, together = apart * factor, element
    return network.done()


@cache
def interleaved(streams: int, lanes: int) -> Network:
    """One vector of each of K streams to K vectors, element by element."""
    network = _Builder(streams, lanes)
    element = 1  # streams that lie side by side already
    for factor in prime_factors(streams):
        wide = element * factor
        wanted = []
        for block in range(streams // wide):
            for vector in range(wide):
                places = []
                for lane in range(lanes):
                    unit, within = divmod(vector * lanes + lane, element)
                    at = unit // factor * element + within
                    source = (block * factor + unit % factor) * element + at // lanes
                    places.append((source, at % lanes))
                wanted.append(places)
        network.step(wanted)
        element = wide
    return network.done()


class _Builder:
    """Steps in order; every vector gets a name of its own."""

    def __init__(self, count: int, lanes: int) -> None:
        self.lanes = lanes
        self.inputs = tuple(f"a_{i}" for i in range(count))
        self.now = self.inputs
        self.picks: list[Pick] = []
        self.steps = 0

    def step(self, wanted: list[list[Place]]) -> None:
        """Each new vector out of the vectors of now."""
        letter = chr(ord("b") + self.steps)
        self.steps += 1
        self.now = tuple(self._one(f"{letter}_{i}", places) for i, places in enumerate(wanted))

    def _one(self, name: str, places: list[Place]) -> str:
        sources = sorted({vector for vector, _ in places})
        if len(sources) == 1:
            sources *= 2
        known = {sources[0]}
        have = self.now[sources[0]]
        for count, source in enumerate(sources[1:], 1):
            lanes = []
            for lane, (vector, at) in enumerate(places):
                if vector == source:
                    lanes.append(self.lanes + at)
                else:  # already in place after the first pick; what is still to come is free
                    lanes.append(at if count == 1 and vector in known else lane)
            known.add(source)
            last = count == len(sources) - 1
            to = name if last else f"{name}_{count}"
            self.picks.append(Pick(to, have, self.now[source], tuple(lanes)))
            have = to
        return have

    def done(self) -> Network:
        return Network(self.inputs, tuple(self.picks), self.now)

"""A network's selftest.c: inputs that C and Python both know, outputs that the oracle expects."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen import __version__
from convgen.network.plan import Slot
from convgen.package.network.head import libraries
from convgen.package.network.program import Program, c_type
from convgen.render.environment import environment

SEED = 2463534242
MOST = 32  # samples of an output
SHARE = 2.0**-12  # of the largest output, that a float may be off


@dataclass(frozen=True)
class Sample:
    at: int
    value: str


@dataclass(frozen=True)
class ArrayText:
    """``kind``: how it is filled. ``allowed``: how far a float may be off, a C literal."""

    member: str
    type: str
    count: int
    kind: str
    samples: tuple[Sample, ...] = ()
    allowed: str = ""


@dataclass(frozen=True)
class SelftestText:
    name: str
    macro: str
    version: str
    sources: str
    libraries: str
    exact: bool
    share: str
    seed: int
    inputs: tuple[ArrayText, ...]
    outputs: tuple[ArrayText, ...]
    arguments: str

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(sample for array in self.outputs for sample in array.samples)


def selftest_file(program: Program) -> str:
    """The text of selftest.c."""
    from convgen.network.meaning import evaluate

    inputs = dict(zip(program.graph.inputs, _filled(program), strict=True))
    found = evaluate(program.graph, inputs)
    exact = not any(slot.dtype.is_float for slot in program.outputs)
    ins = tuple(
        ArrayText(f"in{i}", c_type(slot), slot.size, _kind(slot))
        for i, slot in enumerate(program.inputs)
    )
    outs = tuple(
        _output(i, slot, found[slot.value], exact) for i, slot in enumerate(program.outputs)
    )
    text = SelftestText(
        program.name, program.name.upper(), __version__,
        f"{program.name}.c {program.name}_weights.c", " ".join(libraries(program)), exact,
        f"{SHARE:.2g}", SEED, ins, outs, ", ".join(a.member for a in ins + outs),
    )  # fmt: skip
    return environment().get_template("network/selftest.c.j2").render(t=text)


def _kind(slot: Slot) -> str:
    if slot.dtype.is_float:
        return "real"
    if slot.dtype == "bool":
        return "bool"
    return "signed" if slot.dtype == "int8" else "unsigned"


def _output(index: int, slot: Slot, values: NDArray[Any], exact: bool) -> ArrayText:
    flat = values.reshape(-1)
    places = np.unique(np.linspace(0, flat.size - 1, min(MOST, flat.size)).astype(int))
    samples = tuple(
        Sample(int(at), str(int(flat[at])) if exact else repr(float(flat[at]))) for at in places
    )
    top = float(np.abs(flat.astype(np.float64)).max()) if flat.size else 0.0
    allowed = SHARE * top if slot.dtype.is_float else 0.0
    return ArrayText(f"out{index}", c_type(slot), slot.size, "", samples, repr(allowed + 1e-30))


def _filled(program: Program) -> Iterator[NDArray[Any]]:
    """The inputs, as the C fills them."""
    numbers = _sequence(sum(slot.size for slot in program.inputs))
    at = 0
    for slot in program.inputs:
        raw = numbers[at : at + slot.size]
        at += slot.size
        dtype = np.dtype(str(slot.dtype))
        made: NDArray[Any]
        match _kind(slot):
            case "real":
                made = ((raw >> 16).astype(np.int64) - 32768) / 16384
            case "bool":
                made = (raw >> 31).astype(np.float64)
            case "signed":
                made = (raw >> 24).astype(np.int64) - 128
            case _:
                made = (raw >> 24).astype(np.int64)
        yield made.astype(dtype).reshape(slot.shape)


def _sequence(count: int) -> NDArray[np.uint32]:
    """xorshift, 32 bits: the C's ``next``."""
    state = SEED
    found = np.empty(count, np.uint32)
    for i in range(count):
        state ^= state << 13 & 0xFFFFFFFF
        state ^= state >> 17
        state ^= state << 5 & 0xFFFFFFFF
        found[i] = state
    return found

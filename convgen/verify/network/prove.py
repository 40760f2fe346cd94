"""Prove with frama-c's EVA that a network stays inside its arrays and does no undefined arithmetic.

The claim is about ``<net>_run``, and about ``<net>_step`` with every part of up to ``PARTS`` parts:
for every content of the inputs and of the arena before a run. Weights of 8-bit steps are the
network's own, since they hold factors and shifts; those of floating-point steps may be anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from convgen.verify.eva import SECONDS, SPARE, Proof, Reading, analyse

PARTS = 3
# Where the C chooses how far a loop goes, or asks for room for a whole vector: EVA's widening stops
# only at the numbers that it is told, and at those that a loop's counter alone is compared with.
_BOUNDS = re.compile(r"^ *const ptrdiff_t \w+ = [^;?]+ \? [^;]+;$|^ *for \([^;]*; \w+ \+ .*$", re.M)


@dataclass(frozen=True)
class Proven:
    """What a proof is about: a network's C in ``files``.

    ``inputs``, ``outputs``: their C types, in order. ``steps``: how many. ``baked``: the C file of
    the weights, where their content matters. ``apart``: how many rounds of a function's loops must
    not be merged. ``vectors``: the C has vector bodies beside the plain ones.
    """

    name: str
    files: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: int
    baked: str | None
    apart: Mapping[str, int]
    vectors: bool

    @property
    def readings(self) -> tuple[Reading, ...]:
        return (Reading.SIMD, Reading.PLAIN) if self.vectors else (Reading.PLAIN,)


def prove_network(network: Proven, reading: Reading, *, timeout: float = SECONDS) -> Proof:
    """Run EVA on one reading of the network's C; raises as ``analyse``."""
    name = network.name
    apart = {f"{name}_run": network.steps + SPARE, **network.apart}
    options = ("-eva-slevel-function", ",".join(f"{f}:{n}" for f, n in apart.items()))
    sources = [f"{name}.c", *([network.baked] if network.baked else [])]
    found = analyse(
        network.files,
        network_driver(network),
        sources,
        options,
        [f"{name.upper()}_{reading}"],
        timeout=timeout,
        unreached=True,
    )
    return replace(found, network=True)


def network_driver(network: Proven) -> str:
    """A C program that runs the network, and any part of each step in an arena for ``PARTS``."""
    name, macro = network.name, network.name.upper()
    arrays, fills, given, members = [], [], [], []
    for kind, types in (("in", network.inputs), ("out", network.outputs)):
        for i, of in enumerate(types):
            at = f"{kind}{i}"
            size = f"{macro}_{kind.upper()}{i}_BYTES / sizeof({of})"
            arrays.append(f"static {of} {at}[{size}];")
            given.append(at)
            members.append(f"  io.{at} = {at};")
            if kind == "in":
                arrays.append(f"static volatile {of} any_{at};")
                fills.append(f"  for (size_t i = 0; i < {size}; ++i) {at}[i] = any_{at};")
    if network.baked:
        weights = f"{name}_weights"
    else:
        weights = "weights"
        arrays.append(f"static unsigned char weights[{macro}_WEIGHTS_BYTES + 1] {_ALIGNED};")
        fills.append(f"  for (size_t i = 0; i < {macro}_WEIGHTS_BYTES; ++i) weights[i] = any_byte;")
    declared, filled = "\n".join(arrays), "\n".join(fills)
    return f"""\
#include "{name}.h"

static volatile unsigned char any_byte;
static volatile int any_int;
{declared}
static unsigned char arena[{macro}_ARENA_BYTES + 1] {_ALIGNED};
static unsigned char shared[{macro}_ARENA_BYTES + {PARTS - 1} * {macro}_PART_BYTES + 1] {_ALIGNED};

int main(void)
{{
  {name}_io io;
{_hints(network)}\
{filled}
  for (size_t i = 0; i < {macro}_ARENA_BYTES; ++i) arena[i] = any_byte;
  {name}_cpu_ok();
  {name}_isa();
  {name}_run({", ".join([weights, *given])}, arena);
{chr(10).join(members)}
  const int parts = any_int;
  if (parts <= {PARTS}) {{
    //@ loop unroll {PARTS};
    for (int part = 0; part < {PARTS}; ++part) {{
      //@ loop unroll {macro}_STEPS;
      for (int step = 0; step < {macro}_STEPS; ++step)
        {name}_step(step, {weights}, &io, shared, part, parts);
    }}
  }}
  const int outside = any_int;
  if (outside < 0) {name}_step(any_int, {weights}, &io, shared, outside, any_int);
  if (parts <= {PARTS} && outside >= {PARTS})
    {name}_step(any_int, {weights}, &io, shared, outside, parts);
  return 0;
}}
"""


_ALIGNED = "__attribute__((aligned(64)))"


def _hints(network: Proven) -> str:
    text = network.files[f"{network.name}.c"]
    ends = {int(end) for line in _BOUNDS.findall(text) for end in re.findall(r"\b\d+\b", line)}
    if not ends:
        return ""
    return f'  //@ widen_hints global:"all", {", ".join(map(str, sorted(ends)))};\n'

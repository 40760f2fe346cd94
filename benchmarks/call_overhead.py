"""What a call from Python costs over the bare C call, for both bindings.

Builds the smallest layer there is (1x1x1, one 1x1 filter), so that nearly all of a call's time is
overhead, and times it three ways: a loop in C, ``bind``, ``run`` (into ``out``, and into a new
array) and ``conv`` (which packs the weights each time). The best of many repeats counts: a busy
machine only ever adds.

    python benchmarks/call_overhead.py [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

import convgen
from convgen.spec import parse_mapping
from convgen.toolchain import find_compiler

SPEC = {"name": "smallest", "input": "1x1x1", "filters": 1, "kernel": 1}
CALLS = 20_000
REPEATS = 25
C_LOOP = """
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <time.h>
#include "smallest.h"

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

int main(void)
{
  static float x[1] = {2}, w[1] = {3}, b[1] = {1}, y[1], packed[SMALLEST_PACKED_BYTES / 4];
  void (*volatile run)(const float *, const void *, float *, void *) = smallest_run;
  double best = 1e30;
  smallest_pack(w, b, packed);
  for (int repeat = 0; repeat < 25; ++repeat) {
    const double start = now();
    for (int i = 0; i < 20000; ++i) run(x, packed, y, NULL);
    const double each = (now() - start) / 20000;
    if (each < best) best = each;
  }
  printf("%.6f\\n", best);
  return y[0] != 7;
}
"""


@dataclass(frozen=True)
class Overhead:
    """Microseconds per call; the others are over ``bare_c``."""

    binding: str
    bare_c: float
    bind: float
    run_out: float
    run: float
    conv: float


def best_of(call: Callable[[], Any]) -> float:
    """Microseconds of one call."""
    return min(timeit.repeat(call, number=CALLS, repeat=REPEATS)) / CALLS * 1e6


def bare_c(package: Path, folder: Path) -> float:
    """Microseconds of one call of the kernel through a pointer, from C."""
    (folder / "loop.c").write_text(C_LOOP)
    program = folder / "loop"
    command = [
        *find_compiler().command, "-O2", "-I", str(package), str(package / "smallest.c"),
        str(folder / "loop.c"), "-o", str(program),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout)


def measure(binding: str, folder: Path) -> Overhead:
    layer: Any = convgen.build(SPEC, out=folder / binding, binding=binding)
    x = np.full(layer.INPUT_SHAPE, 2, np.float32)
    w = np.full(layer.WEIGHT_SHAPE, 3, np.float32)
    b = np.full(layer.BIAS_SHAPE, 1, np.float32)
    packed, out = layer.pack(w, b), np.empty(layer.OUTPUT_SHAPE, np.float32)
    c = bare_c(folder / binding / "smallest", folder)
    times = {
        "bind": best_of(layer.bind(x, packed, out=out)),
        "run_out": best_of(lambda: layer.run(x, packed, out=out)),
        "run": best_of(lambda: layer.run(x, packed)),
        "conv": best_of(lambda: layer.conv(x, w, b)),
    }
    assert out[0, 0, 0, 0] == 7
    return Overhead(binding, c, **{name: time - c for name, time in times.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    assert parse_mapping(SPEC)
    with tempfile.TemporaryDirectory() as name:
        rows = [measure(binding, Path(name)) for binding in ("api", "abi")]
    if arguments.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return 0
    print("microseconds per call  bare C   over it: bind  run(out=)    run   conv")
    for row in rows:
        print(
            f"{row.binding:>21}  {row.bare_c:6.3f}  {row.bind:14.3f}  {row.run_out:9.3f}"
            f"  {row.run:5.2f}  {row.conv:5.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

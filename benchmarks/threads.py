"""Two threads beside one, through ``run`` of the built packages.

    python benchmarks/threads.py [LAYER ...] [--markdown FILE]

Layers of layers.yaml, all that take more than --least microseconds on one thread by default. Calls
with one and with two threads take turns; the best of each counts. Wants two free cores.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import convgen
from convgen.spec import parse_file
from convgen.target.host import cpu_name

ROUNDS = 150
GALLERY = Path(__file__).parent / "layers.yaml"


def best_of(module: ModuleType) -> tuple[float, float]:
    """Microseconds of a call with one and with two threads, the least of the rounds."""
    rng = np.random.default_rng(0)
    shapes: list[tuple[int, ...]] = [module.INPUT_SHAPE, module.WEIGHT_SHAPE, module.BIAS_SHAPE]
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    packed: Any = module.pack(w, b)
    y = np.empty(module.OUTPUT_SHAPE, np.float32)
    least = {1: float("inf"), 2: float("inf")}
    for _ in range(ROUNDS):
        for threads in least:
            for _ in range(3):  # the first wakes the pool
                start = time.perf_counter()
                module.run(x, packed, out=y, threads=threads)
                least[threads] = min(least[threads], time.perf_counter() - start)
    return least[1] * 1e6, least[2] * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="*", help="names in layers.yaml")
    parser.add_argument("--least", type=float, default=200.0, help="microseconds on one thread")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    options = parser.parse_args()
    lines = [
        "# Two threads beside one",
        "",
        f"Made by `python benchmarks/threads.py`: {cpu_name()}, {datetime.date.today()}.",
        "",
        "| layer | one thread µs | two threads µs | times as quick | schedule |",
        "|---|--:|--:|--:|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for layer in parse_file(GALLERY):
            name = layer.spec.name
            if options.layers and name not in options.layers:
                continue
            module = convgen.build(layer, folder)
            one, two = best_of(module)
            if options.layers or one >= options.least:
                lines.append(
                    f"| {name} | {one:.0f} | {two:.0f} | {one / two:.2f} | `{module.SCHEDULE}` |"
                )
                print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

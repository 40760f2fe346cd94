"""How quick each element type of floating point is beside float32, summed directly by all.

    python benchmarks/element_types.py [LAYER ...] [--markdown FILE]

Layers of layers.yaml, all by default, with ``accuracy: strict``: no Winograd. bfloat16 is built a
second time with ``accuracy: fast``, which lets it multiply pairs of channels where the CPU can.
Calls take turns on one core, the best round of each counts.
"""

from __future__ import annotations

import argparse
import datetime
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import convgen
from convgen.bench.measure import measure, pinned
from convgen.bench.report import geometric_mean
from convgen.spec import parse_file
from convgen.spec.elements import arrays_of, held_by_package
from convgen.spec.model import Accuracy, DType, Layer
from convgen.target.host import cpu_name
from convgen.verify.fills import bounded_fill

GALLERY = Path(__file__).resolve().parent / "layers.yaml"
KINDS = (
    (DType.FLOAT32, Accuracy.STRICT),
    (DType.FLOAT64, Accuracy.STRICT),
    (DType.FLOAT16, Accuracy.STRICT),
    (DType.BFLOAT16, Accuracy.STRICT),
    (DType.BFLOAT16, Accuracy.FAST),
)
NAMES = ("float64", "float16", "bfloat16 strict", "bfloat16 fast")


def call_of(layer: Layer, kind: DType, accuracy: Accuracy, folder: Path) -> Callable[[], Any]:
    """A bound call of the layer in another element type, on data of a trained layer's kind."""
    spec = replace(layer.spec, dtype=kind, accuracy=accuracy)
    module = convgen.build(replace(layer, spec=spec), folder / f"{kind}-{accuracy}")
    fill = bounded_fill(spec, 0)
    x, w, b = (held_by_package(a, arrays_of(spec).x) for a in (fill.x, fill.w, fill.b))
    call: Callable[[], Any] = module.bind(x, module.pack(w, b))
    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="*", help="names in layers.yaml")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    options = parser.parse_args()
    layers = [
        layer
        for layer in parse_file(GALLERY)
        if not options.layers or layer.spec.name in options.layers
    ]
    if not layers:
        raise SystemExit(f"no such layer in {GALLERY.name}")
    lines = [
        "# Element types beside float32",
        "",
        f"Made by `python benchmarks/element_types.py`: {cpu_name()}, one thread, "
        f"{datetime.date.today()}. Times",
        "float32's own (`accuracy: strict`), then how many times as quick the others are.",
        "",
        f"| layer | float32 us | {' | '.join(NAMES)} |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for layer in layers:
            place = Path(folder) / layer.spec.name
            calls = [call_of(layer, *kind, place) for kind in KINDS]
            with pinned(1):
                own, *others = [timing.best for timing in measure(calls, options.rounds)]
            found.append([own / other for other in others])
            ratios = " | ".join(f"{ratio:.2f}" for ratio in found[-1])
            lines.append(f"| {layer.spec.name} | {own:.1f} | {ratios} |")
            print(lines[-1], flush=True)
    means = [geometric_mean(column) for column in zip(*found, strict=True)]
    lines += ["", "Geometric means: " + ", ".join(
        f"{name} {mean:.2f}" for name, mean in zip(NAMES, means, strict=True)
    ) + "."]  # fmt: skip
    text = "\n".join(lines) + "\n"
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

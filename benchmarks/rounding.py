"""What each rounding of an 8-bit layer costs: ``tflite`` and ``tflite_single`` beside ``onnx``.

    python benchmarks/rounding.py [LAYER ...] [--markdown FILE]

Layers of layers_int8.yaml, all by default. The same layer is built with each rounding; calls of
the three take turns on one core, the best round of each counts.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import convgen
from convgen.bench.measure import measure, pinned
from convgen.bench.report import geometric_mean
from convgen.spec import parse_file
from convgen.spec.model import Layer, QuantForm
from convgen.spec.quant import Rounding
from convgen.target.host import cpu_name

GALLERY = Path(__file__).resolve().parent / "layers_int8.yaml"
ROUNDINGS = (Rounding.ONNX, Rounding.TFLITE, Rounding.TFLITE_SINGLE)
HEAD = "| layer | onnx us | tflite us | tflite_single us | tflite / onnx | tflite_single / onnx |"


def built(layer: Layer, rounding: Rounding, folder: Path) -> ModuleType:
    """The package of the layer with another rounding."""
    assert isinstance(layer.quant, QuantForm)
    other = replace(layer, quant=replace(layer.quant, rounding=rounding))
    return convgen.build(other, folder / rounding)


def call_of(module: ModuleType) -> Callable[[], Any]:
    """A call on random integers, checked once and bound."""
    rng = np.random.default_rng(0)
    x, w = (
        rng.integers(-128, 128, shape).astype(np.int8)
        for shape in (module.INPUT_SHAPE, module.WEIGHT_SHAPE)
    )
    b = rng.integers(-1000, 1001, module.BIAS_SHAPE).astype(np.int32)
    call: Callable[[], Any] = module.bind(x, module.pack(w, b))
    return call


def times_of(layer: Layer, folder: Path, rounds: int) -> list[float]:
    """Microseconds of the best round, in the order of ``ROUNDINGS``."""
    calls = [call_of(built(layer, rounding, folder)) for rounding in ROUNDINGS]
    with pinned(1):
        return [timing.best for timing in measure(calls, rounds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("layers", nargs="*", help="names in layers_int8.yaml")
    parser.add_argument("--rounds", type=int, default=25, help="turns of each")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    options = parser.parse_args()
    lines = [
        "# What each rounding costs",
        "",
        f"Made by `python benchmarks/rounding.py`: {cpu_name()}, one thread, "
        f"{datetime.date.today()}.",
        "",
        HEAD,
        "|---|--:|--:|--:|--:|--:|",
    ]
    twice, once = [], []
    with tempfile.TemporaryDirectory() as folder:
        for layer in parse_file(GALLERY):
            name = layer.spec.name
            if options.layers and name not in options.layers:
                continue
            onnx, tflite, single = times_of(layer, Path(folder), options.rounds)
            twice.append(tflite / onnx)
            once.append(single / onnx)
            lines.append(
                f"| {name} | {onnx:.1f} | {tflite:.1f} | {single:.1f} | {twice[-1]:.2f} "
                f"| {once[-1]:.2f} |"
            )
            print(lines[-1], flush=True)
    if not twice:
        raise SystemExit(f"no such layer in {GALLERY.name}")
    for name, found in (("tflite", twice), ("tflite_single", once)):
        lines.append("")
        lines.append(
            f"`{name}` takes {geometric_mean(found):.2f}x the time of `onnx` in the geometric "
            f"mean, {statistics.median(found):.2f}x in the median, {max(found):.2f}x at worst."
        )
    text = "\n".join(lines) + "\n"
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

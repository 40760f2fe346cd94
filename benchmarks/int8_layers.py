"""The layers of layers.yaml in 8 bits: writes layers_int8.yaml and int8_scales.npz.

    python benchmarks/int8_layers.py

As in a network, layers of three channels read images whose zero is in the middle of the type, the
others what a ReLU left, whose zero is its least integer. Each filter has a weight scale of its own,
between a half and twice the middle one. Output scales bring the sums of random integers over most
of the type, so that results which are compared say something.
"""

from __future__ import annotations

from io import BytesIO
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convgen.spec import parse_file
from convgen.spec.model import ConvSpec

HERE = Path(__file__).resolve().parent
FLOATS, LAYERS, SCALES = HERE / "layers.yaml", HERE / "layers_int8.yaml", HERE / "int8_scales.npz"
INPUT, WEIGHT = 0.02, 0.004  # scales, the second one of the middle filter
SPREAD = 1.2  # output scale: this times those two times the root of a filter's weights
GOLDEN = 0.6180339887498949  # its multiples fill 0..1 evenly, in no order
HEAD = """\
# yaml-language-server: $schema=../specs/layer.schema.json
# Made by int8_layers.py: the layers of layers.yaml in 8 bits, a weight scale for each filter, bias
# and ReLU, batch 1, weights given at run time.
dtype: int8
activation: relu
remainder: floor
layers:
"""


def scales(filters: int) -> NDArray[np.float32]:
    """One weight scale for each filter, from half the middle one to twice it, in no order."""
    places = 2 * (np.arange(filters) * GOLDEN % 1) - 1
    scale: NDArray[np.float32] = (WEIGHT * 2.0**places).astype(np.float32)
    return scale


def quant(spec: ConvSpec) -> str:
    """The key ``quant`` of a layer."""
    zero = 3 if spec.c == 3 else -128
    output = SPREAD * INPUT * WEIGHT * sqrt(spec.kh * spec.kw * spec.icg) * 128
    return (
        f"{{input: {{scale: {INPUT}, zero_point: {zero}}}, "
        f"weight: {{scale: {SCALES.name}#k{spec.oc}}}, "
        f"output: {{scale: {output:.3g}, zero_point: -128}}, rounding: onnx}}"
    )


def layers_text() -> str:
    """The whole layers_int8.yaml: the rows of layers.yaml, each with its ``quant``."""
    rows = [row for row in FLOATS.read_text(encoding="utf-8").splitlines() if "{name:" in row]
    text = HEAD
    for row, layer in zip(rows, parse_file(FLOATS), strict=True):
        text += f"{row.removesuffix('}')},\n     quant: {quant(layer.spec)}}}\n"
    return text


def scales_file() -> bytes:
    """The whole int8_scales.npz, an array for each number of filters."""
    counts = sorted({layer.spec.oc for layer in parse_file(FLOATS)})
    file = BytesIO()
    arrays: dict[str, Any] = {f"k{count}": scales(count) for count in counts}
    np.savez(file, **arrays)
    return file.getvalue()


def main() -> None:
    LAYERS.write_text(layers_text(), encoding="utf-8")
    SCALES.write_bytes(scales_file())


if __name__ == "__main__":
    main()

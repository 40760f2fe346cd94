"""Four generated files, byte for byte: what a change of the templates does to the C, as a diff. Of
every other that specs/ makes, its hash: all machines give the same bytes.

``pytest --update-golden`` writes them anew; the diff is then part of the review.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from edge_layers import LAYER, depthwise, layer
from kernels import planned, target_of

from convgen.package.emit.files import decide, kernel_files
from convgen.render import render_c
from convgen.spec import parse_file
from convgen.spec.model import Act, Activation, ConvSpec, Layout, WeightLayout
from convgen.target import TARGETS

FOLDER = Path(__file__).resolve().parent / "golden"
GROUPED = layer(
    "6x5x4", 36, "3x3", "1 1 1 1", groups=2, batch=2, layout=Layout.NCHW,
    weight_layout=WeightLayout.OIHW, activation=Activation(Act.CLIP, low=-1.0, high=1.0),
)  # fmt: skip
FILES: dict[str, tuple[ConvSpec, str]] = {
    "layer_avx512.c": (LAYER, "avx512"),
    "layer_generic.c": (LAYER, "plain"),
    "depthwise_avx2.c": (replace(depthwise("4x5x8", "3x3", "1 1 1 1"), name="dw"), "avx2"),
    "grouped_nchw_sse2.c": (replace(GROUPED, name="grouped"), "sse2"),
}
EMITTED = ("x86-64-avx512", "x86-64", "cortex-m4")


@pytest.mark.parametrize("file", FILES)
def test_generated_c_is_what_was_reviewed(file: str, golden: Callable[[Path, str], None]) -> None:
    spec, isa = FILES[file]
    golden(FOLDER / file, render_c(planned(spec, target_of(isa)))[f"{spec.name}.c"])


def test_every_machine_emits_the_same_bytes(golden: Callable[[Path, str], None]) -> None:
    """The hashes were written on one machine, and are compared on each that runs this."""
    lines = []
    for path in sorted((FOLDER.parents[1] / "specs").glob("*.yaml")):
        for item in parse_file(str(path)):
            for target in EMITTED:
                files = kernel_files(decide(item, TARGETS[target]))
                digest = hashlib.sha256("".join(files.values()).encode()).hexdigest()
                lines.append(f"{digest[:32]}  {item.spec.name}  {target}\n")
    golden(FOLDER / "emitted.txt", "".join(lines))


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in FOLDER.glob("*.c")} == set(FILES)

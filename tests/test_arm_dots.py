"""8-bit products on Arm: NEON's, with and without SDOT, under emulation; and what compilers make
of the hot loops. Elsewhere the model of the same operations runs: test_dot_kernels.py."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from foreign import BY_NAME, STRICT, compiler, emulator, run_program
from test_core_steps import quantised

from convgen.choose import ranking
from convgen.dots import DotBody
from convgen.package.emit import emit_files
from convgen.plan import KernelPlan
from convgen.render import render_c
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layer, Layout, Padding
from convgen.spec.quant import Affine, Quant, Rounding
from convgen.target import TARGETS
from convgen.target.dot_model import model
from convgen.target.dots import DotIsa, shapes
from convgen.target.isa import VectorIsa
from convgen.target.rigs import Rig

ARM = ("aarch64-dotprod", "aarch64-neon", "armv7-neon")
ONE = Padding(1, 1, 1, 1)
FIRST = {"aarch64-dotprod": "sdot", "aarch64-neon": "smlal", "armv7-neon": "vmlal"}


def shape(h: int, c: int, oc: int, k: int, **more: object) -> ConvSpec:
    return ConvSpec("edge", h, h + 1, c, oc, k, k, **more)  # type: ignore[arg-type]


# A layer of every kind of plan; each with another rounding, type and clamp.
LAYERS = {
    "whole": shape(6, 8, 21, 3, padding=ONE, batch=2),
    "staged": shape(7, 3, 10, 5, padding=Padding(2, 1, 2, 1), sh=2),
    "grouped": shape(5, 24, 18, 3, groups=3, padding=ONE),
    "depthwise": shape(7, 11, 11, 3, groups=11, padding=ONE),
    "wide": shape(9, 6, 6, 7, groups=6, sh=2, padding=Padding(3, 3, 3, 3)),
    "planes": shape(5, 5, 9, 3, layout=Layout.NCHW, padding=ONE),
    "sums": shape(4, 4, 9, 3),
    "by_itself": shape(5, 16, 8, 1),
}
HOWS = [(r, d) for r in Rounding for d in (DType.INT8, DType.UINT8)]
ACTS = (Activation(), Activation(Act.RELU), Activation(Act.RELU6), Activation(Act.CLIP, low=-1.5))


def layers(turn: int) -> Iterator[tuple[str, ConvSpec]]:
    """Every shape, the ways of quantisation and the clamps in turn."""
    for i, (label, spec) in enumerate(LAYERS.items()):
        spec = quantised(spec, *HOWS[(i + turn) % len(HOWS)])
        spec = replace(spec, name=f"l_{label}", activation=ACTS[(i + turn) % len(ACTS)])
        if label == "sums":
            sums = Quant(Affine((), (3,)), Affine((), (0,)), None)
            spec = replace(spec, quant=sums, activation=Activation())
        yield label, spec


def c_files(spec: ConvSpec, target: str) -> dict[str, str]:
    files = emit_files(Layer(spec, "<t>"), TARGETS[target])
    return {name: text for name, text in files.items() if name.endswith((".c", ".h"))}


@pytest.mark.parametrize("turn", range(3))
@pytest.mark.parametrize("target", ARM)
def test_self_tests(target: str, turn: int, tmp_path: Path) -> None:
    """All shapes in one program; every one on the vectors' kernel."""
    files, calls, rig = {}, "", BY_NAME[target]
    for _, spec in layers(turn):
        emitted = c_files(spec, target)
        files |= {file: emitted[file] for file in (f"{spec.name}.c", f"{spec.name}.h")}
        renamed = f"int {spec.name}_main(void);\n#define main {spec.name}_main\n"
        files[f"{spec.name}_test.c"] = renamed + emitted["selftest.c"]
        calls += f"  bad += {spec.name}_main() != 0;\n"
    protos = "".join(f"int l_{label}_main(void);\n" for label in LAYERS)
    body = f"  int bad = 0;\n{calls}  return bad;\n"
    files["all.c"] = f"{protos}int main(void)\n{{\n{body}}}\n"
    code, words = run_program(rig, tmp_path, files)
    assert code == 0, words
    name = TARGETS[target].dot_isas(DType.INT8)[0].name
    assert words.count(": ok, ") == words.count(f"({name}, error 0") == len(LAYERS), words

"""Any number of generated files in one translation unit, in C and in C++: every name at file scope
begins with its layer's."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import slices
from edge_layers import EDGES
from places import ROOT
from tools import need

from convgen.package.emit.files import decide, kernel_files
from convgen.spec import parse_file
from convgen.spec.model import DType, Layer, Layout
from convgen.target import TARGETS

FLOATS = (DType.FLOAT64, DType.FLOAT16, DType.BFLOAT16)
STRICT = ("-O0", "-Wall", "-Wextra", "-Werror", "-fsyntax-only")
COMPILER_OF = {
    "x86-64-avx512bf16": "gcc",
    "x86-64-avx2": "gcc",
    "x86-64": "gcc",
    "generic": "gcc",
    "cortex-m4": "arm-none-eabi-gcc",
    "cortex-m55": "arm-none-eabi-gcc",
    "aarch64-dotprod": "aarch64-linux-gnu-gcc",
    "armv7-neon": "arm-linux-gnueabihf-gcc",
}


def layers() -> Iterator[Layer]:
    """Of every kernel, element type and layout, each under a name of its own."""
    shipped = [
        item for path in sorted((ROOT / "specs").glob("*.yaml")) for item in parse_file(path)
    ]
    edges = [replace(EDGES[name], dtype=dtype) for name in list(EDGES)[:4] for dtype in FLOATS]
    planes = [replace(item.spec, layout=Layout.NCHW) for item in shipped[:3]]
    found = [*shipped, *(Layer(spec, "<edge>") for spec in (*edges, *planes))]
    for i, item in enumerate(found):
        yield replace(item, spec=replace(item.spec, name=f"{item.spec.name}_{i}"))


@pytest.mark.parametrize("target", COMPILER_OF)
def test_all_layers_share_one_translation_unit(tmp_path: Path, target: str) -> None:
    """A third of the layers for each target, another third with every change of the sources."""
    need(COMPILER_OF[target])
    names = []
    for item in slices.share(3, list(layers()), list(COMPILER_OF).index(target)):
        for name, text in kernel_files(decide(item, TARGETS[target])).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        names.append(item.spec.name)
    lines = "".join(f'#include "{name}.c"\n#include <stdlib.h>\n' for name in names)
    for file, standard in (("unity.c", "-std=c99"), ("unity.cc", "-std=c++17")):
        gcc = COMPILER_OF[target]
        compiler = gcc if file == "unity.c" else gcc.replace("gcc", "g++")
        need(compiler)
        (tmp_path / file).write_text(lines, encoding="utf-8")
        command = [compiler, standard, *STRICT, *TARGETS[target].flags, str(tmp_path / file)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr

"""The C file as an embedder meets it: symbols, C++, two layers in one program."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_layers import EDGES, LAYER
from kernels import GCC, ISAS, STRICT, Way, compiled, needs, planned, target_of
from tools import need

from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.target import TARGETS

# -- what the object file shows --------------------------------------------------------------------

SYMBOLS = {"cpu_ok", "isa", "pack", "run", "run_part"}
ALLOWED = {"memcpy", "memset"}


def symbols(plan: KernelPlan, way: Way, files: Mapping[str, str]) -> list[tuple[str, str]]:
    """(kind, name) of every symbol of the object file."""
    need("nm")
    name = plan.spec.name
    library = compiled(name, files, way)
    unit = library.parent / f"{name}.o"
    command = [*way.command(name), "-c", f"{name}.c", "-o", unit.name]
    subprocess.run(command, cwd=library.parent, check=True)
    listing = subprocess.run(["nm", str(unit)], capture_output=True, text=True, check=True).stdout
    return [(line.split()[-2], line.split()[-1]) for line in listing.splitlines()]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("label", ["stem", "depthwise", "groups_in_planes"])
def test_symbols(label: str, isa: str) -> None:
    """The interface and nothing else; no mutable data; of libc only memory functions."""
    needs(isa)
    plan = planned(EDGES[label], target_of(isa))
    found = symbols(plan, GCC, render_c(plan))
    assert {name for kind, name in found if kind.isupper() and kind != "U"} == {
        f"edge_{suffix}" for suffix in SYMBOLS
    }
    assert not [name for kind, name in found if kind in "BbDdCG"], "mutable data"
    assert {name for kind, name in found if kind == "U"} - ALLOWED <= {"_GLOBAL_OFFSET_TABLE_"}


def test_two_layers_link_into_one_program() -> None:
    needs("avx2")
    plans = [
        planned(replace(EDGES[label], name=name), target_of("avx2"))
        for name, label in (("first", "stem"), ("second", "depthwise"))
    ]
    files = {file: text for plan in plans for file, text in render_c(plan).items()}
    main = '#include "first.h"\n#include "second.h"\n' + (
        "int main(void)\n{\n  return first_cpu_ok() && second_cpu_ok() ? 0 : 1;\n}\n"
    )
    made = compiled("both", files, GCC, main=main)
    assert subprocess.run([str(made)], check=False).returncode == 0


@pytest.mark.needs("g++")
def test_header_is_enough_for_cpp() -> None:
    """extern "C", no C-only words, sizes usable in #if."""
    plan = planned(LAYER, target_of("plain"))
    folder = compiled("layer", render_c(plan), GCC).parent
    use = folder / "use.cpp"
    use.write_text(
        '#include "layer.h"\n'
        "#if LAYER_OH != 32 || LAYER_OC != 10 || LAYER_MACS != 768000 || LAYER_BAKED\n"
        "#error wrong sizes\n#endif\n"
        "int use(const float *x, float *y);\n"
        "int use(const float *x, float *y)\n{\n"
        "  static float packed[LAYER_PACKED_BYTES / 4];\n"
        "  layer_run(x, packed, y, nullptr);\n  return layer_cpu_ok();\n}\n"
    )
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    subprocess.run(["g++", *flags, str(use)], check=True)


TWO_LAYERS = """#include "first.h"
#include "second.h"
#include "first.h"
int main()
{
  static float packed[FIRST_PACKED_BYTES / 4], x[FIRST_H * FIRST_W * FIRST_C];
  static float w[FIRST_KH * FIRST_KW * FIRST_C * FIRST_OC], b[FIRST_OC], y[4096];
  static_assert(FIRST_OH * FIRST_OW * FIRST_OC <= 4096 && SECOND_BAKED, "as written here");
  if (!first_cpu_ok() || !second_cpu_ok() || first_isa() == nullptr) return 1;
  if (first_pack(w, b, packed) != 0) return 2;
  first_run(x, packed, y, nullptr);
  return second_packed[0] == 1.0f ? 0 : 3; /* the first bias */
}
"""


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("cxx", ["g++", "clang++"])
def test_cpp17_program_of_two_layers(cxx: str, language: str, tmp_path: Path) -> None:
    """The headers under a C++ programmer's warnings; the .c taken as C, and even as C++."""
    need(cxx)
    needs("avx2")
    first = planned(replace(EDGES["pointwise_prime"], name="first"), TARGETS["x86-64"])
    second = planned(replace(EDGES["depthwise_row"], name="second"), target_of("avx2"))
    baked = Weights(np.ones(second.spec.w_shape, np.float32), np.ones(second.spec.oc, np.float32))
    for name, text in {
        **render_c(first),
        **render_c(second, baked),
        "main.cpp": TWO_LAYERS,
    }.items():
        (tmp_path / name).write_text(text)
    cc = {"g++": "gcc", "clang++": "clang"}[cxx]
    strict = ["-Wall", "-Wextra", "-Wconversion", "-Werror", "-O1"]
    compiler = [cc, "-std=c99"] if language == "c" else [cxx, "-std=c++17", "-x", "c++"]
    taste = ["-Wpedantic", "-Wshadow", "-Wold-style-cast"]
    for command in (
        [*compiler, *strict, "-c", "first.c", "second.c"],
        [cxx, "-std=c++17", *strict, *taste, "main.cpp", "first.o", "second.o", "-o", "program"],
    ):
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
    assert subprocess.run([tmp_path / "program"], check=False).returncode == 0


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_plain_body_is_what_a_foreign_compiler_reads(cc: str, tmp_path: Path) -> None:
    """Without GNU's macros even a SIMD file must be C99 and nothing else, to the letter."""
    way = Way(cc=cc)
    needs("plain", way)
    for name, text in render_c(planned(LAYER, target_of("avx512"))).items():
        (tmp_path / name).write_text(text)
    command = [
        cc,
        *STRICT,
        "-Wpedantic",
        "-pedantic-errors",
        "-U__GNUC__",
        "-Wno-builtin-macro-redefined",
    ]
    run = subprocess.run(
        [*command, "-fsyntax-only", "layer.c"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def test_cpu_check_names_what_the_build_needs() -> None:
    source = render_c(planned(LAYER, target_of("avx2")))["layer.c"]
    assert re.search(
        r"return \w+_cpu_has\(7, 0, 1, 5, 0x06\) && \w+_cpu_has\(1, 0, 2, 12, 0x06\);",
        source,
    )

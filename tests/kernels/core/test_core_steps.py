"""Steps of several 8-bit products: SMLAD and MVE, their plain C model, and the tiles around them.

On this machine the model runs; under QEMU the instructions themselves, held to the oracle by the
self test and to the model operation by operation.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from foreign import BY_NAME, STRICT, compiler, run_program
from kernels import GCC, Part, Way, compiled, needs, planned, prove_right
from quant_layers import Filled, filled, quantised

from convgen.choose.chooser import choose, ranking
from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.kernels.core import lowering as core
from convgen.oracle.integers import reference
from convgen.package.emit.files import emit_files
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layer, Layout, Padding
from convgen.spec.quant import Rounding
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS
from convgen.target.arm.core import CoreStep, model
from convgen.target.arm.vectors import MVE_STEP, SMLAD
from convgen.verify.eva import Reading
from convgen.verify.prove import prove

# Tiles that read x itself: what is left where no window is gathered (test_windows.py).
OLDER = {
    name: replace(target, windows=())
    for name, target in TARGETS.items()
    if name.startswith("cortex-m")
}
M4, M55 = OLDER["cortex-m4"], OLDER["cortex-m55"]
ONE, TWO = Padding(1, 1, 1, 1), Padding(2, 2, 2, 2)


def shape(h: int, c: int, oc: int, k: int, **more: object) -> ConvSpec:
    return ConvSpec("edge", h, h + 1, c, oc, k, k, **more)  # type: ignore[arg-type]


# Runs of every remainder: of a step of 4, of 16, of two of them; too short at borders; no run.
SHAPES = {
    "rest_3_of_4": shape(7, 3, 5, 5, padding=TWO),
    "rest_1_of_4": shape(5, 9, 4, 1),
    "rest_2_of_4": shape(4, 6, 3, 3, sh=2, padding=ONE),
    "whole": shape(5, 4, 7, 3, padding=ONE, batch=2),
    "two_at_a_time": shape(5, 32, 5, 3, padding=ONE),
    "rest_of_16": shape(5, 17, 6, 2, dw=2, padding=ONE),
    "more_than_16": shape(6, 7, 5, 3, sw=2, dh=2, padding=TWO),
    "two_rounds_and_more": shape(3, 40, 3, 1),
    "groups": shape(5, 12, 6, 3, groups=2, padding=ONE),
    "no_taps": shape(2, 5, 3, 1, padding=TWO),
    "one_channel": shape(9, 1, 3, 5, padding=TWO),
    "planes": shape(6, 3, 4, 5, layout=Layout.NCHW),
    "depthwise": shape(6, 5, 5, 3, groups=5, padding=ONE),
    "one_input": shape(3, 1, 2, 1),
}
PLAIN = {"planes", "depthwise", "one_input"}
HOWS = [
    (Rounding.TFLITE, DType.INT8, (0,)), (Rounding.TFLITE_SINGLE, DType.UINT8, (0,)),
    (Rounding.ONNX, DType.INT8, (3,)), (Rounding.ONNX, DType.UINT8, (0,)),
]  # fmt: skip


def layers() -> Iterator[tuple[str, ConvSpec]]:
    """Every shape, the ways of quantisation in turn."""
    for i, (label, spec) in enumerate(SHAPES.items()):
        rounding, dtype, zero = HOWS[i % len(HOWS)]
        yield label, quantised(spec, rounding, dtype, zero)


LAYERS = dict(layers())
BY_CHANNEL = quantised(shape(5, 5, 3, 3), Rounding.ONNX, DType.UINT8, (1, -2, 0))


def run(layer: Filled, plan: KernelPlan, way: Way = GCC) -> np.ndarray:
    path = compiled(layer.spec.name, render_c(plan), way)
    lib, spec = ctypes.CDLL(str(path)), layer.spec
    packed = np.empty(plan.packed_bytes, np.uint8)
    y = np.empty(spec.y_shape, numpy_dtype(arrays_of(spec).y))
    b = None if layer.b is None else layer.b.ctypes.data_as(ctypes.c_void_p)
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (layer.w, packed, layer.x, y)]
    assert lib.edge_pack(at[0], b, at[1]) == 0
    lib.edge_run(at[2], at[1], at[3], None)
    return y


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m55"])
@pytest.mark.parametrize("label", [*LAYERS, "by_channel"])
def test_the_model_gives_the_bits_of_the_oracle(label: str, target: str) -> None:
    needs("plain")
    spec = LAYERS.get(label, BY_CHANNEL)
    plan = planned(spec, OLDER[target])
    assert (plan.step is None) == (label in PLAIN)
    layer = filled(spec, len(label))
    np.testing.assert_array_equal(run(layer, plan), reference(spec, layer.x, layer.w, layer.b))


@pytest.mark.tools
@pytest.mark.parametrize("label", ["rest_3_of_4", "groups"])
def test_every_tile_gives_them(label: str) -> None:
    """Tiles of all sizes that the registers hold, clang's reading of them too."""
    spec = LAYERS[label]
    layer = filled(spec, 1)
    want = reference(spec, layer.x, layer.w, layer.b)
    ranked = ranking(spec, M4)
    for i, entry in enumerate(ranked[:: max(1, len(ranked) // 5)]):
        way = Way("clang" if i % 2 else "gcc", flags=("-O1", "-Wpedantic"))
        needs("plain", way)
        np.testing.assert_array_equal(run(layer, entry.plan, way), want, str(entry.plan.schedule))


@pytest.mark.parametrize("target", [M4, M55], ids=lambda t: t.name)
def test_nothing_beyond_the_arrays_is_read(target: object) -> None:
    """The whole ladder, guard pages before and behind every array among it."""
    assert target in (M4, M55)
    for label in ("rest_3_of_4", "rest_1_of_4", "rest_of_16"):
        prove_right(planned(LAYERS[label], target))  # type: ignore[arg-type]


def test_which_step_a_layer_takes() -> None:
    steps = {label: planned(spec, M55).step for label, spec in LAYERS.items()}
    assert steps["whole"] is MVE_STEP and steps["depthwise"] is None
    shifted = planned(BY_CHANNEL, M55)
    assert shifted.step is SMLAD and shifted.isas == ("smlad",)
    assert "zero points of weights" in core.step_words(shifted)
    assert "one product" in core.step_words(planned(LAYERS["depthwise"], M4))
    assert core.step_words(planned(LAYERS["whole"], M4)).startswith("steps of 4 products (smlad)")
    assert core.step_words(planned(LAYERS["whole"], TARGETS["generic"])) == ""


def test_a_tile_beyond_the_registers_is_refused() -> None:
    with pytest.raises(ScheduleError, match="does not fit 14 registers; at most 2 pixels do"):
        lower(LAYERS["whole"], Schedule(Family.DIRECT, 1, 1, 4, 2), M4)
    assert choose(LAYERS["whole"], M4).bound == "instructions"


# -- the instructions themselves -----------------------------------------------------------------


def program(target: str, chosen: list[str]) -> tuple[dict[str, str], list[str]]:
    """One program of these layers' self tests, and the instructions that each should name."""
    files: dict[str, str] = {}
    calls, isas = "", []
    for label in chosen:
        spec = replace(LAYERS.get(label, BY_CHANNEL), name=f"layer_{label}")
        emitted = emit_files(Layer(spec, "<t>"), OLDER[target])
        for file in (f"{spec.name}.c", f"{spec.name}.h"):
            files[file] = emitted[file]
        files[f"{spec.name}_test.c"] = (
            f"int {spec.name}_main(void);\n#define main {spec.name}_main\n{emitted['selftest.c']}"
        )
        calls += f"  if ({spec.name}_main() != 0) return 1;\n"
        isas += planned(spec, OLDER[target]).isas
    protos = "".join(f"int layer_{label}_main(void);\n" for label in chosen)
    files["all.c"] = f"{protos}int main(void)\n{{\n{calls}  return 0;\n}}\n"
    return files, isas


@pytest.mark.tools
@pytest.mark.parametrize("name", OLDER)
def test_the_self_tests_on_the_machine(name: str, tmp_path: Path) -> None:
    whole = name not in ("cortex-m7", "cortex-m33")
    chosen = [*LAYERS, "by_channel"] if whole else list(LAYERS)[:2]
    files, isas = program(name, chosen)
    code, words = run_program(BY_NAME[name], tmp_path, files)
    assert code == 0, words
    assert re.findall(r": ok, .*\(([\w-]+), ", words) == isas
    steps = [step.name for step in TARGETS[name].core_steps]
    assert set(isas) <= {*steps, "plain"} and set(steps) <= {*isas, "smlad"}


COMPARE = """\
#include <stdint.h>
#include <stdio.h>
#include <string.h>
int32_t real(const int8_t *a, const int8_t *b, int what, int n, int z, int32_t acc);
int32_t modelled(const int8_t *a, const int8_t *b, int what, int n, int z, int32_t acc);
int main(void)
{
  int8_t a[16], b[16];
  uint32_t s = 1;
  int bad = 0;
  for (int round = 0; round < 400; ++round) {
    for (int i = 0; i < 16; ++i) {
      s = s * UINT32_C(1664525) + UINT32_C(1013904223);
      a[i] = (int8_t)((int)(s >> 24) - 128);
      b[i] = (int8_t)((int)(s >> 16 & 255) - 128);
    }
    if (round < 4) memset(a, round % 2 ? 127 : -128, 16), memset(b, round / 2 ? 127 : -128, 16);
    for (int what = 0; what < @whats; ++what) {
      for (int n = 1; n < @depth; ++n) {
        const int z = (int)(s >> 12) % 256 - 128;
        const int32_t acc = (int32_t)(s >> 4) - (1 << 27);
        bad += real(a, b, what, n, z, acc) != modelled(a, b, what, n, z, acc);
      }
    }
  }
  if (bad != 0) printf("%d wrong\\n", bad);
  return bad != 0;
}
"""
CASES = {
    "load_s8": "load_s8(a)", "load_u8": "load_u8((const uint8_t *)a)",
    "load_s8_less": "load_s8_less(a, @v_zeros(z))",
    "load_u8_less": "load_u8_less((const uint8_t *)a, @v_zeros(z + 128))",
    "part_s8": "part_s8(a, n)", "part_u8": "part_u8((const uint8_t *)a, n)",
    "tail_s8": "tail_s8(a, n)",
}  # fmt: skip


def side(dot: CoreStep, name: str) -> str:
    """A C file with one function: what a load's products with b come to."""
    operations = "".join(
        f"static inline {op.result} {dot.prefix}_{op.name}({op.params})\n{{\n  {op.body}\n}}\n"
        for op in dot.operations
    )
    cases = [CASES[op.name] for op in dot.operations if op.name in CASES]
    if any(op.name == "total" for op in dot.operations):
        cases.append("")
    body = "".join(
        f"  if (what == {i}) return @v_dot(acc, @v_{case}, @v_load_s8(b));\n"
        if case
        else f"  if (what == {i}) return @v_total(acc, @v_load_s8(b));\n"
        for i, case in enumerate(cases)
    ).replace("@v", dot.prefix)
    header = f"#include <{dot.header}>\n" if dot.header else ""
    arguments = "const int8_t *a, const int8_t *b, int what, int n, int z, int32_t acc"
    return (
        f"#include <stdint.h>\n#include <string.h>\n{header}typedef {dot.ctype} {dot.prefix};\n"
        f"{operations}int32_t {name}({arguments});\nint32_t {name}({arguments})\n{{\n"
        f"  (void)a, (void)b, (void)n, (void)z;\n{body}  return 0;\n}}\n"
    )


@pytest.mark.tools
@pytest.mark.parametrize(("name", "dot"), [("cortex-m4", SMLAD), ("cortex-m55", MVE_STEP)])
def test_operations_mean_what_the_model_says(name: str, dot: CoreStep, tmp_path: Path) -> None:
    text = side(dot, "real")
    main = COMPARE.replace("@whats", str(text.count("what =="))).replace("@depth", str(dot.depth))
    files = {"real.c": text, "modelled.c": side(model(dot), "modelled"), "main.c": main}
    code, words = run_program(BY_NAME[name], tmp_path, files)
    assert code == 0, words
    assert {*CASES, "zeros", "dot", "total"} >= {op.name for op in dot.operations}


@pytest.mark.tools
@pytest.mark.parametrize(
    ("name", "product", "products", "most"),
    [("cortex-m4", "smlad", 16, 48), ("cortex-m55", "vmladava", 8, 24)],
)
def test_the_hot_loop(name: str, product: str, products: int, most: int, tmp_path: Path) -> None:
    """Two steps of a tile of 2 x 2: the products, and few instructions beside them."""
    gcc = compiler(BY_NAME[name]).command
    plan = planned(quantised(shape(9, 32, 8, 3), Rounding.TFLITE), OLDER[name])
    for file, text in render_c(plan).items():
        (tmp_path / file).write_text(text)
    command = [*gcc, *STRICT, *TARGETS[name].flags, "-S", "edge.c", "-o", "-"]
    listing = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    loops = [loop for loop in inner_loops(listing.stdout) if product in loop]
    assert loops
    lines = max((loop.splitlines() for loop in loops), key=len)
    assert sum(product in line for line in lines) == products, lines
    assert len(lines) <= most, lines
    assert sum("[sp" in line for line in lines) <= 3, lines


def inner_loops(listing: str) -> Iterator[str]:
    """The instructions of every block that jumps back to its own label."""
    label, block = "", list[str]()
    for line in map(str.strip, listing.splitlines()):
        if named := re.match(r"(\.L\d+):", line):
            label, block = named[1], []
        elif re.match(r"[a-z]", line):
            block.append(line)
            if line.split()[-1] == label and re.match(r"b\w*\s|le\s", line):
                yield "\n".join(block)


@pytest.mark.tools
def test_no_call_of_a_division(tmp_path: Path) -> None:
    """Requantisation of every rounding by shifts and products alone."""
    gcc = compiler(BY_NAME["cortex-m4"]).command
    for rounding in Rounding:
        plan = planned(quantised(SHAPES["whole"], rounding), M4)
        for file, text in render_c(plan).items():
            (tmp_path / file).write_text(text)
        command = [*gcc, *STRICT, *M4.flags, "-c", "edge.c"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
        nm = [gcc[0].replace("gcc", "nm"), "-u", "edge.o"]
        undefined = subprocess.run(nm, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert undefined.stdout.split() == [], rounding


@pytest.mark.needs("frama-c")
@pytest.mark.parametrize("target", [M4, M55], ids=lambda t: t.name)
def test_every_access_is_proved(target: object) -> None:
    """What is left open is that sums keep to int32, which pack checks of its weights."""
    shape_ = replace(SHAPES["rest_3_of_4"], padding=Padding(0, 1, 0, 0), oc=2)
    spec = quantised(replace(shape_, activation=Activation(Act.RELU)), HOWS[0][0])
    plan = planned(spec, target)  # type: ignore[arg-type]
    files = render_c(plan)
    lines = files["edge.c"].splitlines()
    found = prove(plan, files, Reading.SIMD)
    for alarm in found.alarms:
        place = re.match(r"edge\.c:(\d+): signed overflow", alarm)
        assert place, alarm
        assert re.search(r"acc|sum", lines[int(place[1]) - 1]), alarm
    if target is M55:
        late = {**files, "edge.c": files["edge.c"].replace("*s = x +", "*s = x + 1 +")}
        assert late != files
        worse = prove(plan, late, Reading.SIMD)
        assert any("out of bounds" in alarm for alarm in worse.alarms), worse.alarms


def test_the_plain_macro_takes_the_model() -> None:
    plan = planned(LAYERS["whole"], M4)
    layer = filled(plan.spec, 2)
    way = Way(part=Part.PLAIN)
    np.testing.assert_array_equal(
        run(layer, plan, way), reference(plan.spec, layer.x, layer.w, layer.b)
    )

"""Kernels of gathered windows, and of channels in lanes, on Cortex-M: SMLAD and Helium.

On this machine their plain C model runs; under QEMU the instructions themselves, held to the oracle
by the self test and to the model operation by operation.
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
from kernels import GCC, Way, compiled, needs, planned, prove_right
from quant_layers import Filled, filled, quantised, random_layer

from convgen.choose.chooser import choose, ranking
from convgen.errors import ScheduleError
from convgen.kernels import lower
from convgen.kernels.pack import pack_sections
from convgen.kernels.windows.body import WindowBody, WindowPacking
from convgen.numbers.thresholds import thresholds
from convgen.oracle.integers import reference
from convgen.package.emit.files import emit_files
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec import Weights
from convgen.spec.elements import arrays_of, numpy_dtype
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layer, Layout, Padding
from convgen.spec.quant import Affine, Quant, Rounding, fixed_point
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS, Target
from convgen.target.arm.window_mve import MVE_WINDOWS
from convgen.target.arm.window_smlad import SMLAD_WINDOWS
from convgen.target.arm.window_text import operations, tile_type
from convgen.target.arm.windows import Numbers, WindowKernel
from convgen.verify.eva import Reading
from convgen.verify.prove import prove

M4, M55 = TARGETS["cortex-m4"], TARGETS["cortex-m55"]
RELU = Activation(Act.RELU)
ONE, TWO = Padding(1, 1, 1, 1), Padding(2, 2, 2, 2)
HOWS = (
    (Rounding.TFLITE, DType.UINT8), (Rounding.TFLITE_SINGLE, DType.UINT8),
    (Rounding.ONNX, DType.INT8), (Rounding.ONNX, DType.UINT8), (Rounding.TFLITE_SINGLE, DType.INT8),
)  # fmt: skip


def shape(h: int, c: int, oc: int, k: int, **more: object) -> ConvSpec:
    return ConvSpec("edge", h, h + 1, c, oc, k, k, **more)  # type: ignore[arg-type]


# Windows of every remainder of a step; odd pixels and filters; borders, strides, dilations, groups.
SHAPES = {
    "three_channels": shape(7, 3, 5, 5, padding=TWO),
    "odd_pixels": ConvSpec("edge", 5, 5, 9, 4, 1, 1),
    "strided": shape(4, 6, 3, 3, sh=2, padding=ONE),
    "whole_steps": shape(5, 4, 7, 3, padding=ONE, batch=2),
    "wide": shape(5, 32, 5, 3, padding=ONE),
    "dilated": shape(5, 17, 6, 2, dw=2, padding=ONE),
    "dilated_words": shape(6, 8, 5, 3, sw=2, dh=2, padding=TWO),
    "pointwise_strided": shape(5, 40, 3, 1, sh=2, sw=2, batch=2),
    "groups": shape(5, 12, 8, 3, groups=2, padding=ONE),
    "groups_of_words": shape(5, 8, 10, 3, groups=2, padding=ONE),
    "no_taps": shape(2, 5, 4, 1, padding=TWO),
    "one_channel": shape(9, 1, 6, 5, padding=TWO),
    "dense": ConvSpec("edge", 1, 1, 50, 9, 1, 1),
    "two_filters": shape(4, 7, 2, 3, padding=ONE),
    "four_filters": ConvSpec("edge", 1, 1, 20, 4, 1, 1),
    "one_filter": shape(4, 7, 1, 3, padding=ONE),
    "valid": shape(6, 8, 4, 3),
    "lanes_and_more": shape(6, 11, 11, 3, groups=11, padding=ONE, batch=2),
    "lanes_strided": shape(7, 8, 8, 3, groups=8, sh=2, sw=2, padding=Padding(0, 0, 1, 1)),
    "lanes_dilated": shape(9, 16, 16, 3, groups=16, dh=2, dw=3, padding=TWO),
    "lanes_long": shape(9, 9, 9, 5, groups=9, padding=TWO),
    "lanes_valid": shape(6, 200, 200, 3, groups=200),
    "lanes_few": shape(5, 5, 5, 3, groups=5, padding=ONE),
}  # fmt: skip
ACTS = (Activation(), RELU, Activation(Act.RELU6), Activation(Act.CLIP, low=-3.0))
DEPTHWISE = {label for label, spec in SHAPES.items() if spec.groups == spec.c > 1}


def layers() -> Iterator[tuple[str, ConvSpec]]:
    """Every shape in TFLite's own rounding; the other ways of quantisation in turn."""
    for i, (label, spec) in enumerate(SHAPES.items()):
        rounding, dtype = HOWS[i % len(HOWS)]
        spec = replace(spec, activation=ACTS[i % 3])
        yield label, quantised(spec, Rounding.TFLITE, DType.UINT8 if i % 2 else DType.INT8)
        yield f"{label}_too", quantised(replace(spec, activation=ACTS[i % 4]), rounding, dtype)


LAYERS = dict(layers())


def windowed(spec: ConvSpec, target: Target) -> KernelPlan:
    """The best plan of these kernels, whatever else the chooser would take."""
    found = (entry.plan for entry in ranking(spec, target))
    return next(plan for plan in found if isinstance(plan.body, WindowBody))


def run(layer: Filled, plan: KernelPlan, way: Way = GCC) -> np.ndarray:
    """The output; what pack wrote is what would be baked."""
    path = compiled(layer.spec.name, render_c(plan), way)
    lib, spec = ctypes.CDLL(str(path)), layer.spec
    packed = np.empty(plan.packed_bytes, np.uint8)
    workspace = np.empty(plan.workspace_bytes // 4 + 1, np.float32)
    y = np.empty(spec.y_shape, numpy_dtype(arrays_of(spec).y))
    b = None if layer.b is None else layer.b.ctypes.data_as(ctypes.c_void_p)
    at = [a.ctypes.data_as(ctypes.c_void_p) for a in (layer.w, packed, layer.x, y, workspace)]
    assert lib.edge_pack(at[0], b, at[1]) == 0
    if isinstance(plan.sections, WindowPacking):
        baked = pack_sections(plan, Weights(layer.w, layer.b))
        assert packed.tobytes() == baked.tobytes()
    lib.edge_run(at[2], at[1], at[3], at[4])
    return y


@pytest.mark.parametrize("target", [M4, M55], ids=lambda t: t.name)
@pytest.mark.parametrize("label", list(LAYERS))
def test_the_model_gives_the_bits_of_the_oracle(label: str, target: Target) -> None:
    needs("plain")
    spec = LAYERS[label]
    plan = windowed(spec, target)
    assert isinstance(plan.body, WindowBody)
    assert plan.body.depthwise == (label.removesuffix("_too") in DEPTHWISE)
    layer = filled(spec, len(label))
    np.testing.assert_array_equal(run(layer, plan), reference(spec, layer.x, layer.w, layer.b))


@pytest.mark.needs("clang")
@pytest.mark.parametrize("label", ["three_channels", "groups_of_words", "dense", "lanes_and_more"])
def test_every_tile_gives_them(label: str) -> None:
    """Every schedule that there is, clang's reading of them too."""
    spec = LAYERS[label]
    layer = filled(spec, 1)
    want = reference(spec, layer.x, layer.w, layer.b)
    for target in (M4, M55):
        found = [entry.plan for entry in ranking(spec, target)]
        mine = [plan for plan in found if isinstance(plan.body, WindowBody)]
        assert mine
        for i, plan in enumerate(mine):
            way = Way("clang" if i % 2 else "gcc", flags=("-O1", "-Wpedantic"))
            needs("plain", way)
            np.testing.assert_array_equal(run(layer, plan, way), want, str(plan.schedule))


@pytest.mark.parametrize("rounding", Rounding)
def test_random_layers(rounding: Rounding) -> None:
    """Of any geometry, activation and scale; those without such a kernel have another."""
    served = 0
    for seed in range(12):
        dtype = DType.UINT8 if seed % 2 else DType.INT8
        layer = random_layer(seed, rounding, dtype=dtype, w_zero=False, layout=Layout.NHWC)
        for target in (M4, M55):
            plan = planned(layer.spec, target)
            served += isinstance(plan.body, WindowBody)
            want = reference(layer.spec, layer.x, layer.w, layer.b)
            np.testing.assert_array_equal(run(layer, plan), want, str(layer.spec))
    assert served > 12


@pytest.mark.parametrize("target", [M4, M55], ids=lambda t: t.name)
@pytest.mark.parametrize("act", [Activation(), RELU], ids=lambda act: act.kind)
def test_int32_sums(act: Activation, target: Target) -> None:
    quant = Quant(Affine((), (3,)), Affine((), (0,)), None)
    for groups in (1, 8):
        spec = ConvSpec("edge", 5, 6, 8, 8, 3, 3, groups=groups, padding=ONE, dtype=DType.UINT8,
                        quant=quant, activation=act)  # fmt: skip
        layer = filled(spec, 2)
        plan = windowed(spec, target)
        np.testing.assert_array_equal(run(layer, plan), reference(spec, layer.x, layer.w, layer.b))


@pytest.mark.parametrize("target", [M4, M55], ids=lambda t: t.name)
def test_nothing_beyond_the_arrays_is_read(target: object) -> None:
    """The whole ladder, guard pages before and behind every array among it."""
    for label in ("three_channels", "odd_pixels", "groups_of_words", "lanes_and_more", "dense"):
        prove_right(planned(LAYERS[label], target))


@pytest.mark.parametrize("target", [M4, M55], ids=lambda target: target.name)
@pytest.mark.parametrize("zero", [-128, 5])
def test_filters_of_zeros_leave_the_others_as_they_are(zero: int, target: Target) -> None:
    """A scale of 0, as training leaves some: scaling by one multiply-add, or by vectors, stands."""
    scales = (0.01, 0.0, 0.02, 0.0, 0.03, 0.005)
    quant = Quant(Affine((1.0,), (3,)), Affine(scales), Affine((0.5,), (zero,)))
    for spec in (shape(6, 5, 6, 3, padding=ONE), shape(6, 6, 6, 3, padding=ONE, groups=6)):
        layer = filled(replace(spec, dtype=DType.INT8, quant=quant), 4)
        layer.w[..., 1::2] = 0
        plan = windowed(layer.spec, target)
        text = render_c(plan)["edge.c"]
        assert isinstance(plan.body, WindowBody)
        by_vectors = plan.body.kernel.vector_ends
        quick = r"_out_(tile|lanes)\(y" if by_vectors else r"_scaled(_signed)?\(sum"
        assert re.search(quick, text)
        np.testing.assert_array_equal(
            run(layer, plan), reference(layer.spec, layer.x, layer.w, layer.b)
        )


def test_which_layers_are_served() -> None:
    """Planes and weights with zero points are not; too few filters for Helium take SMLAD."""
    plan = windowed(LAYERS["strided"], M55)
    assert plan.isas == ("smlad",) and plan.schedule.lanes == 4  # three filters
    assert planned(LAYERS["wide"], M55).isas == ("mve",)
    assert planned(LAYERS["lanes_few"], M55).isas == ("smlad",)
    planes = replace(LAYERS["wide"], layout=Layout.NCHW)
    assert not isinstance(planned(planes, M4).body, WindowBody)
    shifted = quantised(SHAPES["wide"], Rounding.ONNX, DType.INT8, (3,))
    assert not isinstance(planned(shifted, M4).body, WindowBody)


def test_tiles_there_are_not_are_refused() -> None:
    spec = LAYERS["wide"]
    with pytest.raises(ScheduleError, match=r"is none of this layer's: .*vectors: 4"):
        lower(spec, Schedule(Family.DIRECT, 4, 1, 3, 3), M4)
    with pytest.raises(ScheduleError, match="is none of this layer's"):
        lower(LAYERS["lanes_valid"], Schedule(Family.DEPTHWISE, 8, 1, 1, 1), M4)


def test_a_limit_on_the_workspace_takes_the_tiles_that_need_none() -> None:
    """Windows are in the workspace; where none is allowed, the older tiles stay."""
    ranked = ranking(LAYERS["wide"], M4)
    assert ranked[0].plan.workspace_bytes > 0
    assert any(entry.plan.workspace_bytes == 0 for entry in ranked)


@pytest.mark.parametrize("zero", [-128, 5], ids=["clamped", "signed"])
@pytest.mark.parametrize("rounding", [Rounding.TFLITE, Rounding.TFLITE_SINGLE])
def test_sums_on_both_sides_of_every_step(rounding: Rounding, zero: int) -> None:
    """The bias alone is the sum: each output's first one, and the one before it."""
    for ratio in (0.0072, 0.3, 2.0**-9):
        pairs = [fixed_point(single_precision(ratio))]
        steps = np.arange(-128 - zero + 1, 127 - zero + 1)
        factor, right = np.array([pairs[0][0]], np.int64), np.array([-pairs[0][1]], np.int64)
        first = thresholds(factor, right, steps, once=rounding is Rounding.TFLITE_SINGLE)[0]
        b = np.concatenate([first, first - 1, first + 1]).astype(np.int32)
        quant = Quant(Affine((single_precision(ratio),), (0,)), Affine((1.0,)),
                      Affine((1.0,), (zero,)), None, rounding)  # fmt: skip
        spec = ConvSpec("edge", 1, 1, 1, len(b), 1, 1, dtype=DType.INT8, quant=quant)
        layer = Filled(spec, np.zeros(spec.x_shape, np.int8), np.ones(spec.w_shape, np.int8), b)
        for target in (M4, M55):
            plan = windowed(spec, target)
            want = reference(spec, layer.x, layer.w, layer.b)
            np.testing.assert_array_equal(run(layer, plan), want, str(ratio))


def single_precision(value: float) -> float:
    return float(np.float32(value))


def test_pack_names_the_channel_that_overflows() -> None:
    quant = Quant(Affine((), (-128,)), Affine((), (0,)), None)
    spec = ConvSpec("edge", 1, 1, 66311, 3, 1, 1, dtype=DType.INT8, quant=quant)
    plan = windowed(spec, M4)
    w, b = np.full(spec.w_shape, 127, np.int8), np.zeros(3, np.int32)
    lib = ctypes.CDLL(str(compiled("edge", render_c(plan), GCC)))
    packed = np.empty(plan.packed_bytes, np.uint8)

    def status() -> int:
        return int(lib.edge_pack(*(a.ctypes.data_as(ctypes.c_void_p) for a in (w, b, packed))))

    assert status() == 0
    b[1] = 1913
    assert status() == 2
    b[1], w[0, 0, :8, 2] = 0, -128
    assert status() == 3
    b[0] = -(2**31)
    assert status() == 1


# -- the instructions themselves -----------------------------------------------------------------


def program(target: str, chosen: list[str]) -> tuple[dict[str, str], list[str]]:
    """One program of these layers' self tests, and the instructions that each should name."""
    files: dict[str, str] = {}
    calls, isas = "", []
    for label in chosen:
        spec = replace(LAYERS[label], name=f"layer_{label}")
        emitted = emit_files(Layer(spec, "<t>"), TARGETS[target])
        for file in (f"{spec.name}.c", f"{spec.name}.h"):
            files[file] = emitted[file]
        files[f"{spec.name}_test.c"] = (
            f"int {spec.name}_main(void);\n#define main {spec.name}_main\n{emitted['selftest.c']}"
        )
        calls += f"  if ({spec.name}_main() != 0) return 1;\n"
        isas += planned(spec, TARGETS[target]).isas
    protos = "".join(f"int layer_{label}_main(void);\n" for label in chosen)
    files["all.c"] = f"{protos}int main(void)\n{{\n{calls}  return 0;\n}}\n"
    return files, isas


@pytest.mark.needs("arm-none-eabi-gcc", "qemu-system-arm")
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"])
@pytest.mark.parametrize("half", [0, 1])
def test_the_self_tests_on_the_machine(name: str, half: int, tmp_path: Path) -> None:
    chosen = list(LAYERS)[half::2]
    chosen = chosen[::4] if name in ("cortex-m7", "cortex-m33") else chosen
    files, isas = program(name, chosen)
    code, words = run_program(BY_NAME[name], tmp_path, files)
    assert code == 0, words
    assert re.findall(r": ok, .*\(([\w-]+), ", words) == isas
    assert ("mve" if name == "cortex-m55" else "smlad") in isas


SIDE = """\
#include <stdint.h>
#include <stddef.h>
#include <string.h>
{header}
typedef {tile} {d}_tile;
typedef {lanes} {d}_lanes;
{operations}
void {name}(const int8_t *a, const int8_t *b, uint32_t s, int32_t *r);
/* All operations in turn; r: what became of them. */
void {name}(const int8_t *a, const int8_t *b, uint32_t s, int32_t *r)
{{
  static {item} windows[1024];
  {opaque}
  const {x} *const x = (const {x} *)a;
  static int8_t biases[32];
  {y} y[16];
  {d}_tile t;
  {d}_lanes l;
  for (int i = 0; i < 32; ++i) biases[i] = (int8_t)(i % 4 == 3 ? a[i] / 8 : a[i]);
  for (int i = 0; i < {sums}; ++i) t.sum[i] = {d}_number(biases + 4 * (i % 8));
  t.w = b;
{gathered}
  for (int i = 0; i < {sums}; ++i) *r++ = t.sum[i];
  *r++ = (int32_t)(t.w - b);
  {d}_start(&l, biases);
  {d}_tap(&l, x + 3, b + 5);
  {d}_window(&l, x, b);
{ends}
  (void)y, (void)s;
}}
"""
MAIN = """\
#include <stdint.h>
#include <stdio.h>
#include <string.h>
void real(const int8_t *a, const int8_t *b, uint32_t s, int32_t *r);
void modelled(const int8_t *a, const int8_t *b, uint32_t s, int32_t *r);
int main(void)
{
  static int8_t a[2048], b[2048];
  static int32_t r[256], m[256];
  uint32_t s = 1;
  int bad = 0;
  for (int round = 0; round < 300; ++round) {
    for (int i = 0; i < 2048; ++i) {
      s = s * UINT32_C(1664525) + UINT32_C(1013904223);
      a[i] = (int8_t)((int)(s >> 24) - 128);
      b[i] = (int8_t)((int)(s >> 16 & 255) - 128);
    }
    if (round < 4) memset(a, round % 2 ? 127 : -128, 2048), memset(b, round / 2 ? 127 : -128, 2048);
    memset(r, 0, sizeof r), memset(m, 0, sizeof m);
    real(a, b, s, r);
    modelled(a, b, s, m);
    bad += memcmp(r, m, sizeof r) != 0;
  }
  if (bad != 0) printf("%d wrong\\n", bad);
  return bad != 0;
}
"""
RANGE = (-128, 127), (0, 255)


def numbers(
    kernel: WindowKernel, tile: tuple[int, int], *, unsigned: bool, zero: int, out_zero: int
) -> Numbers:
    low, high = RANGE[unsigned]
    outside = 0 if kernel.centred else zero - 128 * unsigned
    return Numbers(
        tile=tile, counts=(1, 3), zero=zero, outside=outside, unsigned=unsigned,
        out_zero=out_zero, low=low, high=high - 2, down=7, taps=(0, 7, 300, 1000),
        y="uint8_t" if unsigned else "int8_t",
    )  # fmt: skip


def side(kernel: WindowKernel, n: Numbers, name: str) -> str:
    """A C file with one function, in instructions (``real``) or in plain C."""
    names = ["number", "take", "fill", "start", "tap", "window", "spill", "scaled", "scaled_signed"]
    pixels, filters = n.tile
    if kernel.looped:
        names += ["dots", "out_tile", "out_lanes"]
        steps = (
            "  D_take(windows, x, 41);\n  D_fill(windows + 41, 9);\n  D_dots(&t, windows, 50);\n"
        )
        ends = (
            "  static const int32_t f[8] = { 1 << 30, 2147483647, 1234567890, 1500000000,\n"
            "    1073741825, 2000000000, 1999999999, 1100000000 };\n"
            "  static const int8_t k[8] = { -1, -9, -11, -7, -12, -8, -10, -9 };\n"
            "  D_out_tile(y, &t, f, k);\n  D_out_lanes(y + 4, &l, f, k);\n"
            "  for (int i = 0; i < 12; ++i) *r++ = y[i];\n  D_spill(r, &l);\n  r += 8;\n"
        )
    else:
        names += ["steps_1", "steps_3"]
        takes = "".join(
            f"  D_take(windows + {4 * p}, x + {21 * p}, {12 if p else 8});\n" for p in range(pixels)
        )
        steps = f"{takes}  D_fill(windows + {8 * pixels}, 4);\n"
        steps += f"  D_take(windows + {12 * pixels}, x, 4);\n"
        for p in range(1, pixels):
            steps += f"  D_take(windows + {12 * pixels + 4 * p}, x + 33, 4);\n"
        steps += "  t.x = windows;\n  D_steps_1(&t);\n  D_steps_3(&t);\n"
        ends = "  D_spill(r, &l);\n  r += 4;\n"
    ends += (
        "  for (int i = 0; i < 8; ++i) {\n"
        "    *r++ = D_scaled(D_number(a + 4 * i), (int32_t)(s >> 1), (int64_t)1 << (20 + 3 * i));\n"
        "    *r++ = D_scaled(b[i] * 100, 1000000000, ((int64_t)1 << 38) - 12345);\n"
        "    *r++ = D_scaled_signed(b[i] * 100, 1000000000, 12345, 1 << (15 + 2 * i));\n  }\n"
        "  *r++ = D_scaled_signed(-1, 1, (int64_t)5 << 39, 1);\n"
    )
    model = name != "real"
    found = operations(kernel, n, names, model=model)
    text = "".join(
        f"static inline {op.result} {kernel.prefix}_{op.name}({op.params})\n{{\n  {op.body}\n}}\n"
        for op in found
    )
    lanes = f"struct {{ int32_t sum[{kernel.lanes}]; }}" if model else kernel.lane_type
    return SIDE.format(
        opaque="" if model else '__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(s), "+r"(r));',
        header="" if model else f"#include <{kernel.header}>", d=kernel.prefix, name=name,
        tile=tile_type(kernel, n), lanes=lanes, operations=text, item=kernel.item, x=n.x, y=n.y,
        sums=pixels * filters, gathered=steps.replace("D_", f"{kernel.prefix}_"),
        ends=ends.replace("D_", f"{kernel.prefix}_"),
    )  # fmt: skip


@pytest.mark.needs("arm-none-eabi-gcc", "qemu-system-arm")
@pytest.mark.parametrize("unsigned", [False, True], ids=["int8", "uint8"])
@pytest.mark.parametrize(
    ("name", "kernel", "tile"),
    [("cortex-m4", SMLAD_WINDOWS, tile) for tile in SMLAD_WINDOWS.tiles]
    + [("cortex-m55", MVE_WINDOWS, tile) for tile in MVE_WINDOWS.tiles],
)
def test_operations_mean_what_the_model_says(
    name: str, kernel: WindowKernel, tile: tuple[int, int], unsigned: bool, tmp_path: Path
) -> None:
    """Every operation on random and extreme bytes, sums and biases."""
    for i, out_zero in enumerate((RANGE[unsigned][0], 17)):
        n = numbers(kernel, tile, unsigned=unsigned, zero=(-9, 117)[unsigned], out_zero=out_zero)
        files = {
            "real.c": side(kernel, n, "real"),
            "modelled.c": side(kernel, n, "modelled"),
            "main.c": MAIN,
        }
        folder = tmp_path / str(i)
        folder.mkdir()
        code, words = run_program(BY_NAME[name], folder, files, "-Wno-error=unused-variable")
        assert code == 0, words


def listing(plan: KernelPlan, folder: Path, name: str) -> list[str]:
    gcc = compiler(BY_NAME[name]).command
    for file, text in render_c(plan).items():
        (folder / file).write_text(text)
    command = [*gcc, *STRICT, *TARGETS[name].flags, "-S", "edge.c", "-o", "-"]
    made = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [line.strip() for line in made.stdout.splitlines()]


def function(lines: list[str], name: str) -> list[str]:
    """The instructions of one C function."""
    start = lines.index(f"{name}:")
    body = lines[start : next(i for i in range(start, len(lines)) if lines[i].startswith(".size"))]
    return [line for line in body if re.match(r"[a-z]", line)]


@pytest.mark.needs("arm-none-eabi-gcc")
def test_a_tile_of_smlad_spills_nothing_in_its_steps(tmp_path: Path) -> None:
    """Fourteen instructions for sixteen products, and three around four steps."""
    spec = quantised(shape(9, 32, 8, 3, activation=RELU), Rounding.TFLITE)
    plan = planned(spec, M4)
    lines = function(listing(plan, tmp_path, "cortex-m4"), "edge_outputs")
    first = next(i for i, line in enumerate(lines) if line.startswith("ldmia"))
    last = max(i for i, line in enumerate(lines) if line.startswith("smlad"))
    steps = lines[first : last + 1]
    products = sum(line.startswith("smlad") for line in steps)
    assert products == 8 * 4
    assert len(steps) <= 14 * products // 8 + 4, steps
    assert sum(line.startswith("smlal") for line in lines) == 4
    assert sum(line.startswith("ssat") for line in lines) == 4


@pytest.mark.needs("arm-none-eabi-gcc")
def test_helium_scales_four_outputs_at_a_time(tmp_path: Path) -> None:
    spec = quantised(shape(9, 32, 8, 3, activation=RELU), Rounding.TFLITE)
    lines = function(listing(planned(spec, M55), tmp_path, "cortex-m55"), "edge_outputs")
    counted = {word: sum(word in line for line in lines) for word in ("vmladava", "vrshl", "le")}
    assert counted["vmladava"] == 4 and counted["vrshl"] == 1, lines
    assert len(lines) < 60, lines
    deep = quantised(shape(9, 16, 16, 3, groups=16, padding=ONE, activation=RELU), Rounding.TFLITE)
    whole = function(listing(planned(deep, M55), tmp_path, "cortex-m55"), "edge_whole")
    assert sum(line.startswith("vmull") for line in whole) == 18
    assert len(whole) < 110, whole


@pytest.mark.needs("arm-none-eabi-gcc")
def test_no_call_of_a_library(tmp_path: Path) -> None:
    """No division, no 64-bit helper: only copies of memory."""
    gcc = compiler(BY_NAME["cortex-m4"]).command
    for label in ("three_channels", "wide", "lanes_dilated"):
        for file, text in render_c(planned(LAYERS[label], M4)).items():
            (tmp_path / file).write_text(text)
        command = [*gcc, *STRICT, *M4.flags, "-c", "edge.c"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
        nm = [gcc[0].replace("gcc", "nm"), "-u", "edge.o"]
        undefined = subprocess.run(nm, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert set(undefined.stdout.split()) <= {"U", "memcpy", "memset"}, label


@pytest.mark.needs("arm-none-eabi-gcc")
@pytest.mark.parametrize("flags", [("-O0",), ("-Os",), ("-O1", "-fno-omit-frame-pointer")])
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55"])
def test_any_optimisation_compiles(name: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    """Assembly that needs nearly all registers still leaves enough; without -O the model runs."""
    gcc = compiler(BY_NAME[name]).command
    for label in ("three_channels", "wide", "dense", "lanes_and_more"):
        for file, text in render_c(planned(LAYERS[label], TARGETS[name])).items():
            (tmp_path / file).write_text(text)
        command = [*gcc, *STRICT, *TARGETS[name].flags, *flags, "-c", "edge.c"]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=60)


@pytest.mark.needs("frama-c")
@pytest.mark.parametrize("label", ["three_channels", "groups_of_words", "dense", "lanes_few"])
@pytest.mark.parametrize("target", [M4, M55], ids=lambda t: t.name)
def test_every_access_is_proved(label: str, target: Target) -> None:
    spec = replace(LAYERS[label], activation=RELU)
    spec = quantised(spec, Rounding.TFLITE)
    plan = planned(spec, target)
    files = render_c(plan)
    assert prove(plan, files, Reading.SIMD).alarms == ()  # sums wrap: none overflows
    assert choose(spec, target).bound == "instructions"


@pytest.mark.needs("frama-c")
def test_a_tap_beside_the_image_is_no_proof() -> None:
    spec = quantised(replace(LAYERS["lanes_few"], activation=RELU), Rounding.TFLITE)
    plan = planned(spec, M4)
    files = render_c(plan)
    late = {**files, "edge.c": files["edge.c"].replace("col >= 6) continue", "col > 6) continue")}
    assert late != files
    assert any("out of bounds" in alarm for alarm in prove(plan, late, Reading.SIMD).alarms)

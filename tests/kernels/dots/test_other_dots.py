"""8-bit products on Arm (NEON's, with and without SDOT) and WebAssembly under emulation, and what
compilers make of Arm's hot loops. The model of the same operations runs in test_dot_kernels.py."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from foreign import BY_NAME, STRICT, emulator, run_program
from quant_layers import quantised
from tools import cannot_compile

from convgen.choose.chooser import ranking
from convgen.kernels.dots.body import DotBody
from convgen.package.emit.files import emit_files
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.model import Act, Activation, ConvSpec, DType, Layer, Layout, Padding
from convgen.spec.quant import Affine, Quant, Rounding
from convgen.target import TARGETS
from convgen.target.dots import OPTIONAL, DotIsa, shapes
from convgen.target.isa import VectorIsa

pytestmark = pytest.mark.tools
ARM = ("aarch64-dotprod", "aarch64-neon", "armv7-neon")
ALL = (*ARM, "wasm-simd128")
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


@pytest.mark.parametrize(("turn", "target"), list(enumerate(ALL)))
def test_self_tests(turn: int, target: str, tmp_path: Path) -> None:
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


# -- the operations themselves -------------------------------------------------------------------

SIDE = """\
#include <stdint.h>
#include <string.h>
@include
#define V4_OP @inlined
typedef @ctype v4;
@types
@operations
#define PARAMETERS const @x *x, const int8_t *w, const int32_t *a, const int32_t *b, \\
  const float *f, const int64_t *t, const int32_t *by, int32_t *out
#define A v4_sums((const int8_t *)(const void *)a)
#define B v4_sums((const int8_t *)(const void *)b)
#define RUN(name, result) \\
  @attribute void @side_##name(PARAMETERS); \\
  @attribute void @side_##name(PARAMETERS) \\
  { (void)x, (void)w, (void)a, (void)b, (void)f, (void)t, (void)by; v4_spill(out, result); }
#define PUT(name, call) \\
  @attribute void @side_##name(PARAMETERS); \\
  @attribute void @side_##name(PARAMETERS) \\
  { (void)x, (void)w, (void)b, (void)f, (void)t, (void)by; @x bytes[16] = {0}; call; \\
    memcpy(out, bytes, sizeof bytes); }
RUN(sums, A)
RUN(sub, v4_sub(A, B))
RUN(dot, v4_dot(v4_quad(x), v4_weights(w), A))
RUN(product, v4_product(v4_each(x), v4_taps(w), A))
RUN(each_1, v4_product(v4_each_part(x, 1), v4_taps(w), A))
RUN(each_2, v4_product(v4_each_part(x, 2), v4_taps(w), A))
RUN(each_3, v4_product(v4_each_part(x, 3), v4_taps(w), A))
RUN(rescale, v4_rescale(A, v4_reals(f)))
RUN(rescale_within, v4_rescale_within(A, v4_reals(f), -131.0f, 122.0f))
RUN(reduce, v4_reduce(A, b, t, by))
RUN(reduce_signed, v4_reduce_signed(A, b, t, by))
RUN(add1, v4_add1(A, b[0]))
RUN(max1, v4_max1(A, b[0]))
RUN(min1, v4_min1(A, b[0]))
PUT(narrow, v4_narrow(bytes, A))
PUT(narrow_1, v4_narrow_part(bytes, A, 1))
PUT(narrow_2, v4_narrow_part(bytes, A, 2))
PUT(narrow_3, v4_narrow_part(bytes, A, 3))
"""
MAIN = """\
#include <stdint.h>
#include <stdio.h>
#include <string.h>
typedef void side(const @x *x, const int8_t *w, const int32_t *a, const int32_t *b,
  const float *f, const int64_t *t, const int32_t *by, int32_t *out);
side @declared;
static const struct { const char *name; side *is, *should; } each[] = {
@pairs
};
static uint32_t state = 1;
static uint32_t next(void)
{
  state = state * UINT32_C(1664525) + UINT32_C(1013904223);
  return state ^ state >> 15;
}
/* Sums of every size; a quarter close to ties of the scales below. */
static int32_t sum(void)
{
  const int32_t v = (int32_t)(next() % UINT32_C(2147483647)) >> next() % 31;
  return next() % 2 ? v : -v;
}
int main(void)
{
  int bad = 0;
  for (int turn = 0; turn < 4000; ++turn) {
    static const float scales[] = { 0.5f, 0.25f, 0.125f, 0.0078125f, 0.3f, 0.0123f, 0.499f };
    static const int32_t extremes[] = { -128, 127, -127, 0 };
    @x x[4];
    int8_t w[16];
    int32_t a[4], b[4], by[4];
    int64_t t[4];
    float f[4];
    for (int i = 0; i < 4; ++i) {
      x[i] = (@x)(turn % 3 ? (int32_t)(next() % 256) + (@low)
        : extremes[next() % 2] + (@low) + 128);
      a[i] = sum(), b[i] = sum();
      by[i] = (int32_t)(next() % 21);
      t[i] = (int64_t)(next() % UINT32_C(2147483647)) << by[i];
      f[i] = scales[next() % 7];
    }
    for (int i = 0; i < 16; ++i) {
      w[i] = (int8_t)(turn % 3 ? (int32_t)(next() % 256) - 128 : extremes[next() % 4]);
    }
    for (unsigned k = 0; k < sizeof each / sizeof *each; ++k) {
      int32_t real[4], wanted[4];
      each[k].is(x, w, a, b, f, t, by, real);
      each[k].should(x, w, a, b, f, t, by, wanted);
      if (memcmp(real, wanted, sizeof real) == 0) continue;
      if (bad++ < 9) printf("%s: %ld for %ld\\n", each[k].name, (long)real[0], (long)wanted[0]);
    }
  }
  return bad != 0;
}
"""
NAMES = re.findall(r"^(?:RUN|PUT)\((\w+),", SIDE, re.M)


def side(isa: VectorIsa, name: str, x: str) -> str:
    """Every operation as a function over arrays, named for its side."""
    marks = {
        "@include": f"#include <{isa.header}>" if isa.header else "",
        "@inlined": isa.inlined,
        "@ctype": isa.ctype,
        "@types": "\n".join(f"typedef {ctype} v4_{suffix};" for suffix, ctype in isa.types),
        "@operations": "\n".join(
            f"V4_OP {op.result} v4_{op.name}({op.params})\n{{\n  {op.body}\n}}"
            for op in isa.operations
            if op.name not in OPTIONAL  # clang warns of functions that nobody calls
        ),
        "@attribute": f"__attribute__(({isa.attribute}))" if isa.attribute else "",
        "@side": name,
        "@x": x,
    }
    return filled_in(SIDE, marks)


def filled_in(text: str, marks: dict[str, str]) -> str:
    for mark, value in marks.items():
        text = text.replace(mark, value)
    return text


@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8])
@pytest.mark.parametrize("target", ALL)
def test_operations_mean_what_the_model_says(target: str, dtype: DType, tmp_path: Path) -> None:
    isa = TARGETS[target].dot_isas(dtype)[0]
    assert isa.modelled is not None
    assert {
        re.sub(r"_\d|_part", "", op)
        for op in [*NAMES, "quad", "weights", "each", "taps", "reals", "spill"]
    } == {op.replace("_part", "") for op in shapes("") if op not in OPTIONAL}
    sides = ", ".join(f"{kind}_{name}" for kind in ("real", "model") for name in NAMES)
    pairs = "\n".join(f'  {{ "{name}", real_{name}, model_{name} }},' for name in NAMES)
    low = "-128" if dtype is DType.INT8 else "0"
    x = f"{dtype}_t"
    main = filled_in(MAIN, {"@x": x, "@declared": sides, "@pairs": pairs, "@low": low})
    files = {
        "real.c": side(isa, "real", x),
        "model.c": side(isa.modelled, "model", x),
        "main.c": main,
    }
    code, words = run_program(BY_NAME[target], tmp_path, files)
    assert code == 0, words


# -- what compilers make of them -----------------------------------------------------------------

DENSE = shape(12, 32, 64, 3, padding=ONE)
# Of a dense 3x3 layer: products of bytes, and instructions for each hundred of them.
BUDGET = {
    ("aarch64-dotprod", DType.INT8): 11,
    ("aarch64-dotprod", DType.UINT8): 14,
    ("aarch64-neon", DType.INT8): 43,
    ("aarch64-neon", DType.UINT8): 43,
}
CLANG = ("clang-19", "--target=aarch64-linux-gnu")
PROBE = "#include <arm_neon.h>\n#include <string.h>\n"


def hot_loop(spec: ConvSpec, target: str, command: tuple[str, ...], folder: Path) -> list[str]:
    """The instructions of the block with most products that jumps back to its own label."""
    for file, text in render_c(best(spec, target)).items():
        (folder / file).write_text(text)
    flags = [*STRICT, *TARGETS[target].flags, "-S", f"{spec.name}.c", "-o", "-"]
    made = subprocess.run([*command, *flags], cwd=folder, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    label, block, found = "", list[str](), list[list[str]]()
    for line in made.stdout.splitlines():
        if named := re.match(r"(\.L\w+):", line):
            label, block = named[1], []
        elif re.match(r"\t[a-z]", line):
            block.append(line.strip())
            if re.search(rf"\s{re.escape(label)}\b", line) and line.startswith("\tb"):
                found.append(block)
    return max(found, key=lambda lines: products(lines, target))


def products(lines: list[str], target: str) -> int:
    many = 16 if target == "aarch64-dotprod" else 4
    return many * sum(line.startswith(FIRST[target]) for line in lines)


def best(spec: ConvSpec, target: str) -> KernelPlan:
    plan = ranking(spec, TARGETS[target])[0].plan
    assert isinstance(plan.body, DotBody) and isinstance(plan.body.isa, DotIsa)
    return plan


@pytest.mark.parametrize("cc", ["aarch64-linux-gnu-gcc", "clang-19"])
@pytest.mark.parametrize(("target", "dtype"), BUDGET)
def test_the_hot_loop(target: str, dtype: DType, cc: str, tmp_path: Path) -> None:
    """Nothing is spilled, and few instructions beside the products."""
    command = CLANG if cc == CLANG[0] else ("aarch64-linux-gnu-gcc",)
    if reason := cannot_compile(command, *TARGETS[target].flags, "-S", text=PROBE):
        pytest.skip(reason)
    lines = hot_loop(quantised(DENSE, Rounding.ONNX, dtype), target, command, tmp_path)
    assert not [line for line in lines if "sp" in line], lines
    most = BUDGET[target, dtype]
    assert 100 * len(lines) <= most * products(lines, target), (len(lines), lines)


# -- which CPU -----------------------------------------------------------------------------------


def test_linux_is_asked_for_the_instructions(tmp_path: Path) -> None:
    """A CPU without them is told from one that has them."""
    rig = BY_NAME["aarch64-dotprod"]
    spec = quantised(LAYERS["by_itself"], Rounding.ONNX)
    code, words = run_program(rig, tmp_path, c_files(spec, rig.target))
    assert code == 0 and "(neon-dotprod, " in words
    older = [*emulator(rig), "-cpu", "cortex-a72", str(tmp_path / "program")]
    ran = subprocess.run(older, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, "skipped" in ran.stdout) == (77, True)

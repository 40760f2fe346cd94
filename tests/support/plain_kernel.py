"""A kernel of plain loops with the generated C's interface: the fixture that judges the judges.

``build_plain(spec, folder)`` must pass every check; ``build_plain(spec, folder, bug=...)`` holds
one mistake of ``BUGS`` and must not. Compiled with the machine's cc; libm is used freely here.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tools import c_compiler

from convgen.spec.model import Act, ConvSpec, Layout, WeightLayout

ALIGN = 64
needs_compiler = pytest.mark.needs("cc")

TEMPLATE = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
enum { N = @n, H = @h, W = @w, C = @c, OH = @oh, OW = @ow, OC = @oc, KH = @kh, KW = @kw,
  SH = @sh, SW = @sw, DH = @dh, DW = @dw, PT = @pt, PL = @pl, G = @groups, ICG = C / G,
  OCG = OC / G, BIAS = @bias, PACKED = @packed / 4, UNITS = N * OH };
#define X_AT(n, h, w, c) @x_at
#define Y_AT(n, h, w, c) @y_at
#define W_AT(kh, kw, ic, oc) @w_at
#define P_AT(kh, kw, ic, oc) ((((kh) * KW + (kw)) * ICG + (ic)) * OC + (oc))

static float act(float v) { return @act; }

int @name_cpu_ok(void) { return 1; }
const char *@name_isa(void) { return "plain"; }

int @name_pack(const float *w, const float *b, void *packed) {
  float *p = packed;
  for (int kh = 0; kh < KH; kh++)
    for (int kw = 0; kw < KW; kw++)
      for (int ic = 0; ic < ICG; ic++)
        for (int oc = 0; oc < OC; oc++)
          p[P_AT(kh, kw, ic, oc)] = w[W_AT(kh, kw, ic, oc)];
  for (int oc = 0; oc < OC; oc++) p[KH * KW * ICG * OC + oc] = BIAS ? b[oc] : 0.0f;
  for (int i = (KH * KW * ICG + 1) * OC; i < PACKED; i++) p[i] = 0.0f;
  return 0;
}

static void pixel(const float *x, const float *p, float *y, float *acc, int n, int oh, int ow) {
  for (int oc = 0; oc < OC; oc++) acc[oc] = p[KH * KW * ICG * OC + oc];
  for (int kh = 0; kh < KH; kh++) {
    int ih = oh * SH - PT + kh * DH;
    if (ih < 0 || ih >= H) continue;
    for (int kw = 0; kw < KW; kw++) {
      int iw = ow * SW - PL + kw * DW;
      if (iw < 0 || iw >= W) continue;
      for (int ic = 0; ic < ICG; ic++)
        for (int oc = 0; oc < OC; oc++) {
          float xv = x[X_AT(n, ih, iw, oc / OCG * ICG + ic)];
          acc[oc] += xv * p[P_AT(kh, kw, ic, oc)];
        }
    }
  }
  for (int oc = 0; oc < OC; oc++) y[Y_AT(n, oh, ow, oc)] = act(acc[oc]);
}

void @name_run_part(const float *x, const void *packed, float *y, void *workspace,
                    int part, int parts) {
  int first = (int)((int64_t)UNITS * part / parts);
  int last = (int)((int64_t)UNITS * (part + 1) / parts);
  for (int u = first; u < last; u++)
    for (int ow = 0; ow < OW; ow++)
      pixel(x, packed, y, workspace, u / OH, u % OH, ow);
}

void @name_run(const float *x, const void *packed, float *y, void *workspace) {
  @name_run_part(x, packed, y, workspace, 0, 1);
}
"""

ACTS = {
    Act.NONE: "v",
    Act.RELU: "v < 0 ? 0 : v",
    Act.RELU6: "v < 0 ? 0 : v > 6 ? 6 : v",
    Act.SIGMOID: "1 / (1 + expf(-v))",
    Act.TANH: "tanhf(v)",
    Act.SILU: "v / (1 + expf(-v))",
    Act.HARDSWISH: "v * (v + 3 < 0 ? 0 : v + 3 > 6 ? 6 : v + 3) / 6",
    Act.GELU: "0.5f * v * erfcf(-0.70710678f * v)",
    Act.GELU_TANH: "v / (1 + expf(-1.5957691f * (v + 0.044715f * v * v * v)))",
}

INNER = "          acc[oc] += xv * p[P_AT(kh, kw, ic, oc)];"
START = "int first = (int)((int64_t)UNITS * part / parts);"
STOP = "int last = (int)((int64_t)UNITS * (part + 1) / parts);"
RUN = "  @name_run_part(x, packed, y, workspace, 0, 1);"
STORE = "y[Y_AT(n, oh, ow, oc)] = act(acc[oc]);"
SKIP_ROW = "if (ih < 0 || ih >= H) continue;"
SKIP_COLUMN = "if (iw < 0 || iw >= W) continue;"

# One mistake each: name -> (text of the good kernel, text of the broken one).
BUGS: dict[str, tuple[str, str]] = {
    "first row dropped": ("ih < 0", "ih < 1"),
    "row before the image read": ("ih < 0", "ih < -1"),
    "last row dropped": ("ih >= H", "ih >= H - 1"),
    "row behind the image read": ("ih >= H", "ih > H"),
    "first column dropped": ("iw < 0", "iw < 1"),
    "column before the image read": ("iw < 0", "iw < -1"),
    "last column dropped": ("iw >= W", "iw >= W - 1"),
    "column behind the image read": ("iw >= W", "iw > W"),
    "last tap row dropped": ("kh < KH; kh++) {", "kh < KH - 1; kh++) {"),
    "first tap row dropped": ("int kh = 0; kh < KH; kh++) {", "int kh = 1; kh < KH; kh++) {"),
    "tap row too many": ("kh < KH; kh++) {", "kh < KH + 1; kh++) {"),
    "last tap column dropped": ("kw < KW; kw++) {", "kw < KW - 1; kw++) {"),
    "first tap column dropped": ("int kw = 0; kw < KW; kw++) {", "int kw = 1; kw < KW; kw++) {"),
    "tap column too many": ("kw < KW; kw++) {", "kw < KW + 1; kw++) {"),
    "last channel dropped": (
        "for (int ic = 0; ic < ICG; ic++)\n        for (int oc = 0; oc < OC; oc++) {",
        "for (int ic = 0; ic < ICG - 1; ic++)\n        for (int oc = 0; oc < OC; oc++) {",
    ),
    "channel too many": (
        "for (int ic = 0; ic < ICG; ic++)\n        for (int oc = 0; oc < OC; oc++) {",
        "for (int ic = 0; ic < ICG + 1; ic++)\n        for (int oc = 0; oc < OC; oc++) {",
    ),
    "last filter unwritten": (f"oc < OC; oc++) {STORE}", f"oc < OC - 1; oc++) {STORE}"),
    "filter too many written": (f"oc < OC; oc++) {STORE}", f"oc < OC + 1; oc++) {STORE}"),
    "last column unwritten": ("ow < OW; ow++", "ow < OW - 1; ow++"),
    "column too many written": ("ow < OW; ow++", "ow < OW + 1; ow++"),
    "row too many written": ("u < last; u++", "u < last + (last == UNITS); u++"),
    "one output unwritten": (STORE, f"if (oh + 1 < OH || ow + 1 < OW || oc) {STORE}"),
    "row stride ignored": ("oh * SH", "oh * 1"),
    "column stride ignored": ("ow * SW", "ow * 1"),
    "row dilation ignored": ("kh * DH", "kh * 1"),
    "column dilation ignored": ("kw * DW", "kw * 1"),
    "top padding off by one": ("- PT", "- PT + 1"),
    "left padding off by one": ("- PL", "- PL - 1"),
    "group ignored": ("oc / OCG * ICG + ic", "ic"),
    "filter flipped": ("xv * p[P_AT(kh, kw, ic, oc)]", "xv * p[P_AT(KH-1-kh, KW-1-kw, ic, oc)]"),
    "bias forgotten": ("BIAS ? b[oc] : 0.0f", "0.0f"),
    "bias read although absent": ("BIAS ? b[oc] : 0.0f", "b[oc]"),
    "bias shifted": ("BIAS ? b[oc] : 0.0f", "b[OC - 1 - oc]"),
    "relu without an end": ("v > 6 ? 6 : v", "v"),
    "relu swallows NaN": ("v < 0 ? 0 : v > 6 ? 6 : v", "v > 6 ? 6 : v > 0 ? v : 0"),
    "limit a little off": ("v > 6 ? 6 : v", "v > 6 ? 5.9999995f : v"),
    "rows in the padding multiply zeros": (
        "int ih = oh * SH - PT + kh * DH;\n    " + SKIP_ROW,
        "int ih0 = oh * SH - PT + kh * DH;\n    int out = ih0 < 0 || ih0 >= H, ih = out ? 0 : ih0;",
    ),
    "columns in the padding multiply zeros": (
        "int iw = ow * SW - PL + kw * DW;\n      " + SKIP_COLUMN,
        "int iw0 = ow * SW - PL + kw * DW;\n"
        "      int out = iw0 < 0 || iw0 >= W, iw = out ? 0 : iw0;",
    ),
    "groups joined by zero weights": (
        INNER,
        f"{INNER}\n          for (int g = 0; g < G; g++)"
        " acc[oc] += 0 * x[X_AT(n, ih, iw, g * ICG + ic)];",
    ),
    "products of low precision": (INNER, INNER.replace("xv *", "xv * 1.00002f *")),
    "sum of low precision": (INNER, INNER + "\n          acc[oc] = (acc[oc] + 3e4f) - 3e4f;"),
    "a row read behind the image": (RUN, "  (void)*(volatile float *)(x + N * H * W * C);\n" + RUN),
    "a vector read over the end": (
        RUN,
        "  volatile char t[16]; memcpy((char *)t, (const char *)(x + N * H * W * C) - 15, 16);\n"
        + RUN,
    ),
    "an element read before the image": (RUN, "  (void)((volatile float *)x)[-1];\n" + RUN),
    "an element read behind the weights": (
        RUN,
        "  (void)((const volatile float *)packed)[PACKED];\n" + RUN,
    ),
    "a byte written before the output": (RUN, "  ((volatile char *)y)[-1] = 0;\n" + RUN),
    "a byte written behind the workspace": (
        RUN,
        "  ((volatile char *)workspace)[@workspace] = 0;\n" + RUN,
    ),
    "a far byte written before the output": (RUN, "  ((volatile char *)y)[-100] = 0;\n" + RUN),
    "aligned loads of the caller's array": (
        RUN,
        "  typedef float v4 __attribute__((vector_size(16)));\n"
        "  (void)*(const volatile v4 *)x;\n" + RUN,
    ),
    "the input is written": (RUN, RUN + "\n  ((float *)x)[0] += 1;"),
    "the weights are written": (RUN, RUN + "\n  ((float *)packed)[0] *= 2;"),
    "the output is accumulated": (STORE, STORE.replace(" = ", " += ")),
    "the workspace is trusted": (
        "acc[oc] = p[KH * KW * ICG * OC + oc];",
        "acc[oc] = n + oh + ow > 0 || acc[oc] != acc[oc] ? p[KH * KW * ICG * OC + oc] : acc[oc];",
    ),
    "a second call differs": (
        RUN,
        "  static int calls;\n" + RUN + "\n  if (calls++ > 2) y[0] = y[0] * 1.0000002f + 1e-9f;",
    ),
    "rows lost between parts": (
        f"{START}\n  {STOP}",
        "int first = UNITS / parts * part, last = UNITS / parts * (part + 1);",
    ),
    "parts overlap": (STOP, STOP[:-1] + " + (part + 1 < parts);"),
    "surplus parts divide by zero": (
        START,
        "volatile int chunk = UNITS / parts, count = UNITS / chunk;\n  (void)count;\n  " + START,
    ),
    "a part depends on the order": (
        STORE,
        "{ " + STORE + " if (oh > 0 && y[Y_AT(n, oh - 1, ow, oc)] != y[Y_AT(n, oh - 1, ow, oc)]"
        " && acc[oc] == acc[oc]) y[Y_AT(n, oh, ow, oc)] += 1; }",
    ),
    "pack leaves bytes": ("i < PACKED; i++) p[i]", "i < PACKED - 1; i++) p[i]"),
    "pack writes too much": ("i < PACKED; i++) p[i]", "i < PACKED + 1; i++) p[i]"),
    "pack fails": ("return 0;\n}\n\nstatic void pixel", "return 1;\n}\n\nstatic void pixel"),
    "pack writes to w": ("float *p = packed;", "float *p = packed; ((float *)w)[0] += 1;"),
    "pack reads over the end of w": (
        "float *p = packed;",
        "float *p = packed; (void)((const volatile float *)w)[KH * KW * ICG * OC];",
    ),
    "an illegal instruction": (RUN, "  __builtin_trap();\n" + RUN),
    "the wrong cpu": ("cpu_ok(void) { return 1; }", "cpu_ok(void) { return 0; }"),
    "a symbol is missing": ("void @name_run(", "void @name_go("),
}


@dataclass(frozen=True)
class Plain:
    """A built fixture, as the arguments of ``verify_library``."""

    library: Path
    packed_bytes: int
    workspace_bytes: int
    align: int = ALIGN

    @property
    def arguments(self) -> dict[str, int]:
        return {
            "packed_bytes": self.packed_bytes,
            "workspace_bytes": self.workspace_bytes,
            "align": self.align,
        }


@dataclass(frozen=True)
class Baked:
    w: np.ndarray
    b: np.ndarray | None


def plain_c(spec: ConvSpec, bug: str | None = None, baked: Baked | None = None) -> str:
    """The C of one layer, with at most one bug."""
    text = TEMPLATE
    if bug is not None:
        good, broken = BUGS[bug]
        assert text.count(good) >= 1 or good in _act(spec), bug
        text = text.replace(good, broken, 1)
    act = _act(spec)
    if bug is not None:
        act = act.replace(*BUGS[bug])
    packed, workspace = sizes(spec)
    numbers = {
        "n": spec.batch, "h": spec.h, "w": spec.w, "c": spec.c, "oh": spec.oh, "ow": spec.ow,
        "oc": spec.oc, "kh": spec.kh, "kw": spec.kw, "sh": spec.sh, "sw": spec.sw,
        "dh": spec.dh, "dw": spec.dw, "pt": spec.padding.top, "pl": spec.padding.left,
        "groups": spec.groups, "bias": int(spec.bias), "packed": packed, "workspace": workspace,
    }  # fmt: skip
    words = {
        "x_at": _image_index(spec.layout, "H", "W", "C"),
        "y_at": _image_index(spec.layout, "OH", "OW", "OC"),
        "w_at": _weight_index(spec.weight_layout),
        "act": act,
        "name": spec.name,
    }
    for key, value in sorted({**numbers, **words}.items(), key=lambda item: -len(item[0])):
        text = text.replace(f"@{key}", str(value))
    return text + (_image(spec, baked) if baked is not None else "")


def sizes(spec: ConvSpec) -> tuple[int, int]:
    """Bytes of packed and workspace, in whole ``ALIGN``."""
    packed = (spec.kh * spec.kw * spec.icg + 1) * spec.oc * 4
    return -(-packed // ALIGN) * ALIGN + ALIGN, -(-spec.oc * 4 // ALIGN) * ALIGN


def build_plain(
    spec: ConvSpec, folder: Path, bug: str | None = None, baked: Baked | None = None
) -> Plain:
    """Write the C into ``folder`` and compile it there."""
    folder.mkdir(parents=True, exist_ok=True)
    source, library = folder / f"{spec.name}.c", folder / f"{spec.name}.so"
    source.write_text(plain_c(spec, bug, baked), encoding="utf-8")
    compile_fixture(source, library)
    return Plain(library, *sizes(spec))


def compile_fixture(source: Path, library: Path) -> None:
    """-O1 without vectors: what the text reads past an array, the code reads too."""
    command = [c_compiler(), "-std=gnu99", "-O1", "-w", "-fPIC", "-shared"]
    subprocess.run([*command, str(source), "-o", str(library), "-lm"], check=True)


def _act(spec: ConvSpec) -> str:
    act = spec.activation
    match act.kind:
        case Act.LEAKY_RELU:
            return f"v < 0 ? {_float(act.alpha)} * v : v"
        case Act.CLIP:
            low = "" if act.low is None else f"v < {_float(act.low)} ? {_float(act.low)} : "
            high = "" if act.high is None else f"v > {_float(act.high)} ? {_float(act.high)} : "
            return low + high + "v"
        case kind:
            return ACTS[kind]


def _float(value: float) -> str:
    return f"{np.float32(value):.9e}f"


def _image_index(layout: Layout, h: str, w: str, c: str) -> str:
    if layout is Layout.NHWC:
        return f"((((n) * {h} + (h)) * {w} + (w)) * {c} + (c))"
    return f"((((n) * {c} + (c)) * {h} + (h)) * {w} + (w))"


def _weight_index(layout: WeightLayout) -> str:
    match layout:
        case WeightLayout.HWIO:
            return "((((kh) * KW + (kw)) * ICG + (ic)) * OC + (oc))"
        case WeightLayout.OIHW:
            return "((((oc) * ICG + (ic)) * KH + (kh)) * KW + (kw))"
        case WeightLayout.OHWI:
            return "((((oc) * KH + (kh)) * KW + (kw)) * ICG + (ic))"
        case WeightLayout.IOHW:
            return "((((ic) * OC + (oc)) * KH + (kh)) * KW + (kw))"
        case WeightLayout.HWOI:
            return "((((kh) * KW + (kw)) * OC + (oc)) * ICG + (ic))"


def _image(spec: ConvSpec, baked: Baked) -> str:
    from convgen.spec.layouts import weights_hwio

    packed = np.zeros(sizes(spec)[0] // 4, np.float32)
    values = np.ascontiguousarray(weights_hwio(spec, baked.w)).reshape(-1)
    packed[: values.size] = values
    if baked.b is not None:
        packed[values.size : values.size + spec.oc] = baked.b
    body = ", ".join(_float(v) for v in packed)
    return (
        f"const float {spec.name}_packed[{packed.size}] __attribute__((aligned({ALIGN})))"
        f" = {{ {body} }};\n"
    )

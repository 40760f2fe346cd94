"""Programs around a layer for sanitizers and valgrind: any element type, arrays of exact size.

Every array has a start that is aligned to its element and no further, and in a second run ends and
begins where its block does. What the kernel leaves unwritten, or computes from memory that nobody
wrote, decides a branch in the end, and so shows.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from functools import cache

import pytest
from edge_layers import EDGES, RELU, layer
from kernels import Part, Way, compiled, needs, planned, target_of
from quant_layers import random_layer
from tools import need

from convgen.kernels import FAMILIES
from convgen.kernels.search import costed
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.elements import arrays_of
from convgen.spec.model import Accuracy, Act, Activation, ConvSpec, DType, Layout, Padding
from convgen.spec.quant import Affine, Rounding
from convgen.spec.schedule import Family
from convgen.target import TARGETS


class Tool(StrEnum):
    """What watches a program. Stray accesses and undefined behaviour are seen by one."""

    ADDRESS = "address"
    THREAD = "thread"
    MEMORY = "memory"
    VALGRIND = "valgrind"


FLAGS = {
    Tool.ADDRESS: ("-g", "-O1", "-fno-sanitize-recover=all",
                   "-fsanitize=address,undefined,float-cast-overflow"),
    Tool.THREAD: ("-g", "-O1", "-fsanitize=thread"),
    Tool.MEMORY: ("-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=memory"),
    Tool.VALGRIND: ("-gdwarf-4", "-O1"),  # of clang's DWARF 5 older ones read nothing, and stop
}  # fmt: skip


def _fast(spec: ConvSpec, **changes: object) -> ConvSpec:
    return replace(spec, accuracy=Accuracy.FAST, **changes)  # type: ignore[arg-type]


def _wide_int8() -> ConvSpec:
    """More channels than a vector has, in and out, with a rest; no zero point of the weights."""
    made = random_layer(7, Rounding.ONNX, tables=False).spec
    assert made.quant is not None
    return replace(
        made, h=9, w=8, c=32, oc=37, kh=3, kw=3, sh=1, sw=1, dh=1, dw=1, groups=1,
        layout=Layout.NHWC,
        padding=Padding(1, 1, 1, 1), quant=replace(made.quant, weight=Affine((0.01,), (0,))),
    )  # fmt: skip


PAIRS = "bfloat16_pairs"  # for targets with AVX512-BF16 alone

# Every family and every element type, with rests of everything; None: the chooser decides.
SUBJECTS: dict[str, tuple[ConvSpec, Family | None]] = {
    "direct": (EDGES["stem"], Family.DIRECT),
    "direct_padded": (EDGES["pad_beyond_kernel"], Family.DIRECT),
    "direct_planes": (EDGES["groups_in_planes"], Family.DIRECT),
    "pointwise": (EDGES["pointwise"], Family.DIRECT),
    "depthwise": (EDGES["depthwise"], Family.DEPTHWISE),
    "depthwise_strided": (EDGES["depthwise_strided"], Family.DEPTHWISE),
    "grouped": (EDGES["grouped_by_4"], Family.GROUPED),
    "planar": (layer("19x23x5", 6, "3x3", "1 2 0 1", activation=RELU), Family.PLANAR),
    "planar_strided": (layer("13x40x2", 5, "3x3", "1 1 1 1", sh=2, sw=2), Family.PLANAR),
    "planar_gaps": (layer("21x40x3", 4, "2x2", "0 1 0 0", sh=5, sw=5), Family.PLANAR),
    "winograd": (_fast(layer("13x11x19", 37, "3x3", "1 1 1 1")), Family.WINOGRAD),
    "winograd_flat": (_fast(layer("9x20x17", 21, "1x5", "0 2 0 2")), Family.WINOGRAD),
    "winograd_dilated": (
        _fast(layer("13x11x19", 21, "3x3", "2 2 2 2", dh=2, dw=2)), Family.WINOGRAD,
    ),
    "gelu": (replace(EDGES["batch"], activation=Activation(Act.GELU)), Family.DIRECT),
    "float64": (replace(EDGES["planes_oihw"], dtype=DType.FLOAT64), None),
    "float16": (replace(EDGES["groups_wide"], dtype=DType.FLOAT16), None),
    "bfloat16": (replace(EDGES["dilated_and_strided"], dtype=DType.BFLOAT16), None),
    PAIRS: (
        replace(
            EDGES["grouped_beyond_padding"], dtype=DType.BFLOAT16, accuracy=Accuracy.FAST,
            c=2 * EDGES["grouped_beyond_padding"].c,
        ),
        Family.DIRECT,
    ),
    "int8_tflite": (random_layer(1, Rounding.TFLITE).spec, None),
    "int8_single": (random_layer(4, Rounding.TFLITE_SINGLE).spec, None),
    "int8_onnx": (random_layer(2, Rounding.ONNX).spec, None),
    "uint8_table": (
        random_layer(5, Rounding.ONNX, dtype=DType.UINT8, activation=Activation(Act.TANH)).spec,
        None,
    ),
    "int8_wide": (_wide_int8(), None),
    "int8_staged": (  # rows of taps of 15 bytes in steps of four; 768 bytes, all of them read
        replace(_wide_int8(), h=12, w=12, c=3, oc=20, kh=5, kw=5, padding=Padding(2, 2, 2, 2)),
        None,
    ),
    "int8_depthwise": (replace(_wide_int8(), c=37, groups=37), None),
}  # fmt: skip


def plan_of(subject: str, isa: str) -> KernelPlan:
    """The cheapest plan of the subject's family; ``isa`` "fat": every body of x86-64 in one file.

    Skips where that family has no kernels for this instruction set.
    """
    spec, family = SUBJECTS[subject]
    target = TARGETS["x86-64"] if isa == "fat" else target_of(isa)
    if family is None or isa == "fat":
        return planned(spec, target)
    plans = list(costed(FAMILIES[family], spec, target))
    if not plans:
        pytest.skip(f"no {family} kernels for {target.name}")
    return min(plans, key=lambda pair: pair[1].cycles)[0]


OTHER_CPU = 4  # exit code where <name>_cpu_ok says no

# ``off`` elements lie before each array in its block, and none behind it.
PROGRAM = """\
#include "edge.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef @x x_type;
typedef @w w_type;
typedef @b b_type;
typedef @y y_type;
enum { X = @nx, W = @nw, Y = @ny, THREADS = 5 };

typedef struct {
  void *blocks[6];
  x_type *x;
  void *packed;
  y_type *y;
  void *workspace;
} call;

static void *room(void **block, size_t bytes, size_t before)
{
  *block = malloc(bytes + before);
  if (*block == NULL) exit(3);
  return (char *)*block + before;
}

#define FILL(type, a, count) \\
  for (int i = 0; i < (count); ++i) (a)[i] = (type)(@value)

static call prepared(size_t off)
{
  call c;
  w_type *const w = room(&c.blocks[0], W * sizeof *w, off * sizeof *w);
  b_type *const b = room(&c.blocks[1], EDGE_OC * sizeof *b, off * sizeof *b);
  c.x = room(&c.blocks[2], X * sizeof *c.x, off * sizeof *c.x);
  c.packed = room(&c.blocks[3], EDGE_PACKED_BYTES, off * @aligned);
  c.y = room(&c.blocks[4], Y * sizeof *c.y, off * sizeof *c.y);
  c.workspace = room(&c.blocks[5], EDGE_WORKSPACE_BYTES, off * @aligned);
  FILL(x_type, c.x, X);
  FILL(w_type, w, W);
  FILL(b_type, b, EDGE_OC);
  if (edge_pack(w, @bias, c.packed) != 0) exit(5);
  return c;
}

static void done(call *c)
{
  for (int i = 0; i < 6; ++i) free(c->blocks[i]);
}

typedef struct {
  const call *of;
  int part;
  void *workspace;
} job;

static void *part(void *argument)
{
  const job *const j = argument;
  edge_run_part(j->of->x, j->of->packed, j->of->y, j->workspace, j->part, THREADS);
  return NULL;
}

int main(void)
{
  pthread_t threads[THREADS];
  job jobs[THREADS];
  void *blocks[THREADS];
  if (!edge_cpu_ok()) return @other_cpu;
  call one = prepared(1), two = prepared(0);
  if (memcmp(one.packed, two.packed, EDGE_PACKED_BYTES) != 0) return 6;
  edge_run(one.x, one.packed, one.y, one.workspace);
  for (int i = 0; i < THREADS; ++i) {
    jobs[i].of = &two;
    jobs[i].part = i;
    jobs[i].workspace = room(&blocks[i], EDGE_WORKSPACE_BYTES, 0);
    if (pthread_create(&threads[i], NULL, part, &jobs[i]) != 0) return 7;
  }
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
  for (int i = 0; i < THREADS; ++i) free(blocks[i]);
  if (memcmp(one.y, two.y, Y * sizeof *one.y) != 0) return 8;
  done(&one);
  done(&two);
  puts("same");
  return 0;
}
"""

# Small numbers of either sign; of 16 bits, those between 1 and 2 and their neighbours.
VALUES = {"float": "(i * 7919) % 64 / 16.0 - 2", "uint16_t": "0x3c00 + (i * 7919) % 512"}
VALUES["double"] = VALUES["float"]
BYTES = "(i * 79) % 251 - 125"


def program(plan: KernelPlan) -> str:
    """C text of a main around the plan's layer, which must be named ``edge``."""
    spec, text = plan.spec, PROGRAM
    of = arrays_of(spec)
    for mark, value in {
        "@other_cpu": OTHER_CPU,
        "@nx": math.prod(spec.x_shape),
        "@nw": math.prod(spec.w_shape),
        "@ny": math.prod(spec.y_shape),
        "@value": VALUES.get(of.x.c, BYTES),
        "@bias": "b" if spec.bias else "NULL",
        "@aligned": max(4, of.x.size),
        "@x": of.x.c,
        "@w": of.w.c,
        "@b": of.b.c,
        "@y": of.y.c,
    }.items():
        text = text.replace(mark, str(value))
    return text


def way_of(tool: Tool, isa: str, cc: str = "gcc", part: Part = Part.OWN) -> Way:
    """How a program for this tool is compiled, or skip where tool or instructions are missing."""
    way = Way(cc=cc, part=part, flags=FLAGS[tool])
    needs("avx2" if isa == "fat" else isa, way)
    if tool is Tool.VALGRIND:
        need("valgrind")
    if reason := _lacking(tool, cc):
        pytest.skip(reason)
    return way


@cache
def _lacking(tool: Tool, cc: str) -> str:
    """Why this machine cannot watch programs of this compiler; empty where it can."""
    try:
        probe = "int main(void)\n{\n  return 0;\n}\n"
        made = compiled("probe", {}, Way(cc=cc, flags=FLAGS[tool]), main=probe)
    except AssertionError:
        return f"{cc} has no runtime library for {FLAGS[tool][-1]} here"
    run = started(tool, [str(made)])
    return f"{tool} does not run programs of {cc} here: {run.stderr}" if run.returncode else ""


def started(tool: Tool, command: list[str]) -> subprocess.CompletedProcess[str]:
    """The program, watched: silent where nothing is wrong. No suppressions are read from anywhere,
    and no options from the environment."""
    if tool is Tool.VALGRIND:
        watch = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
                 "--default-suppressions=no"]  # fmt: skip
        command = [*watch, *command]
    # Leaks are looked for by tracing the process, which containers may forbid; valgrind finds them.
    env = {k: v for k, v in os.environ.items() if k != "VALGRIND_OPTS"}
    env |= {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "", "MSAN_OPTIONS": ""}
    return subprocess.run(
        command, capture_output=True, text=True, env=env, timeout=300, check=False
    )


def watched(
    tool: Tool, plan: KernelPlan, way: Way, files: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The plan's program under the tool; ``files`` in place of what the plan renders to."""
    made = compiled("edge", files or render_c(plan), way, main=program(plan))
    return started(tool, [str(made)])

"""What the README and the header promise an embedder, each promise by name, for every family."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_layers import EDGES, layer
from kernels import COMPILERS, ISAS, Part, Way, compiled, needs, planned, target_of
from tools import lacking, need

from convgen.kernels.winograd.body import WinogradBody
from convgen.oracle import floats as oracle
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec import load_weights
from convgen.spec.model import Accuracy, ConvSpec, InitWeights, Layer
from convgen.target import TARGETS

# One layer of each kind of kernel, small enough for -O0 and tcc.
FAMILIES: dict[str, ConvSpec] = {
    "pointwise": EDGES["pointwise"],
    "direct": EDGES["stem"],
    "depthwise": EDGES["depthwise"],
    "grouped": EDGES["groups_in_planes"],
    "winograd": replace(layer("12x11x24", 24, "3x3", "1 1 1 1"), accuracy=Accuracy.FAST),
}
each_family = pytest.mark.parametrize("family", FAMILIES)
WIDEST = "avx512"

# Small integers: no sum rounds, so every order of summation gives the same bits.
PROGRAM = """\
#include "edge.h"
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { X = @x, W = @w, Y = @y, P = EDGE_PACKED_BYTES / 4, S = EDGE_WORKSPACE_BYTES / 4 };
enum { THREADS = 4, ROUNDS = 300, ROOM = 16 };
typedef struct {
  float *x, *w, *b, *y, *packed, *workspace;
  int seed;
} call;

/* Exactly `count` floats, the first of them `off` floats behind a multiple of 64 bytes. */
static float *place(int count, int off)
{
  char *const block = malloc(((size_t)count + ROOM + 16) * sizeof(float));
  if (block == NULL) exit(3);
  return (float *)(void *)(block + (64 - (uintptr_t)block % 64) % 64) + off;
}

static void fill(float *a, int count, int seed)
{
  for (int i = 0; i < count; ++i) a[i] = (float)((i * 79 + seed) % 15 - 7);
}

static call prepared(int seed, const int *off)
{
  call c;
  c.x = place(X, off[0]), c.w = place(W, off[1]), c.b = place(EDGE_OC, off[2]);
  c.y = place(Y, off[3]), c.packed = place(P, off[4]), c.workspace = place(S, off[5]);
  c.seed = seed;
  fill(c.x, X, seed), fill(c.w, W, seed + 4), fill(c.b, EDGE_OC, seed + 9);
  if (edge_pack(c.w, @bias, c.packed) != 0) exit(4);
  return c;
}

static const int aligned[6] = { 0, 0, 0, 0, 0, 0 };

static float *answer(const call *c)
{
  float *const y = place(Y, 0);
  edge_run(c->x, c->packed, y, c->workspace);
  return y;
}

static int same(const float *a, const float *b)
{
  return memcmp(a, b, Y * sizeof *a) == 0;
}

/* Each array at every place that a float may have, the others at the best one. */
static int alignment(void)
{
  const call best = prepared(0, aligned);
  const float *const wanted = answer(&best);
  for (int array = 0; array < 6; ++array) {
    for (int off = 1; off < ROOM; ++off) {
      int offs[6] = { 0, 0, 0, 0, 0, 0 };
      offs[array] = off;
      const call c = prepared(0, offs);
      edge_run(c.x, c.packed, c.y, c.workspace);
      if (!same(c.y, wanted)) return 10 + array;
    }
  }
  return 0;
}

/* Any number of parts, in any order; those that are none write nothing. */
static int parts(void)
{
  static const int splits[] = { 1, 2, 3, 5, 7, 16, 61, 1000 };
  const call c = prepared(0, aligned);
  const float *const wanted = answer(&c);
  float *const blank = place(Y, 0);
  memset(blank, 0x7b, Y * sizeof *blank);
  for (size_t i = 0; i < sizeof splits / sizeof splits[0]; ++i) {
    memcpy(c.y, blank, Y * sizeof *blank);
    for (int part = splits[i] - 1; part >= 0; --part) {
      edge_run_part(c.x, c.packed, c.y, c.workspace, part, splits[i]);
    }
    if (!same(c.y, wanted)) return 20 + (int)i;
  }
  memcpy(c.y, blank, Y * sizeof *blank);
  edge_run_part(c.x, c.packed, c.y, c.workspace, -1, 3);
  edge_run_part(c.x, c.packed, c.y, c.workspace, 3, 3);
  edge_run_part(c.x, c.packed, c.y, c.workspace, INT_MIN, INT_MAX);
  edge_run_part(c.x, c.packed, c.y, c.workspace, 0, 0);
  if (!same(c.y, blank)) return 30;
  for (int part = INT_MAX - 9999; part > 0 && part <= INT_MAX - 1; part += 1111) {
    edge_run_part(c.x, c.packed, c.y, c.workspace, part, INT_MAX);
  }
  return 0;
}

static void *again_and_again(void *argument)
{
  call *const c = argument;
  const float *const wanted = answer(c);
  for (int i = 0; i < ROUNDS; ++i) {
    memset(c->y, 0, Y * sizeof *c->y);
    if (edge_pack(c->w, @cbias, c->packed) != 0) return c;
    edge_run(c->x, c->packed, c->y, c->workspace);
    if (!same(c->y, wanted)) return c;
  }
  return NULL;
}

/* Threads with inputs and weights of their own do not meet anywhere. */
static int reentrancy(void)
{
  pthread_t thread[THREADS];
  call calls[THREADS];
  int wrong = 0;
  for (int i = 0; i < THREADS; ++i) calls[i] = prepared(i, aligned);
  for (int i = 0; i < THREADS; ++i) {
    if (pthread_create(&thread[i], NULL, again_and_again, &calls[i]) != 0) return 5;
  }
  for (int i = 0; i < THREADS; ++i) {
    void *result = NULL;
    pthread_join(thread[i], &result);
    wrong += result != NULL;
  }
  return wrong ? 40 : 0;
}

int main(int argc, char **argv)
{
  if (argc != 2 || !edge_cpu_ok()) return 2;
  if (strcmp(argv[1], "alignment") == 0) return alignment();
  if (strcmp(argv[1], "parts") == 0) return parts();
  if (strcmp(argv[1], "reentrancy") == 0) return reentrancy();
  const call c = prepared(0, aligned);
  return fwrite(answer(&c), sizeof(float), Y, stdout) == Y ? 0 : 6;
}
"""


def program(plan: KernelPlan, way: Way, change: Callable[[str], str] = str) -> Path:
    """PROGRAM around the layer; ``change`` is made to its C."""
    spec, text = plan.spec, PROGRAM
    for mark, value in {
        "@x": math.prod(spec.x_shape),
        "@w": math.prod(spec.w_shape),
        "@y": math.prod(spec.y_shape),
        "@bias": "c.b" if spec.bias else "NULL",
        "@cbias": "c->b" if spec.bias else "NULL",
    }.items():
        text = text.replace(mark, str(value))
    files = render_c(plan)
    files["edge.c"] = change(files["edge.c"])
    return compiled(spec.name, files, way, main=text)


def plan_of(family: str, isa: str) -> KernelPlan:
    plan = planned(FAMILIES[family], target_of(isa))
    assert isinstance(plan.body, WinogradBody) is (family == "winograd")
    return plan


def by_number(count: int, seed: int) -> np.ndarray:
    """What ``fill`` of the program gives."""
    return ((np.arange(count) * 79 + seed) % 15 - 7).astype(np.float64)


# -- at run time -----------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", [WIDEST, "plain"])
@each_family
@pytest.mark.parametrize("promise", ["alignment", "parts", "reentrancy"])
def test_promise(promise: str, family: str, isa: str) -> None:
    """Any element alignment; run_part over any split; calls at once, each with its own data."""
    needs(isa)
    made = program(plan_of(family, isa), Way())
    done = subprocess.run([made, promise], timeout=120, check=False)
    assert done.returncode == 0, "the program says where it returns this"


GUARD = "  if (part < 0 || part >= parts) return;\n"
BUGS = {
    "alignment": "  if ((uintptr_t)x % 8) --x;\n" + GUARD,
    "parts": "  if (part < 0 || part > parts) return;\n",
    "reentrancy": "  static float kept[@x];\n" + GUARD + "  x = memcpy(kept, x, sizeof kept);\n",
}


@pytest.mark.parametrize("promise", BUGS)
def test_a_broken_promise_shows(promise: str) -> None:
    needs("plain")
    plan = plan_of("pointwise", "plain")
    bug = BUGS[promise].replace("@x", str(math.prod(plan.spec.x_shape)))
    made = program(plan, Way(), lambda source: source.replace(GUARD, bug))
    # Threads that share what they should not must meet to be seen: not at every attempt.
    runs = (subprocess.run([made, promise], timeout=120, check=False) for _ in range(200))
    assert any(done.returncode != 0 for done in runs)


WAYS = (
    *(Way("gcc", Part.OWN, (level,)) for level in ("-O0", "-O2", "-O3")),
    *(Way("clang", Part.OWN, (level,)) for level in ("-O0", "-O3")),
    Way("gcc", Part.PLAIN, ("-O3",)),
    Way("clang", Part.PLAIN, ("-O2",)),
    Way("tcc", Part.PLAIN, ()),
)


@each_family
def test_every_compiler_gives_the_same_bits(family: str) -> None:
    """gcc and clang without and with optimisation, tcc: what the oracle says, and so each other."""
    if family == "winograd":
        pytest.skip("its transforms round: compared within a bound, in test_winograd.py")
    needs(WIDEST)
    plan = plan_of(family, WIDEST)
    spec = plan.spec
    x = by_number(math.prod(spec.x_shape), 0).reshape(spec.x_shape)
    w = by_number(math.prod(spec.w_shape), 4).reshape(spec.w_shape)
    b = by_number(spec.oc, 9) if spec.bias else None
    wanted = (oracle.reference(spec, x, w, b) + 0.0).astype(np.float32)
    ran = []
    for way in WAYS:
        if lacking(way.cc):
            continue
        done = subprocess.run([program(plan, way), "bits"], capture_output=True, check=True)
        got = np.frombuffer(done.stdout, np.float32).reshape(spec.y_shape)
        assert np.array_equal(got, wanted), way
        ran.append(way)
    assert len(ran) >= 4


# -- what the compiler says ------------------------------------------------------------------------

LANGUAGES = {
    "gcc": ("c99", "c11", "c17", "c2x"),
    "clang": ("c99", "c11", "c17", "c2x"),
    "g++": ("c++11", "c++17", "c++20"),
    "clang++": ("c++11", "c++17", "c++20"),
}
INCLUDING = """\
#include "edge.h"
#include "edge.h"
#if EDGE_OH < 1 || EDGE_MACS < 1 || EDGE_PACKED_BYTES % 4 || EDGE_BAKED != @baked
#error wrong sizes
#endif
int use(const float *x, float *y);
int use(const float *x, float *y)
{
  static float packed[EDGE_PACKED_BYTES / 4], workspace[EDGE_WORKSPACE_BYTES / 4 + 1];
  edge_run_part(x, @packed, y, workspace, 0, 1);
  return edge_cpu_ok() + (packed[0] > 0.0f);
}
"""


@pytest.mark.parametrize("baked", [False, True])
@pytest.mark.parametrize("cc", LANGUAGES)
def test_header_in_every_language(cc: str, baked: bool, tmp_path: Path) -> None:
    """C99 to C23, C++11 to C++20, strictly, included twice."""
    need(cc)
    weights = load_weights(Layer(FAMILIES["direct"], "<t>", weights=InitWeights(0.1)))
    plan = plan_of("direct", "plain")
    (tmp_path / "edge.h").write_text(render_c(plan, weights if baked else None)["edge.h"])
    suffix = "cpp" if "+" in cc else "c"
    text = INCLUDING.replace("@baked", str(int(baked)))
    text = text.replace("@packed", "edge_packed" if baked else "packed")
    (tmp_path / f"use.{suffix}").write_text(text)
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-pedantic-errors", "-Wconversion", "-Werror"]
    for language in LANGUAGES[cc]:
        command = [cc, f"-std={language}", *flags, "-fsyntax-only", f"use.{suffix}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{language}: {done.stderr}"


MORE_WARNINGS = (
    "-Wvla", "-Wshadow", "-Wundef", "-Wcast-qual", "-Wpointer-arith",
    "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wold-style-definition", "-Wwrite-strings",
    "-Wdouble-promotion", "-Wredundant-decls", "-Wimplicit-fallthrough", "-Wswitch-default",
    "-Wfloat-conversion", "-Wsign-conversion",
)  # fmt: skip


@pytest.mark.parametrize("cc", COMPILERS)
@pytest.mark.parametrize("isa", ISAS)
@each_family
def test_no_warning_of_a_careful_project(family: str, isa: str, cc: str, tmp_path: Path) -> None:
    """More than -Wall -Wextra: variable-length arrays, shadowing, doubles by accident."""
    way = Way(cc, flags=("-O0", *MORE_WARNINGS))
    needs("plain", way)
    for name, text in render_c(plan_of(family, isa)).items():
        (tmp_path / name).write_text(text)
    command = [*way.command("edge"), "-fsyntax-only", "edge.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- what the object file shows --------------------------------------------------------------------

LIBRARY = {"memcpy", "memset", "memmove"}
CPU_MODEL = {"__cpu_model", "__cpu_indicator_init", "__cpu_features2", "_GLOBAL_OFFSET_TABLE_"}


@pytest.mark.needs("nm")
@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("cc", COMPILERS)
@each_family
def test_no_malloc_no_stdio_no_globals(family: str, cc: str, level: str, tmp_path: Path) -> None:
    """From the object's symbols; baked weights are constants. -O0: nothing is optimised away."""
    needs(WIDEST, Way(cc))
    plan = plan_of(family, WIDEST)
    spec = plan.spec
    weights = load_weights(Layer(spec, "<t>", weights=InitWeights(0.1)))
    for name, text in render_c(plan, weights).items():
        (tmp_path / name).write_text(text)
    command = [cc, "-std=c99", level, "-fno-pic", "-c", "edge.c", "-o", "edge.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    listing = subprocess.run(["nm", "edge.o"], cwd=tmp_path, capture_output=True, text=True)
    found = [(line.split()[-2], line.split()[-1]) for line in listing.stdout.splitlines()]
    undefined = {name for kind, name in found if kind == "U"}
    assert undefined <= LIBRARY | CPU_MODEL, "it calls something"
    public = {name for kind, name in found if kind.isupper() and kind != "U"}
    declared = re.findall(r"\b(edge_\w+)[(\[]", (tmp_path / "edge.h").read_text())
    assert public == set(declared) and {"edge_run", "edge_run_part", "edge_packed"} <= public
    assert not [name for kind, name in found if kind in "BbCDdGgSs"], "it has variables"
    assert ("R", "edge_packed") in found


MICROCONTROLLER = (
    "arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16",
)  # fmt: skip


@pytest.mark.needs(MICROCONTROLLER[0])
@pytest.mark.parametrize("level", ["-Os", "-O2"])
@each_family
def test_a_microcontroller_emulates_nothing(family: str, level: str, tmp_path: Path) -> None:
    """No double and no 64-bit division: the object asks libgcc for nothing."""
    for name, text in render_c(planned(FAMILIES[family], TARGETS["cortex-m4"])).items():
        (tmp_path / name).write_text(text)
    command = [*MICROCONTROLLER, "-std=c99", level, "-c", "edge.c", "-o", "edge.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    listing = subprocess.run(
        ["arm-none-eabi-nm", "-u", "edge.o"], cwd=tmp_path, capture_output=True, text=True
    )
    assert set(re.findall(r"U (\w+)", listing.stdout)) <= LIBRARY


@each_family
def test_the_text_names_nothing_it_may_not(family: str) -> None:
    """No header but the three and a CPU's own, no allocation, no I/O, no libm."""
    for isa in ISAS:
        plan = plan_of(family, isa)
        text = "\n".join(render_c(plan).values())
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        headers = set(re.findall(r"#\s*include\s*[<\"](.+?)[>\"]", code))
        allowed = {"stddef.h", "stdint.h", "string.h", "edge.h", "cpuid.h", plan.body.isa.header}
        assert headers <= allowed
        called = set(re.findall(r"\b([a-z]\w*)\s*\(", code))
        assert not called & {"malloc", "calloc", "realloc", "free", "alloca", "printf", "abort"}
        assert not called & {"exp", "expf", "tanhf", "erff", "sqrtf", "powf", "fmaf", "assert"}

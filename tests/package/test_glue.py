"""The glue by itself, around a hand-written kernel that needs a workspace: pool, fork, races."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from built import LAYERS, needs_cc, posix_only
from tools import c_compiler, need

from convgen.package.emit.files import decide
from convgen.package.emit.python_text import glue_files
from convgen.target import TARGETS
from convgen.toolchain import Unit, compile_shared, find_compiler

pytestmark = [needs_cc, posix_only]
IMAGE = 64  # elements of one image of x and of y

HEADER = f"""
#ifndef MANY_H_INCLUDED
#define MANY_H_INCLUDED
#define MANY_WORKSPACE_BYTES {IMAGE * 4}
#define MANY_ALIGN 64
#define MANY_BAKED 0
int many_cpu_ok(void);
int many_pack(const float *w, const float *b, void *packed);
void many_run_part(const float *x, const void *p, float *y, void *space, int part, int parts);
#endif
"""

# y = 2x by way of the workspace: two parts that shared one would see each other's numbers.
KERNEL = f"""
#include <stdint.h>
#include "many.h"
int many_cpu_ok(void) {{ return 1; }}
const char *many_isa(void) {{ return "plain"; }}
int many_pack(const float *w, const float *b, void *p) {{ (void)w; (void)b; (void)p; return 7; }}
void many_run_part(const float *x, const void *p, float *y, void *space, int part, int parts)
{{
  float *const s = space;
  const int first = (int)((int64_t){IMAGE} * part / parts);
  const int last = (int)((int64_t){IMAGE} * (part + 1) / parts);
  (void)p;
  if ((uintptr_t)space % MANY_ALIGN != 0) return;
  for (int i = 0; i < {IMAGE}; ++i) s[i] = -1;
  for (int round = 0; round < 50; ++round)
    for (int i = first; i < last; ++i) s[i] = x[i] + (float)round;
  for (int i = first; i < last; ++i) y[i] = 2 * (s[i] - 49);
}}
"""

RACE = f"""
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "many_glue.h"
enum {{ IMAGES = 9, SIZE = IMAGES * {IMAGE} }};
static int wrong;
static void *call(void *argument)
{{
  static _Thread_local float x[SIZE], y[SIZE];
  const int seed = *(int *)argument;
  for (int n = 0; n < 200; ++n) {{
    for (int i = 0; i < SIZE; ++i) x[i] = (float)(seed + n + i);
    memset(y, 0, sizeof y);
    if (many_glue_run(x, NULL, y, 1 + n % IMAGES, 1 + (seed + n) % 6, 0) != 0) wrong = 1;
    for (int i = 0; i < (1 + n % IMAGES) * {IMAGE}; ++i) if (y[i] != 2 * x[i]) wrong = 1;
  }}
  return NULL;
}}
int main(void)
{{
  pthread_t threads[4];
  int seeds[4] = {{0, 1, 2, 3}};
  for (int i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, call, &seeds[i]);
  for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
  puts(wrong ? "wrong" : "right");
  return wrong;
}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The glue of a layer with 64 elements in and out, and the kernel of this file."""
    path = tmp_path_factory.mktemp("glue")
    spec = replace(LAYERS["many"].spec, h=8, w=8, c=1, oc=1, kh=1, kw=1)
    plan = decide(replace(LAYERS["many"], spec=spec), TARGETS["generic"]).plan
    texts = {**glue_files(plan), "many.h": HEADER, "many.c": KERNEL, "race.c": RACE}
    for name, text in texts.items():
        (path / name).write_text(text)
    return path


@pytest.fixture(scope="module", params=["pool", "no pool"])
def glue(request: pytest.FixtureRequest, folder: Path) -> ctypes.CDLL:
    own = ("-DMANY_NO_POOL",) if request.param == "no pool" else ()
    units = [Unit("many.c"), Unit("many_glue.c", own)]
    name = f"{request.param.replace(' ', '-')}.so"
    done = compile_shared(find_compiler(), folder, units, name)
    assert done.warnings == ()
    library = ctypes.CDLL(str(done.library))
    assert library.many_glue_pooled() == (request.param == "pool")
    return library


class Job(ctypes.Structure):
    _fields_ = (
        ("x", ctypes.c_void_p),
        ("packed", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("images", ctypes.c_ssize_t),
        ("threads", ctypes.c_int),
        ("flush", ctypes.c_int),
    )


Floats = ctypes.Array[ctypes.c_float]


def filled(images: int, start: int = 0) -> tuple[Floats, Floats]:
    kind = ctypes.c_float * (images * IMAGE)
    return kind(*(float(start + i) for i in range(images * IMAGE))), kind()


def doubled(x: Floats, y: Floats) -> bool:
    return [2 * v for v in x] == list(y)


@pytest.mark.parametrize("images", [1, 2, 5, 40])
@pytest.mark.parametrize("threads", [1, 2, 3, 8, 200])
def test_every_image_is_done_once(glue: ctypes.CDLL, images: int, threads: int) -> None:
    x, y = filled(images)
    assert glue.many_glue_run(x, None, y, ctypes.c_ssize_t(images), threads, 0) == 0
    assert doubled(x, y)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_shares_together_are_the_whole(glue: ctypes.CDLL, threads: int) -> None:
    x, y = filled(3)
    address = ctypes.addressof
    job = Job(address(x), None, address(y), 3, threads, 0)
    for share in reversed(range(threads)):
        assert glue.many_glue_share(ctypes.byref(job), share) == 0
    assert doubled(x, y)


def test_a_call_waits_for_its_slowest_thread(folder: Path) -> None:
    """Parts that sleep far longer than a caller looks for their end before it sleeps, too."""
    pause = "(void)p;\n  nanosleep(&(struct timespec){0, 3000000}, NULL);"
    head = "#define _POSIX_C_SOURCE 199309L\n#include <time.h>\n"
    (folder / "slow.c").write_text(head + KERNEL.replace("(void)p;", pause))
    compile_shared(find_compiler(), folder, [Unit("slow.c"), Unit("many_glue.c")], "slow.so")
    glue = ctypes.CDLL(str(folder / "slow.so"))
    for seed in range(5):
        x, y = filled(1, seed)
        assert glue.many_glue_run(x, None, y, ctypes.c_ssize_t(1), 3, 0) == 0
        assert doubled(x, y), "the call was over before its parts were"


def test_overlap_is_refused_before_anything_is_written(glue: ctypes.CDLL) -> None:
    x, _ = filled(4)
    before = list(x)
    for start, code in ((0, 2), (IMAGE - 1, 2), (IMAGE, 0)):
        y = ctypes.byref(x, start * 4)
        assert glue.many_glue_run(x, None, y, ctypes.c_ssize_t(1), 2, 0) == code
        assert code == 0 or list(x) == before
    assert glue.many_glue_run(ctypes.byref(x, IMAGE * 4), None, x, ctypes.c_ssize_t(1), 2, 0) == 0


def test_codes_of_pack_come_through(glue: ctypes.CDLL) -> None:
    assert glue.many_glue_pack(None, None, None) == 7
    glue.many_glue_packed.restype = ctypes.c_void_p
    assert glue.many_glue_packed() is None


def test_callers_at_once_each_have_their_workspace(glue: ctypes.CDLL) -> None:
    wrong: list[int] = []

    def call(seed: int) -> None:
        for n in range(100):
            x, y = filled(2, seed * n)
            code = glue.many_glue_run(x, None, y, ctypes.c_ssize_t(2), 1 + (seed + n) % 4, 0)
            if code or not doubled(x, y):
                wrong.append(seed)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_no_race_and_no_stray_byte_under_sanitizers(folder: Path, sanitizer: str) -> None:
    """ThreadSanitizer sees every hand-over of the pool, with callers that compete for it."""
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-g", "-O1", "-pthread"]
    name = f"race-{sanitizer[:4]}"
    command = [c_compiler(), "-std=c11", *flags, "many.c", "many_glue.c", "race.c", "-o", name]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if built.returncode and "sanitize" in built.stderr + built.stdout:
        pytest.skip(f"this compiler has no {sanitizer} sanitizer")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([folder / name], capture_output=True, text=True, timeout=300)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer cannot run under this kernel's address layout")
    assert (done.returncode, done.stdout) == (0, "right\n"), done.stderr


@pytest.mark.parametrize("cc", ["gcc", "clang"])
@pytest.mark.parametrize("pool", [True, False])
def test_glue_compiles_without_a_warning(folder: Path, cc: str, pool: bool) -> None:
    need(cc)
    flags = ["-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Wshadow", "-Werror", "-fPIC"]
    own = [] if pool else ["-DMANY_NO_POOL"]
    command = [cc, "-O2", "-std=c11", *flags, *own, "-c", "many_glue.c", "-o", "w.o"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_pool_threads_are_made_once_and_sleep(folder: Path) -> None:
    """Three helpers for threads=4, no more for the next calls, and no processor time when idle."""
    compile_shared(find_compiler(), folder, [Unit("many.c"), Unit("many_glue.c")], "own.so")
    code = f"""
import ctypes, os, time
glue = ctypes.CDLL({str(folder / "own.so")!r})
x, y = (ctypes.c_float * 64)(), (ctypes.c_float * 64)()
before = len(os.listdir("/proc/self/task"))
for _ in range(50):
    glue.many_glue_run(x, None, y, ctypes.c_ssize_t(1), 4, 0)
    glue.many_glue_run(x, None, y, ctypes.c_ssize_t(1), 2, 0)
made = len(os.listdir("/proc/self/task")) - before
time.sleep(0.05)
start = time.process_time()
time.sleep(0.3)
print(made, time.process_time() - start < 0.03)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "3 True\n", done.stderr

"""Kernels under AddressSanitizer, UBSan, ThreadSanitizer, MemorySanitizer and valgrind memcheck.

No report, and none suppressed. A share runs on every push; the whole grid of families and element
types x instruction sets x compilers x tools is for ``make deep``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from built import LAYERS, ROOT, build, needs_cc
from kernels import COMPILERS, ISAS, Part
from sanitized import OTHER_CPU, PAIRS, SUBJECTS, Tool, plan_of, watched, way_of

from convgen.render.source import render_c

Case = tuple[str, Tool, str, str, Part]


BOTH = ("avx2", "avx512bf16")  # where the plain body is watched as well


def whole_grid() -> list[Case]:
    """(subject, tool, instruction set, compiler, body) of everything that there is to watch."""
    found = []
    for subject in SUBJECTS:
        for tool in Tool:
            for isa in (*ISAS, "fat") if subject != PAIRS else ("avx512bf16",):
                if tool is Tool.VALGRIND and isa.startswith("avx512"):
                    continue  # memcheck knows no AVX-512
                for cc in COMPILERS if tool is not Tool.MEMORY else ("clang",):
                    parts = (Part.OWN, Part.PLAIN) if isa in BOTH else (Part.OWN,)
                    found += [(subject, tool, isa, cc, part) for part in parts]
    return found


# Stray bytes and undefined behaviour everywhere; races and reads of nothing where a kind of kernel
# could have its own. Clang comes without its runtime libraries in places: gcc has them all.
OTHERWISE = {  # watched below in another body, on other vectors, or by another tool
    "direct_padded", "depthwise_strided", "winograd_dilated", "gelu", "planar_gaps",
    "int8_wide", "int8_staged", "int8_depthwise", PAIRS,
}  # fmt: skip
PUSH: list[Case] = [
    *((subject, Tool.ADDRESS, "avx2", "gcc", Part.OWN)
      for subject in SUBJECTS if subject not in OTHERWISE),
    *((subject, Tool.ADDRESS, "avx2", "clang", Part.OWN)
      for subject in ("grouped", "planar_strided", "int8_onnx")),
    *((subject, Tool.ADDRESS, "avx512", "gcc", Part.OWN)
      for subject in ("int8_wide", "int8_staged", "int8_depthwise")),
    (PAIRS, Tool.ADDRESS, "avx512bf16", "gcc", Part.OWN),
    (PAIRS, Tool.ADDRESS, "avx512bf16", "clang", Part.PLAIN),
    ("direct_padded", Tool.ADDRESS, "avx2", "gcc", Part.PLAIN),
    ("depthwise_strided", Tool.ADDRESS, "sse2", "gcc", Part.PLAIN),
    ("direct_planes", Tool.THREAD, "avx2", "gcc", Part.PLAIN),
    ("depthwise", Tool.THREAD, "sse2", "gcc", Part.OWN),
    ("planar", Tool.THREAD, "avx2", "gcc", Part.OWN),
    ("winograd", Tool.THREAD, "sse2", "gcc", Part.OWN),
    ("int8_tflite", Tool.THREAD, "avx2", "gcc", Part.OWN),
    *((subject, Tool.MEMORY, "avx2", "clang", Part.OWN)
      for subject in ("grouped", "planar_strided", "winograd_dilated", "float16", "int8_onnx")),
    ("direct", Tool.VALGRIND, "sse2", "gcc", Part.OWN),
    ("grouped", Tool.VALGRIND, "avx2", "clang", Part.OWN),
    ("planar_gaps", Tool.VALGRIND, "avx2", "gcc", Part.OWN),
    ("gelu", Tool.VALGRIND, "plain", "gcc", Part.OWN),
    ("float64", Tool.VALGRIND, "plain", "gcc", Part.OWN),
    ("int8_single", Tool.VALGRIND, "avx2", "gcc", Part.OWN),
]  # fmt: skip


def watch(case: Case) -> None:
    subject, tool, isa, cc, part = case
    way = way_of(tool, isa, cc, part)
    run = watched(tool, plan_of(subject, isa), way)
    if run.returncode == OTHER_CPU:
        pytest.skip("this CPU lacks instructions of the kernel")
    assert (run.returncode, run.stdout, run.stderr) == (0, "same\n", ""), run.stderr[-3000:]


@pytest.mark.parametrize("case", PUSH, ids="-".join)
def test_no_report(case: Case) -> None:
    watch(case)


@pytest.mark.deep
@pytest.mark.parametrize("case", whole_grid(), ids="-".join)
def test_no_report_on_the_whole_grid(case: Case) -> None:
    watch(case)


# -- each of them can fail -------------------------------------------------------------------------

# One mistake each: who has to see it, of what, the text and what replaces it, words of the report.
BUGS = {
    "a row too many": (
        Tool.ADDRESS, "gcc", "direct_planes",
        "row = u % a->row_tiles;", "row = u % a->row_tiles + 1;", "AddressSanitizer",
    ),
    "a sum beyond int": (
        Tool.ADDRESS, "gcc", "int8_tflite",
        "int64_t sum = 0;", "int64_t sum = INT32_MAX + (int)oc + 1;", "cannot be represented",
    ),
    "parts overlap": (
        Tool.THREAD, "gcc", "direct_planes",
        "part + 1, parts)", "part + 2 < parts ? part + 2 : parts, parts)", "ThreadSanitizer",
    ),
    "a bias that nobody wrote": (
        Tool.MEMORY, "clang", "float64", "row[lane] = oc ", "if (oc) row[lane] = oc ",
        "MemorySanitizer",
    ),
    "weights that nobody wrote": (
        Tool.VALGRIND, "gcc", "float64", "row[lane] = oc ", "if (oc) row[lane] = oc ",
        "depends on uninitialised value",
    ),
}  # fmt: skip


@pytest.mark.tools
@pytest.mark.parametrize("bug", BUGS)
def test_a_seeded_bug_is_reported(bug: str) -> None:
    tool, cc, subject, good, bad, words = BUGS[bug]
    way = way_of(tool, "avx2", cc, Part.PLAIN)
    plan = plan_of(subject, "avx2")
    files = render_c(plan)
    source = files["edge.c"]
    assert good in source
    run = watched(tool, plan, way, {**files, "edge.c": source.replace(good, bad)})
    assert run.returncode != 0 and words in run.stderr, run.stderr


# -- the Python package ----------------------------------------------------------------------------

# Threads of Python that call one module at once, each with threads of the glue's own.
CALLERS = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
sys.path[:0] = [{tests!r}, {root!r}]
from built import LAYERS, arrays
from convgen.api import import_package
from pathlib import Path
layer, spec = import_package(Path({package!r})), LAYERS[{name!r}].spec
x, w, b = arrays(spec)
packed = layer.pack(w, b)
want = layer.run(x, packed)
def call(seed):
    own = layer.pack(w, b)
    bound = layer.bind(x, packed, threads=1 + seed % 3)
    return all(
        np.array_equal(layer.run(x, own, threads=1 + (seed + n) % 4), want)
        and np.array_equal(bound(), want)
        for n in range(12)
    )
with ThreadPoolExecutor(4) as pool:
    print("same" if all(pool.map(call, range(6))) else "different")
"""


SEEDED = "sed -i 's/pthread_mutex_trylock(&p->turn) != 0/0/' *_glue.c\n"


def called_from_python(tmp_path: Path, name: str, seed: str = "") -> tuple[str, str]:
    """What many threads of Python print that call a package built for ThreadSanitizer, and what it
    reports; ``seed``: shell text that changes the sources before they are compiled."""
    way_of(Tool.THREAD, "plain")
    asked = ["gcc", "-print-file-name=libtsan.so"]
    runtime = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("gcc has no libtsan.so that Python could load")
    cc = tmp_path / "watched-cc"
    cc.write_text(f'#!/bin/sh\nif [ "$1" != -v ]; then {seed or ":"}\nfi\n'
                  'exec gcc -fsanitize=thread -g "$@"\n')  # fmt: skip
    cc.chmod(0o755)
    path = build(tmp_path, LAYERS[name], cc=str(cc), binding="abi", verify=False).path
    support = str(ROOT / "tests" / "support")
    text = CALLERS.format(tests=support, root=str(ROOT), package=str(path), name=name)
    env = {**os.environ, "LD_PRELOAD": runtime, "TSAN_OPTIONS": "exitcode=66"}
    run = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True, text=True, env=env, timeout=300, check=False,
    )  # fmt: skip
    if "unexpected memory mapping" in run.stderr:
        pytest.skip("ThreadSanitizer cannot run under this kernel's address layout")
    return run.stdout, run.stderr


@needs_cc
@pytest.mark.parametrize("name", ["many", "roomy", pytest.param("layer", marks=pytest.mark.deep)])
def test_threads_of_python_race_nowhere(name: str, tmp_path: Path) -> None:
    """``roomy`` needs a workspace. Python itself is not watched, its locks are."""
    printed, reported = called_from_python(tmp_path, name)
    assert (printed, reported) == ("same\n", ""), reported[-3000:]


@needs_cc
def test_a_race_among_threads_of_python_is_reported(tmp_path: Path) -> None:
    """A pool that two calls use at once; a busy machine may keep them apart for a run."""
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        _, reported = called_from_python(folder, "many", SEEDED)
        if reported:
            break
    assert "WARNING: ThreadSanitizer: data race" in reported

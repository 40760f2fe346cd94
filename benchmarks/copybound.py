"""How near depthwise kernels come to what memory allows: a copy loop over the same bytes.

    python benchmarks/copybound.py [--isa ISA] [--cc CC] [--offset BYTES] [--markdown FILE]

For each layer a loop reads every byte of the input once, in order, with vector loads, and writes
every byte of the output: the least that any kernel must move. It takes turns with the chooser's
kernel on the same two arrays, which lie ``--offset`` bytes past a page's start; 16 is what NumPy
gives, so that most vectors cross lines of the cache. Best of the rounds, repeats counted in C. The
other bound is that of the multiply-adds, on the taps inside the image, at this core's peak.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import math
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convgen.bench.machine import Loops
from convgen.bench.measure import Run, measure_runs, pinned
from convgen.choose.chooser import choose
from convgen.kernels import lower
from convgen.plan.problem import peel
from convgen.render.environment import environment
from convgen.render.source import render_c
from convgen.spec import parse_text
from convgen.spec.model import ConvSpec
from convgen.target import Target, resolve_target
from convgen.target.host import cpu_name
from convgen.toolchain import Compiler, Unit, compile_shared, find_compiler

PAGE = 4096
LAYERS = """
activation: relu
kernel: 3
padding: 1
groups: depthwise
remainder: floor
layers:
  - {name: m1, input: 112x112x32, k: 32}
  - {name: m2, input: 112x112x64, k: 64, s: 2}
  - {name: m3, input: 14x14x512, k: 512}
  - {name: m5, input: 7x7x1024, k: 1024}
  - {name: cached_1, input: 28x28x64, k: 64}
  - {name: cached_2, input: 28x28x32, k: 32}
  - {name: cached_3, input: 14x14x128, k: 128}
  - {name: cached_4, input: 8x8x128, k: 128}
  - {name: cached_5, input: 28x28x64, k: 64, s: 2}
"""
SOURCE = """\
{% from "vector.j2" import operations %}
{% if isa.header %}
#include <{{ isa.header }}>
{% endif %}
#include <stddef.h>
{{ operations(isa, ["load", "store", "max"]) }}
{% set v = isa.prefix %}
{% set attribute = "__attribute__((" ~ isa.attribute ~ ")) " if isa.attribute else "" %}
/* {{ outputs }} vectors written, {{ inputs }} read, in order; the rest folds into the last. */
{{ attribute }}void copy_bound(const float *x, float *y, long count)
{
  for (long n = 0; n < count; ++n) {
    const float *s = x;
    {{ v }} a = {{ v }}_load(x);
    for (size_t i = 0; i < {{ outputs }}; ++i) {
      a = {{ v }}_load(s);
{% for k in range(1, each) %}
      a = {{ v }}_max(a, {{ v }}_load(s + {{ k * isa.lanes }}));
{% endfor %}
      s += {{ each * isa.lanes }};
      {{ v }}_store(y + i * {{ isa.lanes }}, a);
    }
    for (size_t i = 0; i < {{ rest }}; ++i) {
      a = {{ v }}_max(a, {{ v }}_load(s + i * {{ isa.lanes }}));
    }
    {{ v }}_store(y + {{ (outputs - 1) * isa.lanes }}, a);
    __asm__ volatile("" : : "r"(y) : "memory");
  }
}

void copy_repeat(void (*run)(const float *, const void *, float *, void *), const float *x,
    const void *packed, float *y, void *workspace, long count);
void copy_repeat(void (*run)(const float *, const void *, float *, void *), const float *x,
    const void *packed, float *y, void *workspace, long count)
{
  for (long n = 0; n < count; ++n) run(x, packed, y, workspace);
}
"""


@dataclass(frozen=True)
class Row:
    """Microseconds per call: the kernel, the copy loop, and the multiply-adds at peak."""

    spec: ConvSpec
    schedule: str
    kernel: float
    copy: float
    products: float


def copy_source(spec: ConvSpec, target: Target) -> str:
    """The C of the copy loop. A layer whose output is the larger one reads its input again."""
    lanes = target.isa.lanes
    outputs = math.prod(spec.y_shape) // lanes
    inputs = max(math.prod(spec.x_shape) // lanes, 1)
    each, rest = divmod(inputs, outputs)
    if each == 0:
        outputs, each, rest = inputs, 1, 0
    return environment().from_string(SOURCE).render(
        isa=target.isa, outputs=outputs, inputs=inputs, each=each, rest=rest
    )  # fmt: skip


def real_products(spec: ConvSpec) -> int:
    """Multiply-adds on taps inside the image."""
    taps = sum(area.rows * area.cols * area.kh_taps * area.kw_taps for area in peel(spec))
    return spec.batch * spec.oc * spec.icg * taps


def array(shape: tuple[int, ...], offset: int) -> Any:
    """Zeros that start ``offset`` bytes past a page's start."""
    size = 4 * math.prod(shape)
    raw = np.empty(size + 2 * PAGE, np.uint8)
    raw.fill(0)
    first = -raw.ctypes.data % PAGE + offset
    return raw[first : first + size].view(np.float32).reshape(shape)


def compared(spec: ConvSpec, target: Target, compiler: Compiler, peak: float, offset: int) -> Row:
    """Build the kernel and the copy loop of one layer, and let them take turns."""
    plan = lower(spec, choose(spec, target).schedule, target)
    files = {**render_c(plan), "copy_loop.c": copy_source(spec, target)}
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        units = [Unit(f"{spec.name}.c"), Unit("copy_loop.c")]
        made = compile_shared(compiler, Path(folder), units, "both.so")
        library = ctypes.CDLL(str(made.library))
    x, y = array(spec.x_shape, offset), array(spec.y_shape, offset)
    packed = array((plan.packed_bytes // 4,), 0)
    workspace = array((plan.workspace_bytes // 4 + 1,), 0)
    w, b = np.ones(spec.w_shape, np.float32), np.ones(spec.oc, np.float32)
    pointer, number = ctypes.c_void_p, ctypes.c_long
    pack = library[f"{spec.name}_pack"]
    pack.argtypes = [pointer] * 3
    pack(w.ctypes.data, b.ctypes.data, packed.ctypes.data)
    library.copy_bound.argtypes = [pointer, pointer, number]
    library.copy_repeat.argtypes = [pointer] * 5 + [number]
    run = ctypes.cast(library[f"{spec.name}_run"], pointer)
    addresses = [a.ctypes.data for a in (x, packed, y, workspace)]
    kernel, copy = measure_runs(
        [
            _timed(lambda count: library.copy_repeat(run, *addresses, count)),
            _timed(lambda count: library.copy_bound(x.ctypes.data, y.ctypes.data, count)),
        ],
        rounds=80,
        slice_seconds=0.001,
    )
    products = 2 * real_products(spec) / peak / 1e3
    return Row(spec, str(plan.schedule), kernel.best, copy.best, products)


def _timed(repeat: Callable[[int], Any]) -> Run:
    def run(count: int) -> float:
        start = time.perf_counter()
        repeat(count)
        return time.perf_counter() - start

    return run


def table(rows: list[Row], peak: float) -> list[str]:
    lines = [
        "| layer | input | kernel µs | copy µs | kernel / copy | FMA bound µs | % of FMA bound | "
        "% peak | schedule |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spec = row.spec
        stride = f" s{spec.sh}" if spec.sh > 1 else ""
        nominal = 2 * spec.macs / row.kernel / 1e3 / peak
        lines.append(
            f"| {spec.name} | {spec.h}x{spec.w}x{spec.c}{stride} | {row.kernel:.2f} | "
            f"{row.copy:.2f} | {row.kernel / row.copy:.2f} | {row.products:.2f} | "
            f"{row.products / row.kernel:.0%} | {nominal:.0%} | `{row.schedule}` |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa")
    parser.add_argument("--cc")
    parser.add_argument("--offset", type=int, default=16, help="bytes past a page's start (16)")
    parser.add_argument("--layers", type=Path, help="specs of other layers, weights at run time")
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    args = parser.parse_args()
    target, compiler = resolve_target(isa=args.isa), find_compiler(args.cc)
    text = args.layers.read_text(encoding="utf-8") if args.layers else LAYERS
    with pinned(1):
        peak = Loops(target.isa, args.cc).peak()
        rows = [
            compared(layer.spec, target, compiler, peak, args.offset)
            for layer in parse_text(text, str(args.layers or "copybound"))
        ]
    lines = [
        "# Depthwise layers beside a copy loop over the same bytes",
        "",
        f"{cpu_name()}, {platform.system()}, {datetime.date.today()}, {compiler}, target "
        f"{target.name}: {peak:.0f} GFLOP/s on one core; arrays {args.offset} bytes past a page.",
        "The FMA bound counts the taps inside the image, % peak every tap.",
        "",
        *table(rows, peak),
    ]
    print("\n".join(lines))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

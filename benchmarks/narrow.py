"""Each instruction set by itself: how near its own peak the dense layers come, and plain loops.

    python benchmarks/narrow.py [--isa avx512,avx2,sse2,plain] [--layers s4,r3] [-o FILE]

For every instruction set that this machine has: the peak of its own multiply-adds, measured in
registers; the direct kernel of each layer against that peak, on the taps that lie inside the image;
the kernel that the chooser takes, which may be Winograd's; and a C programmer's loops under
``cc -O3`` for the same instructions. All kernels are compiled by ``cc -O2``, as an embedder would.
Default: the dense layers of benchmarks/layers.yaml that have 16 filters or more and at most 500
million multiply-adds.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convgen.bench.machine import Loops
from convgen.bench.measure import measure, pinned
from convgen.bench.peers import naive
from convgen.bench.peers.base import Problem
from convgen.bench.run import c_flags, shape_text
from convgen.choose.chooser import choose
from convgen.kernels import lower
from convgen.plan.kernel import KernelPlan
from convgen.plan.problem import peel
from convgen.render.source import render_c
from convgen.spec import parse_file
from convgen.spec.model import Accuracy, ConvSpec
from convgen.target import Target, resolve_target
from convgen.target.host import cpu_features, cpu_name
from convgen.toolchain import Unit, compile_shared, find_compiler

HERE = Path(__file__).resolve().parent
MOST_MACS, LEAST_FILTERS = 5e8, 16
ROUNDS, SLICE = 25, 0.002  # many short turns: the least of them is what counts
FLAGS = ("-O2", "-fPIC")


@dataclass(frozen=True)
class Row:
    """GFLOP/s of one layer: the direct kernel, the chosen one, plain loops."""

    spec: ConvSpec
    tile: str
    direct: float
    chosen: float
    family: str
    loops: float


def arrays(spec: ConvSpec) -> tuple[Any, Any, Any]:
    import numpy as np

    rng = np.random.default_rng(1)
    shapes = (spec.x_shape, spec.w_shape, (spec.oc,))
    x, w, b = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
    return x, w, b


def caller(plan: KernelPlan, data: tuple[Any, Any, Any], folder: Path) -> Callable[[], Any]:
    """The kernel of a plan, compiled, its weights packed."""
    import numpy as np

    spec = plan.spec
    folder.mkdir()
    for file, text in render_c(plan).items():
        (folder / file).write_text(text, encoding="utf-8")
    unit = Unit(f"{spec.name}.c")
    library = compile_shared(find_compiler(), folder, [unit], "layer.so", flags=FLAGS).library
    kernel = ctypes.CDLL(str(library))
    y = np.empty(spec.y_shape, np.float32)
    packed, workspace = aligned(plan.packed_bytes), aligned(plan.workspace_bytes)
    x, w, b = data
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, packed, y, workspace)]
    failed = kernel[f"{spec.name}_pack"](*(ctypes.c_void_p(a.ctypes.data) for a in (w, b, packed)))
    assert failed == 0
    run, kept = kernel[f"{spec.name}_run"], (*data, y, packed, workspace)

    def call(_: object = kept) -> None:
        run(*pointers)

    return call


def aligned(size: int) -> Any:
    import numpy as np

    block = np.zeros(size + 4096, np.uint8)
    start = -block.ctypes.data % 4096
    return block[start : start + size]


def measured(spec: ConvSpec, target: Target, folder: Path) -> Row:
    """One layer on one instruction set, its contenders in turns."""
    data = arrays(spec)
    strict = replace(spec, accuracy=Accuracy.STRICT)
    direct = lower(strict, choose(strict, target).schedule, target)
    chosen = lower(spec, choose(spec, target).schedule, target)
    problem = Problem(spec, *data, c_flags=c_flags(target))
    loops = naive.prepare(problem)  # holds the arrays that its call works on
    calls = [caller(direct, data, folder / "direct"), loops.call]
    if chosen.schedule != direct.schedule:
        calls.append(caller(chosen, data, folder / "chosen"))
    times = [timing.best for timing in measure(calls, ROUNDS, SLICE)]
    inside = sum(a.rows * a.cols * a.kh_taps * a.kw_taps for a in peel(spec))
    flops = 2e-3 * inside * spec.icg * spec.oc * spec.batch
    s = direct.schedule
    return Row(
        spec=spec,
        tile=f"{s.tile_h}x{s.tile_w} x {s.vectors}x{s.lanes}",
        direct=flops / times[0],
        chosen=flops / times[-1] if len(times) > 2 else flops / times[0],
        family=str(chosen.schedule.family),
        loops=flops / times[1],
    )


def section(isa: str, target: Target, peaks: Sequence[float], rows: Sequence[Row]) -> str:
    """The table of one instruction set."""
    peak = max(peaks)
    flags = " ".join(("-O3", *c_flags(target)))
    lines = [
        f"## {isa}: {peak:.1f} GFLOP/s at most",
        "",
        f"| layer | shape | tile | direct GFLOP/s | % of peak | chosen GFLOP/s | loops `{flags}` "
        "| direct / loops |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in rows:
        lines.append(
            f"| {row.spec.name} | {shape_text(row.spec)} | {row.tile} | {row.direct:.1f} "
            f"| {100 * row.direct / peak:.0f} | {row.chosen:.1f} ({row.family}) "
            f"| {row.loops:.1f} | {row.direct / row.loops:.2f} |"
        )
    ratios = [row.direct / row.loops for row in rows]
    shares = [100 * row.direct / peak for row in rows]
    lines += [
        "",
        f"Direct: {statistics.median(shares):.0f}% of the peak in the median, {min(shares):.0f}% "
        f"at least; {statistics.geometric_mean(ratios):.2f} times the loops (geometric mean), "
        f"{min(ratios):.2f} at least.",
        "",
    ]
    return "\n".join(lines)


def head(isas: Sequence[str]) -> str:
    scalar = Loops(resolve_target(isa="plain").isas[-1]).peak()
    compiler = find_compiler()
    today = datetime.datetime.now(datetime.UTC).date()
    return (
        "# Each instruction set by itself\n\nMade by `python benchmarks/narrow.py`: one core of "
        f"{cpu_name()}, {compiler.kind} {compiler.version}, {today}.\n\nPeaks are those of the "
        "instruction set's own multiply-adds in registers: fused for AVX-512 and AVX2, a "
        "multiplication and an addition for the others. `plain` is C without intrinsics; where gcc "
        f"or clang have 128-bit registers it takes them. One float at a time reaches {scalar:.1f} "
        "GFLOP/s here.\nGFLOP/s count the taps inside the image, whatever the algorithm saves.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--isa", default="avx512,avx2,sse2,plain")
    parser.add_argument("--layers", default="")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "isas.md")
    options = parser.parse_args()
    names = set(filter(None, options.layers.split(",")))
    specs = [layer.spec for layer in parse_file(HERE / "layers.yaml")]
    dense = [s for s in specs if s.groups == 1]
    usual = {s.name for s in dense if s.macs <= MOST_MACS and s.oc >= LEAST_FILTERS}
    wanted = [s for s in dense if s.name in (names or usual)]
    isas = [
        i
        for i in options.isa.split(",")
        if set(resolve_target(isa=i).isa.features) <= cpu_features()
    ]
    with pinned(1), tempfile.TemporaryDirectory(prefix="convgen-") as scratch:
        text = head(isas)
        for isa in isas:
            target = resolve_target(isa=isa)
            loops = Loops(target.isa)
            peaks, rows = [loops.peak()], []
            for spec in wanted:
                rows.append(measured(spec, target, made(Path(scratch) / f"{isa}_{spec.name}")))
                peaks.append(loops.peak())
            text += f"\n{section(isa, target, peaks, rows)}"
            print(section(isa, target, peaks, rows), flush=True)
    options.output.write_text(text, encoding="utf-8")


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()

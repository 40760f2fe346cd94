"""Does the speed of the generated C hang on the embedder's flags? Compiled in several ways, timed.

    python benchmarks/flags.py [--layers s4,r5] [--isa avx2] [--rounds 150] [--markdown FILE]

The one C file of each layer is compiled as embedders do (gcc and clang, -O2, strict C99, -O3
-march=native) and as ``convgen build`` does, which is the yardstick. All ways run in one process on
the same arrays, by turns; the best of each one's rounds counts. A way that a compiler of this
machine cannot take is left out.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import platform
import shlex
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import convgen
from convgen.bench.measure import Run, measure_runs, pinned
from convgen.choose.chooser import choose
from convgen.kernels import lower
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec import parse_file
from convgen.target import resolve_target
from convgen.target.host import cpu_name
from convgen.toolchain import COMPILE_FLAGS, Compiler, Unit, compile_shared, find_compiler
from convgen.verify.fills import bounded_fill
from convgen.verify.guard import Placement, place
from convgen.verify.kernel import load_kernel

LAYERS = ("s1", "s2", "s4", "r1", "r2", "r5", "r6", "m1", "m2", "m3", "f1", "g1")
WAYS = (
    "gcc -O2", "gcc -std=c99 -O2", "gcc -O3 -march=native",
    "clang -O2", "clang -std=c99 -O2", "clang -O3 -march=native",
)  # fmt: skip
SLICE = 0.5e-3  # seconds of a turn: short ones now and then meet no other program
AIM = 0.05  # as much slower than what convgen build compiles is still fine
REPEAT = """#include "{name}.h"
void {name}_repeat(const float *x, const void *packed, float *y, void *workspace, long calls);
void {name}_repeat(const float *x, const void *packed, float *y, void *workspace, long calls)
{{
  for (; calls > 0; --calls) {name}_run(x, packed, y, workspace);
}}
"""


@dataclass(frozen=True)
class Way:
    """One way to compile: a compiler and its flags for the layer's C."""

    words: str
    compiler: Compiler
    flags: tuple[str, ...]


def ways() -> list[Way]:
    """What convgen build does, first, and every embedder's way that this machine can go."""
    own = find_compiler()
    found = [Way("convgen build", own, COMPILE_FLAGS)]
    for words in WAYS:
        cc, *flags = shlex.split(words)
        if shutil.which(cc) is not None:
            found.append(Way(words, find_compiler(cc), (*flags, "-fPIC")))
    return found


class Subject:
    """One layer's arrays, shared by all its compilations, which stay loaded."""

    def __init__(self, plan: KernelPlan, folder: Path) -> None:
        spec = plan.spec
        self.plan, self.folder = plan, folder
        fill = bounded_fill(spec, 1)
        self.w, self.b = fill.w, fill.b
        self.x = place(fill.x.nbytes, plan.align, Placement.START)
        self.x.data[:] = np.ascontiguousarray(fill.x).reshape(-1).view(np.uint8)
        size = 4 * int(np.prod(spec.y_shape))
        self.y = place(size, plan.align, Placement.START)
        self.packed = place(plan.packed_bytes, plan.align, Placement.START)
        self.work = place(max(1, plan.workspace_bytes), plan.align, Placement.START)

    def run(self, way: Way, number: int) -> Run:
        """Compile in one way, pack the weights, and give what to time."""
        plan, name = self.plan, self.plan.spec.name
        here = self.folder / f"{name}_{number}"
        here.mkdir()
        texts = {**render_c(plan), "repeat.c": REPEAT.format(name=name)}
        for file, text in texts.items():
            (here / file).write_text(text, encoding="utf-8")
        units = [Unit(f"{name}.c"), Unit("repeat.c")]
        made = compile_shared(way.compiler, here, units, f"{name}.so", flags=way.flags)
        kernel = load_kernel(
            made.library, plan.spec, plan.packed_bytes, plan.workspace_bytes, plan.align, False
        )
        bias = 0 if self.b is None else self.b.ctypes.data
        assert kernel.pack is not None
        status = kernel.pack(self.w.ctypes.data, bias, self.packed.address)
        assert status == 0, f"pack returned {status}"
        repeat = ctypes.CDLL(str(made.library))[f"{name}_repeat"]
        repeat.argtypes, repeat.restype = [ctypes.c_void_p] * 4 + [ctypes.c_long], None
        place_of = [b.address for b in (self.x, self.packed, self.y, self.work)]

        def run(count: int) -> float:
            start = time.perf_counter()
            repeat(*place_of, count)
            return time.perf_counter() - start

        return run


def times(plan: KernelPlan, all_ways: Sequence[Way], rounds: int) -> list[float]:
    """Microseconds of a call for each way, the best of its rounds."""
    with tempfile.TemporaryDirectory(prefix="convgen-", ignore_cleanup_errors=True) as folder:
        subject = Subject(plan, Path(folder))
        runs = [subject.run(way, i) for i, way in enumerate(all_ways)]
        return [timing.best for timing in measure_runs(runs, rounds, SLICE)]


def table(found: dict[str, list[float]], all_ways: Sequence[Way]) -> list[str]:
    """Times of the yardstick in microseconds, and of the other ways as ratios to it."""
    head = ["layer", "convgen build, us", *(f"`{way.words}`" for way in all_ways[1:])]
    lines = [f"| {' | '.join(head)} |", f"| :-- |{' --: |' * (len(head) - 1)}"]
    for name, (own, *others) in found.items():
        cells = [name, f"{own:.1f}", *(f"{t / own:.3f}" for t in others)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def closing(found: dict[str, list[float]], all_ways: Sequence[Way]) -> list[str]:
    """What lies beyond the aim."""
    beyond = [
        f"{name} by `{way.words}` ({t / own:.2f})"
        for name, (own, *others) in found.items()
        for way, t in zip(all_ways[1:], others, strict=True)
        if t > (1 + AIM) * own
    ]
    words = ", ".join(beyond) if beyond else "none"
    return ["", f"Slower than what `convgen build` compiles by more than {AIM:.0%}: {words}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default=",".join(LAYERS))
    parser.add_argument("--isa")
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--markdown", type=Path, help="write the table here as well")
    args = parser.parse_args()
    target, all_ways = resolve_target(isa=args.isa), ways()
    compilers = sorted({str(way.compiler) for way in all_ways})
    lines = [
        "# Speed and the embedder's flags",
        "",
        "Made by `python benchmarks/flags.py`; ratios to the time of what `convgen build` compiles "
        f"(`{all_ways[0].compiler.kind} {' '.join(COMPILE_FLAGS)}`). Above 1 is slower.",
        "",
        f"{cpu_name()}, {platform.system()}, {datetime.datetime.now(datetime.UTC).date()}; target "
        f"{target.name}; {', '.join(compilers)}; convgen {convgen.__version__}.",
        "",
    ]
    found: dict[str, list[float]] = {}
    specs = parse_file(Path(__file__).with_name("layers.yaml"))
    wanted = args.layers.split(",")
    with pinned(1):
        for spec in (layer.spec for layer in specs if layer.spec.name in wanted):
            plan = lower(spec, choose(spec, target).schedule, target)
            found[spec.name] = times(plan, all_ways, args.rounds)
            own, *others = found[spec.name]
            print(spec.name, f"{own:.1f}", *(f"{t / own:.3f}" for t in others), flush=True)
    lines += table(found, all_ways) + closing(found, all_ways)
    print("\n".join(lines[3:]))
    if args.markdown:
        args.markdown.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

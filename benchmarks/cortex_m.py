"""Instructions of MLPerf Tiny's 8-bit layers on Cortex-M, counted by QEMU, beside CMSIS-NN's.

    python benchmarks/cortex_m.py [--targets cortex-m4,cortex-m55] [--only kws,v18] [-o FILE]

The 35 distinct layers of the four networks, with baked weights, relu, TFLite's rounding and a
scale for each channel. ``cortex_m.json`` holds their shapes and CMSIS-NN's recorded counts.

QEMU runs as many instructions a nanosecond of its clock as it is told (-icount shift=0), and the
system timer of the emulated board, set against a loop of known length, tells how many a call took.
Instructions are no cycles: an M4 starts one of these a cycle and pays for taken branches and for
words at odd addresses, an M7 starts up to two, and an M55 takes two cycles for a vector's 16 bytes.

Every output is compared with the oracle's. Needs arm-none-eabi-gcc and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convgen.choose.chooser import choose
from convgen.cross.tools import compiler_of, emulator_of
from convgen.cross.trial import board_files
from convgen.kernels import lower
from convgen.oracle.integers import reference
from convgen.render.source import render_c
from convgen.spec.model import Act, Activation, ConvSpec, DType, Padding
from convgen.spec.quant import Affine, Quant
from convgen.spec.schedule import Schedule
from convgen.spec.weights import Weights
from convgen.target import TARGETS
from convgen.target.rigs import RIGS, Rig
from convgen.toolchain import Processes, code_size

RECORDED = Path(__file__).with_suffix(".json")
CORES = ("cortex-m4", "cortex-m7", "cortex-m55")
SPINS = 2_000_000  # rounds of two instructions each
MAIN = """\
#include <stdio.h>
#include "layer.h"

static const int8_t x[LAYER_H * LAYER_W * LAYER_C] = {
#include "x.inc"
};
static int8_t y[LAYER_OH * LAYER_OW * LAYER_OC];
static uint64_t workspace[LAYER_WORKSPACE_BYTES / 8 + 1];
static volatile uint32_t *const timer = (volatile uint32_t *)0xe000e010;

static void restart(void)
{
  timer[1] = 0xffffff, timer[2] = 0, timer[0] = 5; /* reload, value, the processor's own clock */
}

int main(void)
{
  uint32_t spins = @spins, known, hash = 0;
  restart();
  __asm__ volatile("1: subs %0, %0, #1\\n bne 1b" : "+r"(spins) : : "cc");
  known = 0xffffff - timer[2];
  restart();
  layer_run(x, layer_packed, y, workspace);
  printf("%lu of %lu ", (unsigned long)(0xffffff - timer[2]), (unsigned long)known);
  for (size_t i = 0; i < sizeof y; ++i) hash = hash * 31 + (uint8_t)y[i];
  printf("%s %08lx\\n", layer_isa(), (unsigned long)hash);
  return 0;
}
"""


@dataclass(frozen=True)
class Layer:
    """One row of ``cortex_m.json``. ``recorded``: of each core CMSIS-NN's instructions, and
    convgen's instructions and bytes of machine code at the time."""

    net: str
    name: str
    kind: str
    repeats: int
    spec: ConvSpec
    recorded: dict[str, tuple[int, int, int]]

    @property
    def shape(self) -> str:
        s = self.spec
        taps = f"f{s.kh}" if s.kh == s.kw else f"f({s.kh},{s.kw})"
        channels = f"{s.c} depthwise" if self.kind == "dw" else f"{s.c}->{s.oc}"
        return f"{s.h}x{s.w}x{channels} {taps}{' s2' if s.sh == 2 else ''}"

    @property
    def dense(self) -> bool:
        """A fully connected row: not one of the convolutions."""
        return self.spec.h * self.spec.w == 1


def layers() -> list[Layer]:
    rows = json.loads(RECORDED.read_text(encoding="utf-8"))["layers"]
    return [_layer(row) for row in rows]


def _layer(row: dict[str, Any]) -> Layer:
    recorded = {core: tuple(row[core]) for core in CORES}
    return Layer(row["net"], row["name"], row["kind"], row["reps"], _spec(row), recorded)


def _spec(row: dict[str, Any]) -> ConvSpec:
    """Padding as TFLite's SAME; scales that spread the outputs over their type."""
    h, w, c, oc, kh, kw, s = (row[key] for key in ("h", "w", "c", "oc", "kh", "kw", "s"))
    groups = c if row["kind"] == "dw" else 1
    bottom, right = (
        max(0, (-(-size // s) - 1) * s + taps - size - before)
        for size, taps, before in ((h, kh, row["ph"]), (w, kw, row["pw"]))
    )
    scales = tuple(float(v) for v in np.linspace(0.004, 0.012, oc, dtype=np.float32))
    depth = kh * kw * c // groups
    step = float(np.float32(0.05 * 0.008 * 74 * 74 * depth**0.5 / 40))
    quant = Quant(
        Affine((float(np.float32(0.05)),), (row["zp"],)), Affine(scales), Affine((step,), (-128,))
    )
    return ConvSpec(
        "layer", h, w, c, oc, kh, kw, sh=s, sw=s, groups=groups,
        padding=Padding(row["ph"], row["pw"], bottom, right), activation=Activation(Act.RELU),
        dtype=DType.INT8, quant=quant,
    )  # fmt: skip


@dataclass(frozen=True)
class Count:
    """Instructions of one call, bytes of machine code and of workspace."""

    instructions: float
    text: int
    workspace: int
    schedule: Schedule


def count(layer: Layer, rig: Rig, folder: Path) -> Count:
    """Compiles, runs and checks one layer. Raises ``SystemExit`` for wrong outputs."""
    compiler, emulator = compiler_of(rig, None, Processes()), emulator_of(rig)
    if compiler is None or emulator is None:
        raise SystemExit("needs arm-none-eabi-gcc and qemu-system-arm")
    assert rig.board is not None
    spec, target = layer.spec, TARGETS[rig.target]
    plan = lower(spec, choose(spec, target).schedule, target)
    x, weights = _contents(spec)
    files = {**render_c(plan, weights), **board_files(rig.board)}
    files["main.c"] = MAIN.replace("@spins", str(SPINS))
    files["x.inc"] = ",\n".join(map(str, x.reshape(-1).tolist()))
    for file, text in files.items():
        (folder / file).write_text(text, encoding="utf-8")
    command = (*compiler.command, "-O2", *target.flags)
    subprocess.run((*command, "-c", "layer.c"), cwd=folder, check=True, timeout=120)
    rest = ("-nostartfiles", "-T", "memory.ld", "main.c", "start.c", "printf.c", "layer.o")
    subprocess.run((*command, *rest, "-o", "program"), cwd=folder, check=True, timeout=120)
    counting = (emulator[0], "-icount", "shift=0", *emulator[1:], str(folder / "program"))
    run = subprocess.run(counting, capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r"(\d+) of (\d+) (\S+) (\w+)", run.stdout + run.stderr)
    assert found is not None, run
    assert found[3] in plan.isas, run
    if int(found[4], 16) != _hash(reference(spec, x, weights.w, weights.b)):
        raise SystemExit(f"{layer.name} on {rig.name}: outputs differ from the oracle's")
    text_bytes = code_size(folder / "layer.o")
    assert text_bytes is not None
    counted = 2 * SPINS * int(found[1]) / int(found[2])
    return Count(counted, text_bytes, plan.workspace_bytes, plan.schedule)


def _contents(spec: ConvSpec) -> tuple[np.ndarray[Any, Any], Weights]:
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, spec.x_shape, dtype=np.int8)
    w = rng.integers(-127, 128, spec.w_shape, dtype=np.int8)
    return x, Weights(w, rng.integers(-3000, 3000, spec.oc, dtype=np.int32))


def _hash(y: np.ndarray[Any, Any]) -> int:
    value = 0
    for byte in y.astype(np.uint8).reshape(-1).tolist():
        value = (value * 31 + byte) & 0xFFFFFFFF
    return value


def counts(chosen: Sequence[Layer], targets: Sequence[str]) -> dict[str, list[Count]]:
    """Of each target, in the order of the layers; one program at a time."""
    found: dict[str, list[Count]] = {}
    for rig in (r for r in RIGS if r.name in targets):
        found[rig.name] = []
        for layer in chosen:
            with tempfile.TemporaryDirectory(prefix="convgen-cortex-m-") as folder:
                found[rig.name].append(count(layer, rig, Path(folder)))
    return found


def table(chosen: Sequence[Layer], found: dict[str, list[Count]]) -> Iterator[str]:
    """Instructions per multiply-add, and CMSIS-NN's instructions over convgen's."""
    heads = [f"{core} | CMSIS-NN | ratio" for core in found]
    yield f"| layer | {' | '.join(heads)} |"
    yield f"| --- |{' --: | --: | --: |' * len(found)}"
    for i, layer in enumerate(chosen):
        cells = [f"{layer.net} {layer.name} {layer.shape}"]
        for core, list_ in found.items():
            theirs, ours = layer.recorded[core][0], list_[i].instructions
            macs = layer.spec.macs
            cells += [f"{ours / macs:.2f}", f"{theirs / macs:.2f}", f"**{theirs / ours:.2f}**"]
        yield f"| {' | '.join(cells)} |"


def summary(chosen: Sequence[Layer], found: dict[str, list[Count]]) -> Iterator[str]:
    """Geometric means of the ratios over the convolutions by kind, and the least of all layers."""
    yield "| core | 30 convolutions | standard | pointwise | depthwise | dense rows | least |"
    yield "| --- | --: | --: | --: | --: | --: | --: |"
    for core, list_ in found.items():
        ratios = [
            layer.recorded[core][0] / one.instructions
            for layer, one in zip(chosen, list_, strict=True)
        ]
        kinds = [("dense" if layer.dense else layer.kind) for layer in chosen]
        means = [_mean(r for r, k in zip(ratios, kinds, strict=True) if k != "dense")]
        means += [
            _mean(r for r, k in zip(ratios, kinds, strict=True) if k == kind)
            for kind in ("std", "pw", "dw", "dense")
        ]
        yield f"| {core} | {' | '.join(means)} | {min(ratios):.2f} |"


def _mean(values: Iterable[float]) -> str:
    logs = [math.log(value) for value in values]
    return f"{math.exp(sum(logs) / len(logs)):.2f}" if logs else "-"


def networks(chosen: Sequence[Layer], found: dict[str, list[Count]]) -> Iterator[str]:
    """Whole networks: million instructions beside CMSIS-NN's, bytes of code, and at most of
    workspace. Layers of one shape share their code."""
    heads = "convgen, million | CMSIS-NN | ratio | code | code in cbb511b | workspace"
    yield f"| network | core | {heads} |"
    yield "| --- | --- | --: | --: | --: | --: | --: | --: |"
    for net in dict.fromkeys(layer.net for layer in chosen):
        for core, list_ in found.items():
            mine = [(a, b) for a, b in zip(chosen, list_, strict=True) if a.net == net]
            ours = sum(a.repeats * b.instructions for a, b in mine) / 1e6
            theirs = sum(a.repeats * a.recorded[core][0] for a, _ in mine) / 1e6
            text = sum(b.text for _, b in mine)
            before = sum(a.recorded[core][2] for a, _ in mine)
            most = max(b.workspace for _, b in mine)
            yield (
                f"| {net} | {core} | {ours:.2f} | {theirs:.2f} | {theirs / ours:.2f} "
                f"| {text:,} | {before:,} | {most:,} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--targets", default=",".join(CORES))
    parser.add_argument("--only", default="", help="networks, layers or kinds: kws,v18,dw")
    parser.add_argument("--schedules", action="store_true", help="list them, and the code's bytes")
    parser.add_argument("-o", dest="file", type=Path, help="write the tables there")
    arguments = parser.parse_args()
    only = set(filter(None, arguments.only.split(",")))
    chosen = [x for x in layers() if not only or only & {x.net, x.name, x.kind}]
    found = counts(chosen, arguments.targets.split(","))
    parts = [part(chosen, found) for part in (table, summary, networks)]
    text = "\n".join("\n".join(part) + "\n" for part in parts)
    if arguments.schedules:
        for core, list_ in found.items():
            for layer, one in zip(chosen, list_, strict=True):
                print(core, layer.name, one.schedule, one.text, "before", layer.recorded[core][2])
    if arguments.file is None:
        print(text, end="")
    else:
        arguments.file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

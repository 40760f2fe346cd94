"""Instructions per multiply-add of 8-bit layers on Cortex-M, counted by QEMU.

    python benchmarks/cortex_m.py [--targets cortex-m4,cortex-m55] [-o FILE]

QEMU runs as many instructions a nanosecond of its clock as it is told (-icount shift=0), and the
system timer of the emulated board, set against a loop of known length, tells how many a call took.
Instructions are no cycles: an M4 starts one of these a cycle and pays for taken branches and for
words at odd addresses, an M7 starts up to two, and an M55 takes two cycles for a vector's 16 bytes.

Each layer three times: one product a step in the tiles of any plain C target, the same in tiles for
core registers, and what the target takes. Needs arm-none-eabi-gcc and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from convgen.choose.chooser import choose
from convgen.cross.tools import compiler_of, emulator_of
from convgen.cross.trial import board_files
from convgen.kernels import lower
from convgen.plan.kernel import KernelPlan
from convgen.render import render_c
from convgen.spec import parse_text
from convgen.spec.model import ConvSpec
from convgen.target import TARGETS, Target
from convgen.target.rigs import RIGS, Rig
from convgen.toolchain import Processes

LAYERS = """
layers:
  - {name: ten, input: 32x32x3, filters: 10, kernel: 5, padding: 2}
  - {name: dense, input: 16x16x32, filters: 32, kernel: 3, padding: 1}
  - {name: pointwise, input: 8x8x64, filters: 64, kernel: 1}
  - {name: depthwise, input: 16x16x32, filters: 32, kernel: 3, padding: 1, groups: depthwise}
activation: relu
dtype: int8
quant: {input: {scale: 0.05, zero_point: -9}, weight: {scale: 0.01},
        output: {scale: 0.5, zero_point: 4}}
"""
SPINS = 2_000_000  # rounds of two instructions each
MAIN = """\
#include <stdio.h>
#include "@name.h"

static int8_t x[@N_N * @N_H * @N_W * @N_C], w[@N_KH * @N_KW * (@N_C / @N_G) * @N_OC];
static int8_t y[@N_N * @N_OH * @N_OW * @N_OC], packed[@N_PACKED_BYTES];
static int32_t b[@N_OC];

static volatile uint32_t *const timer = (volatile uint32_t *)0xe000e010;

static int8_t next(void)
{
  static uint32_t state = 1;
  state = state * 1664525u + 1013904223u;
  return (int8_t)(state >> 24);
}

static void restart(void)
{
  timer[1] = 0xffffff, timer[2] = 0, timer[0] = 5; /* reload, value, the processor's own clock */
}

int main(void)
{
  uint32_t spins = @spins, known, hash = 0;
  for (size_t i = 0; i < sizeof x; ++i) x[i] = next();
  for (size_t i = 0; i < sizeof w; ++i) w[i] = next();
  if (@name_pack(w, b, packed) != 0) return 1;
  restart();
  __asm__ volatile("1: subs %0, %0, #1\\n bne 1b" : "+r"(spins) : : "cc");
  known = 0xffffff - timer[2];
  restart();
  @name_run(x, packed, y, NULL);
  printf("%lu of %lu ", (unsigned long)(0xffffff - timer[2]), (unsigned long)known);
  for (size_t i = 0; i < sizeof y; ++i) hash = hash * 31 + (uint8_t)y[i];
  printf("%s %08lx\\n", @name_isa(), (unsigned long)hash);
  return 0;
}
"""


def specs() -> list[ConvSpec]:
    return [layer.spec for layer in parse_text(LAYERS, "cortex_m.py")]


def plans(spec: ConvSpec, target: Target) -> Iterator[tuple[str, KernelPlan]]:
    """The general tiles, tiles for core registers, and the target's own steps."""
    never = tuple(replace(step, least=1 << 30) for step in target.core_steps)
    tiles = replace(target, core_steps=never)
    general = replace(target, core_steps=())
    for words, machine in (("plain", general), ("tiles", tiles), ("", target)):
        plan = lower(spec, choose(spec, machine).schedule, machine)
        yield words or (plan.step.name if plan.step else "tiles"), plan


def instructions(plan: KernelPlan, rig: Rig, folder: Path) -> tuple[float, str]:
    """Of one call, and a fingerprint of its outputs."""
    compiler, emulator = compiler_of(rig, None, Processes()), emulator_of(rig)
    if compiler is None or emulator is None:
        raise SystemExit("needs arm-none-eabi-gcc and qemu-system-arm")
    assert rig.board is not None
    name = plan.spec.name
    main = MAIN.replace("@name", name).replace("@N", name.upper()).replace("@spins", str(SPINS))
    for file, text in {**render_c(plan), **board_files(rig.board), "main.c": main}.items():
        (folder / file).write_text(text, encoding="utf-8")
    flags = ("-O2", *plan.target.flags, "-nostartfiles", "-T", "memory.ld")
    sources = (f"{name}.c", "main.c", "start.c", "printf.c")
    command = (*compiler.command, *flags, *sources, "-o", "program")
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    counting = (emulator[0], "-icount", "shift=0", *emulator[1:], str(folder / "program"))
    run = subprocess.run(counting, capture_output=True, text=True, check=True, timeout=120)
    found = re.search(r"(\d+) of (\d+) (\S+) (\w+)", run.stdout + run.stderr)
    assert found is not None, run
    assert (found[3],) == plan.isas
    return 2 * SPINS * int(found[1]) / int(found[2]), found[4]


def table(targets: Sequence[str]) -> Iterator[str]:
    yield "| layer | target | plain C | its tiles | steps | instructions per multiply-add |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for spec in specs():
        for rig in (r for r in RIGS if r.name in targets):
            cells, prints, step = [], set(), ""
            for step, plan in plans(spec, TARGETS[rig.target]):  # noqa: B007 - the last is named
                with tempfile.TemporaryDirectory(prefix="convgen-cortex-m-") as folder:
                    count, fingerprint = instructions(plan, rig, Path(folder))
                cells.append(f"{count / spec.macs:.2f}")
                prints.add(fingerprint)
            assert len(prints) == 1, f"{spec.name} on {rig.name}: outputs differ"
            shape = f"{spec.h}x{spec.w}x{spec.c}->{spec.oc} f{spec.kh}"
            words = (f"{spec.name} {shape}", rig.name, *cells[:2], step, cells[2])
            yield f"| {' | '.join(words)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--targets", default="cortex-m4,cortex-m55")
    parser.add_argument("-o", dest="file", type=Path, help="write the table there")
    arguments = parser.parse_args()
    lines = list(table(arguments.targets.split(",")))
    text = "\n".join(lines) + "\n"
    if arguments.file is None:
        print(text, end="")
    else:
        arguments.file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

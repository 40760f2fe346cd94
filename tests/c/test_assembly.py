"""What compilers make of the hot loops under an embedder's ``cc -O2``: nothing spilled, all fused.

Each step of a tile is one straight block that jumps to itself and stores nothing. Every such block
with products of vectors is looked at: borders, strips and the last, narrower channels too.
Winograd's transforms, which store what they compute, may spill: alpha inputs meet alpha sums.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from kernels import planned, target_of
from quant_layers import quantised
from tools import need

from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.model import Act, Activation, ConvSpec, Padding
from convgen.spec.quant import Rounding
from convgen.spec.schedule import Schedule
from convgen.target import TARGETS

RELU = Activation(Act.RELU)
DENSE = ConvSpec("dense", 28, 28, 48, 96, 3, 3, padding=Padding(1, 1, 1, 1), activation=RELU)
SHORT = ConvSpec("short", 20, 20, 3, 6, 5, 5, activation=RELU)  # few filters, one vector of them
POINTWISE = ConvSpec("pointwise", 14, 14, 100, 72, 1, 1, activation=RELU)
# Tiles of five pixels, whose registers gcc once filled with what only their ends need.
SMALL = ConvSpec("small", 7, 7, 512, 64, 3, 3, padding=Padding(1, 1, 1, 1), activation=RELU)
# Winograd layers whose products once spilled.
DEEP = ConvSpec("deep", 64, 64, 128, 32, 3, 3, padding=Padding(1, 1, 1, 1))
ODD = ConvSpec("odd", 27, 37, 24, 33, 5, 5, padding=Padding(2, 2, 2, 2))

DIRECT = "{{family: direct, lanes: {}, tile: {}, vectors: {}}}"
WINOGRAD = "{{family: winograd, lanes: {}, tile: {}, vectors: {}, block: {}}}"
CASES: Mapping[str, tuple[ConvSpec, str, str]] = {
    "avx512": (DENSE, "avx512", DIRECT.format(16, [1, 14], 2)),
    "avx512_wide": (DENSE, "avx512", DIRECT.format(16, [1, 6], 4)),
    "avx512_f6": (DEEP, "avx512", WINOGRAD.format(16, [6, 6], 2, [11, 1])),
    "avx512_f4": (ODD, "avx512", WINOGRAD.format(16, [4, 4], 3, [7, 5])),
    "avx2": (DENSE, "avx2", DIRECT.format(8, [1, 6], 2)),
    "avx2_wide": (DENSE, "avx2", DIRECT.format(8, [1, 3], 4)),
    "avx2_short": (SHORT, "avx2", DIRECT.format(8, [1, 13], 1)),
    "avx2_f4": (ODD, "avx2", WINOGRAD.format(8, [4, 4], 2, [6, 1])),
    "sse2": (DENSE, "sse2", DIRECT.format(4, [1, 2], 6)),
    "sse2_pointwise": (POINTWISE, "sse2", DIRECT.format(4, [1, 3], 3)),
    "sse2_f6": (DEEP, "sse2", WINOGRAD.format(4, [6, 6], 6, [2, 4])),
    "plain": (DENSE, "plain", DIRECT.format(4, [1, 2], 6)),
    "plain_f4": (ODD, "plain", WINOGRAD.format(4, [4, 4], 2, [6, 1])),
}
COMPILERS = ("gcc", "clang", "clang-19")


@dataclass(frozen=True)
class Step:
    """A block of instructions that jumps to itself."""

    lines: tuple[str, ...]

    def count(self, pattern: str) -> int:
        return sum(1 for line in self.lines if re.match(pattern, line))

    @property
    def fused(self) -> int:
        return self.count(r"vf[n]?madd\d+ps")

    @property
    def products(self) -> int:
        """Multiply-adds, fused or not, of vectors."""
        return self.fused + self.count(r"v?mulps")

    @property
    def sums(self) -> int:
        return self.fused + self.count(r"v?addps")

    @property
    def results(self) -> int:
        """Vectors stored elsewhere than on the stack."""
        return self.count(r"v?movu?a?[lh]?ps\s+%\w+, [^%]*\((?!%rsp)")

    @property
    def stack(self) -> list[str]:
        """Vectors that come from the stack or go there."""
        return [line for line in self.lines if "(%rsp" in line and "mm" in line]


def steps(assembly: str) -> Iterator[Step]:
    """Every block with products of vectors that jumps to itself and stores no result."""
    return (step for step in blocks(assembly) if step.products and not step.results)


def blocks(assembly: str) -> Iterator[Step]:
    """Every block that jumps to itself."""
    label, block = "", list[str]()
    for line in map(str.strip, assembly.splitlines()):
        if named := re.match(r"(\.?[\w$.]+):", line):
            label, block = named[1], []
        elif re.match(r"[a-z{]", line):
            block.append(line)
            if line.startswith("j"):
                if line.split()[-1] == label:
                    yield Step(tuple(block))
                label, block = "", []


def assembly_of(plan: KernelPlan, compiler: str, folder: Path) -> str:
    need(compiler)
    for file, text in render_c(plan).items():
        (folder / file).write_text(text, encoding="utf-8")
    command = [compiler, "-O2", "-S", f"{plan.spec.name}.c", "-o", "-"]
    run = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    if "%rdi" not in run.stdout:
        pytest.skip(f"{compiler} does not compile for x86-64")
    return run.stdout


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("label", CASES)
def test_the_hot_loops(label: str, compiler: str, tmp_path: Path) -> None:
    spec, isa, pinned = CASES[label]
    plan = planned(spec, target_of(isa), Schedule.from_text(pinned))
    found = list(steps(assembly_of(plan, compiler, tmp_path)))
    tile = max(plan.body.tiles, key=lambda t: t.pixels * t.vectors)
    main = [step for step in found if step.products == tile.pixels * tile.vectors]
    assert main, f"no loop has the {tile.pixels}x{tile.vectors} products of the main tile"
    for step in found:
        assert not step.stack, step.lines
        assert step.products == step.sums, step.lines
        assert step.fused == (step.products if plan.body.isa.fused else 0), step.lines
    for step in main:  # the rest: an input or weights each for several products, and the loop
        arithmetic = step.products * (1 if plan.body.isa.fused else 2)
        assert arithmetic >= 0.4 * len(step.lines), step.lines


def dots(step: Step) -> int:
    return step.count(r"(\{vex\}\s*)?v?p(dpbusd|maddwd)\b")


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("target", [t for t in TARGETS if t.startswith("x86-64-")])
@pytest.mark.parametrize("spec", [DENSE, SMALL], ids=lambda spec: spec.name)
def test_the_hot_loops_of_8_bit_layers(
    spec: ConvSpec, target: str, compiler: str, tmp_path: Path
) -> None:
    """One instruction a product with VNNI, else two and their additions; sums in registers."""
    plan = planned(quantised(spec, Rounding.ONNX), TARGETS[target])
    isa, tile = plan.body.isa, max(plan.body.tiles, key=lambda t: t.pixels * t.vectors)
    assembly = assembly_of(plan, compiler, tmp_path)
    found = [step for step in blocks(assembly) if dots(step) and not step.results]
    main = [s for s in found if dots(s) == tile.pixels * tile.vectors * isa.halves]
    assert main, f"no loop has the {tile.pixels}x{tile.vectors} products of the main tile"
    for step in main:  # old clangs copy one product too many for SSE2's 16 registers
        assert len(step.stack) <= (2 if (isa.name, compiler) == ("sse2", "clang") else 0)
        assert step.count(r"v?paddd\b") == (dots(step) if isa.halves == 2 else 0), step.lines


def test_a_spill_is_seen() -> None:
    spilled = """
.L3:
\tvmovups\t-40(%rsp), %ymm0
\tvfmadd231ps\t%ymm1, %ymm2, %ymm0
\tvmovups\t%ymm0, -40(%rsp)
\tjne\t.L3
\taddq\t$1, %rax
.L4:
\tmulps\t%xmm1, %xmm0
\tjle\t.L3
"""
    (step,) = steps(spilled)
    assert (step.products, step.sums, step.fused, len(step.stack)) == (1, 1, 1, 2)

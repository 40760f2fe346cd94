"""Fat files: several vector bodies over one packed layout, and the one that the CPU gets."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from built import LAYERS, posix_only
from edge_layers import ACTIVATIONS, EDGES, LAYER, with_activation
from kernels import GCC, Part, Way, compiled, planned, prove_right
from tools import need

from convgen.ctext.parts import parts_of
from convgen.errors import ScheduleError
from convgen.kernels import fat as module
from convgen.kernels import lower
from convgen.package.disk.build import BuildOptions, build_layer
from convgen.package.emit.files import emit_files
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.model import ConvSpec, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import ISA_NAMES, TARGETS, host_target
from convgen.target.host import cpu_features
from convgen.verify.eva import Reading
from convgen.verify.prove import prove

FAT = TARGETS["x86-64"]
WINO = ConvSpec(
    "edge", 11, 13, 17, 37, 3, 3, padding=Padding(1, 1, 1, 1), activation=LAYER.activation
)
WINOGRAD = {
    "winograd": (WINO, Schedule(Family.WINOGRAD, 16, 4, 4, 2, 5, 1)),
    "winograd_three_vectors": (WINO, Schedule(Family.WINOGRAD, 16, 2, 2, 3, 4, 2)),
}
# Packed blocks of 16, 8 and 4 channels; tails; scattered stores; every family.
LABELS = (
    "wide", "planes", "groups_wide", "pad_around_one_tap_strided", "depthwise_5x5", "grouped_by_2",
)  # fmt: skip
BODIES = ("avx512", "avx2", "sse2")


@cache
def fat_plan(label: str) -> KernelPlan:
    if label in WINOGRAD:
        spec, schedule = WINOGRAD[label]
        return lower(spec, schedule, FAT)
    return planned(EDGES[label], FAT)


def only(plan: KernelPlan, isa: str, cc: str = "gcc") -> Way:
    """The body of this instruction set compiled alone; skips where file or CPU lack it."""
    if isa not in plan.isas:
        pytest.skip(f"this file has bodies for {', '.join(plan.isas)}")
    need(cc)
    missing = set(TARGETS[ISA_NAMES[isa]].isa.features) - cpu_features()
    if missing:
        pytest.skip(f"this CPU has no {', '.join(sorted(missing))}")
    return Way(cc=cc, flags=("-O1", f"-D{plan.spec.name.upper()}_ONLY_{isa.upper()}"))


# -- what is decided -----------------------------------------------------------------------------


def test_a_fat_target_is_made_of_others_and_never_the_hosts() -> None:
    assert [TARGETS[name].isa.name for name in FAT.parts] == list(BODIES)
    assert not any(TARGETS[name].parts for name in FAT.parts)
    assert not host_target().parts


@pytest.mark.parametrize("label", [*LABELS, *WINOGRAD])
def test_all_bodies_read_one_packing(label: str) -> None:
    plan = fat_plan(label)
    for narrow in plan.narrower:
        assert narrow.packing == plan.packing
        assert narrow.schedule.family is plan.schedule.family
        assert narrow.body.isa.lanes <= plan.body.isa.lanes
        if plan.schedule.family is not Family.PLANES:  # its lanes are pixels, not channels
            assert plan.body.isa.lanes == plan.packing.lanes
        assert narrow.workspace_bytes <= plan.workspace_bytes
    names = [body.isa.prefix for _, body in parts_of(plan)]
    assert len(set(names)) == len(names), "two vector types of one name"
    assert plan.isas == tuple(dict.fromkeys(plan.isas))


def test_the_schedule_is_the_widest_ones() -> None:
    """A pinned schedule, and one that was chosen, are those of the same target alone."""
    layer = replace(LAYER, oc=32)  # with few channels, planar, whose packing is not shared
    alone = planned(layer, TARGETS["x86-64-avx512"])
    both = planned(layer, FAT)
    assert (both.schedule, both.packing, both.bodies) == (
        alone.schedule,
        alone.packing,
        alone.bodies,
    )
    narrow = lower(LAYER, Schedule(Family.DIRECT, 8, 1, 6, 2), FAT)
    assert narrow.isas == ("avx2", "sse2") and narrow.packing.lanes == 8


def test_tiles_meet_packed_blocks() -> None:
    """Three vectors of 8 channels begin inside a block of 16, unless there are no more."""
    blocks = replace(TARGETS["x86-64-avx2"], block=16)
    tile = Schedule(Family.DIRECT, 8, 1, 3, 3)
    assert lower(replace(LAYER, oc=24), tile, blocks).packing.lanes == 16
    with pytest.raises(ScheduleError, match="3 vectors of 8 lanes do not meet packed blocks of 16"):
        lower(replace(LAYER, oc=48), tile, blocks)
    with pytest.raises(ScheduleError, match="1 vectors of 8 lanes do not meet packed blocks of 4"):
        lower(LAYER, Schedule(Family.DIRECT, 8, 1, 4, 1), replace(blocks, block=4))


def test_a_family_that_shares_no_packing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, schedule = WINOGRAD["winograd"]
    monkeypatch.setattr(module, "SHARING", frozenset({Family.DIRECT}))
    with pytest.raises(ScheduleError, match="family winograd has one packed layout per instr"):
        lower(spec, schedule, FAT)
    assert planned(spec, FAT).schedule.family is Family.DIRECT


# -- what is computed ----------------------------------------------------------------------------


@pytest.mark.parametrize("isa", BODIES)
@pytest.mark.parametrize("label", [*LABELS, *WINOGRAD])
def test_each_body_is_right(label: str, isa: str) -> None:
    plan = fat_plan(label)
    prove_right(plan, only(plan, isa))


@pytest.mark.parametrize("isa", BODIES)
@pytest.mark.parametrize("label", ["depthwise_5x5", "winograd"])
def test_clang_takes_each_body(label: str, isa: str) -> None:
    plan = fat_plan(label)
    prove_right(plan, only(plan, isa, "clang"))


@pytest.mark.parametrize("part", list(Part))
@pytest.mark.parametrize("label", ["planes"])
def test_the_whole_file_the_model_and_plain_c(label: str, part: Part) -> None:
    prove_right(fat_plan(label), Way(part=part, flags=("-O1",)))


@pytest.mark.parametrize("name", ["silu", "clip"])
def test_activations_of_renamed_operations(name: str) -> None:
    """Four lanes of AVX2 and SSE2's four in one file."""
    assert name in ACTIVATIONS
    plan = planned(replace(with_activation(name), oc=3), FAT)
    assert [p.body.isa.lanes for p in (plan, *plan.narrower)] == [4, 4]
    prove_right(plan)
    prove_right(plan, only(plan, "sse2"))


def test_packed_weights_are_the_same_whatever_the_body() -> None:
    plan = fat_plan("wide")
    rng = np.random.default_rng(0)
    w = rng.normal(size=plan.spec.w_shape).astype(np.float32)
    b = rng.normal(size=plan.spec.oc).astype(np.float32)
    found = []
    for flags in ("-DEDGE_PLAIN", "-DEDGE_ONLY_SSE2", "-DEDGE_ONLY_AVX512", "-DEDGE_MODEL"):
        path = compiled("edge", render_c(plan), Way(flags=("-O0", flags)))
        packed = np.empty(plan.packed_bytes // 4, np.float32)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (w, b, packed)]
        assert ctypes.CDLL(str(path)).edge_pack(*pointers) == 0
        found.append(packed)
    assert all(np.array_equal(found[0], other) for other in found[1:])


# -- which body runs -----------------------------------------------------------------------------

SAY = """#include <stdio.h>
#include "edge.h"
int main(void)
{
  printf("%s %d\\n", edge_isa(), edge_cpu_ok());
  return 0;
}
"""
CPUS = {"Nehalem": "sse2", "Haswell": "avx2"}


def emulator() -> str:
    need("qemu-x86_64")
    if os.uname().machine != "x86_64":
        pytest.skip("needs an x86-64 host: the programs are built for it")
    return "qemu-x86_64"


def said(program: Path, cpu: str | None = None) -> str:
    command = [emulator(), "-cpu", cpu, program] if cpu else [program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.tools
@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_the_cpu_decides(cc: str) -> None:
    need(cc)
    program = compiled("edge", render_c(fat_plan("planes")), Way(cc=cc), main=SAY)
    for cpu, isa in CPUS.items():
        assert said(program, cpu) == f"{isa} 1\n"
    if {"avx512f", "avx2", "fma"} <= cpu_features():
        assert said(program) == "avx512 1\n"


@pytest.mark.tools
def test_plain_c_serves_where_no_vector_body_can() -> None:
    """Four lanes hold no group of eight channels, so SSE2 has no body here."""
    plan = fat_plan("grouped_by_8")
    assert "sse2" not in plan.isas
    program = compiled("edge", render_c(plan), GCC, main=SAY)
    assert said(program, "Nehalem") == "plain 1\n"
    assert said(program, "Haswell") == "avx2 1\n"


@pytest.mark.tools
@pytest.mark.parametrize(
    ("flag", "words"),
    [("ONLY_AVX2", "avx2 0"), ("ONLY_SSE2", "sse2 1"), ("PLAIN", "plain 1"), ("MODEL", "plain 1")],
)
def test_a_body_compiled_alone_says_what_it_needs(flag: str, words: str) -> None:
    way = Way(flags=("-O1", f"-DEDGE_{flag}"))
    program = compiled("edge", render_c(fat_plan("planes")), way, main=SAY)
    assert said(program, "Nehalem") == f"{words}\n"


@pytest.mark.tools
@pytest.mark.parametrize("target", ["x86-64", "x86-64-avx2", "x86-64-avx512"])
def test_the_self_test_runs_or_refuses(target: str, tmp_path: Path) -> None:
    qemu = emulator()
    layer = replace(LAYERS["many"], spec=replace(LAYERS["many"].spec, oc=16))
    for file, text in emit_files(layer, TARGETS[target]).items():
        if "/" not in file:
            (tmp_path / file).write_text(text)
    command = ["cc", "-O1", "-Wall", "-Werror", "many.c", "selftest.c", "-o", "selftest"]
    subprocess.run(command, cwd=tmp_path, check=True)
    needs: set[str] = set() if target == "x86-64" else set(TARGETS[target].isa.features)
    for cpu, have in (("Nehalem", set()), ("Haswell", {"avx2", "fma"})):
        run = [qemu, "-cpu", cpu, "./selftest"]
        done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
        fits = needs <= have
        assert done.returncode == (0 if fits else 77), done.stderr
        assert ("ok" if fits else "this CPU lacks instructions") in done.stdout


def test_no_intrinsics_without_gnu_c(tmp_path: Path) -> None:
    """Any other compiler gets plain C99, to the letter."""
    for file, text in render_c(fat_plan("wide")).items():
        (tmp_path / file).write_text(text)
    command = ["gcc", "-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wpedantic"]
    command += ["-U__GNUC__", "-Wno-builtin-macro-redefined", "-fsyntax-only", "edge.c"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- built and proved ----------------------------------------------------------------------------


@pytest.mark.tools
@posix_only
def test_a_package_takes_the_body_of_the_cpu_it_meets(tmp_path: Path) -> None:
    qemu = emulator()
    options = BuildOptions(out=tmp_path, target=FAT, cc="gcc", use_cache=False)
    result = build_layer(LAYERS["layer"], options)
    assert result.isa == "avx512, avx2, sse2" and result.report is not None
    checked = {check.name for check in result.report.checks}
    beside = [isa for isa in BODIES if set(TARGETS[ISA_NAMES[isa]].isa.features) <= cpu_features()]
    for isa in beside[1:]:
        assert f"exact fill on {isa}" in checked
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import layer, numpy as np\n"
        "w, b = np.ones(layer.WEIGHT_SHAPE, np.float32), np.ones(10, np.float32)\n"
        "print(layer.ISA, layer.conv(np.ones(layer.INPUT_SHAPE, np.float32), w, b)[0, 5, 5, 0])\n"
    )
    for cpu, isa in CPUS.items():
        done = subprocess.run(
            [qemu, "-cpu", cpu, sys.executable, "-I", "-c", code],
            capture_output=True, text=True, timeout=120,
            env={**os.environ, "OPENBLAS_CORETYPE": "Nehalem"},  # its own guess fails under QEMU
        )  # fmt: skip
        assert done.stdout == f"{isa} 76.0\n", done.stderr[-2000:]


@pytest.mark.needs("frama-c")
@pytest.mark.parametrize(
    ("label", "isa"),
    [("grouped_by_4", None), ("groups_wide", "sse2")],
)
def test_a_body_is_proved(label: str, isa: str | None) -> None:
    plan = fat_plan(label)
    found = prove(plan, render_c(plan), Reading.SIMD, isa=isa)
    assert found.proved, "\n".join(found.alarms)
    assert found.functions > 10

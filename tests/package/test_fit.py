"""Limits on a kernel's size: kept to, or refused with the closest possible; and the estimate."""

from __future__ import annotations

import resource
import runpy
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from built import LAYERS, arrays, build, needs_cc
from cli_runner import TINY, run
from edge_layers import LAYER
from kernels import ISAS, target_of
from places import ROOT

from convgen.api import import_package
from convgen.choose.chooser import choose, ranking
from convgen.choose.fit import TRIES, Excluded
from convgen.choose.limits import DEFAULT_CODE, SizeLimits
from convgen.choose.ram import ram_of, stack_allowance
from convgen.cli.verify import verify_layer
from convgen.errors import LimitError
from convgen.kernels import lower
from convgen.package.disk.manifest import read_manifest
from convgen.package.emit.files import decide
from convgen.package.emit.size import layer_size
from convgen.render.size import code_estimate
from convgen.render.source import render_c
from convgen.spec import parse_file
from convgen.spec.model import Act, Activation, ConvSpec, InitWeights, Layer, Padding
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS, host_target
from convgen.toolchain import code_size, find_compiler

AVX512 = TARGETS["x86-64-avx512"]
SSE2 = TARGETS["x86-64-sse2"]
ROOMY = LAYERS["roomy"].spec  # as BIG, smaller
BIG = ConvSpec("big", 56, 56, 64, 64, 3, 3, padding=Padding(1, 1, 1, 1))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.needs("gcc")
def test_the_estimate_is_near_the_compiled_size_and_seldom_below(isa: str, tmp_path: Path) -> None:
    """Of a wide and a small tile, with a short and with a long activation."""
    target = target_of(isa)
    for activation in (Activation(Act.RELU), Activation(Act.GELU)):
        spec = replace(LAYER, activation=activation)
        ranked = ranking(spec, target)
        for plan in (ranked[0].plan, ranked[-1].plan):
            for name, text in render_c(plan).items():
                (tmp_path / name).write_text(text)
            command = ["gcc", "-O2", "-c", f"{spec.name}.c", "-o", "layer.o"]
            subprocess.run(command, cwd=tmp_path, check=True)
            size = code_size(tmp_path / "layer.o")
            assert size is not None
            assert 0.4 * code_estimate(plan) < size < 1.1 * code_estimate(plan), plan.schedule


def test_a_smaller_limit_gives_a_smaller_estimate_until_none_is_left() -> None:
    layer, sizes = Layer(LAYER, "<t>"), []
    for most in (DEFAULT_CODE, 6000, 4000, 3000):
        plan = decide(layer, AVX512, limits=SizeLimits(code_bytes=most)).plan
        sizes.append(code_estimate(plan))
        assert sizes[-1] <= most
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) > 2
    with pytest.raises(LimitError, match=r"smallest found: .* needs about [0-9]+ bytes"):
        decide(layer, AVX512, limits=SizeLimits(code_bytes=100))


def test_without_a_limit_the_choice_is_the_choosers() -> None:
    decided = decide(Layer(BIG, "<t>"), AVX512)
    chosen = choose(BIG, AVX512)
    assert (decided.plan.schedule, decided.reason) == (chosen.schedule, chosen.reason)
    assert code_estimate(decided.plan) < DEFAULT_CODE


def test_a_workspace_limit_keeps_winograd_small_or_out() -> None:
    free = decide(Layer(BIG, "<t>"), AVX512).plan
    assert free.schedule.family is Family.WINOGRAD
    most = free.workspace_bytes // 2
    tight = decide(Layer(BIG, "<t>"), AVX512, limits=SizeLimits(workspace_bytes=most))
    assert tight.plan.workspace_bytes <= most
    assert tight.reason.endswith(f"of those within {most} bytes of workspace")
    none = decide(Layer(BIG, "<t>"), AVX512, limits=SizeLimits(workspace_bytes=0)).plan
    assert none.workspace_bytes == 0


def test_a_pinned_schedule_over_a_limit_is_refused() -> None:
    pinned = Layer(BIG, "<t>", schedule=choose(BIG, AVX512).schedule)
    needed = lower(BIG, choose(BIG, AVX512).schedule, AVX512).workspace_bytes
    words = rf"--max-workspace-bytes 100: .* \(pinned in the spec\) needs {needed} bytes"
    with pytest.raises(LimitError, match=words):
        decide(pinned, AVX512, limits=SizeLimits(workspace_bytes=100))
    with pytest.raises(LimitError, match=r"--max-code-bytes 500: .*\(estimated"):
        decide(pinned, AVX512, limits=SizeLimits(code_bytes=500))
    decide(pinned, AVX512, limits=SizeLimits(code_bytes=500), compiles=True)  # judged later


def test_a_compiled_size_over_the_limit_corrects_the_estimate() -> None:
    """The next try leaves as much room as the first one was off by."""
    limits = SizeLimits(code_bytes=6000)
    first = decide(Layer(LAYER, "<t>"), AVX512, limits=limits, compiles=True).plan
    out = Excluded().without_schedule(first.schedule, 2 * 6000)
    second = decide(Layer(LAYER, "<t>"), AVX512, limits=limits, out=out, compiles=True).plan
    assert code_estimate(second) <= code_estimate(first) / 2


@needs_cc
def test_a_build_keeps_to_the_limit_and_says_so(tmp_path: Path) -> None:
    layer = LAYERS["layer"]
    free = build(tmp_path, layer)
    assert free.code_bytes is not None
    most = free.code_bytes * 2 // 3
    small = build(tmp_path, layer, max_code_bytes=most)
    assert small.state == "built" and small.code_bytes is not None and small.code_bytes <= most
    assert f"within {most} bytes of code" in small.reason
    manifest = read_manifest(small.path)
    assert manifest is not None
    assert manifest.limits == {"code_bytes": most, "workspace_bytes": None, "ram_bytes": None}
    assert build(tmp_path, layer, max_code_bytes=most).state == "unchanged"
    assert verify_layer(layer, small.path).passed
    x, w, b = arrays(layer.spec)
    assert import_package(small.path).conv(x, w, b).shape == layer.spec.y_shape
    with pytest.raises(LimitError, match=r"smallest found: \{family.* needs [0-9]+ bytes$"):
        build(tmp_path, layer, max_code_bytes=100)
    assert read_manifest(small.path) == manifest  # the earlier package stays
    pinned = replace(layer, schedule=Schedule.from_text(free.schedule))
    with pytest.raises(LimitError, match=f"gives {free.code_bytes} bytes"):
        build(tmp_path, pinned, max_code_bytes=most)


# -- RAM -------------------------------------------------------------------------------------------


def test_a_ram_limit_counts_arrays_packed_weights_workspace_and_stack() -> None:
    free = decide(Layer(ROOMY, "<t>"), SSE2).plan
    all_of_it = ram_of(free, baked=False, stack=stack_allowance(free))
    assert all_of_it.x == 14 * 14 * 32 * 4 and all_of_it.packed == free.packed_bytes
    assert all_of_it.workspace > 0
    for most, same in ((all_of_it.total, True), (all_of_it.total - 1, False)):
        found = decide(Layer(ROOMY, "<t>"), SSE2, limits=SizeLimits(ram_bytes=most))
        assert (found.plan.schedule == free.schedule) is same
        assert ram_of(found.plan, False, stack_allowance(found.plan)).total <= most
        assert found.reason.endswith(f"of those within {most} bytes of RAM")


def test_baked_weights_are_no_ram() -> None:
    most = 2 * 14 * 14 * 32 * 4 + 4000
    with pytest.raises(LimitError):
        decide(Layer(ROOMY, "<t>"), SSE2, limits=SizeLimits(ram_bytes=most))
    baked = Layer(ROOMY, "<t>", weights=InitWeights(0.5, 3))
    assert decide(baked, SSE2, limits=SizeLimits(ram_bytes=most)).plan.workspace_bytes == 0


@pytest.mark.parametrize("compiles", [False, True])
def test_arrays_that_are_too_large_are_refused_with_the_closest_possible(compiles: bool) -> None:
    words = (
        r"--max-ram-bytes 1000: .* smallest found: \{family.*\} needs about \d+ bytes "
        r"\(x 25088, y 25088, packed 36992, workspace 0, stack \d+\)$"
    )
    with pytest.raises(LimitError, match=words):
        decide(Layer(ROOMY, "<t>"), SSE2, limits=SizeLimits(ram_bytes=1000), compiles=compiles)


def test_a_pinned_schedule_over_the_ram_limit_is_refused() -> None:
    schedule = choose(ROOMY, SSE2).schedule
    pinned, plan = Layer(ROOMY, "<t>", schedule=schedule), lower(ROOMY, schedule, SSE2)
    bare = ram_of(plan, False, 0).total
    limits = SizeLimits(ram_bytes=bare)
    with pytest.raises(LimitError, match=r"--max-ram-bytes .* \(pinned in the spec\) needs \d+ "):
        decide(pinned, SSE2, limits=limits)
    decide(pinned, SSE2, limits=limits, compiles=True)  # judged later
    with pytest.raises(LimitError, match=f"needs at least {bare} bytes"):
        decide(pinned, SSE2, limits=SizeLimits(ram_bytes=bare - 1), compiles=True)


def test_deep_stacks_are_tried_a_few_times_and_then_estimated() -> None:
    """Each try takes another schedule, and then none is worth one."""
    layer, out = Layer(LAYER, "<t>"), Excluded()
    bare = min(ram_of(entry.plan, False, 0).total for entry in ranking(LAYER, SSE2))
    limits, tries = SizeLimits(ram_bytes=bare + 300), 0
    with pytest.raises(LimitError, match=r"smallest found: \{family.*\} needs \d+ bytes \(x"):
        while True:
            plan = decide(layer, SSE2, limits=limits, out=out, compiles=True).plan
            tries += 1
            out = out.without_stack(plan.schedule, 301)
    assert 1 <= tries <= TRIES
    none = Excluded(stacks=dict.fromkeys((x.plan.schedule for x in ranking(LAYER, SSE2)), 301))
    with pytest.raises(LimitError, match=f"needs {bare + 301} bytes"):
        decide(layer, SSE2, limits=limits, out=none, compiles=True)


@needs_cc
@pytest.mark.needs("gcc")
def test_a_build_holds_the_compiled_stack_against_the_ram_limit(tmp_path: Path) -> None:
    """With room for a shallow stack only: no estimate would have found the kernel."""
    layer = LAYERS["layer"]
    bare = min(ram_of(x.plan, False, 0).total for x in ranking(layer.spec, host_target()))
    most = bare + 400
    with pytest.raises(LimitError, match="needs about"):
        decide(layer, host_target(), limits=SizeLimits(ram_bytes=most))
    done = build(tmp_path, layer, cc="gcc", max_ram_bytes=most)
    assert f"within {most} bytes of RAM" in done.reason
    manifest = read_manifest(done.path)
    assert manifest is not None and manifest.limits["ram_bytes"] == most
    assert build(tmp_path, layer, cc="gcc", max_ram_bytes=most).state == "unchanged"
    with pytest.raises(LimitError, match=r"needs \d+ bytes \(x .* stack \d+\)$"):
        build(tmp_path, layer, cc="gcc", max_ram_bytes=bare + 1)  # compiled, and too deep
    pinned = replace(layer, schedule=Schedule.from_text(done.schedule))
    with pytest.raises(LimitError, match=r"\(pinned in the spec\) needs \d+ bytes"):
        build(tmp_path, pinned, cc="gcc", max_ram_bytes=bare + 1)
    assert read_manifest(done.path) == manifest


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("isa", ISAS)
def test_the_stack_set_aside_is_enough(isa: str) -> None:
    spec = replace(LAYER, activation=Activation(Act.GELU))
    decided = decide(Layer(spec, "<t>"), target_of(isa))
    size = layer_size(decided, find_compiler("gcc"))
    assert size.stack is not None and 0 < size.stack.bytes <= stack_allowance(decided.plan)
    assert size.ram == ram_of(decided.plan, False, size.stack.bytes).total


def test_the_command_line_refuses_with_code_2(tmp_path: Path) -> None:
    spec, out = tmp_path / "a.yaml", str(tmp_path / "out")
    spec.write_text("name: a\n" + TINY)
    done = run("emit", str(spec), "-o", out, "--isa", "plain", "--max-ram-bytes", "250")
    assert done.code == 2 and "--max-ram-bytes 250: no schedule of layer a" in done.err
    assert not (tmp_path / "out").exists()
    done = run("emit", str(spec), "-o", out, "--isa", "plain", "--max-ram-bytes", "3000")
    assert done.code == 0


@pytest.mark.deep
@pytest.mark.needs("gcc")
@pytest.mark.parametrize("isa", ISAS)
def test_by_default_code_is_short_and_soon_compiled(isa: str, tmp_path: Path) -> None:
    """The benchmark's layers, the gallery's and 60 random ones: 64 KiB of code, 3 s of gcc.

    Every other one with an activation of many instructions, which stand in every tile.
    """
    draw = runpy.run_path(str(ROOT / "benchmarks" / "chooser.py"))["draw"]
    files = [ROOT / "benchmarks" / "layers.yaml", *sorted((ROOT / "specs").glob("*.yaml"))]
    specs = [layer.spec for file in files for layer in parse_file(file)]
    offenders = []
    for index, spec in enumerate((*specs, *(draw(index, seed=1) for index in range(60)))):
        act = (Act.RELU, Act.GELU)[index % 2]
        layer = Layer(replace(spec, activation=Activation(act)), "<t>")
        for name, text in render_c(decide(layer, target_of(isa)).plan).items():
            (tmp_path / name).write_text(text)
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        command = ["gcc", "-O2", "-c", f"{spec.name}.c", "-o", "layer.o"]
        subprocess.run(command, cwd=tmp_path, check=True)
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
        size = code_size(tmp_path / "layer.o")
        assert size is not None
        if size > DEFAULT_CODE or seconds > 3:
            offenders.append((spec.name, size, round(seconds, 2)))
    assert not offenders

"""Limits on a kernel's size: kept to, or refused with the closest possible; and the estimate."""

from __future__ import annotations

import resource
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from built import LAYERS, arrays, build, needs_cc
from edge_layers import LAYER
from kernels import ISAS, target_of

from convgen.api import import_package
from convgen.choose import choose, ranking
from convgen.cli.verify import verify_layer
from convgen.errors import LimitError
from convgen.families import lower
from convgen.package.emit import decide
from convgen.package.fit import Excluded
from convgen.package.limits import DEFAULT_CODE, SizeLimits
from convgen.package.manifest import read_manifest
from convgen.render import render_c
from convgen.render.size import code_estimate
from convgen.schedule import Family, Schedule
from convgen.spec import parse_file
from convgen.spec.model import Act, Activation, ConvSpec, Layer, Padding
from convgen.target import TARGETS
from convgen.toolchain import code_size

AVX512 = TARGETS["x86-64-avx512"]
ROOT = Path(__file__).resolve().parents[1]
BIG = ConvSpec("big", 56, 56, 64, 64, 3, 3, padding=Padding(1, 1, 1, 1))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on this machine")
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
    assert manifest.limits == {"code_bytes": most, "workspace_bytes": None}
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


@pytest.mark.deep
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on this machine")
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

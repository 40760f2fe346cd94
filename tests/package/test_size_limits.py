"""Size limits that hold: estimates of 8-bit kernels, measured sizes, refusals with a way out."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from built import LAYERS, needs_cc
from cli_runner import run

from convgen.choose.chooser import ranking
from convgen.choose.limits import SizeLimits
from convgen.cross.tools import measured_compiler
from convgen.errors import LimitError
from convgen.kernels import lower
from convgen.numbers.settle import settled
from convgen.package.emit.files import Decided, decide
from convgen.package.emit.size import (
    layer_size,
    over_limits,
    refuse_over,
    totals,
)
from convgen.render.size import code_estimate
from convgen.spec import parse_text
from convgen.spec.model import Layer
from convgen.target import TARGETS, Target
from convgen.toolchain import find_compiler

ARM = "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb"
QUANT = (
    "dtype: int8\nquant: {input: {scale: 0.02, zero_point: -3}, weight: {scale: 0.01}, "
    "output: {scale: 0.05}, rounding: ROUNDING}\n"
)
EIGHT = "name: q\ninput: 16x16x8\nk: 16\nf: 3\np: 1\n"


def eight_bits(text: str, rounding: str = "tflite") -> Layer:
    (layer,) = parse_text(text + QUANT.replace("ROUNDING", rounding), "<t>")
    return layer


def compiled_bytes(layer: Layer, target: Target, schedule: object, cc: str) -> tuple[int, int]:
    plan = lower(layer.spec, schedule, target)  # type: ignore[arg-type]
    size = layer_size(Decided(settled(layer), plan, ""), find_compiler(cc))
    assert size.code is not None
    return code_estimate(plan), size.code.text


@needs_cc
@pytest.mark.parametrize(
    ("target", "cc"),
    [
        pytest.param("x86-64-avx2", "gcc", marks=pytest.mark.needs("gcc")),
        pytest.param("generic", "gcc", marks=pytest.mark.needs("gcc")),
        pytest.param("cortex-m4", ARM, marks=pytest.mark.needs("arm-none-eabi-gcc")),
    ],
)
def test_estimates_of_eight_bits_are_near_and_seldom_too_small(target: str, cc: str) -> None:
    """The float template was counted once, and half of what gcc makes was foretold."""
    rng, ratios = random.Random(5), []
    for seed, text in enumerate(
        [EIGHT, EIGHT + "g: 8\n", EIGHT.replace("f: 3", "f: 1"), EIGHT + "layout: NCHW\n"]
    ):
        layer = eight_bits(text, ("tflite", "onnx", "tflite_single")[seed % 3])
        entries = list(ranking(layer.spec, TARGETS[target]))
        for entry in rng.sample(entries[:12], min(3, len(entries))):
            estimate, real = compiled_bytes(layer, TARGETS[target], entry.plan.schedule, cc)
            ratios.append(estimate / real)
    assert min(ratios) > 0.8 and max(ratios) < 4, ratios
    assert sum(ratio >= 1 for ratio in ratios) >= 0.8 * len(ratios), ratios


@needs_cc
def test_a_measured_size_over_the_limit_is_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The choice rests on the estimate; the compiled size is what counts in the end."""
    target = TARGETS["generic"]
    compiler = measured_compiler(target)
    assert compiler is not None
    chosen = decide(LAYERS["layer"], target)
    size = layer_size(chosen, compiler)
    assert size.code is not None
    limits = SizeLimits(code_bytes=size.code.text * 2 // 3)
    assert f"{size.code.text} bytes of code" in over_limits(size, limits)
    with pytest.raises(LimitError, match=r"`schedule: \{family: .*\}` keeps to it") as caught:
        refuse_over(chosen, size, limits, compiler)
    assert int(caught.value.exit_code) == 2
    pin = str(caught.value).split("`schedule: ")[1].split("`")[0]
    (pinned,) = parse_text(f"input: 32x32x3\nk: 10\nf: 5\np: 2\nschedule: {pin}\n", "<t>")
    small = layer_size(decide(pinned, target), compiler)
    assert over_limits(small, limits) == ""
    refuse_over(decide(pinned, target), small, limits, compiler)


@needs_cc
def test_emit_measures_and_says_so(tmp_path: Path) -> None:
    spec = tmp_path / "layer.yaml"
    spec.write_text("input: 32x32x3\nk: 10\nf: 5\np: 2\n")
    where = ["-o", str(tmp_path / "out"), "--target", "generic"]
    ran = run("emit", str(spec), *where, "--max-code-bytes", "9000", "--json")
    facts = json.loads(ran.out)["layers"][0]
    assert ran.code == 0 and facts["code_bytes"] <= 9000 and facts["measured_by"]
    assert "(measured: " in ran.err
    ran = run("emit", str(spec), *where, "--max-code-bytes", "300")
    assert ran.code == 2 and "--max-code-bytes 300" in ran.err


def test_without_a_compiler_it_is_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convgen.cross.tools.measured_compiler", lambda target: None)
    spec = tmp_path / "layer.yaml"
    spec.write_text("input: 32x32x3\nk: 10\nf: 5\np: 2\n")
    ran = run("emit", str(spec), "-o", str(tmp_path / "out"), "--max-code-bytes", "9000")
    assert ran.code == 0 and "estimated: no compiler for" in ran.err


@needs_cc
def test_size_takes_limits_and_adds_up(tmp_path: Path) -> None:
    spec = tmp_path / "two.yaml"
    spec.write_text(
        "kernel: 3\npadding: 1\nlayers:\n- {name: a, input: 16x16x4, filters: 8}\n"
        "- {name: b, input: 16x16x8, filters: 4}\n"
    )
    ran = run("size", str(spec), "--target", "generic", "--json")
    found = json.loads(ran.out)
    each = found["layers"]
    assert found["total"]["flash"] == sum(layer["flash"] for layer in each)
    assert found["total"]["ram"] == max(layer["ram"] for layer in each)
    assert found["total"]["macs"] == sum(layer["macs"] for layer in each)
    ran = run("size", str(spec), "--target", "generic")
    assert ran.code == 0 and ran.out.splitlines()[-1].startswith("total")
    least = min(layer["ram"] for layer in each)
    ran = run("size", str(spec), "--target", "generic", "--max-ram-bytes", str(least - 1000))
    assert ran.code == 2 and "--max-ram-bytes" in ran.err


@needs_cc
def test_totals_know_what_they_do_not_know() -> None:
    size = layer_size(decide(LAYERS["layer"], TARGETS["generic"]), find_compiler())
    from dataclasses import replace

    assert totals([size, size]).flash == 2 * (size.flash or 0)
    assert totals([size, replace(size, code=None)]).flash is None

"""The verification accepts a good kernel and catches every broken one of ``plain_kernel.BUGS``."""

from __future__ import annotations

import platform
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from plain_kernel import BUGS, Baked, Plain, build_plain, compile_fixture, needs_compiler
from spec_strategies import specs
from verified_layers import GOOD, NO_BIAS, RICH, build_endless, check, failed, posix, some_weights

from convgen.spec.model import Act, Activation, ConvSpec
from convgen.verify import verify_library
from convgen.verify.report import Check

GUARDED = ("load", "cpu", "pack", "exact fill", "bounded fill", "repeatable", "parts", "non-finite",
           "guard pages", "inputs unchanged", "outputs written")  # fmt: skip

# --- good kernels pass -----------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("label", GOOD)
def test_a_good_kernel_passes(label: str, tmp_path: Path) -> None:
    spec = GOOD[label]
    report = check(spec, build_plain(spec, tmp_path))
    assert report.passed, failed(report)
    assert tuple(c.name for c in report.checks) == GUARDED
    assert 0 <= report.bound_ratio < 1
    assert report.microseconds > 0


@needs_compiler
@pytest.mark.parametrize("kind", Act)
def test_every_activation_passes(kind: Act, tmp_path: Path) -> None:
    limits = {"low": -0.3, "high": 1.7} if kind is Act.CLIP else {}
    spec = replace(RICH, activation=Activation(kind, alpha=0.3, **limits))
    report = check(spec, build_plain(spec, tmp_path))
    assert report.passed, failed(report)


@needs_compiler
@pytest.mark.parametrize("limits", [{"low": -1e30}, {"high": 1e-3}, {"low": 0.1, "high": 1e4}])
def test_clip_with_odd_limits_passes(limits: dict[str, float], tmp_path: Path) -> None:
    spec = replace(RICH, activation=Activation(Act.CLIP, **limits))
    report = check(spec, build_plain(spec, tmp_path))
    assert report.passed, failed(report)


@needs_compiler
def test_the_same_report_in_this_process(tmp_path: Path) -> None:
    plain = build_plain(RICH, tmp_path)
    here, there = verify_library(plain.library, RICH, **plain.arguments), check(RICH, plain)
    assert here.checks == there.checks
    assert (here.max_error, here.bound_ratio) == (there.max_error, there.bound_ratio)


@needs_compiler
@settings(derandomize=True, deadline=None, max_examples=40)
@given(spec=specs())
def test_no_false_alarm_anywhere_on_the_grid(spec: ConvSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = build_plain(spec, Path(folder))
        report = verify_library(plain.library, spec, **plain.arguments)
    assert report.passed, failed(report)


# --- broken kernels fail ---------------------------------------------------------------------


# Which check must speak, and what it must say, where a user could be misled by another.
SPEAKS = {
    "row behind the image read": ("exact fill", "SIG"),
    "one output unwritten": ("outputs written", "run left 2 of 360"),
    "last filter unwritten": ("outputs written", "outputs unwritten"),
    "a vector read over the end": ("exact fill", "SIG"),
    "an element read before the image": ("bounded fill", "SIG"),
    "a far byte written before the output": ("bounded fill", "SIG"),
    "aligned loads of the caller's array": ("bounded fill", "SIG"),
    "the input is written": ("inputs unchanged", "wrote to x"),
    "the weights are written": ("inputs unchanged", "wrote to packed"),
    "the workspace is trusted": ("repeatable", "second call"),
    "rows lost between parts": ("outputs written", "run_part"),
    "parts overlap": ("parts", "more than one"),
    "surplus parts divide by zero": ("parts", "SIGFPE"),
    "a part depends on the order": ("parts", "reverse"),
    "rows in the padding multiply zeros": ("non-finite", "no spoiled element reaches"),
    "groups joined by zero weights": ("non-finite", "no spoiled element reaches"),
    "relu swallows NaN": ("non-finite", "expected nan"),
    "limit a little off": ("exact fill", "expected 6"),
    "pack leaves bytes": ("pack", "unwritten"),
    "pack writes too much": ("pack", "SIG"),
    "pack fails": ("pack", "returned 1"),
    "pack writes to w": ("inputs unchanged", "pack wrote to w"),
    "an illegal instruction": ("exact fill", "SIG"),
    "the wrong cpu": ("cpu", "lacks instructions"),
    "a symbol is missing": ("load", "rich_run"),
}


# Faults only where the machine divides or loads like x86.
X86_ONLY = {"surplus parts divide by zero", "aligned loads of the caller's array"}


@needs_compiler
@posix
@pytest.mark.parametrize("bug", BUGS)
def test_a_broken_kernel_is_caught(bug: str, tmp_path: Path) -> None:
    if bug in X86_ONLY and platform.machine().lower() not in ("x86_64", "amd64", "i686"):
        pytest.skip("this machine's instructions do not trap there")
    spec = NO_BIAS if bug == "bias read although absent" else RICH
    report = check(spec, build_plain(spec, tmp_path, bug))
    assert not report.passed, f"{bug}: passed"
    name, words = SPEAKS.get(bug, ("", ""))
    details = [c.detail for c in report.failures if name in ("", c.name)]
    assert any(words in detail for detail in details), failed(report)


@needs_compiler
def test_a_kernel_that_never_ends(tmp_path: Path) -> None:
    report = check(RICH, build_endless(tmp_path), timeout=3)
    assert report.failures == (Check("exact fill", False, "no end within 3 s"),)


@pytest.mark.parametrize("text", ["", "not a library"])
def test_a_file_that_is_no_library(text: str, tmp_path: Path) -> None:
    library = tmp_path / "rich.so"
    library.write_text(text)
    report = check(RICH, Plain(library, 64, 64))
    assert [c.name for c in report.failures] == ["load"]


# --- baked weights ---------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("spec", [RICH, NO_BIAS], ids=["bias", "no bias"])
@pytest.mark.parametrize("with_pack", [True, False])
def test_baked_weights_pass(spec: ConvSpec, with_pack: bool, tmp_path: Path) -> None:
    baked = some_weights(spec)
    plain = build_baked(spec, tmp_path, baked, with_pack)
    report = check(spec, plain, weights=baked)
    assert report.passed, failed(report)
    names = {c.name for c in report.checks}
    assert "baked image" in names and ("pack" in names) == with_pack


@needs_compiler
@pytest.mark.parametrize("with_pack", [True, False])
def test_another_image_is_caught(with_pack: bool, tmp_path: Path) -> None:
    baked = some_weights(RICH)
    other = Baked(baked.w.copy(), baked.b)
    other.w[2, 2, 1, 5] *= np.float32(1.00002)
    report = check(RICH, build_baked(RICH, tmp_path, other, with_pack), weights=baked)
    assert not report.passed
    assert with_pack == ("differ from what pack writes" in failed(report))


@needs_compiler
@posix
@pytest.mark.parametrize(
    "bug",
    [
        "row behind the image read",
        "filter flipped",
        "a vector read over the end",
        "groups joined by zero weights",
        "one output unwritten",
        "the workspace is trusted",
        "parts overlap",
        "relu swallows NaN",
    ],
)
def test_baked_weights_alone_still_catch(bug: str, tmp_path: Path) -> None:
    baked = some_weights(RICH)
    report = check(RICH, build_baked(RICH, tmp_path, baked, False, bug), weights=baked)
    assert not report.passed


def build_baked(
    spec: ConvSpec, folder: Path, baked: Baked, with_pack: bool, bug: str | None = None
) -> Plain:
    plain = build_plain(spec, folder, bug, baked)
    if not with_pack:
        source = folder / f"{spec.name}.c"
        source.write_text(source.read_text().replace(f"int {spec.name}_pack(", "static int gone("))
        compile_fixture(source, plain.library)
    return plain

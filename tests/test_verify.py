"""The verification accepts a good kernel and catches every broken one of ``plain_kernel.BUGS``."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from plain_kernel import BUGS, Baked, Plain, build_plain, compile_fixture, needs_compiler
from spec_strategies import specs

from convgen.oracle import Points, act_error, error_bound, reference
from convgen.spec.model import Act, Activation, ConvSpec, Layout, Padding, WeightLayout
from convgen.verify import Report, verify_in_child, verify_library
from convgen.verify.bound import judge_bounded, judge_exact
from convgen.verify.fills import Fill, bounded_fill, exact_fill, impulse_fill, wide_fill
from convgen.verify.guard import CANARY, Placement, guards_available, place
from convgen.verify.isolate import child_environment
from convgen.verify.kernel import Kernel
from convgen.verify.nonfinite import reach
from convgen.verify.parts import splits
from convgen.verify.points import choose_points, oracle_cost
from convgen.verify.report import Check, assemble

# Stride, dilation and padding such that rows -1, 0, H-1 and H (and columns) are all touched.
RICH = ConvSpec(
    name="rich", h=9, w=11, c=4, oc=6, kh=3, kw=3, sh=2, sw=2, dh=3, dw=3,
    padding=Padding(3, 3, 3, 3), groups=2, batch=2, activation=Activation(Act.RELU6),
)  # fmt: skip
NO_BIAS = replace(RICH, bias=False)
GUARDED = ("load", "cpu", "pack", "exact fill", "bounded fill", "repeatable", "parts", "non-finite",
           "guard pages", "inputs unchanged", "outputs written")  # fmt: skip
posix = pytest.mark.skipif(not guards_available(), reason="no guard pages on this system")


def check(spec: ConvSpec, plain: Plain, **options: object) -> Report:
    return verify_in_child(plain.library, spec, **plain.arguments, **options)


def failed(report: Report) -> str:
    return "; ".join(f"{c.name}: {c.detail}" for c in report.failures)


# --- good kernels pass -----------------------------------------------------------------------

GOOD = {
    "rich": RICH,
    "without bias": NO_BIAS,
    "plainest": ConvSpec(name="one", h=1, w=1, c=1, oc=1, kh=1, kw=1),
    "the source's": ConvSpec(
        name="layer", h=32, w=32, c=3, oc=10, kh=5, kw=5, padding=Padding(2, 2, 2, 2),
        activation=Activation(Act.RELU),
    ),
    "NCHW and OIHW": replace(RICH, layout=Layout.NCHW, weight_layout=WeightLayout.OIHW),
    "OHWI": replace(RICH, weight_layout=WeightLayout.OHWI),
    "depthwise": ConvSpec(
        name="dw", h=7, w=5, c=6, oc=6, kh=3, kw=3, groups=6, padding=Padding(1, 1, 1, 1)
    ),
    "padding beyond the filter": ConvSpec(
        name="far", h=3, w=3, c=2, oc=3, kh=2, kw=2, padding=Padding(4, 0, 5, 3)
    ),
    "any batch": ConvSpec(name="many", h=6, w=6, c=2, oc=3, kh=3, kw=3, batch_any=True),
}  # fmt: skip


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


def build_endless(folder: Path) -> Plain:
    plain = build_plain(RICH, folder)
    source = folder / "rich.c"
    loop = "for (volatile int i = 0;; i++) {}"
    source.write_text(source.read_text().replace("int first", f"{loop}\n  int first"))
    compile_fixture(source, plain.library)
    return plain


@pytest.mark.parametrize("text", ["", "not a library"])
def test_a_file_that_is_no_library(text: str, tmp_path: Path) -> None:
    library = tmp_path / "rich.so"
    library.write_text(text)
    report = check(RICH, Plain(library, 64, 64))
    assert [c.name for c in report.failures] == ["load"]


# --- baked weights ---------------------------------------------------------------------------


def some_weights(spec: ConvSpec) -> Baked:
    fill = bounded_fill(spec, 77)
    return Baked(fill.w, fill.b)


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


# --- the data and the judges -----------------------------------------------------------------

ACTIVATIONS = [Activation(kind, alpha=0.3, low=-0.3, high=1.7) for kind in Act]
FILL_SPECS = {
    "rich": RICH,
    "one product": ConvSpec(name="one", h=2, w=2, c=1, oc=1, kh=1, kw=1),
    "long sums": ConvSpec(name="long", h=3, w=3, c=2048, oc=2, kh=3, kw=3),
    "more products than integers": ConvSpec(name="vast", h=1, w=1, c=5 << 20, oc=1, kh=1, kw=1),
}


@pytest.mark.parametrize("label", FILL_SPECS)
def test_sums_of_the_exact_fill_are_exact(label: str) -> None:
    """Every partial sum is an integer below 2^24 times one power of two."""
    spec = replace(FILL_SPECS[label], activation=Activation(Act.RELU6))
    fill = exact_fill(spec, 3)
    assert fill.x.dtype == fill.w.dtype == np.float32
    plain = replace(spec, activation=Activation())
    b = None if fill.b is None else np.abs(fill.b)
    largest = reference(plain, np.abs(fill.x), np.abs(fill.w), b).max()
    assert largest / common_step(fill) < 2**24
    assert np.array_equal(fill.x, np.round(fill.x)) and (fill.w != 0).any() and (fill.x != 0).any()


def common_step(fill: Fill) -> float:
    """The largest power of two that w and b are multiples of."""
    arrays = [fill.w] if fill.b is None else [fill.w, fill.b]

    def divides(step: float) -> bool:
        return all(np.array_equal(a / step, np.round(a / step)) for a in arrays)

    return next(step for k in range(60, -60, -1) if divides(step := 2.0**k))


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: str(act.kind))
@pytest.mark.parametrize("bias", [True, False])
def test_the_exact_fill_shows_both_sides_of_the_activation(act: Activation, bias: bool) -> None:
    spec = replace(RICH, activation=act, bias=bias)
    fill = exact_fill(spec, 0)
    v = reference(replace(spec, activation=Activation()), fill.x, fill.w, fill.b)
    low, high = {Act.RELU6: (0, 6), Act.CLIP: (-0.3, 1.7)}.get(act.kind, (0, np.inf))
    assert (v < low).mean() > 0.05
    assert ((v > low) & (v < high)).mean() > 0.2
    assert high == np.inf or (v > high).mean() > 0.02


def test_the_wide_fill_reaches_far_and_below_the_normal_numbers() -> None:
    fill = wide_fill(replace(RICH, oc=32), 0)
    v = np.abs(reference(replace(RICH, oc=32, activation=Activation()), fill.x, fill.w, fill.b))
    assert v.max() > 100
    tiny = math.prod(float(np.abs(a[a != 0]).min()) for a in (fill.x, fill.w))
    assert 0 < tiny < 2.0**-126
    assert np.isfinite(fill.x).all() and np.isfinite(fill.w).all()


@pytest.mark.parametrize("spec", [RICH, GOOD["depthwise"], GOOD["NCHW and OIHW"]])
def test_no_window_holds_two_impulses(spec: ConvSpec) -> None:
    baked = some_weights(spec)
    fill = impulse_fill(spec, baked.w, baked.b, 5)
    count = replace(spec, activation=Activation(), bias=False)
    seen = reference(count, fill.x, np.ones(spec.w_shape, np.float32))
    assert seen.max() == 1


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: str(act.kind))
def test_the_exact_judge_sees_one_unit_in_the_last_place(act: Activation) -> None:
    spec = replace(RICH, activation=act)
    fill, points = exact_fill(spec, 0), Points.every(spec, spec.batch)
    y = reference(spec, fill.x, fill.w, fill.b).astype(np.float32)
    assert judge_exact(spec, fill, y, points).passed
    steps = 1 if act_error(act).rounded else 60
    place = np.unravel_index(np.abs(y).argmax(), y.shape)
    y[place] *= np.float32(1 + steps * 2.0**-23)
    verdict = judge_exact(spec, fill, y, points)
    assert verdict.wrong == 1
    n, oh, ow, oc = (int(i) for i in place)
    assert f"n={n} oh={oh} ow={ow} oc={oc}" in verdict.detail


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: str(act.kind))
@pytest.mark.parametrize("fill_of", [bounded_fill, wide_fill])
def test_the_bounded_judge_draws_the_line_at_the_bound(act: Activation, fill_of: Any) -> None:
    spec = replace(RICH, activation=act)
    fill, points = fill_of(spec, 0), Points.every(spec, spec.batch)
    y, bound = (f(spec, fill.x, fill.w, fill.b) for f in (reference, error_bound))
    assert judge_bounded(spec, fill, y + 0.99 * bound, points).passed
    verdict = judge_bounded(spec, fill, y - 1.01 * bound, points)
    assert verdict.wrong == y.size
    assert verdict.ratio == pytest.approx(1.01, rel=1e-3)
    y[0, 1, 2, 3] = np.nan
    assert judge_bounded(spec, fill, y, points).wrong == 1


@pytest.mark.parametrize("spec", [RICH, GOOD["depthwise"], GOOD["padding beyond the filter"]])
def test_reach_is_what_the_oracle_says(spec: ConvSpec) -> None:
    spec = replace(spec, activation=Activation())
    fill = exact_fill(spec, 0)
    w = np.ones_like(fill.w)
    for row, column in ((0, 0), (spec.h - 1, 0), (spec.h // 2, spec.w - 1)):
        x = np.zeros_like(fill.x)
        x[0, row, column] = 1
        seen = reference(spec, x, w, None if fill.b is None else fill.b * 0)[0].any(axis=-1)
        points = reach(spec, 0, row, column)
        mask = np.zeros_like(seen)
        mask[np.ix_(points.oh, points.ow)] = True
        assert np.array_equal(mask, seen)


LARGE = {
    "wide map": ConvSpec(
        name="v2", h=224, w=224, c=64, oc=64, kh=3, kw=3, padding=Padding(1, 1, 1, 1)
    ),
    "deep": ConvSpec(
        name="deep", h=14, w=14, c=1024, oc=2048, kh=3, kw=3, padding=Padding(1, 1, 1, 1)
    ),
    "dilated": ConvSpec(
        name="far", h=200, w=200, c=32, oc=64, kh=5, kw=5, sh=2, dh=9, dw=3,
        padding=Padding(18, 6, 18, 6), activation=Activation(Act.GELU),
    ),
}  # fmt: skip


@pytest.mark.parametrize("label", LARGE)
def test_of_large_layers_a_telling_part_is_judged(label: str) -> None:
    spec = LARGE[label]
    points = choose_points(spec, 0)
    assert oracle_cost(spec, points) <= 60e6
    assert points.count(spec) < spec.oh * spec.ow * spec.oc
    for places, size in ((points.oh, spec.oh), (points.ow, spec.ow), (points.oc, spec.ocg)):
        assert {0, 1, size - 2, size - 1} <= set(places.tolist())
        assert len(places) >= 8 and (np.diff(places) > 0).all()
    # One output of every set of taps that lie inside the image, row-wise.
    taps = np.arange(spec.kh) * spec.dh - spec.padding.top
    inside = (np.arange(spec.oh)[:, None] * spec.sh + taps) // spec.h == 0
    assert len(np.unique(inside[points.oh], axis=0)) == len(np.unique(inside, axis=0))
    assert not np.array_equal(choose_points(spec, 1).oh, points.oh) or len(points.oh) == spec.oh


def test_of_small_layers_everything_is_judged() -> None:
    assert choose_points(GOOD["the source's"], 0).count(GOOD["the source's"]) == 32 * 32 * 10


def test_splits_reach_every_count_of_the_contract() -> None:
    kernel = Kernel(RICH, 64, 64, 64, *[None] * 5)  # type: ignore[arg-type]
    counts = {parts for parts, _ in splits(kernel)}
    assert {1, 2, 3, 7} < counts and max(counts) > 2 * RICH.oh * RICH.ow
    assert {back for _, back in splits(kernel)} == {True, False}
    huge = replace(kernel, spec=LARGE["wide map"])
    assert len(splits(huge)) == 2


# --- buffers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", Placement)
@pytest.mark.parametrize(("size", "align"), [(0, 64), (1, 1), (4092, 4), (4096, 64), (100_004, 4)])
def test_buffers_are_of_exactly_the_size(placement: Placement, size: int, align: int) -> None:
    buffer = place(size, align, placement)
    assert len(buffer.data) == size and buffer.address % align == 0
    assert not buffer.strayed
    match placement:
        case Placement.END:
            assert len(buffer.after) == size % align
        case Placement.START:
            assert len(buffer.before) == 0
        case Placement.SHIFTED:
            assert buffer.address % (2 * align) == align
    buffer.data[:] = 1
    assert not buffer.strayed
    side = buffer.after if len(buffer.after) else buffer.before
    side[0] = CANARY ^ 1
    assert buffer.strayed


TOUCH = """
import ctypes, sys
from convgen.verify.guard import Placement, place
buffer = place(100, 4, Placement(sys.argv[1]))
ctypes.string_at(buffer.address + int(sys.argv[2]), 1)
"""


@posix
@pytest.mark.parametrize(
    ("placement", "offset", "dies"),
    [("end", 99, False), ("end", 100, True), ("start", 0, False), ("start", -1, True)],
)
def test_one_byte_beyond_ends_the_process(placement: str, offset: int, dies: bool) -> None:
    command = [sys.executable, "-c", TOUCH, placement, str(offset)]
    status = subprocess.run(command, env=child_environment(), check=False).returncode
    assert (status < 0) == dies


@needs_compiler
def test_without_guard_pages_the_report_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("guard", "ladder"):
        monkeypatch.setattr(f"convgen.verify.{module}.guards_available", lambda: False)
    plain = build_plain(RICH, tmp_path)
    report = verify_library(plain.library, RICH, **plain.arguments)
    guard = next(c for c in report.checks if c.name == "guard pages")
    assert report.passed and not guard.available and "no guard pages" in guard.detail
    bad = build_plain(RICH, tmp_path / "bad", "a byte written before the output")
    report = verify_library(bad.library, RICH, **bad.arguments)
    assert "wrote beside y" in failed(report)


# --- the child and the report ----------------------------------------------------------------


def test_the_child_starts_light() -> None:
    code = (
        "import sys, convgen.verify.child\n"
        "heavy = {'jinja2', 'pydantic', 'cffi', 'yaml', 'typer', 'rich', 'filelock'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_importing_the_package_is_lighter_still() -> None:
    code = "import sys, convgen.verify; print('numpy' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "False"


@needs_compiler
def test_files_of_the_working_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "json", "convgen", "ctypes"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    plain = build_plain(RICH, tmp_path / "lib")
    monkeypatch.chdir(tmp_path)
    assert check(RICH, plain).passed


@needs_compiler
@posix
def test_what_was_found_before_a_crash_is_reported(tmp_path: Path) -> None:
    report = check(RICH, build_plain(RICH, tmp_path, "surplus parts divide by zero"))
    names = [c.name for c in report.checks]
    assert names == ["load", "cpu", "pack", "exact fill", "bounded fill", "repeatable", "parts"]
    assert [c.passed for c in report.checks] == [True] * 6 + [False]
    assert report.max_error > 0 and np.isnan(report.microseconds)


def test_our_own_failure_is_not_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    result = (1, '["Begin", {"name": "parts"}]\n', "Traceback: ours")
    monkeypatch.setattr("convgen.verify.isolate._run_child", lambda task, timeout: result)
    with pytest.raises(RuntimeError, match=r"'parts' \(1\):\nTraceback: ours"):
        verify_in_child(Path("x.so"), RICH, packed_bytes=4, workspace_bytes=0, align=64)


@pytest.mark.parametrize(
    ("status", "words"), [(-11, "SIGSEGV"), (-4, "SIGILL"), (0xC0000005, "SIGSEGV"), (-99, "99")]
)
def test_signals_are_named(status: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '["Begin", {"name": "parts"}]\n["Check", {"name": "cut of'
    monkeypatch.setattr("convgen.verify.isolate._run_child", lambda *_: (status, text, ""))
    report = verify_in_child(Path("x.so"), RICH, packed_bytes=4, workspace_bytes=0, align=64)
    assert [c.name for c in report.failures] == ["parts"]
    assert words in report.failures[0].detail


def test_an_interrupt_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.verify.isolate._run_child", lambda *_: (-2, "", ""))
    with pytest.raises(KeyboardInterrupt):
        verify_in_child(Path("x.so"), RICH, packed_bytes=4, workspace_bytes=0, align=64)


@needs_compiler
@posix
def test_ctrl_c_ends_a_kernel_that_never_ends(tmp_path: Path) -> None:
    """The signal goes to the whole group, as a terminal sends it; nothing is left running."""
    plain = build_endless(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from plain_kernel import sizes\n"
        "from test_verify import RICH, check, Plain\n"
        "print('ready', flush=True)\n"
        "check(RICH, Plain(Path(sys.argv[2]), *sizes(RICH)), timeout=60)"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(plain.library)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=child_environment(), stdout=pipe, stderr=pipe, start_new_session=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        time.sleep(1)  # the child is in the kernel by then; if not, the signal ends it all the same
        begin = time.perf_counter()
        os.killpg(run.pid, signal.SIGINT)
        run.communicate(timeout=30)  # until every process that holds the pipes is gone
        assert time.perf_counter() - begin < 10
        assert run.returncode == -signal.SIGINT


def test_reports_travel_as_json() -> None:
    report = assemble([Check("a", True, "fine"), Check("b", True, "none here", available=False)])
    assert report.passed
    data = json.loads(json.dumps(report.to_mapping(), allow_nan=False))
    again = Report.from_mapping(data)
    assert again.checks == report.checks and np.isnan(again.max_error)
    assert not assemble([]).passed


@needs_compiler
@posix
def test_verification_is_quick(tmp_path: Path) -> None:
    """A build has 3 s in all; the first layer anyone builds is verified well within one.

    The child's own time, which other tests beside this one do not lengthen.
    """
    spec = GOOD["the source's"]
    plain = build_plain(spec, tmp_path)
    before = os.times()
    assert check(spec, plain).passed
    after = os.times()
    spent = after.children_user + after.children_system
    assert spent - before.children_user - before.children_system < 1

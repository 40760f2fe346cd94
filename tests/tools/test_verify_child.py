"""Guarded buffers, the child process that runs a kernel, and the report."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from places import SUPPORT
from plain_kernel import build_plain, needs_compiler
from verified_layers import GOOD, RICH, build_endless, check, failed, posix

from convgen.verify import Report, verify_in_child, verify_library
from convgen.verify.guard import CANARY, Placement, place
from convgen.verify.isolate import child_environment
from convgen.verify.report import Check, assemble
from convgen.verify.tiling import NO_LEEWAY

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
    for module in ("ladder", "guard"):  # ladder first: it takes the name from guard when imported
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
        "heavy = {'jinja2', 'pydantic', 'cffi', 'yaml', 'click', 'rich', 'filelock'}\n"
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
    monkeypatch.setattr("convgen.verify.isolate._run_child", lambda *_: result)
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
        "from plain_kernel import Plain, sizes\n"
        "from verified_layers import RICH, check\n"
        "print('ready', flush=True)\n"
        "check(RICH, Plain(Path(sys.argv[2]), *sizes(RICH)), timeout=60)"
    )
    command = [sys.executable, "-c", code, str(SUPPORT), str(plain.library)]
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


@needs_compiler
@posix
def test_a_child_without_a_parent_ends_in_time(tmp_path: Path) -> None:
    """A kernel that never ends, and a parent that was killed and cannot end it."""
    plain = build_endless(tmp_path)
    task = {"library": str(plain.library), "spec": RICH, **plain.arguments, "weights": None}
    command = [sys.executable, "-P", "-m", "convgen.verify.child", "1.0"]
    with subprocess.Popen(
        command, env=child_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.communicate(pickle.dumps({**task, "leeway": NO_LEEWAY, "seed": 0}), 20)
    assert child.returncode == -signal.SIGALRM


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

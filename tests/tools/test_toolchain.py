"""The compiler: found, described, run within a time limit, and its failures told exactly."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
from tools import need

from convgen.errors import Exit, ToolchainError
from convgen.toolchain import (
    COMPILE_FLAGS,
    CompilerKind,
    Processes,
    Stopped,
    Unit,
    code_size,
    compile_shared,
    find_compiler,
    link_flags,
    shell_line,
)
from convgen.toolchain import compile as compile_module
from convgen.toolchain import compiler as compiler_module

posix_only = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
needs_cc = pytest.mark.needs("cc")
GOOD = "int twice(int x) { return 2 * x; }\n"


def script(path: Path, text: str) -> str:
    """An executable shell script; its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def dead(pid: int) -> bool:
    """Gone, or a zombie that nobody has waited for."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


# -- finding -------------------------------------------------------------------------------------


@needs_cc
def test_default_compiler_is_found_and_described() -> None:
    found = find_compiler()
    assert found.kind in (CompilerKind.GCC, CompilerKind.CLANG)
    assert found.version[0].isdigit()
    assert "-" in found.machine
    assert str(found) == f"{found.kind} {found.version} ({found.machine})"
    assert find_compiler() == found


@pytest.mark.parametrize("kind", ["gcc", "clang"])
def test_named_compiler_is_what_it_says(kind: str) -> None:
    need(kind)
    found = find_compiler(kind)
    assert found.command == (kind,)
    assert found.kind == kind


@needs_cc
def test_command_line_with_flags_is_another_compiler() -> None:
    plain, flagged = find_compiler("cc"), find_compiler("cc -DX=1")
    assert flagged.command == ("cc", "-DX=1")
    assert flagged.id != plain.id


def test_missing_named_compiler() -> None:
    with pytest.raises(ToolchainError, match=r"--cc no-such-cc.*no program 'no-such-cc'") as caught:
        find_compiler("no-such-cc")
    assert caught.value.exit_code == Exit.TOOLCHAIN
    assert "Install one" in str(caught.value)


def test_zig_cc_is_the_package_where_no_zig_is_on_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``pip install ziglang`` puts no program on PATH; ``--cc "zig cc"`` means it all the same."""
    pytest.importorskip("ziglang", reason="PyPI's ziglang is not installed (convgen[zig])")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_compiler("zig cc -target x86_64-linux-musl")
    assert found.command[1:] == ("-m", "ziglang", "cc", "-target", "x86_64-linux-musl")
    assert found.kind is CompilerKind.CLANG


def test_zig_that_is_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler_module, "_has_ziglang", lambda: False)
    with pytest.raises(ToolchainError, match="no program 'zig' found"):
        find_compiler("zig cc")


def test_the_first_build_with_zig_is_announced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(compiler_module, "_has_ziglang", lambda: True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "zig"))
    assert "about a minute" in compiler_module.slow_start("zig cc")
    assert "about a minute" in compiler_module.slow_start(None), "it is the only one here"
    (tmp_path / "zig").mkdir()
    assert compiler_module.slow_start("zig cc") == ""
    monkeypatch.setattr(compiler_module, "_has_ziglang", lambda: False)
    assert compiler_module.slow_start("zig cc") == compiler_module.slow_start(None) == ""


@pytest.mark.parametrize("cc", ["", "  ", '"unclosed'])
def test_cc_that_is_no_command(cc: str) -> None:
    with pytest.raises(ToolchainError, match="--cc"):
        find_compiler(cc)


def test_threat_compiler_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError) as caught:
        find_compiler()
    text = str(caught.value)
    assert "no C compiler found" in text
    assert "pip install ziglang" in text and "--cc" in text


@posix_only
def test_compiler_that_fails_to_answer(tmp_path: Path) -> None:
    cc = script(tmp_path / "cc", "echo no licence >&2; exit 9")
    with pytest.raises(ToolchainError, match="exit code 9") as caught:
        find_compiler(cc)
    assert caught.value.command == f"{cc} -v"
    assert caught.value.stderr == "no licence\n"


@posix_only
def test_compiler_that_hangs_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_module, "ASK_TIMEOUT", 0.2)
    with pytest.raises(ToolchainError, match=r"within 0\.2 s"):
        find_compiler(script(tmp_path / "cc", "sleep 60"))


@posix_only
@needs_cc
def test_broken_first_candidate_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.which("gcc") or shutil.which("clang")
    if real is None:
        pytest.skip("neither gcc nor clang by name")
    script(tmp_path / "cc", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_compiler().command[0] in ("gcc", "clang")


def test_flags_stay_portable() -> None:
    assert "-O2" in COMPILE_FLAGS and "-Wall" in COMPILE_FLAGS
    assert not any(f.startswith(("-march", "-mtune", "-ffast")) for f in COMPILE_FLAGS)
    assert "-shared" in link_flags()


# -- compiling -----------------------------------------------------------------------------------


@needs_cc
def test_compiles_several_units_to_a_library(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(GOOD)
    (tmp_path / "b.c").write_text("int twice(int x); int four(int x) { return twice(2 * x); }\n")
    done = compile_shared(find_compiler(), tmp_path, [Unit("a.c"), Unit("b.c")], "ab.so")
    assert ctypes.CDLL(str(done.library)).four(3) == 12
    assert done.warnings == ()
    assert len(done.commands) == 3
    assert str(tmp_path) not in "\n".join(done.commands)
    if sys.platform == "linux":
        assert done.code_bytes is not None and 0 < done.code_bytes < 200


@needs_cc
def test_failure_shows_command_and_message_and_the_command_reproduces_it(tmp_path: Path) -> None:
    (tmp_path / "bad.c").write_text("int f(void) { return nowhere; }\n")
    with pytest.raises(ToolchainError, match=r"failed on bad\.c \(exit code 1\)") as caught:
        compile_shared(find_compiler(), tmp_path, [Unit("bad.c")], "bad.so")
    error = caught.value
    assert "nowhere" in error.stderr
    assert error.command in str(error) and error.stderr.rstrip() in str(error)
    again = subprocess.run(error.command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 1 and "nowhere" in again.stderr


@needs_cc
def test_failing_link_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(GOOD)
    with pytest.raises(ToolchainError, match=r"failed on a\.so") as caught:
        compile_shared(find_compiler(), tmp_path, [Unit("a.c")], "a.so", link=["-lno_such_lib"])
    assert "no_such_lib" in caught.value.command


@needs_cc
def test_warnings_are_recorded_and_not_fatal(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text("int f(void) { int unused_one; return 1; }\n")
    done = compile_shared(find_compiler(), tmp_path, [Unit("a.c")], "a.so")
    assert len(done.warnings) == 1
    assert "unused_one" in done.warnings[0]


@posix_only
@needs_cc
def test_threat_compiler_hanging_is_killed_with_its_children(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(GOOD)
    real = find_compiler()
    hang = f'if [ "$1" = -v ]; then exec {shell_line(real.command)} -v; fi\n'
    hang += f"sleep 61 & echo $! > {tmp_path}/child; echo half a message >&2; wait"
    compiler = find_compiler(script(tmp_path / "slow-cc", hang))
    start = time.monotonic()
    with pytest.raises(
        ToolchainError, match=r"did not finish a\.c within 0\.5 s: killed"
    ) as caught:
        compile_shared(compiler, tmp_path, [Unit("a.c")], "a.so", timeout=0.5)
    assert time.monotonic() - start < 10
    assert "half a message" in caught.value.stderr
    time.sleep(0.1)
    assert dead(int((tmp_path / "child").read_text()))


@posix_only
@needs_cc
def test_compiler_killed_by_a_signal(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(GOOD)
    text = f'if [ "$1" = -v ]; then exec {shell_line(find_compiler().command)} -v; fi; kill -9 $$'
    compiler = find_compiler(script(tmp_path / "dying-cc", text))
    with pytest.raises(ToolchainError, match="killed by signal 9"):
        compile_shared(compiler, tmp_path, [Unit("a.c")], "a.so")


@posix_only
@needs_cc
def test_threat_disk_full_in_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(GOOD)
    text = f'if [ "$1" = -v ]; then exec {shell_line(find_compiler().command)} -v; fi\n'
    text += 'echo "fatal error: error writing to a.o: No space left on device" >&2; exit 1'
    compiler = find_compiler(script(tmp_path / "full-cc", text))
    with pytest.raises(ToolchainError, match="the disk is full"):
        compile_shared(compiler, tmp_path, [Unit("a.c")], "a.so")


# -- processes -----------------------------------------------------------------------------------


@posix_only
def test_stop_ends_what_runs_and_refuses_more(tmp_path: Path) -> None:
    processes = Processes()
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            processes.run(["sh", "-c", f"sleep 61 & echo $! > {tmp_path}/c; wait"], timeout=60)
        except Stopped as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    while not (tmp_path / "c").exists() or not (tmp_path / "c").read_text():
        time.sleep(0.01)
    processes.stop()
    thread.join(10)
    assert not thread.is_alive() and len(caught) == 1
    time.sleep(0.1)
    assert dead(int((tmp_path / "c").read_text()))
    with pytest.raises(Stopped):
        processes.run(["true"], timeout=1)


@posix_only
def test_output_that_is_no_text_and_much_of_it() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'\xff' + b'y' * 3000000)"
    run = Processes().run([sys.executable, "-c", code], timeout=20)
    assert run.ok and run.stdout.startswith("�")
    assert len(run.stdout) <= 256 * 1024


@posix_only
def test_a_command_that_never_stops_printing_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        endless = "while True: print('y' * 4096)"
        run = Processes().run([sys.executable, "-c", endless], timeout=2)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert run.timed_out and len(run.stdout) == 256 * 1024


@posix_only
def test_a_task_is_read_from_stdin_and_need_not_be() -> None:
    task = bytes(1 << 20)
    count = [sys.executable, "-c", "import sys; print(len(sys.stdin.buffer.read()))"]
    assert Processes().run(count, timeout=20, task=task).stdout.split() == [str(len(task))]
    assert Processes().run([sys.executable, "-c", ""], timeout=20, task=task).ok


@posix_only
@needs_cc
def test_temporary_files_of_a_killed_compiler_go(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(GOOD)
    text = f'if [ "$1" = -v ]; then exec {shell_line(find_compiler().command)} -v; fi\n'
    text += 'echo half > "$TMPDIR/cc1.s"; echo "in $TMPDIR" >&2; exec sleep 60'
    compiler = find_compiler(script(tmp_path / "slow-cc", text))
    with pytest.raises(ToolchainError, match=f"in {tmp_path}/.cc-"):
        compile_shared(compiler, tmp_path, [Unit("a.c")], "a.so", timeout=0.5)
    assert {p.name for p in tmp_path.iterdir()} == {"a.c", "slow-cc"}


@posix_only
def test_what_holds_the_pipes_after_the_kill_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.toolchain.command.GRACE", 0.2)
    need("setsid")
    start = time.monotonic()
    run = Processes().run(["sh", "-c", "setsid sleep 3 & wait"], timeout=0.3)
    assert run.timed_out and time.monotonic() - start < 2.5


# -- sizes ---------------------------------------------------------------------------------------


def test_code_size_of_other_files_is_unknown(tmp_path: Path) -> None:
    for data in (b"", b"MZ" + bytes(200), b"\x7fELF\x02\x01" + b"\xff" * 100):
        path = tmp_path / "object"
        path.write_bytes(data)
        assert code_size(path) is None


@needs_cc
@pytest.mark.needs("size")
@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF")
def test_code_size_agrees_with_binutils(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(GOOD + "int g(int x) { return x / 7; }\n")
    command = [*find_compiler().command, "-O2", "-c", "a.c", "-o", "a.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    table = subprocess.run(["size", "-A", "a.o"], cwd=tmp_path, capture_output=True, text=True)
    rows = [line.split() for line in table.stdout.splitlines()]
    text = sum(int(row[1]) for row in rows if row and row[0].startswith(".text"))
    assert code_size(tmp_path / "a.o") == text


def test_a_compiler_named_by_a_relative_path_is_found_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compilers run in a build's own folder, so ./cc is made absolute where it was named."""
    script = tmp_path / "cc"
    script.write_text(f'#!/bin/sh\nexec {shutil.which("gcc") or "cc"} "$@"\n')
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_compiler("./cc").command == (str(script),)


@posix_only
@pytest.mark.parametrize("size", [0, compile_module.LARGE])
def test_a_compiler_that_takes_too_long_names_ways_out(size: int, tmp_path: Path) -> None:
    cc = script(tmp_path / "cc", 'test "$1" = -v && exit 0; sleep 60')
    (tmp_path / "a.c").write_text(f"int a;\n/*{'w' * size}*/\n")
    with pytest.raises(ToolchainError, match="give it longer with --timeout") as caught:
        compile_shared(find_compiler(cc), tmp_path, [Unit("a.c")], "a.so", timeout=0.3)
    assert ("pass them at run time" in str(caught.value)) is (size > 0)

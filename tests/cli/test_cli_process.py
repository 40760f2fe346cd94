"""The command line as a process: streams, exit codes, terminals, pipes, signals, start-up."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_runner import TINY, environment, needs_compiler, process


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "a.yaml").write_text(TINY)
    return "a.yaml"


def test_version_and_module_entry(tmp_path: Path) -> None:
    from convgen import __version__

    ran = process("--version", cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"convgen {__version__}\n".encode(), b"")


def test_data_and_messages_do_not_mix(tmp_path: Path, spec: str) -> None:
    (tmp_path / "bad.yaml").write_text("input: 5x5x1\nk: 1\nf: true\n")
    ran = process("check", "--json", spec, "bad.yaml", cwd=tmp_path)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["exit_code"] == 1
    assert b"bad.yaml:3:4: error[E112]" in ran.stderr
    assert b"\x1b" not in ran.stdout + ran.stderr


def test_a_spec_from_stdin(tmp_path: Path) -> None:
    ran = process("check", "-", cwd=tmp_path, stdin=TINY.encode() + b"name: piped\n")
    assert ran.returncode == 0
    assert b"piped" in ran.stdout
    late = process("check", "-", cwd=tmp_path, stdin=b"x" * 70000)
    assert late.returncode == 1
    assert b"E002" in late.stderr


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("check", "gone.yaml"), 1),
        (("check",), 2),
        (("nope",), 2),
        (("build", "--cc", "no-such-compiler", "a.yaml"), 3),
        (("verify", "a.yaml"), 2),
    ],
)
def test_exit_codes_without_tracebacks(
    args: tuple[str, ...], code: int, tmp_path: Path, spec: str
) -> None:
    ran = process(*args, cwd=tmp_path)
    assert ran.returncode == code
    assert ran.stderr
    assert b"Traceback" not in ran.stderr
    assert ran.stdout == b""


def test_a_bug_of_ours_is_70_without_a_traceback(tmp_path: Path, spec: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import convgen.spec.parse as p\n"
        "def broken(*a, **k): raise RuntimeError('on purpose')\n"
        "p.parse_file = broken\n"
    )
    path = f"{tmp_path}{os.pathsep}{environment(tmp_path)['PYTHONPATH']}"
    ran = process("check", spec, cwd=tmp_path, env={"PYTHONPATH": path})
    assert ran.returncode == 70
    assert b"internal error: RuntimeError: on purpose" in ran.stderr
    assert b"Traceback" not in ran.stderr
    loud = process("check", "-v", spec, cwd=tmp_path, env={"PYTHONPATH": path})
    assert loud.returncode == 70
    assert b"Traceback" in loud.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    many = "\n".join(f"  - {{name: layer_{i}}}" for i in range(30))
    (tmp_path / "many.yaml").write_text(f"{TINY}layers:\n{many}\n")
    commands = (["explain", "many.yaml"], ["schema"], ["--help"], ["check", "--json", "many.yaml"])
    for args in commands:
        with subprocess.Popen(
            [sys.executable, "-m", "convgen", *args],
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as child:
            assert child.stdout is not None and child.stderr is not None
            child.stdout.close()
            err = child.stderr.read()
            code = child.wait(60)
        assert err == b"", args
        assert code == 141, args


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_said(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ran = subprocess.run(
            [sys.executable, "-m", "convgen", "schema"],
            cwd=tmp_path, env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE,
            timeout=60, check=False,
        )  # fmt: skip
    assert ran.returncode == 2
    assert b"No space left" in ran.stderr
    assert b"Traceback" not in ran.stderr


def on_terminal(*args: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and everything shown, with stdout and stderr on a terminal."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "convgen", *args],
        cwd=cwd, env=environment(cwd) | {"TERM": "xterm-256color", "COLUMNS": "120"} | (env or {}),
        stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError as error:  # Linux reports the end of a terminal this way
            assert error.errno == errno.EIO
            break
        if not data:
            break
        shown += data
    os.close(ours)
    return child.wait(60), shown.decode()


def test_colour_on_a_terminal_only_and_not_against_no_color(tmp_path: Path, spec: str) -> None:
    code, shown = on_terminal("check", spec, "gone.yaml", cwd=tmp_path)
    assert code == 1
    assert "\x1b[" in shown and "error[E001]" in shown
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, shown = on_terminal("check", spec, "gone.yaml", cwd=tmp_path, env=env)
        assert code == 1
        assert "\x1b[" not in shown
        assert "receptive field" in shown


@needs_compiler
def test_progress_on_a_terminal_only(tmp_path: Path, spec: str) -> None:
    (tmp_path / "b.yaml").write_text(TINY)
    code, shown = on_terminal("build", spec, "b.yaml", cwd=tmp_path)
    assert code == 0
    assert "2/2" in shown and "verify" in shown
    code, shown = on_terminal("build", "-q", spec, "b.yaml", "-o", "other", cwd=tmp_path)
    assert (code, shown) == (0, "")
    ran = process("build", spec, "b.yaml", cwd=tmp_path)
    assert b"2/2" not in ran.stderr


NETWORK = """\
network: steps
input: 8x8x3
layers:
  - conv: {k: 4, f: 3, weights: {init: truncated_normal, stddev: 0.1}}
  - maxpool: {f: 2, s: 2}
  - softmax
"""


@needs_compiler
def test_the_steps_of_a_network_are_told_on_a_terminal(tmp_path: Path) -> None:
    """Every one as it is judged; none in a pipe."""
    (tmp_path / "steps.yaml").write_text(NETWORK)
    code, shown = on_terminal("build", "steps.yaml", cwd=tmp_path)
    assert code == 0
    assert "3/3" in shown and "steps: verify" in shown
    ran = process("build", "steps.yaml", "-o", "other", cwd=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, b"")


@needs_compiler
@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, b"interrupted\n"), (signal.SIGTERM, 143, b"terminated\n")],
    ids=["SIGINT", "SIGTERM"],
)
def test_an_interrupted_build_leaves_nothing_half_done(
    tmp_path: Path, spec: str, number: signal.Signals, code: int, word: bytes
) -> None:
    slow = tmp_path / "slowcc"
    slow.write_text('#!/bin/sh\ncase "$*" in *" -c "*) touch started; sleep 60;; esac\n'
                    'exec cc "$@"\n')  # fmt: skip
    slow.chmod(0o755)
    child = subprocess.Popen(
        [sys.executable, "-m", "convgen", "build", "--json", "--cc", str(slow), spec],
        cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("build/.a.work/started")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (code, word)
    assert json.loads(out)["exit_code"] == code
    assert [p.name for p in (tmp_path / "build").iterdir()] == [".a.lock"]


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from convgen.cli import main\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'numpy', 'cffi', 'pydantic', 'jinja2', 'rich', 'yaml', 'convgen.plan.kernel',\n"
        "         'convgen.package', 'convgen.verify'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.stderr == "[]\n"
    assert ran.stdout.startswith("Usage: convgen")


def test_a_plain_stream_never_loads_rich(tmp_path: Path, spec: str) -> None:
    code = (
        "import sys\n"
        "from convgen.cli import main\n"
        "assert main(['check', 'a.yaml', 'gone.yaml']) == 1\n"
        "assert 'rich' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment(tmp_path),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_text_that_the_terminal_cannot_show_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("input: 5x5x1\nk: 1\nf: 3\nnäme: 1\n", encoding="utf-8")
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ran = process("check", "--json", "a.yaml", cwd=tmp_path, env=env)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["errors"][0]["code"] == "E101"
    assert b"E101" in ran.stderr


def test_a_file_name_that_the_terminal_cannot_show_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "ä.yaml").write_text(TINY + "name: a\n")
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    ran = process("explain", "ä.yaml", cwd=tmp_path, env=env)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(b"a  (\\xe4.yaml)")


def test_completion_is_offered(tmp_path: Path) -> None:
    env = {"_CONVGEN_COMPLETE": "bash_complete", "COMP_WORDS": "convgen ver", "COMP_CWORD": "1"}
    ran = process(cwd=tmp_path, env=env)
    assert ran.stdout.split() == [b"plain,verify"]

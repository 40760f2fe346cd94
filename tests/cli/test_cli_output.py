"""What a verb's session makes of results and failures: streams, JSON, exit codes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable

import pytest

from convgen.cli.command import Ended
from convgen.cli.output import BROKEN_PIPE, Output, plain_table, session
from convgen.errors import (
    ConvgenError,
    Diagnostic,
    Exit,
    MismatchError,
    ScheduleError,
    SpecError,
    ToolchainError,
    UsageError,
)

PLACED = Diagnostic("a.yaml", 3, 5, "E110", "stride: no", "stride: x\n    ^")


def code_of(body: Callable[[Output], None], **flags: bool) -> int:
    try:
        with session("test", **flags) as out:
            body(out)
    except Ended as end:
        return end.exit_code
    return 0


def raising(error: BaseException) -> Callable[[Output], None]:
    def body(out: Output) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SpecError([PLACED]), Exit.SPEC),
        (ScheduleError("no"), Exit.SPEC),
        (UsageError("no"), Exit.USAGE),
        (ToolchainError("no", "cc x", "boom"), Exit.TOOLCHAIN),
        (MismatchError("no"), Exit.MISMATCH),
        (RuntimeError("no"), Exit.INTERNAL),
        (AssertionError(), Exit.INTERNAL),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), Exit.USAGE),
        (OSError("a library's own"), Exit.INTERNAL),
        (BrokenPipeError(), BROKEN_PIPE),
    ],
)
def test_every_failure_has_its_code(error: BaseException, code: int) -> None:
    assert code_of(raising(error)) == code


def test_the_worst_code_wins_and_nothing_is_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    def body(out: Output) -> None:
        out.fail(MismatchError("bad numbers"), "b")
        out.fail(SpecError([PLACED]))
        out.data("still here")

    assert code_of(body) == Exit.MISMATCH
    streams = capsys.readouterr()
    assert streams.out == "still here\n"
    assert streams.err == (
        "error: layer b: bad numbers\na.yaml:3:5: error[E110]: stride: no\nstride: x\n    ^\n"
    )


def test_an_internal_error_is_short_and_asks_for_a_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert code_of(raising(KeyError("deep"))) == Exit.INTERNAL
    err = capsys.readouterr().err
    assert err.startswith("internal error: KeyError: 'deep'\n")
    assert "report" in err and "-v" in err
    assert "Traceback" not in err


def test_verbose_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(raising(KeyError("deep")), verbose=True) == Exit.INTERNAL
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_without_text_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(raising(AssertionError())) == Exit.INTERNAL
    assert "internal error: AssertionError" in capsys.readouterr().err


def test_json_is_one_object_with_the_errors(capsys: pytest.CaptureFixture[str]) -> None:
    def body(out: Output) -> None:
        out.payload["answer"] = 42
        out.data("not under --json")
        out.table(("a",), [("b",)])
        out.fail(SpecError([PLACED, PLACED]))
        out.fail(ToolchainError("gone", "cc x", "boom"), "b")

    assert code_of(body, json=True) == Exit.TOOLCHAIN
    data = json.loads(capsys.readouterr().out)
    assert (data["verb"], data["ok"], data["exit_code"], data["answer"]) == ("test", False, 3, 42)
    assert [e["kind"] for e in data["errors"]] == ["spec", "spec", "toolchain"]
    assert data["errors"][0] == {
        "kind": "spec", "layer": None, "message": "stride: no", "source": "a.yaml",
        "line": 3, "col": 5, "code": "E110", "snippet": "stride: x\n    ^",
    }  # fmt: skip
    assert data["errors"][2]["command"] == "cc x"
    assert data["errors"][2]["stderr"] == "boom"
    assert data["errors"][2]["layer"] == "b"


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), UsageError("x")])
def test_json_is_printed_whatever_happens(
    error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    code = code_of(raising(error), json=True)
    data = json.loads(capsys.readouterr().out)
    assert data["exit_code"] == code
    assert data["ok"] is False
    assert len(data["errors"]) == 1


def test_quiet_keeps_results_and_errors_only(capsys: pytest.CaptureFixture[str]) -> None:
    def body(out: Output) -> None:
        out.data("result")
        out.done("work done")
        out.note("note")
        out.detail("detail")
        out.fail(ConvgenError("wrong"))

    assert code_of(body, quiet=True, verbose=True) == Exit.SPEC
    streams = capsys.readouterr()
    assert streams.out == "result\n"
    assert streams.err == "error: wrong\n"


def test_a_layer_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    def body(out: Output) -> None:
        out.fail(MismatchError("layer a: wrong"), "a")

    code_of(body)
    assert capsys.readouterr().err == "error: layer a: wrong\n"


def test_tables_are_aligned_without_trailing_blanks() -> None:
    text = plain_table(("name", "n", "x"), [("a", "10", ""), ("long", "7", "y")], "lr")
    assert text.splitlines() == ["name   n  x", "a     10", "long   7  y"]

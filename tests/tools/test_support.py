"""What the tests stand on: the warm ladder, tools that are tried, slices, objects made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import slices
from edge_layers import EDGES
from kernels import needs, planned, prove_right, report_of, target_of
from objects import made_once, precompiled
from plain_kernel import build_plain
from slices import one_in
from tools import cannot_compile, lacking
from verified_layers import RICH, build_endless, posix
from zygote import Zygote

from convgen.render.source import render_c
from convgen.verify import verify_in_child


@posix
@pytest.mark.needs("cc")
def test_the_warm_ladder_says_what_a_child_of_its_own_says(tmp_path: Path) -> None:
    """Right, crashing and right again, from the same process; and one that never ends."""
    warm = Zygote()
    for at, bug in enumerate((None, "row behind the image read", None)):
        plain = build_plain(RICH, tmp_path / str(at), bug=bug)
        reports = [
            verify_in_child(plain.library, RICH, **plain.arguments, processes=processes)
            for processes in (None, warm)
        ]
        own, forked = ([(c.name, c.passed, c.detail) for c in r.checks] for r in reports)
        assert own[:3] == forked[:3] and [c[:2] for c in own] == [c[:2] for c in forked]
        assert reports[1].passed is (bug is None)
    endless = build_endless(tmp_path / "endless")
    report = verify_in_child(
        endless.library, RICH, **endless.arguments, timeout=3.0, processes=warm
    )
    assert [check.detail for check in report.failures] == ["no end within 3 s"]


def test_a_missing_tool_and_one_without_its_library_are_lacking() -> None:
    assert lacking("no-such-gcc") == "no-such-gcc is not on this machine"
    assert lacking("no-such-program") == "no-such-program is not on this machine"


@pytest.mark.needs("gcc")
def test_a_compiler_is_tried() -> None:
    assert cannot_compile(("gcc",)) == ""
    said = cannot_compile(
        ("gcc",), text="#include <no_such_header.h>\nint main(void) { return 0; }\n"
    )
    assert "gcc does not compile for this here" in said and "no_such_header.h" in said


def test_each_case_is_in_the_slice_of_one_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for turn in range(3):
        monkeypatch.setattr(slices, "TURN", turn)
        found = one_in(3, range(10), str)
        assert [p.id for p in found] == [str(i) for i in range(10)]
        taken += [p.values[0] for p in found if not p.marks]
    assert sorted(taken) == list(range(10))


def test_an_object_is_made_once_and_whole() -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "file").touch()

    key = f"support-{os.getpid()}"
    assert (made_once(key, make) / "file").exists() and made_once(key, make).name == key
    assert len(made) == 1 and not made[0].exists()


def test_the_header_is_precompiled_for_the_third_file_that_includes_it() -> None:
    command = ["gcc", "-std=c99", f"-DTHIS={os.getpid()}"]
    text = "#include <immintrin.h>\n"
    assert [precompiled(command, [text]) for _ in range(2)] == [[], []]
    assert precompiled(command, ["int x;\n"]) == []
    assert precompiled(["clang"], [text]) == [] == precompiled(["clang"], [text])


@pytest.mark.needs("gcc")
def test_a_wrong_kernel_is_not_proved_right() -> None:
    """Nothing that sped the tests up lets a bug pass."""
    needs("plain")
    plan = planned(EDGES["pad_top_only"], target_of("plain"))
    prove_right(plan)
    right = render_c(plan)
    files = {name: text.replace("? b[", "? 2 + b[") for name, text in right.items()}
    assert files != right and report_of(plan).passed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kernels.render_c", lambda *_: files)
        with pytest.raises(AssertionError, match="fill: "):
            prove_right(plan)

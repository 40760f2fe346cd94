"""The store of tuned schedules: atomic, shared by processes, exported and imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from built import ROOT, TINY, posix_only

from convgen.errors import UsageError
from convgen.spec.schedule import Family, Schedule
from convgen.target import TARGETS
from convgen.toolchain import Compiler, CompilerKind
from convgen.tune.store import Key, Sample, Store, Winner, default_store_path, key_of

KEY = Key("spec", "cpu", "cc", "target", "0.1.0")
DIRECT = Schedule(Family.DIRECT, 8, 2, 6, 1)
OTHER = Schedule(Family.WINOGRAD, 16, 4, 4, 2, 7, 3)
WINNER = Winner("r3", DIRECT, 12.5, OTHER, 14.25, "warm", 10, "2030-01-02T03:04:05+00:00")


def test_samples_come_back_by_code_and_pass(tmp_path: Path) -> None:
    with Store(tmp_path / "deep" / "s.sqlite") as store:
        store.add(KEY, "warm", [Sample("a", 0, 1.5), Sample("b", 0, 2.5)])
        store.add(KEY, "warm", [Sample("a", 1, 3.5), Sample("a", 0, 0.5)])
        store.add(KEY, "cold", [Sample("a", 0, 9.0)])
    with Store(tmp_path / "deep" / "s.sqlite") as store:
        assert store.samples(KEY, "warm") == {"a": {0: [1.5, 0.5], 1: [3.5]}, "b": {0: [2.5]}}
        assert store.samples(replace(KEY, cpu="other"), "warm") == {}
        store.forget(KEY, "warm")
        assert store.samples(KEY, "warm") == {}
        assert store.samples(KEY, "cold") == {"a": {0: [9.0]}}


def test_a_winner_counts_for_its_key_alone(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite") as store:
        store.settle(KEY, WINNER)
        assert store.winner(KEY) == WINNER
        for field in ("spec", "cpu", "compiler", "target", "generator"):
            assert store.winner(replace(KEY, **{field: "else"})) is None
        store.settle(KEY, replace(WINNER, schedule=OTHER))
        assert store.winner(KEY) == replace(WINNER, schedule=OTHER)


def test_the_key_is_the_layer_without_its_name() -> None:
    compiler = Compiler(("cc",), CompilerKind.GCC, "12", "x86_64", "id")
    target = TARGETS["generic"]
    key = key_of(TINY.spec, target, compiler)
    assert key == key_of(replace(TINY.spec, name="renamed"), target, compiler)
    assert key != key_of(replace(TINY.spec, oc=3), target, compiler)
    assert (key.compiler, key.target) == ("id", "generic") and key.cpu


def test_export_and_import_round_trip(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as one, Store(tmp_path / "b.sqlite") as two:
        one.settle(KEY, WINNER)
        one.settle(replace(KEY, cpu="z"), replace(WINNER, chosen_microseconds=None))
        lines = one.export_lines()
        assert [json.loads(line)["cpu"] for line in lines] == ["cpu", "z"]
        assert two.import_lines([*lines, ""], "f.jsonl") == 2
        assert two.export_lines() == lines
        assert two.import_lines(lines, "f.jsonl") == 0


def test_import_keeps_what_is_newer(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as one, Store(tmp_path / "b.sqlite") as two:
        one.settle(KEY, WINNER)
        newer = replace(WINNER, schedule=OTHER, at="2031-01-01T00:00:00+00:00")
        two.settle(KEY, newer)
        assert two.import_lines(one.export_lines(), "f") == 0
        assert two.winner(KEY) == newer
        assert one.import_lines(two.export_lines(), "f") == 1
        assert one.winner(KEY) == newer


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"format": 99}', '"text"', "null"],
)
def test_import_is_all_or_nothing(tmp_path: Path, line: str) -> None:
    with Store(tmp_path / "a.sqlite") as one, Store(tmp_path / "b.sqlite") as two:
        one.settle(KEY, WINNER)
        with pytest.raises(UsageError, match=r"f\.jsonl:2: .*nothing was imported"):
            two.import_lines([*one.export_lines(), line], "f.jsonl")
        assert two.winner(KEY) is None


def test_a_bad_schedule_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.settle(KEY, WINNER)
        line = json.loads(store.export_lines()[0])
        line["schedule"]["lanes"] = 7
        with pytest.raises(UsageError, match=r"f:1: .*lanes 7"):
            store.import_lines([json.dumps(line)], "f")


def test_a_damaged_file_is_a_message(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(b"no database at all, but long enough to look at" * 100)
    with pytest.raises(UsageError, match="move it away"):
        Store(path)


def test_a_store_of_another_version_is_a_message(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "s.sqlite"
    with Store(path):
        pass
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(UsageError, match="format 7"):
        Store(path)


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError):
        Store(tmp_path / "s.sqlite")


def test_the_default_place_is_the_users_data_folder() -> None:
    path = default_store_path()
    assert path.name == "tuned.sqlite" and path.parent.name == "convgen"


WRITER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from convgen.tune.store import Key, Sample, Store
key = Key("spec", "cpu", "cc", "target", "0.1.0")
print("go", flush=True)
sys.stdin.readline()
with Store(Path(sys.argv[1])) as store:
    for n in range(int(sys.argv[3])):
        store.add(key, "warm", [Sample(sys.argv[2], i, float(n)) for i in range(3)])
        print(n, flush=True)
"""


def writer(path: Path, code: str, count: int) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), code, str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None and child.stdout.readline() == "go\n"
    return child


def begin(child: subprocess.Popen[str]) -> None:
    assert child.stdin is not None
    child.stdin.write("\n")
    child.stdin.flush()


def test_threat_processes_write_at_once(tmp_path: Path) -> None:
    """A new file, opened and filled by several at the same moment: nothing is lost."""
    path = tmp_path / "s.sqlite"
    children = [writer(path, code, 40) for code in "abc"]
    for child in children:
        begin(child)
    for child in children:
        child.communicate(timeout=120)
        assert child.returncode == 0
    with Store(path) as store:
        found = store.samples(KEY, "warm")
    assert {code: [len(times) for times in passes.values()] for code, passes in found.items()} == {
        code: [40, 40, 40] for code in "abc"
    }


@posix_only
def test_threat_killed_while_writing(tmp_path: Path) -> None:
    """What was stored before SIGKILL is there, and every transaction is whole."""
    path = tmp_path / "s.sqlite"
    child = writer(path, "a", 100_000)
    begin(child)
    assert child.stdout is not None
    while child.stdout.readline() != "20\n":
        pass
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with Store(path) as store:
        passes = store.samples(KEY, "warm")["a"]
        counts = {len(times) for times in passes.values()}
        assert len(passes) == 3 and len(counts) == 1 and counts.pop() >= 21
        store.settle(KEY, WINNER)
        assert store.winner(KEY) == WINNER

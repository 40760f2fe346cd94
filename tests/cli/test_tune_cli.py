"""tune, build --tuned and build --tune as a user meets them, on layers that are quick."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from built import posix_only
from cli_runner import ROOT, TINY, needs_compiler, run

from convgen.network.text import parse_network_file
from convgen.package.emit.files import decide
from convgen.package.network.program import layers_of
from convgen.spec import parse_file
from convgen.spec.schedule import Schedule
from convgen.target import host_target
from convgen.toolchain import find_compiler
from convgen.tune import Key, Store, Winner, default_store_path, key_of

pytestmark = [needs_compiler, pytest.mark.usefixtures("convgen_stands_still")]
FAST = ("--candidates", "2", "--budget", "0")
BIGGER = TINY.replace("[5, 5, 1]", "[28, 28, 32]").replace("filters: 2", "filters: 32")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    Path("a.yaml").write_text(TINY)
    yield


def manifest() -> Any:
    return json.loads(Path("build/a/manifest.json").read_text())


def other_schedule() -> str:
    """A schedule for a.yaml that is not the chooser's."""
    chosen = run("explain", "--json", "a.yaml").json["layers"][0]["schedule"]
    other = chosen | {"tile": [1, 1]} if chosen["tile"] != [1, 1] else chosen | {"tile": [1, 2]}
    return str(Schedule.from_mapping(other))


def key() -> Key:
    (layer,) = parse_file("a.yaml")
    return key_of(layer.spec, host_target(), find_compiler())


def settle(schedule: str) -> None:
    """Put a winner into the user's store, as a tuning run would."""
    how = Schedule.from_text(schedule)
    with Store(default_store_path()) as store:
        store.settle(key(), Winner("a", how, 1.0, how, 2.0, "warm", 2, "2030-01-01T00:00:00"))


def test_tune_prints_pick_winner_and_the_line_to_pin() -> None:
    ran = run("tune", "a.yaml", "--candidates", "2", "--budget", "3")
    assert (ran.code, ran.err) == (0, "")
    head, chosen, tuned, *_, pin = ran.out.splitlines()
    assert head.startswith("a: ") and "2 candidates, warm weights" in head
    assert chosen.split()[0] == "chosen" and tuned.split()[0] == "tuned"
    assert pin.startswith("  schedule: {family: ")
    Path("pinned.yaml").write_text(TINY + pin.strip() + "\n")
    assert run("check", "pinned.yaml").code == 0
    assert run("explain", "--json", "pinned.yaml").json["layers"][0]["pinned"]


def test_json_has_what_was_measured() -> None:
    ran = run("tune", "a.yaml", "--json", *FAST)
    assert ran.code == 0
    assert ran.json["store"] == str(default_store_path())
    (layer,) = ran.json["layers"]
    assert set(layer) == {
        "name", "ok", "state", "mode", "complete", "seconds", "chosen", "winner", "ratio", "pin",
        "candidates",
    }  # fmt: skip
    assert set(layer["winner"]) == {
        "schedule", "microseconds", "spread", "samples", "predicted_cycles", "fault",
    }  # fmt: skip
    assert len(layer["candidates"]) == 2 and layer["candidates"][0] == layer["chosen"]


def test_a_bar_on_a_terminal_and_steps_under_v(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = run("tune", "a.yaml", "-v", *FAST).err.splitlines()
    assert "a: compile 0/2" in steps and "a: measure, pass 1 of 3 1/5" in steps
    monkeypatch.setattr("convgen.cli.progress.is_terminal", lambda stream: True)
    ran = run("tune", "a.yaml", "--again", *FAST)
    assert ran.code == 0 and ran.out.startswith("a: ")


def test_defaults_are_those_of_the_tuner() -> None:
    from convgen.cli import tune
    from convgen.toolchain import TIMEOUT
    from convgen.tune import session, shortlist

    assert (tune.BUDGET, tune.CANDIDATES, tune.TIMEOUT) == (
        session.BUDGET,
        shortlist.DEFAULT,
        TIMEOUT,
    )


def test_pin_prints_yaml_and_writes_nothing() -> None:
    before = Path("a.yaml").read_bytes()
    ran = run("tune", "a.yaml", "--pin", *FAST)
    comment, line = ran.out.splitlines()
    assert comment == "# a (a.yaml)" and line.startswith("schedule: {")
    assert Path("a.yaml").read_bytes() == before


def test_tuned_changes_the_build_and_a_plain_build_does_not() -> None:
    plain = run("build", "--json", "a.yaml").json["layers"][0]["schedule"]
    how = other_schedule()
    assert how != plain
    settle(how)
    assert run("build", "--json", "a.yaml").json["layers"][0]["state"] == "unchanged"
    assert manifest()["schedule"] == plain
    inputs = manifest()["inputs"]
    tuned = run("build", "--json", "--tuned", "a.yaml").json["layers"][0]
    assert (tuned["state"], tuned["schedule"]) == ("built", how)
    assert manifest()["schedule"] == how and "tune" in manifest()["reason"]
    assert manifest()["inputs"] != inputs
    assert run("verify", "a.yaml").code == 0
    assert run("build", "--json", "--tuned", "a.yaml").json["layers"][0]["state"] == "unchanged"
    assert run("build", "--json", "a.yaml").json["layers"][0]["schedule"] == plain
    assert manifest()["inputs"] == inputs


def test_tuned_gives_the_bytes_of_the_pinned_schedule() -> None:
    how = other_schedule()
    settle(how)
    run("build", "--tuned", "a.yaml")
    tuned = Path("build/a/a.c").read_bytes()
    Path("a.yaml").write_text(TINY + f"schedule: {how}\n")
    run("build", "a.yaml", "-o", "pinned")
    assert Path("pinned/a/a.c").read_bytes() == tuned


def test_tuned_without_a_winner_says_so_and_builds() -> None:
    ran = run("build", "--tuned", "a.yaml")
    assert ran.code == 0 and "a: no tuned schedule" in ran.err
    assert "tune" not in manifest()["reason"]


def test_a_pinned_schedule_stands() -> None:
    how = other_schedule()
    settle("{family: direct, lanes: 1, tile: [1, 1], vectors: 1}")
    Path("a.yaml").write_text(TINY + f"schedule: {how}\n")
    ran = run("build", "--tuned", "a.yaml")
    assert ran.code == 0 and "pinned" in ran.err and manifest()["schedule"] == how


def test_a_winner_that_cannot_be_carried_out_is_left_aside() -> None:
    settle("{family: winograd, lanes: 64, tile: [4, 4], vectors: 1}")
    ran = run("build", "--tuned", "a.yaml")
    assert ran.code == 0 and "tune again" in ran.err


def test_build_tune_searches_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.cli.tune.BUDGET", 0.0)
    monkeypatch.setattr("convgen.cli.tune.CANDIDATES", 1)
    ran = run("build", "--tune", "--json", "a.yaml")
    assert ran.code == 0 and "tune" in ran.json["layers"][0]["reason"]
    with Store(default_store_path()) as store:
        assert store.winner(key()) is not None


def test_export_and_import() -> None:
    settle(other_schedule())
    assert run("tune", "--export", "w.jsonl").code == 0
    lines = Path("w.jsonl").read_text()
    assert lines.count("\n") == 1
    assert run("tune", "--export", "-").out == lines
    default_store_path().unlink()
    ran = run("tune", "--import", "w.jsonl", "--json")
    assert (ran.code, ran.json["imported"]) == (0, 1)
    default_store_path().unlink()
    assert run("tune", "--import", "-", stdin=lines).code == 0
    assert run("tune", "--export", "-").out == lines


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ((), "nothing to do"),
        (("--import", "none.jsonl"), "none.jsonl: cannot be read"),
        (("--import", "a.yaml"), "a.yaml:1: not a line of"),
        (("--json", "--export", "-"), "both want standard output"),
        (("a.yaml", "--isa", "what"), "--isa what"),
    ],
)
def test_mistakes(args: tuple[str, ...], text: str) -> None:
    ran = run("tune", *args)
    assert ran.code == 2 and text in ran.err


def test_instructions_that_this_cpu_lacks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convgen.target.cpu_features", lambda: frozenset({"sse2"}))
    ran = run("tune", "a.yaml", "--isa", "avx512")
    assert ran.code == 2 and "this CPU lacks avx512f" in ran.err


@posix_only
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_threat_ended_while_measuring(sign: signal.Signals) -> None:
    """What was measured until then is stored; the next run goes on and ends well."""
    Path("a.yaml").write_text(BIGGER)
    child = subprocess.Popen(
        [sys.executable, "-m", "convgen", "tune", "a.yaml", "--candidates", "3"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not stored() and child.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    if sign is signal.SIGINT and child.poll() is None:
        os.killpg(child.pid, sign)  # as a terminal does: the measuring process gets it too
    else:
        child.send_signal(sign)
    child.communicate(timeout=60)
    if child.returncode != 0:  # else it was done before the signal came
        assert child.returncode == (130 if sign is signal.SIGINT else -signal.SIGKILL)
    kept = stored()
    assert kept
    ran = run("tune", "--json", "a.yaml", "--candidates", "3")
    assert ran.code == 0 and ran.json["layers"][0]["winner"]["microseconds"]
    after = stored()
    assert all(after[place][: len(times)] == times for place, times in kept.items())


def stored() -> dict[tuple[str, int], list[float]]:
    """Everything measured for a.yaml so far, by code and pass."""
    with Store(default_store_path()) as store:
        found = store.samples(key(), "warm")
    return {(code, n): times for code, passes in found.items() for n, times in passes.items()}


NETWORK = """\
network: net
input: 6x6x3
layers:
  - conv: {name: one, k: 4, f: 3, p: 1, weights: {init: truncated_normal, stddev: 0.1}}
  - conv: {name: two, k: 4, f: 3, p: 1, of: one, weights: {init: truncated_normal, stddev: 0.1}}
  - conv: {name: again, k: 4, f: 3, p: 1, weights: {init: truncated_normal, stddev: 0.2, seed: 1}}
  - softmax
"""


def test_a_networks_convolutions_are_tuned_and_built(tmp_path: Path) -> None:
    """Equal ones once. The winners are those of layers, by what is computed and not by its name."""
    Path("net.yaml").write_text(NETWORK)
    ran = run("tune", "--json", *FAST, "net.yaml")
    assert [layer["name"] for layer in ran.json["layers"]] == ["net_conv0", "net_conv1"]
    built = run("build", "--tuned", "net.yaml")
    assert built.code == 0 and "no tuned" not in built.err
    made = json.loads(Path("build/net/manifest.json").read_text())
    assert (
        set(made["tuned"]) == {"net_conv0", "net_conv1"} and "2 of them tuned" in made["schedule"]
    )
    assert run("verify", "net.yaml").code == 0
    assert "unchanged" in run("build", "--tuned", "net.yaml").out
    plain = run("build", "net.yaml")
    assert plain.code == 0 and "unchanged" not in plain.out
    assert "tuned" not in json.loads(Path("build/net/manifest.json").read_text())


def test_a_network_takes_another_schedule_than_the_choosers(tmp_path: Path) -> None:
    """What the store says is what is built; what it does not say is told."""
    Path("net.yaml").write_text(NETWORK)
    first, second = layers_of(parse_network_file("net.yaml").complete())
    chosen = decide(first, host_target()).plan.schedule
    other = Schedule.from_mapping(chosen.to_mapping() | {"tile": [1, 1]})
    assert other != chosen
    with Store(default_store_path()) as store:
        winner = Winner("x", other, 1.0, chosen, 2.0, "warm", 2, "2030-01-01T00:00:00")
        store.settle(key_of(first.spec, host_target(), find_compiler()), winner)
    ran = run("build", "--tuned", "net.yaml")
    assert "net: 1 of its 2 distinct convolutions have no tuned schedule" in ran.err
    made = json.loads(Path("build/net/manifest.json").read_text())
    assert made["tuned"] == {first.spec.name: str(other)}
    assert second.spec.name not in made["tuned"] and run("verify", "net.yaml").code == 0


def test_networks_have_nothing_to_pin() -> None:
    Path("net.yaml").write_text(NETWORK)
    ran = run("tune", "--pin", *FAST, "net.yaml")
    assert ran.code == 0 and ran.out == "" and "build --tuned" in ran.err

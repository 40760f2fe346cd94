"""The threat list is complete and its page current; and the threats that no other module tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from built import ROOT, needs_cc
from cli_runner import run
from places import TESTS
from threats_page import PAGE, THREATS, found_in, page

from convgen.api import import_package
from convgen.errors import SpecError
from convgen.numbers.settle import settled
from convgen.spec import parse_file

SHOWN = {name for threats in THREATS.values() for threat in threats for name in threat.shown}


# -- the list ------------------------------------------------------------------------------------


def test_every_threat_is_shown_by_tests_that_there_are() -> None:
    there = {name for module in TESTS.rglob("test_*.py") for name in found_in(module)}
    there |= {f"bad_specs/{path.stem}" for path in (TESTS / "bad_specs").glob("*.yaml")}
    assert there >= SHOWN, sorted(SHOWN - there)
    named = {name for name in there if name.rpartition("::")[2].startswith("test_threat_")}
    assert named <= SHOWN, "give it a line in tests/support/threats_page.py"
    assert all(threat.shown for threats in THREATS.values() for threat in threats)


def test_page_is_current(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, page())


# -- specs ---------------------------------------------------------------------------------------


def nested_aliases() -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for n in range(1, 12):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    return "\n".join(lines)


BOMBS = {
    "aliases": nested_aliases(),
    "lists": "input: " + "[" * 60_000,
    "maps": "input: " + "{a: " * 15_000,
    "indents": "\n".join(" " * n + "a:" for n in range(340)),
    "a scalar": f"name: {'a' * 65_000}",
    "a number": f"stride: {'9' * 65_000}",
    "a fraction": f"activation: {{kind: leaky_relu, alpha: 1e-{'9' * 60_000}}}",
    "keys": "\n".join(f"k{n}: 1" for n in range(6000)),
    "one key": "stride: 1\n" * 6000,
    "layers": "layers:\n" + "- {}\n" * 10_000,
    "documents": "--- a\n" * 10_000,
    "beyond 64 KiB": "input: 8x8x3\n" + "#" * 1_000_000,
}


ABSURD = (
    "input: 1000000000x1000000000x1000000000\nk: 1\nf: 1",
    "input: 32768x32768x1\nk: 1\nf: 1",
    "input: 40000x40000x2\nk: 2\nf: 3\np: 1",
    "input: 8x8x1\nk: 2000000000\nf: 3",
    "input: 8x8x3\nk: 8\nf: 2147483647",
    "input: 8x8x3\nk: 8\nf: 3\np: 2147483647",
    "input: 8x8x3\nk: 8\nf: 3\nd: 1000000000\np: same",
    "input: 8x8x3\nk: 8\nf: 3\nbatch: 999999999",
    "input: 9223372036854775808x1x1\nk: 1\nf: 1",
    "input: 8x8x3\nk: 8\nf: 3\np: {top: 18446744073709551616}",
)

# In 256 MB beyond what convgen itself takes.
REFUSE = """
import json, resource, sys, time
from convgen.errors import SpecError
from convgen.spec import parse_file, parse_text

def codes(parse, *arguments):
    try:
        parse(*arguments)
    except SpecError as error:
        return [found.code for found in error.diagnostics]

codes(parse_text, "a: 1", "a.yaml")
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
found = {}
for name, text in json.load(sys.stdin).items():
    begin = time.process_time()
    arguments = (parse_text, text, "a.yaml") if text else (parse_file, name)
    found[name] = [codes(*arguments), time.process_time() - begin]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[str], float]]:
    """What became of every bomb and absurd size, all in one process of little memory: the codes,
    and the seconds it took."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs Linux's /proc")
    folder = tmp_path_factory.mktemp("bombs")
    with (folder / "a gigabyte.yaml").open("wb") as file:
        file.truncate(1 << 30)
    texts = {**BOMBS, **dict(zip(ABSURD, ABSURD, strict=True)), "a gigabyte.yaml": ""}
    done = subprocess.run(
        [sys.executable, "-c", REFUSE], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        input=json.dumps(texts), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {name: (codes, seconds) for name, (codes, seconds) in json.loads(done.stdout).items()}


Refused = dict[str, tuple[list[str], float]]


@pytest.mark.parametrize("kind", [*BOMBS, "a gigabyte.yaml"])
def test_threat_yaml_bomb(refused: Refused, kind: str) -> None:
    codes, seconds = refused[kind]
    assert codes and seconds < 5


@pytest.mark.parametrize("text", ABSURD)
def test_threat_absurd_sizes(refused: Refused, text: str) -> None:
    codes, seconds = refused[text]
    assert codes and seconds < 1


HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`;touch pwned",
    "*_ #error {{ 7*7 }} _{% for %}",
    "\"a' b",
)


@needs_cc
def test_threat_hostile_paths_reach_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the spec, its weights and the folder that is built into: all of them odd, and all work."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for number, text in enumerate(HOSTILE):
        folder, name = tmp_path / f"{number}{text}", f"layer_{number}"
        folder.mkdir()
        np.savez(folder / f"{text}.npz", w=rng.standard_normal((3, 3, 1, 2), np.float32))
        path = folder / f"{text}.yaml"
        weights = json.dumps(f"{text}.npz")
        path.write_text(
            f"name: {name}\ninput: 5x5x1\nk: 2\nf: 3\nbias: false\nweights: {weights}\n"
        )
        verb = ("build", "-q", "--no-cache", "--isa", "plain") if number == 0 else ("emit", "-q")
        done = run(*verb, str(path), "-o", str(folder / "out"))
        assert done.code == 0, done.err
        assert not list(tmp_path.rglob("pwned"))
        for made in (folder / "out" / name).rglob("*"):
            if made.is_file():
                data = made.read_bytes()
                assert b"pwned" not in data and b"7*7" not in data and data != b"49", made
    path.write_text(f'{path.read_text().partition("weights")[0]}weights: "a\\nb.npz"\n')
    assert "E312" in run("emit", str(path), "-o", str(tmp_path / "e")).err  # not printable
    assert import_package(tmp_path / f"0{HOSTILE[0]}" / "out" / "layer_0").MACS


def test_threat_hostile_default_name(tmp_path: Path) -> None:
    """A layer without a name has its file's, by the same rule as any other name."""
    for text in HOSTILE[:3]:
        path = tmp_path / f"{text}.yaml"
        path.write_text("input: 5x5x1\nk: 2\nf: 3\n")
        with pytest.raises(SpecError, match=r"E13\d"):
            parse_file(path)


# -- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("key", ["w", "b"])
def test_threat_weights_that_are_not_finite(tmp_path: Path, key: str, value: float) -> None:
    arrays = {"w": np.ones((3, 3, 1, 2), np.float32), "b": np.ones(2, np.float32)}
    arrays[key].flat[-1] = value
    np.savez(tmp_path / "w.npz", **arrays)
    (tmp_path / "a.yaml").write_text("input: 5x5x1\nk: 2\nf: 3\nweights: w.npz\n")
    (layer,) = parse_file(tmp_path / "a.yaml")
    with pytest.raises(SpecError, match=f"{key}.*(nan|inf|finite)"):
        settled(layer)

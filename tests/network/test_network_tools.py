"""``size`` and ``cross`` of networks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_runner import run
from foreign import BY_NAME, compiler, emulator
from places import ROOT
from small_networks import eight_bits

from convgen.cli.networks import read_network, reading
from convgen.cross import Outcome, try_network
from convgen.cross.trial import Bench
from convgen.package.network.program import program_of
from convgen.package.network.size import network_size
from convgen.package.network.text import network_files
from convgen.package.network.weights import ordered_weights, stretches
from convgen.target import TARGETS, host_target
from convgen.toolchain import Processes, find_compiler

DIGITS = str(ROOT / "specs" / "networks" / "digits.yaml")
NOTHING = reading(None, None, None)


@pytest.mark.needs("cc")
def test_a_network_has_sizes() -> None:
    program = program_of(read_network(DIGITS, NOTHING), host_target())
    found = network_size(program, find_compiler())
    assert found.workspace == program.plan.arena.bytes and found.apart == len(program.blob)
    assert found.macs == program.macs
    if found.code is not None:
        assert found.code.text > 1000 and found.code.bss == 0
        assert found.flash == found.code.text + found.code.rodata + found.code.data + found.apart
        assert found.ram is None or found.ram > found.workspace + found.x + found.y


@pytest.mark.needs("cc")
def test_the_command_takes_networks_beside_layers() -> None:
    ran = run("size", DIGITS, str(ROOT / "specs" / "layer.yaml"), "--json")
    told = json.loads(ran.out)
    assert ran.code == 0, ran.err
    assert [entry["name"] for entry in told["layers"]] == ["digits", "layer"]
    assert told["total"]["macs"] == sum(entry["macs"] for entry in told["layers"])


@pytest.mark.needs("cc")
def test_limits_hold_for_networks() -> None:
    ran = run("size", DIGITS, "--max-workspace-bytes", "1000")
    assert ran.code == 2 and "--max-workspace-bytes 1000" in ran.err
    assert run("size", DIGITS, "--max-workspace-bytes", "1000000").code == 0


@pytest.mark.tools
@pytest.mark.parametrize(
    "name", ["generic", "generic, s390x", "cortex-m4", "aarch64-neon", "wasm-simd128"]
)
def test_the_self_test_of_a_network_runs_elsewhere(name: str, tmp_path: Path) -> None:
    rig = BY_NAME[name]
    compiler(rig)
    emulator(rig)
    bench = Bench(tmp_path, None, 300, Processes())
    found = try_network(read_network(DIGITS, NOTHING), rig, bench)
    assert found.outcome is Outcome.OK, found


@pytest.mark.tools
def test_cross_takes_networks_beside_layers(tmp_path: Path) -> None:
    rig = BY_NAME["aarch64-neon"]
    compiler(rig)
    emulator(rig)
    layer = str(ROOT / "specs" / "layer.yaml")
    ran = run("cross", DIGITS, layer, "--target", rig.name, "--json", "-o", str(tmp_path))
    trials = json.loads(ran.out)["trials"]
    assert ran.code == 0 and [t["outcome"] for t in trials] == ["ok", "ok"]
    assert (tmp_path / rig.name / "digits" / "digits_weights.c").exists()


def test_numbers_of_several_bytes_are_told_from_bytes() -> None:
    """What a processor of the other byte order reads (s390x, above) is turned by a macro."""
    program = program_of(read_network(DIGITS, NOTHING), TARGETS["generic"])
    assert ordered_weights(program)
    text = network_files(program)["digits_weights.c"]
    body = text[text.index("= {") :]
    calls = re.findall(r"DIGITS_4\((\d+),(\d+),(\d+),(\d+)\)", body)
    assert len(calls) > 1000
    for stretch in stretches(program):
        assert stretch.bytes % stretch.width == 0
    plain = re.sub(r"DIGITS_\d\(([\d,]+)\)", r"\1", body)
    assert bytes(map(int, re.findall(r"\d+", plain))) == program.blob
    eight = program_of(eight_bits(), TARGETS["generic"])
    assert eight.blob and any(stretch.width == 1 for stretch in stretches(eight))

"""What a build compiles side by side is the network's one file, in parts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from small_networks import floats

from convgen.ctext.wrap import wrapped
from convgen.package.disk.manifest import read_manifest
from convgen.package.disk.result import BuildOptions
from convgen.package.network import compiled
from convgen.package.network.compiled import compiled_files
from convgen.package.network.program import program_of
from convgen.package.network.text import NetworkText, code_files, network_text
from convgen.target import TARGETS, host_target


def text_of(target: str = "x86-64-avx2") -> NetworkText:
    return network_text(program_of(floats(), TARGETS[target]))


def test_a_small_network_is_compiled_as_it_is() -> None:
    text = text_of()
    whole = code_files(text)["small.c"]
    assert compiled_files(text, whole) == {"small.c": whole}


@pytest.mark.parametrize("target", ["x86-64-avx2", "x86-64", "generic", "cortex-m4"])
def test_every_kernel_is_in_one_file(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "FILE_BYTES", 1000)
    text = text_of(target)
    whole = code_files(text)["small.c"]
    first, *others = compiled_files(text, whole).items()
    assert first[0] == "small.c" and len(others) >= 2
    bodies = [body for _, body in (first, *others)]
    for section in text.sections:
        plain = wrapped(section)
        apart = re.sub(r"^static (void small_\w+_run_part\()", r"\1", plain, flags=re.M)
        assert sum(plain in body or apart in body for body in bodies) == 1
    declared = re.findall(r"^void small_\w+_run_part\([^)]*\);", first[1], re.M)
    moved = [m for _, body in others for m in re.findall(r"^void small_\w+_run_part", body, re.M)]
    assert len(declared) == len(moved) > 1
    sizes = sorted(map(len, bodies))
    assert sizes[-1] < len(whole)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_a_network_in_parts_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified like any, with the same C in its package and the code of all parts counted."""
    from convgen.package.network.build import build_network

    def build(place: str) -> tuple[int, str, list[str]]:
        options = BuildOptions(tmp_path / place, host_target(), use_cache=False)
        result = build_network(floats(), options)
        assert result.report is not None and result.report.passed and not result.warnings
        manifest = read_manifest(result.path)
        assert manifest is not None and manifest.code_bytes is not None
        return manifest.code_bytes, (result.path / "small.c").read_text(), [*manifest.commands]

    whole, text, commands = build("whole")
    monkeypatch.setattr(compiled, "FILE_BYTES", 1000)
    parts, same, more = build("parts")
    assert same == text and len(more) > len(commands)
    assert abs(parts - whole) < 0.1 * whole

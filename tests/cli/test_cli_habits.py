"""What every verb keeps to: -q, completion, places by environment, shapes in one order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from built import needs_cc
from cli_runner import run

from convgen.cli.app import VERBS, function_of
from convgen.cli.options import peers_so_far
from convgen.package.disk.cache import default_cache_root
from convgen.spec.model import Layout

TEXT = "name: small\ninput: 6x5x4\nfilters: 8\nkernel: 3\n"


def option(verb: Callable[..., None], name: str) -> Any:
    """The option of a verb's parameter, None where it has no such one."""
    found = get_type_hints(verb, include_extras=True).get(name)
    return None if found is None else found.__metadata__[0]


def test_quiet_is_the_same_option_of_every_verb() -> None:
    assert len({option(function_of(verb), "quiet").help for verb in VERBS}) == 1


@pytest.mark.parametrize("verb", VERBS)
def test_targets_and_instruction_sets_complete(verb: str) -> None:
    for name, start, wanted in (("target", "cortex", "cortex-m4"), ("isa", "avx", "avx2")):
        if known := option(function_of(verb), name):
            found = known.complete(start)
            assert wanted in found and all(word.startswith(start) for word in found)


def test_peers_complete_one_after_another() -> None:
    assert "onnxruntime" in peers_so_far("onn")
    assert peers_so_far("torch,onn") == ["torch,onnxruntime"]
    assert not any(found.endswith("torch") for found in peers_so_far("torch,t"))


def test_the_cache_can_be_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVGEN_CACHE", str(tmp_path / "mine"))
    assert default_cache_root() == tmp_path / "mine"
    monkeypatch.delenv("CONVGEN_CACHE")
    assert default_cache_root() != tmp_path / "mine"


@needs_cc
@pytest.mark.parametrize("layout", list(Layout))
def test_check_and_build_print_shapes_in_one_order(layout: Layout, tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(f"{TEXT}layout: {layout}\n")
    assert "4x3x8" in run("check", str(spec)).out
    built = run("build", str(spec), "-o", str(tmp_path / "out"), "--no-verify")
    assert built.code == 0, built.err
    assert "output     1x4x3x8\n" in built.out


@needs_cc
def test_a_build_without_its_weights_leaves_nothing_behind(tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(f"{TEXT}weights: nowhere.npz\n")
    ran = run("build", str(spec), "-o", str(tmp_path / "out"))
    assert ran.code == 1 and "E301" in ran.err
    assert not (tmp_path / "out").exists()

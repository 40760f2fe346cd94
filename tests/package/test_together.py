"""One library for many layers: ``build --together``, ``convgen.build_together``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from built import BINDINGS, LAYERS, arrays, build, needs_cc
from cli_runner import run
from objects import SHARED

import convgen
from convgen.api import import_package
from convgen.errors import MismatchError, UsageError
from convgen.package.disk import together
from convgen.spec.model import Layer

pytestmark = needs_cc
CACHE = Path(os.environ[SHARED]) / "together"  # of this file's tests: each layer compiled once
NAMES = ("layer", "baked", "many")


def brought(
    out: Path, name: str = "set", names: tuple[str, ...] = NAMES, **more: Any
) -> ModuleType:
    layers = [LAYERS[n] for n in names]
    more = {"cache_root": CACHE, **more}
    return convgen.build_together(layers, name, out, **more)


@pytest.mark.parametrize("binding", BINDINGS)
def test_each_layer_computes_what_its_own_package_does(tmp_path: Path, binding: str) -> None:
    module = brought(tmp_path, binding=binding)
    assert module.LAYERS == NAMES and "layer" in dir(module)
    for name in NAMES:
        alone, own = import_package(tmp_path / name), getattr(module, name)
        x, w, b = arrays(LAYERS[name].spec, images=3 if name == "many" else None)
        weights = () if name == "baked" else (w, b)
        for threads in (1, 3):
            y = own.conv(x, *weights, threads=threads)
            assert np.array_equal(y, alone.conv(x, *weights))
    assert len({id(getattr(module, name)._lib) for name in NAMES}) == 1
    with pytest.raises(AttributeError, match="LAYERS lists them"):
        _ = module.absent


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_maps_one_library(tmp_path: Path) -> None:
    brought(tmp_path)
    text = (
        "import set\nfor name in set.LAYERS: getattr(set, name)\n"
        "print(len({line.split()[-1] for line in open('/proc/self/maps') if '/set/' in line}))"
    )
    command = [sys.executable, "-c", text]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_what_is_unchanged_is_left_alone(tmp_path: Path) -> None:
    first = brought(tmp_path)
    assert brought(tmp_path) is first
    other = brought(tmp_path, names=NAMES[:2])
    assert NAMES[:2] == other.LAYERS
    x, w, b = arrays(LAYERS["layer"].spec)
    assert np.array_equal(first.layer.conv(x, w, b), other.layer.conv(x, w, b))


def test_names_that_cannot_be_taken(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a layer has this name"):
        brought(tmp_path, "layer")
    with pytest.raises(UsageError, match="--together Set"):
        brought(tmp_path, "Set")
    with pytest.raises(UsageError, match="holds no layer"):
        convgen.build_together([], "set", tmp_path)
    with pytest.raises(UsageError, match="two layers are named layer"):
        brought(tmp_path, "set", ("layer", "layer"))
    assert not (tmp_path / "set").exists()


def test_a_layer_that_fails_in_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shared library is verified as each single one is: here with another layer's oracle."""
    real = together.verify_plan_in_child

    def wrong(library: Path, plan: Any, weights: Any, **more: Any) -> Any:
        report = real(library, plan, weights, **more)
        if plan.spec.name != "baked":
            return report
        checks = tuple(type(c)(c.name, c.name != "exact fill", "off") for c in report.checks)
        return type(report)(**{**vars(report), "checks": checks})

    monkeypatch.setattr(together, "verify_plan_in_child", wrong)
    with pytest.raises(MismatchError, match=r"(?s)1 of 3 layers failed.*baked: exact fill: off"):
        brought(tmp_path)
    assert not (tmp_path / "set" / "__init__.py").exists()
    assert (tmp_path / "set.failed" / "report.txt").exists()


def test_the_command(tmp_path: Path) -> None:
    spec = tmp_path / "two.yaml"
    spec.write_text(
        "layers:\n- {name: one, input: 6x6x3, filters: 4, kernel: 3}\n"
        "- {name: other, input: 5x5x2, filters: 3, kernel: 1}\n"
    )
    out = ("-o", str(tmp_path / "out"), "--together")
    ran = run("build", str(spec), *out, "both")
    assert ran.code == 0 and "2 layers in one library" in ran.err + ran.out
    told = json.loads(run("build", str(spec), *out, "both", "--json").out)
    assert told["together"]["state"] == "unchanged"
    assert run("build", str(spec), *out, "one").code == 2
    assert run("build", str(tmp_path / "out" / "one"), *out, "both").code != 0
    module = import_package(tmp_path / "out" / "both")
    assert module.one.OUTPUT_SHAPE == (1, 4, 4, 4)


def test_a_layer_that_cannot_be_built_leaves_none(tmp_path: Path) -> None:
    broken = build(tmp_path, LAYERS["plain"])
    assert broken.state == "built"
    with pytest.raises(convgen.ConvgenError):
        convgen.build_together(
            [Layer(LAYERS["plain"].spec, "<t>")], "set", tmp_path, cc="convgen-no-such-compiler"
        )
    assert not (tmp_path / "set").exists()

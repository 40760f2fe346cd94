"""convgen.load, convgen.build and convgen.reference, as a user calls them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import arrays, needs_cc
from places import ROOT

import convgen
from convgen.errors import Exit, SpecError, UsageError
from convgen.spec import parse_mapping
from convgen.spec.model import ConvSpec, Layer

SPEC = {"name": "small", "input": "6x6x2", "filters": 3, "kernel": 3, "activation": "relu"}
TEXT = "name: small\ninput: 6x6x2\nfilters: 3\nkernel: 3\nactivation: relu\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache or working folder."""
    monkeypatch.setattr(
        "convgen.package.disk.session.default_cache_root", lambda: tmp_path / "cache"
    )
    monkeypatch.chdir(tmp_path)


def right(module: Any, spec: Any) -> bool:
    (layer,) = parse_mapping(SPEC) if isinstance(spec, dict) else (Layer(spec, "<t>"),)
    x, w, b = arrays(layer.spec)
    y = module.conv(x, w, b)
    return bool(np.allclose(y, convgen.reference(spec, x, w, b), rtol=1e-4, atol=1e-5))


@needs_cc
def test_load_builds_imports_and_finds_again(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(TEXT)
    module = convgen.load("small.yaml")
    assert (tmp_path / "build" / "small" / "__init__.py").exists()
    assert right(module, SPEC)
    assert convgen.load("small.yaml") is module
    assert convgen.load(tmp_path / "small.yaml", out=tmp_path / "build") is module
    assert "small" not in sys.modules


@needs_cc
def test_a_changed_spec_loads_anew_in_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TEXT)
    old = convgen.load(path)
    x = -np.ones(old.INPUT_SHAPE, np.float32)
    w, b = np.ones(old.WEIGHT_SHAPE, np.float32), np.zeros(3, np.float32)
    packed = old.pack(w, b)
    assert (old.run(x, packed) == 0).all()
    path.write_text(TEXT.replace("relu", "none"))
    new = convgen.load(path)
    assert new is not old
    assert (new.conv(x, w, b) == -18).all()
    assert (old.run(x, packed) == 0).all() and (old.conv(x, w, b) == 0).all()
    with pytest.raises(TypeError, match="another build of this one"):
        new.run(x, packed)
    path.write_text(TEXT)
    assert (convgen.load(path).conv(x, w, b) == 0).all()


@needs_cc
def test_a_third_and_fourth_version_leave_the_loaded_ones_working(tmp_path: Path) -> None:
    """Old libraries leave the folder; whoever has loaded them keeps them."""
    modules = [convgen.build({**SPEC, "filters": n}, verify=False) for n in range(1, 6)]
    for n, module in enumerate(modules, 1):
        x, w, b = arrays(ConvSpec("small", 6, 6, 2, n, 3, 3))
        assert module.conv(x, w, b, threads=2).shape == (1, 4, 4, n)
    assert len(list((tmp_path / "build" / "small").glob("_small_*"))) == 2


@needs_cc
@pytest.mark.parametrize("kind", ["mapping", "text", "path", "ConvSpec", "Layer"])
def test_every_kind_of_spec(tmp_path: Path, kind: str) -> None:
    (layer,) = parse_mapping(SPEC)
    (tmp_path / "x.yaml").write_text(TEXT)
    spec: Any = {
        "mapping": SPEC, "text": TEXT, "path": Path("x.yaml"), "ConvSpec": layer.spec,
        "Layer": layer,
    }[kind]  # fmt: skip
    module = convgen.build(spec, "out")
    assert right(module, SPEC)
    x, w, b = arrays(layer.spec)
    assert np.array_equal(convgen.reference(spec, x, w, b), convgen.reference(SPEC, x, w, b))


@needs_cc
def test_options_reach_the_build() -> None:
    module = convgen.build(SPEC, "out", isa="plain", binding="abi", verify=False)
    assert module.ISA == "plain"
    assert convgen.build(SPEC, "out", target="generic").SCHEDULE == module.SCHEDULE
    with pytest.raises(UsageError, match="no option 'speed'; there are"):
        convgen.build(SPEC, speed=11)
    with pytest.raises(UsageError, match="no-such"):
        convgen.build(SPEC, isa="no-such")


@needs_cc
def test_a_spec_of_several_layers() -> None:
    spec = {"layers": [{**SPEC, "name": "one"}, {**SPEC, "name": "two", "filters": 5}]}
    with pytest.raises(UsageError, match="holds 2 layers: name one with layer=, of one, two"):
        convgen.build(spec)
    with pytest.raises(UsageError, match="no layer 'three'; there are one, two"):
        convgen.build(spec, layer="three")
    assert convgen.build(spec, layer="two").OUTPUT_SHAPE == (1, 4, 4, 5)
    x, w, b = arrays(ConvSpec("two", 6, 6, 2, 5, 3, 3))
    assert convgen.reference(spec, x, w, b, layer="two").shape == (1, 4, 4, 5)


def test_bad_specs_are_typed_errors(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        convgen.build({"name": "small", "input": "6x6x2", "filtres": 3})
    assert caught.value.exit_code == Exit.SPEC
    with pytest.raises(convgen.ConvgenError):
        convgen.load("no-such-file.yaml")
    with pytest.raises(UsageError, match="must be a path, YAML text, a mapping"):
        convgen.load(42)  # type: ignore[arg-type]


def test_reference_is_the_oracle_and_checks_shapes() -> None:
    x, w, b = arrays(ConvSpec("small", 6, 6, 2, 3, 3, 3))
    y = convgen.reference(SPEC, x, w, b)
    assert y.dtype == np.float64 and y.shape == (1, 4, 4, 3)
    by_hand = np.einsum("hwc,hwco->o", x[0, :3, :3].astype(float), w.astype(float)) + b
    assert np.allclose(y[0, 0, 0], np.maximum(by_hand, 0))
    with pytest.raises(ValueError, match="expected"):
        convgen.reference(SPEC, x[:, 1:], w, b)
    with pytest.raises(ValueError, match="w is missing: layer small takes its weights at run tim"):
        convgen.reference(SPEC, x)


@needs_cc
def test_reference_of_baked_weights() -> None:
    spec = {**SPEC, "weights": {"init": "truncated_normal", "stddev": 0.5, "seed": 4}}
    x, _, _ = arrays(ConvSpec("small", 6, 6, 2, 3, 3, 3))
    y = convgen.build(spec).conv(x)
    assert np.allclose(y, convgen.reference(spec, x), rtol=1e-5, atol=1e-5)
    assert y.any()


@needs_cc
def test_importing_the_folder_as_the_readme_does(tmp_path: Path) -> None:
    convgen.build(SPEC)
    code = "import sys; sys.path.insert(0, 'build'); import small; print(small.OUTPUT_SHAPE)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout == "(1, 4, 4, 3)\n", done.stderr


def test_import_convgen_stays_light() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import convgen, convgen.api
print([m for m in ("numpy", "cffi", "jinja2", "pydantic", "yaml") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr

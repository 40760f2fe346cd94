"""Arrays as weights: baked as those of files are, checked by the same rules, remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import needs_cc

import convgen
from convgen.errors import SpecError
from convgen.numbers.settle import settled
from convgen.package.disk.inputs import _weights_content
from convgen.spec import parse_mapping
from convgen.spec.model import Layer
from convgen.spec.resolved import resolved_mapping

SPEC: dict[str, Any] = {"name": "small", "input": "6x6x2", "filters": 3, "kernel": 3}


def arrays(dtype: str = "float32") -> dict[str, Any]:
    rng = np.random.default_rng(5)
    return {"w": rng.normal(size=(3, 3, 2, 3)).astype(dtype), "b": np.arange(3).astype(dtype)}


def layer_of(weights: dict[str, Any], **more: Any) -> Layer:
    (layer,) = parse_mapping({**SPEC, **more, "weights": weights})
    return layer


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "convgen.package.disk.session.default_cache_root", lambda: tmp_path / "cache"
    )
    monkeypatch.chdir(tmp_path)


@needs_cc
def test_build_bakes_them_in() -> None:
    given = arrays()
    x = np.random.default_rng(1).normal(size=(1, 6, 6, 2)).astype("f4")
    module = convgen.build({**SPEC, "weights": given})
    want = convgen.reference(SPEC, x, given["w"], given["b"])
    assert np.allclose(module.conv(x), want, rtol=1e-5, atol=1e-5)
    assert np.array_equal(convgen.reference({**SPEC, "weights": given}, x), want)
    assert convgen.build({**SPEC, "weights": arrays()}) is module, "the same content is known"
    other = {**given, "w": given["w"] * 2}
    assert convgen.build({**SPEC, "weights": other}) is not module


def test_they_give_the_bytes_that_files_give(tmp_path: Path) -> None:
    given = arrays()
    np.savez(tmp_path / "w.npz", **given)
    (filed,) = parse_mapping({**SPEC, "weights": tmp_path / "w.npz"})
    ours, theirs = settled(layer_of(given)).weights, settled(filed).weights
    assert ours is not None and theirs is not None
    assert ours.b is not None and theirs.b is not None
    assert ours.w.tobytes() == theirs.w.tobytes() and ours.b.tobytes() == theirs.b.tobytes()


def test_a_change_afterwards_changes_nothing() -> None:
    given = arrays()
    layer = layer_of(given)
    given["w"][:] = 7
    done = settled(layer).weights
    assert done is not None and not (done.w == 7).any()
    assert not done.w.flags.writeable


def test_equal_content_is_equal_and_nothing_else_is() -> None:
    assert layer_of(arrays()) == layer_of(arrays())
    assert _weights_content(layer_of(arrays())) == _weights_content(layer_of(arrays()))
    other = arrays()
    other["b"][0] += 1
    assert layer_of(arrays()) != layer_of(other)
    assert _weights_content(layer_of(arrays())) != _weights_content(layer_of(other))
    assert resolved_mapping(layer_of(arrays()))["weights"]["w"].startswith("array ")


class Tensor:
    """What other libraries have: something that turns into an array."""

    def __init__(self, array: Any, problem: str = "") -> None:
        self.array, self.problem = array, problem

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.problem:
            raise RuntimeError(self.problem)
        return self.array


def test_whatever_turns_into_an_array_is_taken() -> None:
    given = arrays()
    tensors = {key: Tensor(value) for key, value in given.items()}
    assert layer_of(tensors) == layer_of(given)


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_types(dtype: str) -> None:
    done = settled(layer_of(arrays(dtype), dtype=dtype)).weights
    assert done is not None and done.w.dtype == dtype


def test_bfloat16_as_ml_dtypes_and_as_bits() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    brain = {key: value.astype(ml_dtypes.bfloat16) for key, value in arrays().items()}
    bits = {key: value.view(np.uint16) for key, value in brain.items()}
    ours, theirs = (settled(layer_of(each, dtype="bfloat16")).weights for each in (brain, bits))
    assert ours is not None and theirs is not None
    assert ours.w.dtype == np.uint16 and np.array_equal(ours.w, theirs.w)


def refused(weights: dict[str, Any], **more: Any) -> str:
    with pytest.raises(SpecError) as caught:
        settled(layer_of(weights, **more))
    return str(caught.value)


def test_every_rule_of_files_holds() -> None:
    given = arrays()
    nan = {**given, "w": given["w"].copy()}
    nan["w"][1, 2, 0, 1] = np.nan
    cases = [
        ("E306", {**given, "w": given["w"][:2]}),
        ("E306", {**given, "b": given["b"][:2]}),
        ("E307", {**given, "w": given["w"].astype("f8")}),
        ("E307", {**given, "w": given["w"].astype(">f4")}),
        ("E305", {**given, "w": given["w"].astype(object)}),
        ("E308", nan),
        ("E310", {"w": given["w"]}),
        ("E119", {"w": given["w"], "b": "b.npy"}),
        ("E119", {"w": Tensor(None, "requires grad"), "b": given["b"]}),
        ("E101", {**given, "bias": given["b"]}),
        ("E103", {"b": given["b"]}),
    ]
    for code, weights in cases:
        assert code in refused(weights), weights
    assert "E309" in refused(given, bias=False)
    assert "requires grad" in refused({"w": Tensor(None, "requires grad"), "b": given["b"]})
    both = refused({"w": given["w"][:2], "b": given["b"].astype("f8")})
    assert "E306" in both and "E307" in both, "all at once"


def test_other_keys_still_take_arrays_as_numbers() -> None:
    (layer,) = parse_mapping({**SPEC, "input": np.array([6, 6, 2])})
    assert layer.spec.c == 2

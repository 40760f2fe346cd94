"""`layers:` and what the keys beside it mean for each layer; mappings from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convgen.errors import SpecError
from convgen.spec import parse_file, parse_mapping, parse_text
from convgen.spec.model import Act, InitWeights, Layout, NpzWeights, Padding
from convgen.spec.schedule import Family, Schedule

PINNED = {"family": "direct", "lanes": 8, "tile": [1, 1], "vectors": 1}


def found(text: str) -> list[tuple[str, int, int]]:
    with pytest.raises(SpecError) as caught:
        parse_text(text, "s.yaml")
    return [(d.code, d.line, d.col) for d in caught.value.diagnostics]


def test_defaults_reach_every_layer_and_give_way() -> None:
    text = """
kernel: 3
k: 8
padding: 1
activation: {kind: leaky_relu, alpha: 0.5}
layers:
  - {name: a, input: 8x8x4}
  - {name: b, input: 8x8x4, filters: 6, f: 5, pad: 2, activation: relu}
"""
    a, b = parse_text(text, "net.yaml")
    assert (a.spec.name, a.spec.oc, a.spec.kh, a.spec.padding.top) == ("a", 8, 3, 1)
    assert (b.spec.name, b.spec.oc, b.spec.kh, b.spec.padding.top) == ("b", 6, 5, 2)
    assert a.spec.activation.alpha == 0.5
    assert b.spec.activation.kind is Act.RELU  # replaced whole, not merged
    assert {a.source, b.source} == {"net.yaml"}


def test_a_default_may_be_overridden_by_its_default() -> None:
    text = "input: 8x8x4\nk: 4\nf: 3\ns: 2\nremainder: floor\nlayers: [{name: a, stride: 1}]\n"
    assert parse_text(text, "s.yaml")[0].spec.sh == 1


def test_mistake_in_a_default_is_told_once() -> None:
    text = (
        "kernel: 0\nlayers:\n  - {name: a, input: 8x8x4, k: 4}\n  - {name: b, input: 8x8x4, k: 4}\n"
    )
    assert found(text) == [("E113", 1, 9)]


def test_mistake_in_a_default_that_no_layer_uses_is_told() -> None:
    assert found("kernel: 0\nlayers: [{name: a, input: 8x8x4, k: 4, f: 3}]\n") == [("E113", 1, 9)]


def test_rule_across_keys_names_the_layer_when_it_stands_at_a_default() -> None:
    text = "kernel: 9\nk: 4\nlayers:\n  - {name: a, input: 8x8x4}\n  - {name: b, input: 4x4x4}\n"
    with pytest.raises(SpecError) as caught:
        parse_text(text, "s.yaml")
    a, b = caught.value.diagnostics
    assert (a.code, a.line, b.code, b.line) == ("E201", 1, "E201", 1)
    assert "(layer `a`)" in a.message
    assert "(layer `b`)" in b.message


def test_missing_keys_are_told_at_each_layer() -> None:
    assert found("k: 4\nlayers:\n  - {name: a, f: 3}\n  - {name: b, input: 8x8x4}\n") == [
        ("E103", 3, 5),
        ("E103", 4, 5),
    ]


def test_checks_go_on_after_a_mistake_elsewhere() -> None:
    """A bad activation does not hide that the stride drops input."""
    text = "input: 8x8x4\nk: 4\nf: 3\ns: 2\nact: rely\ngroups: 3\n"
    assert [code for code, _, _ in found(text)] == ["E202", "E120", "E203", "E204"]


def test_groups_are_checked_whatever_the_kernel() -> None:
    text = "input: 8x8x4\nk: 4\nf: 017\ngroups: 3\n"
    assert [code for code, _, _ in found(text)] == ["E111", "E203", "E204"]


def test_checks_that_need_a_bad_value_are_left_out() -> None:
    assert [c for c, _, _ in found("input: 8x8x4\nk: 4\nf: 3\ns: 0\n")] == ["E113"]


def test_one_layer_in_a_list_is_fine() -> None:
    assert len(parse_text("layers:\n- {name: a, input: 8x8x4, k: 4, f: 3}\n", "s.yaml")) == 1


def test_file(tmp_path: Path) -> None:
    path = tmp_path / "edge-filter.yaml"
    path.write_text("input: 8x8x4\nk: 4\nf: 3\n")
    (layer,) = parse_file(path)
    assert (layer.spec.name, layer.source) == ("edge_filter", str(path))


@pytest.mark.parametrize("path", ["no/such/file.yaml", "", "a\0b.yaml", "."])
def test_unreadable_files(path: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_file(path)
    (only,) = caught.value.diagnostics
    assert (only.code, only.line) == ("E001", 0)


def test_endless_file_is_not_read_whole() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("no /dev/zero here")
    with pytest.raises(SpecError, match="E002"):
        parse_file("/dev/zero")


class TestMapping:
    BASE: dict[str, Any] = {"input": [8, 8, 4], "filters": 4, "kernel": 3}  # noqa: RUF012

    def found(self, **keys: Any) -> list[str]:
        with pytest.raises(SpecError) as caught:
            parse_mapping({**self.BASE, **keys})
        assert all((d.line, d.col, d.snippet) == (0, 0, "") for d in caught.value.diagnostics)
        return [str(d) for d in caught.value.diagnostics]

    def test_same_as_yaml(self) -> None:
        text = "input: 8x8x4\nk: 4\nf: [3, 1]\npad: {top: 1}\nact: relu\nbias: false\n"
        data = {
            "input": "8x8x4",
            "k": 4,
            "f": (3, 1),
            "pad": {"top": 1},
            "act": "relu",
            "bias": False,
        }
        (from_text,), (from_data,) = parse_text(text, "<stdin>"), parse_mapping(data)
        assert from_text.spec == from_data.spec
        assert from_data.source == "<dict>"

    def test_numpy_and_paths_and_enums(self) -> None:
        (layer,) = parse_mapping(
            {
                "input": np.array([8, 8, 4]),
                "filters": np.int64(4),
                "kernel": (np.uint8(3), np.int32(1)),
                "padding": {"top": np.int16(1)},
                "bias": np.bool_(False),
                "layout": Layout.NCHW,
                "activation": {"kind": "leaky_relu", "alpha": np.float32(0.5)},
                "weights": Path("some") / "w.npz",
                "schedule": Schedule(Family.DIRECT, 8, 1, 4, 2),
            }
        )
        spec = layer.spec
        assert (spec.h, spec.oc, spec.kh, spec.kw) == (8, 4, 3, 1)
        assert all(type(v) is int for v in (spec.h, spec.oc, spec.kh, spec.padding.top))
        assert spec.padding == Padding(top=1)
        assert spec.bias is False
        assert spec.activation.alpha == 0.5
        assert layer.weights == NpzWeights(Path("some/w.npz"))
        assert layer.schedule == Schedule(Family.DIRECT, 8, 1, 4, 2)

    def test_init_weights(self) -> None:
        weights = {"init": "truncated_normal", "stddev": np.float64(0.1), "seed": np.uint64(2**63)}
        (layer,) = parse_mapping({**self.BASE, "weights": weights})
        assert layer.weights == InitWeights(0.1, 2**63)

    def test_messages_name_the_path_of_keys(self) -> None:
        assert self.found(kernel=[3, 0])[0].startswith("<dict>: error[E113]: kernel[1]: `0` is out")
        assert self.found(padding={"botom": 1})[0].startswith(
            "<dict>: error[E101]: padding: unknown key `botom`: did you mean `bottom`?"
        )
        assert self.found(stirde=1)[0].startswith("<dict>: error[E101]: unknown key `stirde`")

    def test_layers(self) -> None:
        data = {"filters": 4, "kernel": 3, "layers": [{"name": "a", "input": "8x8x4"}]}
        assert parse_mapping(data)[0].spec.name == "a"
        data["layers"].append({"name": "b", "input": "8x8x4", "stride": 0})  # type: ignore[attr-defined]
        data["layers"].append({"name": "a", "input": "8x8x4"})  # type: ignore[attr-defined]
        with pytest.raises(SpecError) as caught:
            parse_mapping(data, "net")
        first, second = map(str, caught.value.diagnostics)
        assert first.startswith("net: error[E113]: layers[1].stride: `0` is out of range")
        assert second.startswith(
            "net: error[E142]: layers[2].name: a layer `a` stands in layers[0]"
        )

    @pytest.mark.parametrize(
        ("keys", "code"),
        [
            ({"stride": True}, "E112"),
            ({"stride": 1.0}, "E110"),
            ({"stride": None}, "E104"),
            ({"stride": {1, 2}}, "E110"),
            ({"filters": 10**5000}, "E113"),
            ({"schedule": {**PINNED, "lanes": 10**5000}}, "E124"),
            ({"activation": {"kind": "leaky_relu", "alpha": float("nan")}}, "E114"),
            ({"activation": {"kind": "leaky_relu", "alpha": float("inf")}}, "E115"),
            ({"activation": {"kind": "leaky_relu", "alpha": 10**400}}, "E115"),
            ({"activation": object()}, "E119"),
            ({"kernel": "017"}, "E111"),
            ({"kernel": np.array([3.0, 3.0])}, "E110"),
            ({"name": b"abc"}, "E130"),
            ({3: 4}, "E013"),
            ({"": 4}, "E013"),
            ({"quant": {}}, "E119"),
        ],
    )
    def test_refused(self, keys: dict[Any, Any], code: str) -> None:
        with pytest.raises(SpecError) as caught:
            parse_mapping({**self.BASE, **keys})
        assert {d.code for d in caught.value.diagnostics} == {code}

    def test_endless_nesting(self) -> None:
        loop: list[Any] = []
        loop.append(loop)
        assert "error[E008]" in self.found(quant=loop)[0]

    def test_eight_levels_are_read(self) -> None:
        assert "error[E119]" in self.found(quant=[[[[[[[1]]]]]]])[0]
        assert "error[E008]" in self.found(quant=[[[[[[[[1]]]]]]]])[0]

    def test_not_a_mapping(self) -> None:
        with pytest.raises(SpecError, match="E007"):
            parse_mapping([("input", "8x8x4")])  # type: ignore[arg-type]

    def test_the_mapping_is_left_as_it_was(self) -> None:
        data = {
            "input": [8, 8, 4],
            "k": 4,
            "f": 3,
            "layers": [{"name": "a", "padding": {"top": 1}}],
        }
        before = repr(data)
        parse_mapping(data)
        assert repr(data) == before

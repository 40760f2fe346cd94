"""Words and files of other programs: each gets advice that is right when it is taken."""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from convgen.errors import SpecError
from convgen.spec import parse_file, parse_mapping, parse_text
from convgen.spec.fields import CANONICAL, RawLayer
from convgen.spec.foreign import KEYS, VALUES

BASE: dict[str, Any] = {"input": "9x9x4", "filters": 4, "kernel": 3}


def codes(spec: dict[str, Any]) -> set[str]:
    try:
        parse_mapping(spec)
    except SpecError as error:
        return {d.code for d in error.diagnostics}
    return set()


def taken(advice: str) -> list[dict[str, Any]]:
    """The lines of a spec that an advice gives."""
    return [yaml.safe_load(text) for text in re.findall(r"`([a-z_]+: [^`]+)`", advice)]


@pytest.mark.parametrize("word", sorted(KEYS))
def test_advice_for_a_key(word: str) -> None:
    meant, advice = KEYS[word]
    assert word not in {*RawLayer.keys, *CANONICAL}, "a key of ours gets no advice"
    assert meant in {"", *RawLayer.keys}
    with pytest.raises(SpecError) as caught:
        parse_mapping({**BASE, word: 1})
    assert advice in str(caught.value)
    for line in taken(advice):
        more = {"dtype": "int8"} if "quant" in line else {}
        assert codes({**BASE, **line, **more}) == set(), line


@pytest.mark.parametrize(
    ("key", "word"), [(key, word) for key, words in VALUES.items() for word in sorted(words)]
)
def test_advice_for_a_value(key: str, word: str) -> None:
    advice = VALUES[key][word]
    with pytest.raises(SpecError) as caught:
        parse_mapping({**BASE, key: word.upper()})
    assert advice in str(caught.value)
    for line in taken(advice):
        # 8-bit layers then ask for their scales, which is the next thing to know.
        assert codes({**BASE, **line}) <= {"E401", "E402"}, line


def test_a_foreign_word_for_a_required_key_is_told_once() -> None:
    with pytest.raises(SpecError) as caught:
        parse_mapping({"input_shape": [32, 32, 3], "num_filters": 4, "kernel": 3})
    assert [d.code for d in caught.value.diagnostics] == ["E101", "E101"]


def test_causal_padding_is_what_the_advice_says() -> None:
    (layer,) = parse_text("input: 1x32x3\nk: 4\nf: [1, 3]\npadding: {left: 2}\n", "s.yaml")
    assert layer.spec.ow == 32


@pytest.mark.parametrize("order", ["hwc", "chw", "wch"])
def test_sizes_by_name(order: str) -> None:
    sizes = {"h": 32, "w": 24, "c": 3}
    (layer,) = parse_mapping({**BASE, "input": {axis: sizes[axis] for axis in order}})
    assert (layer.spec.h, layer.spec.w, layer.spec.c) == (32, 24, 3)


@pytest.mark.parametrize("sizes", [{"h": 3}, {"h": 3, "w": 3, "c": 0}, {"h": 3, "w": 3, "d": 3}])
def test_sizes_by_name_are_checked(sizes: dict[str, int]) -> None:
    assert codes({**BASE, "input": sizes}) & {"E101", "E103", "E113"}


@pytest.mark.parametrize("sizes", [[3, 224, 224], [4, 480, 640], [64, 112, 112], "3x224x224"])
def test_an_image_with_its_channels_first_gets_a_note(sizes: object) -> None:
    (layer,) = parse_mapping({**BASE, "input": sizes, "layout": "NCHW"})
    (line,) = taken(layer.notes[0])
    (meant,) = parse_mapping({**BASE, **line, "layout": "NCHW"})
    assert meant.spec.c == layer.spec.h
    assert (meant.spec.h, meant.spec.w) == (layer.spec.w, layer.spec.c)
    assert meant.notes == (), "sizes by name are beyond doubt"
    (nhwc,) = parse_mapping({**BASE, "input": sizes})
    assert nhwc.notes == ()


@pytest.mark.parametrize(
    "sizes", [[224, 224, 3], [14, 14, 512], [7, 7, 7], [28, 30, 64], [1, 9, 4]]
)
def test_an_image_with_its_channels_last_gets_none(sizes: list[int]) -> None:
    (layer,) = parse_mapping({**BASE, "kernel": 1, "input": sizes, "layout": "NCHW"})
    assert layer.notes == ()


def archive(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for name in names:
            made.writestr(name, b"content")
    return file.getvalue()


def saved(*arrays: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, *arrays)
    return file.getvalue()


HEADER = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
FILES = {
    "NumPy archive": saved(np.zeros(99_999)),
    "PyTorch file": archive("archive/data.pkl", "archive/data/0"),
    "Keras model": archive("metadata.json", "config.json"),
    "zip archive": archive("readme.txt"),
    "HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "Python pickle": pickle.dumps({"w": [1.0]}, protocol=2),
    "TFLite model": b"\x1c\0\0\0TFL3" + bytes(600),
    "safetensors file": len(HEADER).to_bytes(8, "little") + HEADER + bytes(4),
    "GGUF model": b"GGUF\x03" + bytes(99),
    "ONNX model": b"\x08\x08\x12\x07pytorch" + bytes(600),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_is_known_by_its_content(what: str, tmp_path: Path) -> None:
    path = tmp_path / "given.yaml"
    path.write_bytes(FILES[what])
    with pytest.raises(SpecError) as caught:
        parse_file(path)
    (one,) = caught.value.diagnostics
    assert one.code == "E015"
    assert f"this is a{'n' * (what[0] in 'HO')} {what}" in one.message
    for line in taken(one.message):
        assert codes({**BASE, **line}) <= {"E310"}, line


def test_a_real_onnx_model_is_known(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")
    graph = onnx.helper.make_graph([], "g", [], [])
    path = tmp_path / "m.onnx"
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(SpecError, match="this is an ONNX model"):
        parse_file(path)


@pytest.mark.parametrize("text", ["input: 9x9x3", "# comment", "{input: 9x9x3}", "", " - x", "{}"])
def test_text_is_no_foreign_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        parse_file(path)
    assert all(d.code != "E015" for d in caught.value.diagnostics)


def test_long_lists_of_scales_belong_in_a_file() -> None:
    scales = ", ".join(["0.0123456789"] * 6000)
    with pytest.raises(SpecError, match=r"`scale: scales\.npz#w`"):
        parse_text(f"input: 9x9x3\nquant: {{weight: {{scale: [{scales}]}}}}\n", "s.yaml")
    lines = "\n".join(["    - 0.0123456789"] * 6000)
    with pytest.raises(SpecError, match=r"`scale: scales\.npz#w`"):
        parse_text(f"quant:\n  weight:\n   scale:\n{lines}\n", "s.yaml")

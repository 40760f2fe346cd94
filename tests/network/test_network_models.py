"""Real models, built and run: 8-bit ones give LiteRT's bytes at every step, floats are near it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tflite", reason="the extra tflite reads the models")
pytest.importorskip("ai_edge_litert", reason="ai-edge-litert has the reference kernels")

from convgen.api import import_package
from convgen.importers import import_model
from convgen.package.disk.result import BuildOptions
from convgen.package.network.build import build_network
from convgen.target import host_target

MODELS = next(
    (
        found
        for p in Path(__file__).resolve().parents
        if (found := p / "shared" / "models").is_dir()
    ),
    Path("shared/models"),
)
pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here"),
    pytest.mark.skipif(not MODELS.is_dir(), reason="no folder shared/models beside the checkout"),
]
NAMES = (
    "pretrainedResnet", "pretrainedResnet_quant", "kws_ref_model", "ad01_fp32", "ad01_int8",
    "kws_ref_model_float32", "str_ww_ref_model", "vww_96_float", "vww_96_int8",
)  # fmt: skip
# Its weights are int8, and LiteRT's kernels for those round the activations to 8 bits as well; here
# the weights are numbers like any other.
HYBRID = ("kws_ref_model_float32",)


def reference(path: Path) -> Any:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    found = litert.Interpreter(
        str(path),
        num_threads=1,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    found.allocate_tensors()
    return found


def drawn(detail: Any) -> np.ndarray:
    rng = np.random.default_rng(11)
    if detail["dtype"] == np.float32:
        return rng.standard_normal(detail["shape"]).astype(np.float32)
    return rng.integers(-128, 128, detail["shape"]).astype(detail["dtype"])


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_litert_s(name: str, tmp_path: Path) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.is_file():
        pytest.skip(f"no {path.name} here")
    peer = reference(path)
    arrays = [drawn(detail) for detail in peer.get_input_details()]
    for detail, array in zip(peer.get_input_details(), arrays, strict=True):
        peer.set_tensor(detail["index"], array)
    peer.invoke()
    graph = import_model(path, name="model").graph
    built = build_network(graph, BuildOptions(tmp_path, host_target(), use_cache=False))
    assert built.report is not None and built.report.passed
    net = import_package(built.path)

    share = 0.05 if name in HYBRID else 2e-5
    found = net.run(*arrays)
    outputs = found if isinstance(found, tuple) else (found,)
    for detail, got in zip(peer.get_output_details(), outputs, strict=True):
        compare(got, peer.get_tensor(detail["index"]), detail["name"], share)
    tensors = {detail["name"]: detail["index"] for detail in peer.get_tensor_details()}
    seen = 0
    for key, got in net.trace(*arrays).items():
        if key in tensors:
            want = peer.get_tensor(tensors[key])
            if want.size == got.size and want.dtype == got.dtype:
                compare(got.reshape(-1), want.reshape(-1), key, share)
                seen += 1
    assert seen >= len(net.STEPS) // 2, (seen, len(net.STEPS))


def compare(got: np.ndarray, want: np.ndarray, name: str, share: float) -> None:
    """To the bit; floats within a share of the largest."""
    if got.dtype.kind == "f":
        size = float(np.abs(want).max())
        np.testing.assert_allclose(got, want, rtol=0, atol=share * size + 1e-6, err_msg=name)
    else:
        assert (got == want).all(), name

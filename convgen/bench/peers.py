"""Peers, called as their users deploy them: weights constant, graph optimised, one thread.

A peer turns a layer and its weights into a function of no arguments that computes it once.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from convgen.errors import ToolchainError, UsageError
from convgen.spec.model import Act, ConvSpec, Layout, WeightLayout

Call = Callable[[], Any]


@dataclass(frozen=True)
class Prepared:
    """``call()`` computes the layer once; ``result()`` gives its output in NHWC."""

    call: Call
    result: Callable[[], Any]


@dataclass(frozen=True)
class Peer:
    """``version``: what was measured, or None where the peer is not installed."""

    name: str
    version: str | None
    prepare: Callable[[ConvSpec, Any, Any, Any], Prepared]


def peers(names: tuple[str, ...]) -> tuple[Peer, ...]:
    """The named peers. Raises UsageError for a name that is not known."""
    known: dict[str, Callable[[], Peer]] = {"naive": _naive, "onnxruntime": _onnxruntime}
    for name in names:
        if name not in known:
            raise UsageError(f"no peer {name!r}; there are {', '.join(known)}")
    return tuple(known[name]() for name in names)


def plain_layer(spec: ConvSpec) -> None:
    """Peers are prepared for the common case only. Raises UsageError for another layer."""
    simple = spec.activation.kind in (Act.NONE, Act.RELU) and spec.bias
    if spec.layout is not Layout.NHWC or spec.weight_layout is not WeightLayout.HWIO or not simple:
        raise UsageError(f"{spec.name}: peers are timed on NHWC/HWIO layers with bias and ReLU")


# -- plain loops under gcc -O3 -march=native: what a careful C programmer writes in ten minutes ----

_LOOPS = """
void plain_loops(const float *restrict x, const float *restrict w, const float *restrict b,
                 float *restrict y)
{
  for (int n = 0; n < N; ++n)
  for (int oh = 0; oh < OH; ++oh)
  for (int ow = 0; ow < OW; ++ow)
  for (int g = 0; g < G; ++g) {
    float sum[OCG];
    for (int oc = 0; oc < OCG; ++oc) sum[oc] = b[g * OCG + oc];
    for (int kh = 0; kh < KH; ++kh) {
      const int ih = oh * SH - PT + kh * DH;
      if (ih < 0 || ih >= H) continue;
      for (int kw = 0; kw < KW; ++kw) {
        const int iw = ow * SW - PL + kw * DW;
        if (iw < 0 || iw >= W) continue;
        for (int ic = 0; ic < ICG; ++ic) {
          const float v = x[((n * H + ih) * W + iw) * C + g * ICG + ic];
          for (int oc = 0; oc < OCG; ++oc)
            sum[oc] += v * w[((kh * KW + kw) * ICG + ic) * OC + g * OCG + oc];
        }
      }
    }
    for (int oc = 0; oc < OCG; ++oc) {
      const float v = sum[oc];
      y[((n * OH + oh) * OW + ow) * OC + g * OCG + oc] = RELU && v < 0 ? 0 : v;
    }
  }
}
"""


def _naive() -> Peer:
    from convgen.toolchain import find_compiler

    compiler = find_compiler(None)
    return Peer("naive", f"{compiler.version}, -O3 -march=native", _prepare_naive)


def _prepare_naive(spec: ConvSpec, x: Any, w: Any, b: Any) -> Prepared:
    import numpy as np

    from convgen.toolchain import find_compiler

    p = spec.padding
    sizes = {
        "N": spec.batch, "H": spec.h, "W": spec.w, "C": spec.c, "OH": spec.oh, "OW": spec.ow,
        "OC": spec.oc, "KH": spec.kh, "KW": spec.kw, "SH": spec.sh, "SW": spec.sw,
        "DH": spec.dh, "DW": spec.dw, "PT": p.top, "PL": p.left, "G": spec.groups,
        "ICG": spec.icg, "OCG": spec.ocg, "RELU": int(spec.activation.kind is Act.RELU),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "loops.c"), Path(folder, "loops.so")
        source.write_text(_LOOPS)
        command = [
            *find_compiler(None).command, "-O3", "-march=native", "-shared", "-fPIC",
            *(f"-D{name}={value}" for name, value in sizes.items()),
            str(source), "-o", str(library),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ToolchainError("the plain loops do not compile", " ".join(command), done.stderr)
        loops = ctypes.CDLL(str(library)).plain_loops
    y = np.empty(spec.y_shape, np.float32)
    arguments = [ctypes.c_void_p(a.ctypes.data) for a in (x, w, b, y)]
    return Prepared(lambda: loops(*arguments), lambda: y)


# -- ONNX Runtime ---------------------------------------------------------------------------------


def _onnxruntime() -> Peer:
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        return Peer("onnxruntime", None, _prepare_onnxruntime)
    import onnxruntime

    return Peer("onnxruntime", str(onnxruntime.__version__), _prepare_onnxruntime)


def _prepare_onnxruntime(spec: ConvSpec, x: Any, w: Any, b: Any) -> Prepared:
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = ort.InferenceSession(
        onnx_model(spec, w, b), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    binding.bind_output("y")
    return Prepared(
        lambda: session.run_with_iobinding(binding),
        lambda: binding.copy_outputs_to_cpu()[0].transpose(0, 2, 3, 1),
    )


def onnx_model(spec: ConvSpec, w: Any, b: Any) -> bytes:
    """The layer as a one-node ONNX model (two with ReLU), weights as constants, NCHW."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    p = spec.padding
    convolve = helper.make_node(
        "Conv", ["x", "w", "b"], ["v"], kernel_shape=[spec.kh, spec.kw],
        strides=[spec.sh, spec.sw], dilations=[spec.dh, spec.dw], group=spec.groups,
        pads=[p.top, p.left, p.bottom, p.right],
    )  # fmt: skip
    last = "Relu" if spec.activation.kind is Act.RELU else "Identity"
    x_shape = [spec.batch, spec.c, spec.h, spec.w]
    y_shape = [spec.batch, spec.oc, spec.oh, spec.ow]
    graph = helper.make_graph(
        [convolve, helper.make_node(last, ["v"], ["y"])],
        spec.name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)],
        [
            numpy_helper.from_array(np.ascontiguousarray(w.transpose(3, 2, 0, 1)), "w"),
            numpy_helper.from_array(b, "b"),
        ],
    )
    opset = [helper.make_opsetid("", 13)]
    model: bytes = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    return model

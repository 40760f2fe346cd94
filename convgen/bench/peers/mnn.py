"""MNN: the ONNX model through its converter, then a session of full precision."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from convgen.bench.peers.base import CannotPrepare, Peer, Prepared, Problem, nchw

CONVERT_LIMIT = 120  # seconds
CONVERT = "import sys, MNN, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"


def prepare(problem: Problem) -> Prepared:
    import MNN
    import numpy as np

    spec = problem.spec
    with tempfile.TemporaryDirectory(prefix="convgen-") as folder:
        # MNN reads the whole file at once, and does not need it afterwards.
        net = MNN.Interpreter(str(_converted(problem, Path(folder))))
    session = net.createSession(
        {"backend": "CPU", "numThread": problem.threads, "precision": "high"}
    )
    planar = MNN.Tensor_DimensionType_Caffe  # NCHW
    x_shape = (spec.batch, spec.c, spec.h, spec.w)
    y_shape = (spec.batch, spec.oc, spec.oh, spec.ow)
    kind = MNN.Halide_Type_Float
    x = MNN.Tensor(x_shape, kind, nchw(problem.x), planar)
    net.getSessionInput(session).copyFrom(x)

    def result() -> Any:
        y = MNN.Tensor(y_shape, kind, np.zeros(y_shape, np.float32), planar)
        net.getSessionOutput(session).copyToHostTensor(y)
        return np.array(y.getNumpyData()).reshape(y_shape).transpose(0, 2, 3, 1)

    return Prepared(lambda: net.runSession(session), result)


def _converted(problem: Problem, folder: Path) -> Path:
    """The layer in MNN's format.

    The converter's library is called as MNN's own program calls it. That program is left aside: it
    installs a package that reports each conversion to MNN's makers, and with it an old protobuf.
    """
    from convgen.bench.peers.onnx_model import onnx_model

    source, model = folder / "layer.onnx", folder / "layer.mnn"
    source.write_bytes(onnx_model(problem))
    command = [
        sys.executable, "-P", "-c", CONVERT, "-f", "ONNX", "--bizCode", "convgen",
        "--modelFile", str(source), "--MNNModel", str(model),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=CONVERT_LIMIT, check=False)
    if done.returncode or not model.exists():
        raise CannotPrepare("MNN's converter does not take the layer")
    return model


PEER = Peer("mnn", ("mnn", "onnx"), prepare)

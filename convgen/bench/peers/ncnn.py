"""ncnn: one convolution layer from a written parameter file; it packs and transforms weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from convgen.bench.peers.base import CannotPrepare, Peer, Prepared, Problem, nchw, oihw, pads

MAGIC = 7767517  # first line of every parameter file


def prepare(problem: Problem) -> Prepared:
    import ncnn
    import numpy as np

    if problem.spec.batch != 1:
        raise CannotPrepare("ncnn computes one image at a time")
    net = ncnn.Net()
    options = net.opt
    options.num_threads = problem.threads
    options.use_vulkan_compute = False
    for name in ("fp16_storage", "fp16_packed", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
        if hasattr(options, f"use_{name}"):
            setattr(options, f"use_{name}", False)  # float32 throughout, as everyone else
    with tempfile.TemporaryDirectory(prefix="convgen-") as folder:
        param, weights = Path(folder, "layer.param"), Path(folder, "layer.bin")
        param.write_text(_parameters(problem), encoding="utf-8")
        # Four zero bytes say that float32 weights follow.
        weights.write_bytes(b"\0\0\0\0" + oihw(problem.w).tobytes() + problem.b.tobytes())
        if net.load_param(str(param)) or net.load_model(str(weights)):
            raise CannotPrepare("ncnn does not load the layer")
    image = nchw(problem.x)[0]
    source = ncnn.Mat(image)  # over the array's memory

    def call() -> Any:
        extractor = net.create_extractor()
        extractor.input("x", source)
        return extractor.extract("y")[1]

    return Prepared(call, lambda: np.array(call()).transpose(1, 2, 0)[None], keep=(image,))


def _parameters(problem: Problem) -> str:
    """ncnn's text format: an input, and a convolution with its numbered settings."""
    spec, p = problem.spec, pads(problem.spec)
    settings = {
        0: spec.oc, 1: spec.kw, 11: spec.kh, 2: spec.dw, 12: spec.dh, 3: spec.sw, 13: spec.sh,
        4: p.left, 14: p.top, 15: p.right, 16: p.bottom, 5: 1, 6: problem.w.size,
        9: int(problem.relu),
    }  # fmt: skip
    kind = "Convolution"
    if spec.groups > 1:
        kind, settings[7] = "ConvolutionDepthWise", spec.groups
    words = " ".join(f"{key}={value}" for key, value in settings.items())
    return f"{MAGIC}\n2 2\nInput x 0 1 x\n{kind} conv 1 1 x y {words}\n"


PEER = Peer("ncnn", ("ncnn",), prepare)

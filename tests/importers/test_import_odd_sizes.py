"""Every kind of operator between a model's input and its output, with sizes of one among them.

The arrays of a model file have their channels first, and an axis of one element lies anywhere: the
kernels must be found whatever the strides come to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

from in_process import graph_of  # noqa: E402
from onnx_models import model, node, random  # noqa: E402

from convgen.package.network.program import program_of  # noqa: E402
from convgen.target import TARGETS  # noqa: E402

SHAPES = (
    (1, 1, 8, 8), (1, 3, 1, 9), (2, 4, 7, 1), (1, 5, 1, 1), (3, 1, 1, 1), (2, 8, 9, 9),
    (1, 8, 6, 6),
)  # fmt: skip
Case = tuple[str, list[Any], dict[str, np.ndarray]]
# Every second column, and more pixels.
COLUMNS = {
    key: np.array([value], np.int64) for key, value in (("a", 0), ("b", 99), ("axes", 3), ("by", 2))
}
DOUBLE = {"s": np.array([1, 1, 2, 3], np.float32)}


def windows(c: int, h: int, w: int) -> Iterator[Case]:
    kernel = [min(3, h), min(3, w)]
    yield "maxpool", [node("MaxPool", ["x"], ["y"], kernel_shape=kernel, strides=[2, 2])], {}
    yield "avgpool", [node("AveragePool", ["x"], ["y"], kernel_shape=kernel)], {}
    for oc in (1, 4):
        filters = {"w": random(c, oc, 2, 2, seed=1)}
        yield (
            f"transposed {oc}",
            [node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])],
            filters,
        )
        yield f"conv {oc}", [node("Conv", ["x", "w"], ["y"])], {"w": random(oc, c, *kernel, seed=1)}
    yield "depthwise", [node("Conv", ["x", "w"], ["y"], group=c)], {"w": random(c, 1, *kernel)}
    if c % 2 == 0:
        grouped = node(
            "ConvTranspose", ["x", "w"], ["y"], group=2, strides=[1, 2], dilations=[2, 1]
        )
        yield "transposed groups", [grouped], {"w": random(c, 3, 2, 2, seed=1)}
    for mode in ("linear", "nearest"):
        yield f"resize {mode}", [node("Resize", ["x", "", "s"], ["y"], mode=mode)], DOUBLE
    yield "lrn", [node("LRN", ["x"], ["y"], size=3)], {}


def arrays(c: int, h: int, w: int) -> Iterator[Case]:
    for op in ("GlobalAveragePool", "GlobalMaxPool", "Sigmoid"):
        yield op, [node(op, ["x"], ["y"])], {}
    for axis in (1, 2, 3):
        yield f"softmax {axis}", [node("Softmax", ["x"], ["y"], axis=axis)], {}
    for axes in ([1], [2, 3], [0], [1, 2, 3], [0, 2]):
        mean = node("ReduceMean", ["x", "a"], ["y"], keepdims=0)
        yield f"mean {axes}", [mean], {"a": np.array(axes, np.int64)}
    for op, sizes in (("PRelu", (c, 1, 1)), ("Add", (1, c, 1, 1)), ("Mul", (w,))):
        yield op, [node(op, ["x", "s"], ["y"])], {"s": random(*sizes, seed=2)}
    norm = {key: random(c, seed=at) for at, key in enumerate("abm")} | {"v": abs(random(c)) + 0.1}
    yield "norm", [node("BatchNormalization", ["x", *norm], ["y"])], norm
    yield "transpose", [node("Transpose", ["x"], ["y"], perm=[0, 3, 1, 2])], {}
    yield "concat", [node("Concat", ["x", "x"], ["y"], axis=2)], {}
    yield "matmul", [node("MatMul", ["x", "w"], ["y"])], {"w": random(w, 6, seed=3)}
    flat = [node("Flatten", ["x"], ["f"]), node("Gemm", ["f", "w"], ["y"])]
    yield "dense", flat, {"w": random(c * h * w, 5, seed=3)}
    if c % 4 == 0:
        yield "depth to space", [node("DepthToSpace", ["x"], ["y"], blocksize=2)], {}
    pads = {"p": np.array([0, 1, 2, 0, 0, 0, 1, 3], np.int64)}
    yield "pad", [node("Pad", ["x", "p"], ["y"])], pads


def parts(c: int) -> Iterator[Case]:
    """Behind a slice and a split, whose results are views."""
    both = [
        node("Concat", ["x", "x"], ["t"], axis=1),
        node("Split", ["t"], ["p", "q"], axis=1, num_outputs=2),
    ]
    columns = [node("Slice", ["x", "a", "b", "axes", "by"], ["q"])]
    filters = {"w": random(c, 3, 2, 2, seed=1)}
    for name, start, more in (("split", both, {}), ("slice", columns, COLUMNS)):
        transposed = node("ConvTranspose", ["q", "w"], ["y"], strides=[2, 2])
        yield f"{name} transposed", [*start, transposed], {**more, **filters}
        yield f"{name} lrn", [*start, node("LRN", ["q"], ["y"], size=3)], more
        resize = node("Resize", ["q", "", "s"], ["y"], mode="linear")
        yield f"{name} resize", [*start, resize], {**more, **DOUBLE}
        yield f"{name} pool", [*start, node("MaxPool", ["q"], ["y"], kernel_shape=[1, 1])], more


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_every_operator_finds_its_kernel(shape: tuple[int, ...]) -> None:
    _, c, h, w = shape
    for name, nodes, constants in (*windows(c, h, w), *arrays(c, h, w), *parts(c)):
        made = model(nodes, {"x": list(shape)}, ["y"], constants, opset=18)
        graph = graph_of(made.SerializeToString(), "ONNX")
        assert program_of(graph, TARGETS["x86-64-avx2"]).steps, name

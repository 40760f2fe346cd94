"""The operators' meanings beside ONNX's own reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convgen.network import ops
from convgen.network.graph import ABSENT, Builder, Elem
from convgen.network.meaning import evaluate
from convgen.spec.model import Act, Activation

onnx = pytest.importorskip("onnx")


def ours(op: Any, *arrays: Any) -> Any:
    """A graph of one node, run."""
    builder = Builder("one")
    names = []
    for at, array in enumerate(arrays):
        if array is None:
            names.append(ABSENT)
            continue
        names.append(builder.input(f"in{at}", array.shape, Elem(array.dtype.name)))
    outputs = builder.node("y", op, names)
    graph = builder.finish(outputs)
    inputs = {f"in{at}": array for at, array in enumerate(arrays) if array is not None}
    return evaluate(graph, inputs)["y"]


def theirs(kind: str, *arrays: Any, opset: int = 19, **attributes: Any) -> Any:
    """The same operator in onnx.reference, in float64 where it allows that."""
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    names = ["" if array is None else f"in{at}" for at, array in enumerate(arrays)]
    node = helper.make_node(kind, names, ["y"], **attributes)
    infos = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in zip(names, arrays, strict=True)
        if array is not None
    ]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", infos, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    feeds = {name: array for name, array in zip(names, arrays, strict=True) if name}
    found: Any = ReferenceEvaluator(model).run(None, feeds)
    return found[0]


def numbers(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(a: Any, b: Any, tolerance: float = 1e-4) -> None:
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 3])
def test_convolution(groups: int, stride: int) -> None:
    x, w, b = numbers(2, 4, 9, 11), numbers(8, 4 // groups, 3, 2, seed=1), numbers(8, seed=2)
    op = ops.Conv((3, 2), (stride, 1), ((1, 2), (0, 1)), (2, 3), groups=groups)
    got = ours(op, x, np.ascontiguousarray(w.transpose(2, 3, 1, 0)), b)
    attributes: Any = {"strides": [stride, 1], "pads": [1, 0, 2, 1], "dilations": [2, 3]}
    close(got, theirs("Conv", x, w, b, group=groups, **attributes))


def test_convolution_in_one_and_three_dimensions() -> None:
    x, w = numbers(1, 3, 16), numbers(5, 3, 4, seed=1)
    op = ops.Conv((4,), (2,), ((1, 1),), (1,))
    got = ours(op, x, np.ascontiguousarray(w.transpose(2, 1, 0)))
    close(got, theirs("Conv", x, w, strides=[2], pads=[1, 1]))
    x, w = numbers(1, 2, 5, 6, 7), numbers(3, 2, 2, 3, 2, seed=1)
    op = ops.Conv((2, 3, 2), (1, 2, 1), ((0, 0),) * 3, (1, 1, 1))
    got = ours(op, x, np.ascontiguousarray(w.transpose(2, 3, 4, 1, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 3, 2), axis=(2, 3, 4))
    close(got, np.einsum("ncdhwijk,ocijk->nodhw", windows[:, :, :, ::2], w))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 0, 2)])
def test_transposed(groups: int, pads: tuple[int, ...]) -> None:
    x, w = numbers(1, 4, 5, 6), numbers(4, 3, 3, 2, seed=1)
    kernel = w.reshape(groups, 4 // groups, 3, 3, 2).transpose(3, 4, 1, 0, 2)
    kernel = np.ascontiguousarray(kernel.reshape(3, 2, 4 // groups, 3 * groups))
    op = ops.ConvTransposed(
        (3, 2), (2, 1), ((pads[0], pads[2]), (pads[1], pads[3])), (1, 1),
        groups=groups, output_padding=(1, 0),
    )  # fmt: skip
    attributes: Any = {"strides": [2, 1], "pads": list(pads), "output_padding": [1, 0]}
    # onnx.reference takes one group only.
    parts = [
        theirs("ConvTranspose", np.ascontiguousarray(a), b, **attributes)
        for a, b in zip(np.split(x, groups, 1), np.split(w, groups), strict=True)
    ]
    close(ours(op, x, kernel), np.concatenate(parts, 1))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("pads", [(0, 0), (1, 1)])
def test_pools(ceil: bool, pads: tuple[int, int]) -> None:
    x = numbers(1, 3, 10, 11)
    shape: Any = {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [pads[0], 0, pads[1], 0]}
    window: Any = {
        "kernel": (3, 2),
        "strides": (2, 3),
        "pads": (pads, (0, 0)),
        "ceil": ceil,
    }
    got = ours(ops.MaxPool(**window), x)
    close(got, theirs("MaxPool", x, ceil_mode=int(ceil), **shape))
    for include in (False, True):
        got = ours(ops.AvgPool(**window, include_pad=include), x)
        want = theirs(
            "AveragePool", x, ceil_mode=int(ceil), count_include_pad=int(include), **shape
        )
        close(got, want)


COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", [*COORDINATES, "half_pixel_symmetric"])
@pytest.mark.parametrize("size", [(10, 7), (3, 14), (4, 5)])
def test_resize(mode: str, coordinates: str, size: tuple[int, int]) -> None:
    x = numbers(1, 2, 5, 7)
    for nearest in ops.Nearest if mode == "nearest" else [ops.Nearest.FLOOR]:
        op = ops.Resize(
            (1, 2, *size),
            (),
            ops.ResizeMode(mode),
            ops.Coordinates(coordinates),
            nearest,
        )
        want = theirs(
            "Resize", x, None, None, np.array([1, 2, *size]), mode=mode,
            coordinate_transformation_mode=coordinates, nearest_mode=str(nearest),
        )  # fmt: skip
        close(ours(op, x), want)


@pytest.mark.parametrize("fn", list(ops.ReduceFn))
def test_reductions(fn: ops.ReduceFn) -> None:
    x = np.abs(numbers(2, 3, 4)) + 0.1
    kind = "Reduce" + "".join(word.capitalize() for word in fn.split("_"))
    want = theirs(kind, x, axes=[0, 2], keepdims=0, opset=11)
    close(ours(ops.Reduce(fn, (0, 2), keepdims=False), x), want)


def test_normalisations() -> None:
    x, rows = numbers(2, 6, 3, 3), [numbers(6, seed=s) for s in (1, 2, 3)]
    var = np.abs(numbers(6, seed=4)) + 0.5
    want = theirs("BatchNormalization", x, *rows, var, epsilon=1e-3)
    close(ours(ops.BatchNorm(1, 1e-3), x, *rows, var), want)
    op = ops.LocalResponseNorm(4, 0.3, 0.6, 2.0)
    x = numbers(6, 6, 3, 3)  # onnx.reference loops over as many channels as there are images
    close(ours(op, x), theirs("LRN", x, size=4, alpha=0.3, beta=0.6, bias=2.0))
    scale, bias = numbers(3, 3, seed=5), numbers(3, 3, seed=6)
    want = theirs("LayerNormalization", x, scale, bias, axis=2)
    close(ours(ops.LayerNorm(2), x, scale, bias), want)
    close(ours(ops.Softmax(1), x), theirs("Softmax", x, axis=1))
    close(ours(ops.Softmax(2, log=True), x), theirs("LogSoftmax", x, axis=2))


UNARY = {
    "Abs": ops.UnaryFn.ABS, "Neg": ops.UnaryFn.NEG, "Exp": ops.UnaryFn.EXP, "Erf": ops.UnaryFn.ERF,
    "Sin": ops.UnaryFn.SIN, "Cos": ops.UnaryFn.COS, "Floor": ops.UnaryFn.FLOOR,
    "Ceil": ops.UnaryFn.CEIL, "Round": ops.UnaryFn.ROUND, "Sign": ops.UnaryFn.SIGN,
    "Softplus": ops.UnaryFn.SOFTPLUS, "Softsign": ops.UnaryFn.SOFTSIGN, "Mish": ops.UnaryFn.MISH,
    "Reciprocal": ops.UnaryFn.RECIPROCAL,
}  # fmt: skip


@pytest.mark.parametrize("kind", UNARY)
def test_functions(kind: str) -> None:
    x = numbers(3, 5) * 3
    close(ours(ops.Unary(UNARY[kind]), x), theirs(kind, x))


def test_functions_with_constants() -> None:
    x = numbers(3, 5) * 3
    elu = ops.Unary(ops.UnaryFn.ELU, alpha=0.5)
    close(ours(elu, x), theirs("Elu", x, alpha=0.5))
    selu = ops.Unary(ops.UnaryFn.SELU, alpha=1.5, gamma=1.1)
    close(ours(selu, x), theirs("Selu", x, alpha=1.5, gamma=1.1))
    celu = ops.Unary(ops.UnaryFn.CELU, alpha=0.7)
    close(ours(celu, x), theirs("Celu", x, alpha=0.7))
    hard = ops.Unary(ops.UnaryFn.HARD_SIGMOID, alpha=0.3, beta=0.4)
    close(ours(hard, x), theirs("HardSigmoid", x, alpha=0.3, beta=0.4))
    relu = ops.Unary(ops.UnaryFn.THRESHOLDED_RELU, alpha=1.2)
    close(ours(relu, x), theirs("ThresholdedRelu", x, alpha=1.2))
    clip = ops.Activate(Activation(Act.CLIP, low=-1.0))
    close(ours(clip, x), np.maximum(x, -1.0))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str) -> None:
    x = numbers(1, 2, 5, 6)
    op = ops.Pad(((0, 0), (0, 1), (2, 1), (3, 0)), ops.PadMode(mode), 0.0)
    want = theirs("Pad", x, np.array([0, 0, 2, 3, 0, 1, 1, 0]), mode=mode)
    close(ours(op, x), want)


def test_slices_count_as_onnx_does() -> None:
    x = numbers(7, 8)
    for starts, ends, steps in (
        ([1, 0], [6, 8], [2, 3]),
        ([-3, -1], [99, -(2**31)], [1, -2]),
        ([6, 5], [1, 2], [-2, -1]),
    ):
        op = ops.sliced(x.shape, starts, ends, [0, 1], steps)
        want = theirs(
            "Slice", x, np.array(starts), np.array(ends), np.array([0, 1]), np.array(steps)
        )
        close(ours(op, x), want)


def test_depth_to_space() -> None:
    x = numbers(1, 12, 3, 4)
    for mode in ("DCR", "CRD"):
        op = ops.DepthToSpace(2, columns_first=mode == "CRD")
        close(ours(op, x), theirs("DepthToSpace", x, blocksize=2, mode=mode))
    y = numbers(1, 3, 4, 6)
    close(ours(ops.SpaceToDepth(2), y), theirs("SpaceToDepth", y, blocksize=2))

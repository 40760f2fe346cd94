"""Small networks for tests: a residual block with everything around it, in floats and in 8 bits."""

from __future__ import annotations

import numpy as np

from convgen.network import ops
from convgen.network.graph import Builder, Elem, Graph, Quantization
from convgen.spec.model import Act, Activation

RELU = Activation(Act.RELU)
SAME = ((1, 1), (1, 1))


def floats(name: str = "small", seed: int = 0) -> Graph:
    """8x10x3 in ONNX's order; a convolution, a pool, a block with a skip, two outputs."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> np.ndarray:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[:-1]))
        return np.asarray(values, np.float32)

    b = Builder(name)
    b.input("image 1", (1, 3, 8, 10), Elem.FLOAT32)
    for key, shape in {"w0": (3, 3, 3, 16), "w1": (3, 3, 1, 16), "w2": (1, 1, 16, 16)}.items():
        b.constant(key, weights(*shape))
    b.constant("b0", weights(16, 16)[0])
    b.constant("wd", weights(16, 5))
    b.constant("bd", weights(5, 5)[0])
    b.node("c0", ops.Conv((3, 3), (1, 1), SAME, (1, 1), False, RELU), ("image 1", "w0", "b0"))
    b.node("p0", ops.MaxPool((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1), False), ("c0",))
    b.node("c1", ops.Conv((3, 3), (1, 1), SAME, (1, 1), False, groups=16), ("p0", "w1"))
    b.node("c2", ops.Conv((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), False), ("c1", "w2"))
    b.node("sum", ops.Binary(ops.BinaryFn.ADD, RELU), ("p0", "c2"))
    b.node("mean", ops.Reduce(ops.ReduceFn.MEAN, (2, 3), keepdims=False), ("sum",))
    b.node("dense", ops.Dense(), ("mean", "wd", "bd"))
    b.node("soft/max", ops.Softmax(-1), ("dense",))
    return b.finish(["soft/max", "sum"])


def eight_bits(name: str = "small8", seed: int = 0) -> Graph:
    """8x8x4 int8 in TFLite's order: two convolutions, a sum, a mean, a dense layer, softmax."""
    rng = np.random.default_rng(seed)

    def q(scale: float, zero: int = 0) -> Quantization:
        return Quantization((float(np.float32(scale)),), (zero,))

    def per_channel(count: int) -> Quantization:
        scales = rng.uniform(0.002, 0.01, count).astype(np.float32)
        return Quantization(tuple(scales.tolist()), (0,) * count, 3)

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-127, 128, shape).astype(np.int8)

    b = Builder(name)
    b.input("x", (1, 8, 8, 4), Elem.INT8, q(0.05, -3))
    b.constant("w0", weights(3, 3, 4, 8), per_channel(8))
    b.constant("b0", rng.integers(-2000, 2000, 8).astype(np.int32))
    b.constant("w1", weights(3, 3, 8, 8), per_channel(8))
    b.constant("wd", weights(8, 6), q(0.004))
    conv = ops.Conv((3, 3), (1, 1), SAME, (1, 1), True, RELU)
    b.node("c0", conv, ("x", "w0", "b0"), quants=[q(0.06, -128)], dtypes=[Elem.INT8])
    plain = ops.Conv((3, 3), (1, 1), SAME, (1, 1), True)
    b.node("c1", plain, ("c0", "w1"), quants=[q(0.1, 4)], dtypes=[Elem.INT8])
    add = ops.Binary(ops.BinaryFn.ADD, RELU)
    b.node("sum", add, ("c0", "c1"), quants=[q(0.12, -128)], dtypes=[Elem.INT8])
    mean = ops.Reduce(ops.ReduceFn.MEAN, (1, 2), keepdims=False)
    b.node("mean", mean, ("sum",), quants=[q(0.05, -100)], dtypes=[Elem.INT8])
    b.node("dense", ops.Dense(), ("mean", "wd"), quants=[q(0.05)], dtypes=[Elem.INT8])
    b.node("soft", ops.Softmax(-1), ("dense",), quants=[q(1 / 256, -128)], dtypes=[Elem.INT8])
    return b.finish(["soft"])

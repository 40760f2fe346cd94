"""Simplification keeps what a graph computes, and says what it did."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from convgen.network import ops
from convgen.network.fuse import simplify
from convgen.network.graph import Builder, Elem, Graph, Node, Quantization
from convgen.network.meaning import evaluate
from convgen.spec.model import Act, Activation
from convgen.spec.quant import Rounding

RELU = ops.Activate(Activation(Act.RELU))
SIGMOID = ops.Activate(Activation(Act.SIGMOID))


class Net(Builder):
    """Builds graphs of float32 images, channels first."""

    def __init__(self, *shape: int) -> None:
        super().__init__("net")
        self.random = np.random.default_rng(0)
        self.x = self.input("x", shape or (1, 4, 6, 5), Elem.FLOAT32)

    def array(self, *shape: int) -> str:
        array = self.random.standard_normal(shape).astype(np.float32)
        return self.constant(f"c{len(self.constants)}", array)

    def number(self, value: float, *shape: int) -> str:
        return self.constant(f"c{len(self.constants)}", np.full(shape, value, np.float32))

    def do(self, op: Any, *inputs: str) -> str:
        return self.node(f"n{len(self.nodes)}", op, inputs)[0]

    def conv(self, x: str, filters: int = 6, *, bias: bool = True, **attributes: Any) -> str:
        depth = self.shape(x)[1] // attributes.get("groups", 1)
        inputs = [self.array(3, 2, depth, filters)] + ([self.array(filters)] if bias else [])
        return self.do(ops.Conv((3, 2), **attributes), x, *inputs)

    def norm(self, x: str, axis: int = 1) -> str:
        depth = self.shape(x)[axis]
        rows = [self.array(depth) for _ in range(3)]
        positive = np.abs(self.random.standard_normal(depth)).astype(np.float32) + 0.1
        var = self.constant(f"c{len(self.constants)}", positive)
        return self.do(ops.BatchNorm(axis), x, *rows, var)


def kinds(graph: Graph) -> list[str]:
    return [node.op.kind for node in graph.nodes]


def _op(node: Node) -> Any:
    return node.op


def check(net: Net, *outputs: str, tolerance: float = 2e-5) -> Graph:
    """The simplified graph, after its outputs were compared with the given one's."""
    graph = net.finish(outputs)
    small = simplify(graph)
    assert small.outputs == graph.outputs
    inputs = {name: net.random.standard_normal(net.shape(name)) for name in graph.inputs}
    want, got = evaluate(graph, inputs), evaluate(small, inputs)
    for name in outputs:
        np.testing.assert_allclose(got[name], want[name], rtol=tolerance, atol=tolerance)
    return small


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_batch_norm_and_activation_go_into_the_convolution(groups: int, bias: bool) -> None:
    net = Net()
    y = net.do(RELU, net.norm(net.conv(net.x, bias=bias, groups=groups)))
    graph = check(net, y)
    assert kinds(graph) == ["conv"]
    (node,) = graph.nodes
    assert _op(node).activation.kind is Act.RELU
    assert len(node.notes) == 2 and "batch_norm" in node.notes[0]


def test_a_batch_norm_alone_is_a_depthwise_convolution() -> None:
    net = Net()
    graph = check(net, net.do(RELU, net.norm(net.x)))
    assert kinds(graph) == ["conv"] and _op(graph.nodes[0]).groups == 4


def test_what_is_read_twice_is_not_swallowed() -> None:
    net = Net()
    y = net.conv(net.x)
    graph = check(net, net.do(RELU, y), net.do(SIGMOID, y))
    assert kinds(graph) == ["conv", "relu", "sigmoid"]


def test_scales_and_shifts_per_channel() -> None:
    net = Net()
    y = net.conv(net.x, bias=False)
    y = net.do(ops.Binary(ops.BinaryFn.MUL), y, net.array(6, 1, 1))
    y = net.do(ops.Binary(ops.BinaryFn.SUB), net.array(1, 6, 1, 1), y)
    y = net.do(ops.Binary(ops.BinaryFn.DIV), y, net.number(3.0))
    graph = check(net, net.do(RELU, y))
    assert kinds(graph) == ["conv"]


def test_a_summand_along_the_width_stays() -> None:
    net = Net()
    y = net.do(ops.Binary(), net.conv(net.x), net.array(4))
    assert kinds(check(net, y)) == ["conv", "add"]


def test_pads_go_into_windows_where_that_is_exact() -> None:
    zero = ops.Pad(((0, 0), (0, 0), (1, 2), (0, 1)))
    net = Net()
    assert kinds(check(net, net.conv(net.do(zero, net.x)))) == ["conv"]
    window: Any = ((2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
    net = Net()
    graph = check(net, net.do(ops.AvgPool(*window), net.do(zero, net.x)))
    assert kinds(graph) == ["avgpool"] and _op(graph.nodes[0]).include_pad
    one = ops.Pad(((0, 0), (0, 0), (1, 1), (0, 1)))
    net = Net()
    assert kinds(check(net, net.do(ops.MaxPool(*window), net.do(one, net.x)))) == ["pad", "maxpool"]
    net = Net()
    y = net.do(ops.MaxPool(*window), net.do(one, net.do(RELU, net.x)))
    assert kinds(check(net, y)) == ["relu", "maxpool"]
    net = Net()
    wrong = ops.Pad(((0, 0), (0, 0), (1, 2), (0, 1)), value=1.0)
    assert kinds(check(net, net.conv(net.do(wrong, net.x)))) == ["pad", "conv"]


def spelled(kind: str, net: Net) -> str:
    """Activations as exporters write them."""
    x = net.conv(net.x)

    def do(fn: str, a: str, b: str) -> str:
        return net.do(ops.Binary(ops.BinaryFn(fn)), a, b)

    def clip(a: str) -> str:
        return net.do(ops.Activate(Activation(Act.CLIP, low=0.0, high=6.0)), a)

    six = [
        lambda: do("div", do("mul", x, clip(do("add", x, net.number(3)))), net.number(6)),
        lambda: do("mul", x, do("div", clip(do("add", x, net.number(3, 1))), net.number(6))),
        lambda: do("mul", do("mul", clip(do("add", net.number(3), x)), net.number(1 / 6)), x),
        lambda: do("mul", net.do(ops.Unary(ops.UnaryFn.HARD_SIGMOID, 1 / 6, 0.5), x), x),
    ]
    erf = ops.Unary(ops.UnaryFn.ERF)

    def bell(a: str) -> str:
        return do("add", net.do(erf, do("div", a, net.number(math.sqrt(2)))), net.number(1))

    def cube() -> str:
        power = do("pow", x, net.number(3))
        inner = do("add", x, do("mul", power, net.number(0.044715)))
        tanh = net.do(ops.Activate(Activation(Act.TANH)), do("mul", inner, net.number(0.79788456)))
        return do("mul", do("mul", x, do("add", tanh, net.number(1))), net.number(0.5))

    match kind:
        case "silu":
            return do("mul", net.do(SIGMOID, x), x)
        case "hardswish 0" | "hardswish 1" | "hardswish 2" | "hardswish 3":
            return six[int(kind[-1])]()
        case "gelu 0":
            return do("mul", do("mul", x, net.number(0.5)), bell(x))
        case "gelu 1":
            return do("mul", do("mul", bell(x), x), net.number(0.5))
        case _:
            return cube()


SPELLED = ["silu", *(f"hardswish {n}" for n in range(4)), "gelu 0", "gelu 1", "gelu_tanh"]


@pytest.mark.parametrize("kind", SPELLED)
def test_activations_are_recognised(kind: str) -> None:
    net = Net()
    y = spelled(kind, net)
    graph = check(net, y, tolerance=1e-4)
    assert kinds(graph) == ["conv", kind.split()[0]] or kinds(graph) == ["conv"]
    act = getattr(graph.nodes[-1].op, "activation", None)
    assert act is not None and act.kind == kind.split()[0]


def test_hard_sigmoid_alone() -> None:
    net = Net()
    add = net.do(ops.Binary(), net.x, net.number(3))
    clip = net.do(ops.Activate(Activation(Act.RELU6)), add)
    graph = check(net, net.do(ops.Binary(ops.BinaryFn.DIV), clip, net.number(6)))
    assert kinds(graph) == ["hard_sigmoid"]


def test_a_gate_of_something_else_is_no_activation() -> None:
    net = Net()
    x = net.conv(net.x)
    other = net.do(SIGMOID, net.conv(net.x))
    assert kinds(check(net, net.do(ops.Binary(ops.BinaryFn.MUL), x, other))) == [
        "conv", "conv", "mul",
    ]  # fmt: skip


def test_moves_merge_and_vanish() -> None:
    net = Net()
    y = net.do(ops.Transpose((0, 2, 3, 1)), net.x)
    y = net.do(ops.Transpose((0, 3, 1, 2)), y)
    y = net.do(ops.Reshape((4, 30)), y)
    y = net.do(ops.Reshape((1, 4, 6, 5)), y)
    y = net.do(ops.Identity(), y)
    graph = check(net, net.do(RELU, y))
    assert kinds(graph) == ["relu"] and graph.notes


def test_an_identity_between_input_and_output_is_a_copy() -> None:
    net = Net()
    assert kinds(check(net, net.do(ops.Identity(), net.x))) == ["identity"]


def test_constants_are_computed() -> None:
    net = Net()
    w = net.do(ops.Transpose((1, 0)), net.array(7, 5))
    w = net.do(ops.Binary(ops.BinaryFn.MUL), w, net.number(2.0))
    graph = check(net, net.do(ops.MatMul(), net.x, w))
    assert kinds(graph) == ["dense"] and len(graph.constants) == 1


def test_dense_rows_follow_the_image_in_memory() -> None:
    net = Net()
    y = net.do(ops.Reshape((1, 6 * 4 * 4)), net.conv(net.x, 6))
    graph = check(net, net.do(ops.Dense(), y, net.array(96, 3), net.array(3)))
    assert kinds(graph) == ["conv", "transpose", "reshape", "dense"]


def test_dead_nodes_go() -> None:
    net = Net()
    net.do(RELU, net.conv(net.x))
    assert kinds(check(net, net.do(SIGMOID, net.x))) == ["sigmoid"]


def quantised(*, act: bool, per_channel: bool) -> Graph:
    """Dequantize, Conv, perhaps ReLU, Quantize, as ONNX's quantiser writes it."""
    net = Net(1, 4, 6, 5)
    net.rounding = Rounding.ONNX
    random = net.random
    x = net.node("qx", ops.Quantize(), ["x"], quants=[Quantization((0.05,), (3,))])[0]
    scales = (
        tuple(np.linspace(0.01, 0.03, 6, dtype=np.float32).tolist()) if per_channel else (0.02,)
    )
    zeros = (0,) * len(scales)
    q = random.integers(-127, 128, (6, 4, 3, 2)).astype(np.int8)
    w = net.constant("w", q, Quantization(scales, zeros, 0 if per_channel else None))
    b = net.constant(
        "b", random.integers(-900, 900, 6).astype(np.int32),
        Quantization(tuple(float(np.float32(0.05 * s)) for s in scales), zeros, 0),
    )  # fmt: skip
    dw = net.do(ops.Transpose((2, 3, 1, 0)), net.do(ops.Dequantize(), w))
    y = net.do(ops.Conv((3, 2)), net.do(ops.Dequantize(), x), dw, net.do(ops.Dequantize(), b))
    y = net.do(RELU, y) if act else y
    y = net.node("qy", ops.Quantize(), [y], quants=[Quantization((0.2,), (-7,))])[0]
    y = net.do(ops.Dequantize(), y)
    y = net.node("qz", ops.Quantize(), [y], quants=[Quantization((0.2,), (-7,))])[0]
    return net.finish([y])


@pytest.mark.parametrize("act", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantised_convolutions_work_on_integers(act: bool, per_channel: bool) -> None:
    graph = quantised(act=act, per_channel=per_channel)
    small = simplify(graph)
    assert kinds(small) == ["quantize", "conv"]
    assert small.values[small.outputs[0]].dtype is Elem.INT8
    inputs = {"x": np.random.default_rng(1).standard_normal((1, 4, 6, 5))}
    want, got = evaluate(graph, inputs)["qz"], evaluate(small, inputs)["qz"]
    assert np.abs(want.astype(int) - got.astype(int)).max() <= 1  # float32 quotients round
    assert (want == got).mean() > 0.98


TAKEN_APART = {
    **{fn: ops.Reduce(ops.ReduceFn(fn), (1, 3), keepdims=kept)
       for fn in ("l1", "l2", "sum_square", "log_sum_exp") for kept in (True,)},
    "log_sum_exp flat": ops.Reduce(ops.ReduceFn.LOG_SUM_EXP, (2,), keepdims=False),
    "l2 flat": ops.Reduce(ops.ReduceFn.L2, (0, 2), keepdims=False),
    "log_softmax": ops.Softmax(1, log=True),
    "log_softmax scaled": ops.Softmax(-1, 0.5, log=True),
    "layer_norm": ops.LayerNorm(-1),
    "layer_norm of two axes": ops.LayerNorm(2, 0.01),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN_APART)
def test_operators_without_a_kernel_are_taken_apart(name: str) -> None:
    net = Net()
    graph = check(net, net.do(TAKEN_APART[name], net.x))
    assert TAKEN_APART[name].kind not in kinds(graph)


@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)])
def test_a_layer_norm_with_its_factors(given: tuple[bool, bool]) -> None:
    net = Net()
    rows = [net.array(net.shape(net.x)[-1]) if one else "" for one in given]
    while not rows[-1]:
        rows.pop()
    graph = check(net, net.do(ops.LayerNorm(-1), net.x, *rows))
    assert "layer_norm" not in kinds(graph)


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("padded", [False, True])
def test_affine_blocks_go_into_the_next_convolution(groups: int, padded: bool) -> None:
    net = Net()
    y = net.do(SIGMOID, net.conv(net.x, 4))
    y = net.do(ops.Binary(ops.BinaryFn.MUL), net.array(4, 1, 1), y)
    y = net.do(ops.Binary(), y, net.array(1))
    pads = ((1, 1), (0, 1)) if padded else ((0, 0), (0, 0))
    a = net.conv(y, 8, groups=groups, pads=pads, bias=False)
    b = net.conv(y, 4, groups=4, pads=pads)
    graph = check(net, a, b)
    assert kinds(graph) == ["conv", *["add"] * padded, "conv", "conv"]


def test_an_affine_block_that_others_read_stays() -> None:
    net = Net()
    y = net.do(ops.Binary(ops.BinaryFn.MUL), net.do(SIGMOID, net.x), net.array(4, 1, 1))
    graph = check(net, net.conv(y), net.do(RELU, y))
    assert kinds(graph) == ["sigmoid", "mul", "conv", "relu"]


def test_a_factor_before_a_dense_layer() -> None:
    net = Net(3, 5)
    y = net.do(ops.Binary(ops.BinaryFn.SUB), net.x, net.array(5))
    y = net.do(ops.Binary(ops.BinaryFn.DIV), y, net.number(3.0))
    graph = check(net, net.do(ops.Dense(), y, net.array(5, 4)))
    assert kinds(graph) == ["dense"]

"""Networks in YAML: what a file means, what is refused, and graphs written and read back."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convgen.errors import SpecError
from convgen.network import ops
from convgen.network.fuse import simplify
from convgen.network.graph import Builder, Elem, Graph, Quantization
from convgen.network.meaning import evaluate
from convgen.network.text import (
    is_network,
    parse_network_file,
    parse_network_mapping,
    parse_network_text,
)
from convgen.network.text.keys import KINDS
from convgen.network.text.layers import LAYERS
from convgen.network.text.write import write_network
from convgen.spec.model import Act, Activation

DIGITS = """\
network: digits
input: 28x28x1
layers:
  - conv: {k: 8, f: 5, act: relu}
  - maxpool: {f: 2, s: 2}
  - conv: {name: skip, k: 16, f: 3, p: 1}
  - conv: {k: 16, f: 3, p: 1}
  - add: {of: [skip, previous], act: relu}
  - avgpool: global
  - dense: {k: 10}
  - softmax
outputs: [softmax]
"""


def shapes(text: str) -> dict[str, tuple[int, ...]]:
    graph = parse_network_text(text, "n.yaml").graph
    return {node.outputs[0]: graph.values[node.outputs[0]].shape for node in graph.nodes}


def mistakes(text: str) -> list[tuple[str, int, str]]:
    """(code, line, message) of everything wrong with a text."""
    with pytest.raises(SpecError) as caught:
        parse_network_text(text, "n.yaml")
    return [(d.code, d.line, d.message) for d in caught.value.diagnostics]


def one(layer: str, top: str = "input: 12x10x6") -> str:
    return f"network: n\n{top}\nlayers:\n  - {layer}\n"


def test_the_contracts_example() -> None:
    assert is_network(DIGITS)
    found = shapes(DIGITS)
    assert found["conv"] == (1, 24, 24, 8) and found["maxpool"] == (1, 12, 12, 8)
    assert found["skip"] == found["conv_2"] == found["add"] == (1, 12, 12, 16)
    assert found["avgpool"] == (1, 1, 1, 16) and found["softmax"] == (1, 10)
    spec = parse_network_text(DIGITS, "n.yaml")
    assert spec.graph.outputs == ("softmax",)
    assert "conv.w" in spec.missing and not spec.sources
    add = spec.graph.producer["add"]
    assert add.inputs == ("skip", "conv_2") and add.op.activation.kind is Act.RELU  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ("conv: {k: 4, f: 3, p: same, s: 2}", (1, 6, 5, 4)),
        ("conv: {k: 6, f: 3x5, g: depthwise}", (1, 10, 6, 6)),
        ("conv: {k: 4, f: 3, p: {before: [1, 0], after: [0, 2]}}", (1, 11, 10, 4)),
        ("transposed: {k: 4, f: 3, s: 2, output_padding: 1, p: 1}", (1, 24, 20, 4)),
        ("maxpool: {f: 3, s: 2, ceil: true}", (1, 6, 5, 6)),
        ("avgpool: 2", (1, 11, 9, 6)),
        ("maxpool: global", (1, 1, 1, 6)),
        ("dense: 7", (1, 7)),
        ("dense: {k: 7, flatten: false}", (1, 12, 10, 7)),
        ("flatten", (1, 720)),
        ("reshape: [1, -1, 6]", (1, 120, 6)),
        ("transpose: [0, 3, 1, 2]", (1, 6, 12, 10)),
        ("resize: {scale: 2}", (1, 24, 20, 6)),
        ("resize: {size: 7x5, mode: linear}", (1, 7, 5, 6)),
        ("pad: [[0, 0], [1, 2], [0, 0], [0, 0]]", (1, 15, 10, 6)),
        ("slice: {axes: [1, 2], starts: [2, -1], ends: [9, 0], steps: [1, -2]}", (1, 7, 5, 6)),
        ("split: {parts: 3}", (1, 12, 10, 2)),
        ("norm: batch", (1, 12, 10, 6)),
        ("norm: {kind: local_response, size: 3}", (1, 12, 10, 6)),
        ("reduce: {fn: max, axes: [1, 2], keep: false}", (1, 6)),
        ("depth_to_space: {block: 1}", (1, 12, 10, 6)),
        ("space_to_depth: 2", (1, 6, 5, 24)),
        ("leaky_relu: 0.2", (1, 12, 10, 6)),
        ("clip: {min: -1}", (1, 12, 10, 6)),
        ("gelu: {approximate: tanh}", (1, 12, 10, 6)),
        ("hard_sigmoid", (1, 12, 10, 6)),
        ("mul: 0.5", (1, 12, 10, 6)),
        ("add: {of: [input, input, input]}", (1, 12, 10, 6)),
        ("gather: {axis: 1, indices: [0, -1]}", (1, 2, 10, 6)),
        ("quantize: 0.1", (1, 12, 10, 6)),
        ("prelu", (1, 12, 10, 6)),
        ("log_softmax: 1", (1, 12, 10, 6)),
        ("tile: [1, 2, 1, 1]", (1, 24, 10, 6)),
        ("concat: {of: [input, input]}", (1, 12, 10, 12)),
    ],
)
def test_shapes(layer: str, shape: tuple[int, ...]) -> None:
    graph = parse_network_text(one(layer), "n.yaml").graph
    assert graph.values[graph.outputs[0]].shape == shape


def test_channels_first_signals_and_volumes() -> None:
    top = "layout: NCHW\ninput: 12x10x6"
    assert shapes(one("conv: {k: 4, f: 3}", top))["conv"] == (1, 4, 10, 8)
    assert shapes(one("conv: {k: 4, f: 9, s: 2}", "input: 131x3"))["conv"] == (1, 62, 4)
    assert shapes(one("maxpool: {f: 2, s: 2}", "input: 16x8x8x3"))["maxpool"] == (1, 8, 4, 4, 3)
    assert shapes(one("dense: 3", "inputs: {x: {shape: [5, 9]}}"))["dense"] == (5, 3)


def test_every_operator_has_a_builder() -> None:
    assert set(KINDS) == set(LAYERS)


def test_several_inputs_names_and_splits() -> None:
    text = """\
network: two
inputs: {left: 8x8x4, right: {size: 8x8x4, batch: 1}}
layers:
  - sub: {of: [left, right], name: diff}
  - split: {sizes: [1, 3]}
  - relu: {of: split.1}
  - mul: {of: [diff, split.0]}
outputs: [relu, mul]
"""
    graph = parse_network_text(text, "n.yaml").graph
    assert graph.inputs == ("left", "right")
    assert graph.values["relu"].shape == (1, 8, 8, 3) and graph.outputs == ("relu", "mul")


def test_weights_of_files_and_generators(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((3, 3, 2, 4)).astype(np.float32)
    arrays: Any = {"conv.w": w, "conv.b": np.ones(4, np.float32)}
    np.savez(tmp_path / "net.npz", **arrays)
    np.savez(tmp_path / "own.npz", w=w[:1, :1, :, :3].transpose(3, 2, 0, 1).copy())
    path = tmp_path / "n.yaml"
    path.write_text(
        "network: n\ninput: 5x5x2\nweights: net.npz\nlayers:\n"
        "  - conv: {k: 4, f: 3}\n"
        "  - conv: {of: input, k: 3, f: 1, weights: own.npz, weight_layout: OIHW, bias: false}\n"
        "  - dense: {k: 2, weights: {init: truncated_normal, stddev: 0.5, seed: 3}}\n",
        encoding="utf-8",
    )
    spec = parse_network_file(path)
    assert not spec.missing
    graph = spec.load()
    np.testing.assert_array_equal(graph.constants["conv.w"], w)
    np.testing.assert_array_equal(graph.constants["conv_2.w"], w[:1, :1, :, :3])
    drawn = graph.constants["dense.w"]
    assert 0.2 < drawn.std() < 0.6 and np.abs(drawn).max() <= 1.0
    assert not graph.constants["dense.b"].any()


@pytest.mark.parametrize("layout", ["HWIO", "OIHW", "OHWI", "IOHW", "HWOI"])
@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_weight_layouts(kind: str, layout: str, tmp_path: Path) -> None:
    """The letters say where each axis of the file is, for layers and networks alike."""
    rng = np.random.default_rng(0)
    into, out = (4, 3) if kind == "transposed" else (2, 6)
    sizes = {"H": 3, "W": 2, "I": into, "O": out}
    array = rng.standard_normal([sizes[letter] for letter in layout]).astype(np.float32)
    np.savez(tmp_path / "w.npz", w=array)
    path = tmp_path / "n.yaml"
    path.write_text(
        f"network: n\ninput: 5x5x4\nlayers:\n  - {kind}: {{name: a, k: 6, f: 3x2, g: 2, "
        f"bias: false, weights: w.npz, weight_layout: {layout}}}\n",
        encoding="utf-8",
    )
    held = parse_network_file(path).load().constants["a.w"]
    plain = array.transpose([layout.index(letter) for letter in "HWIO"])
    assert held.shape == (3, 2, 2, 6)
    if kind == "conv":
        np.testing.assert_array_equal(held, plain)
    else:
        np.testing.assert_array_equal(held[:, :, 1, 4], plain[:, :, 3, 1])


def test_wrong_files_are_told_all_at_once(tmp_path: Path) -> None:
    arrays: Any = {"a.w": np.ones((1, 1, 2, 4), np.float32)}
    np.savez(tmp_path / "net.npz", **arrays)
    path = tmp_path / "n.yaml"
    path.write_text(
        "network: n\ninput: 5x5x2\nweights: net.npz\nlayers:\n"
        "  - conv: {name: a, k: 4, f: 3}\n  - dense: {name: b, k: 2, weights: no.npz}\n",
        encoding="utf-8",
    )
    with pytest.raises(SpecError) as caught:
        parse_network_file(path).load()
    codes = [d.code for d in caught.value.diagnostics]
    assert sorted(codes) == ["E301", "E304", "E306"]


def test_every_mistake_is_told_and_none_twice() -> None:
    text = """\
network: int
input: 28x28x1
wieghts: net.npz
layers:
  - conv: {k: 8, f: 5, act: relux, ff: 3}
  - maxpol: {f: 2, s: 2}
  - conv: {name: skip, k: 16, f: [3, 3], p: 1}
  - conv: {k: 16, f: 3, p: [1, 1, 1, 1]}
  - add: {of: [skip, previou], act: relu}
  - avgpool: globl
  - dense: {kk: 10}
  - softmax
  - conv: {k: 3, f: 3, s: 2, of: input}
  - conv: {k: 3, f: 30, of: input}
  - concat: {of: [input, later]}
  - conv: {name: later, k: 3, g: 2, f: 1, of: input}
  - 3
  - sub: {of: [input, input, input]}
outputs: [softmx]
"""
    assert [(code, line) for code, line, _ in mistakes(text)] == [
        ("E131", 1), ("E101", 3), ("E120", 5), ("E101", 5), ("E501", 6), ("E118", 8),
        ("E503", 9), ("E119", 10), ("E101", 11), ("E202", 13), ("E201", 14), ("E503", 15),
        ("E203", 16), ("E502", 17), ("E504", 18), ("E503", 19),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("network: n\nlayers: [softmax]\n", "E505"),
        ("network: n\ninput: 2x2x2\ninputs: {a: 2x2x2}\nlayers: [softmax]\n", "E505"),
        ("network: n\ninputs: {a: 4x4x2, b: 4x4x2}\nlayers: [softmax]\n", "E503"),
        ("network: n\ninput: 4x4x2\n", "E103"),
        ("network: n\ninput: 4x4x2\nlayers: []\n", "E140"),
        (one("conv: {k: 3}"), "E103"),
        (one("conv: {k: 3, f: 1, name: previous}"), "E506"),
        (one("conv: {k: 3, f: 1, name: input}"), "E142"),
        (one("conv: {k: 3, f: 1, input: 3x3x3}"), "E101"),
        (one("relu: 3"), "E502"),
        (one("dense: 16777216", "input: 4096x4096x3"), "E504"),
        (one("resize: {scale: 100000}"), "E205"),
        (one("relu", "{input: {size: 4x4x2, dtype: int8}}"), "E004"),
        (one("relu", "input: {size: 4x4x2, dtype: int8}"), "E401"),
        (one("conv: {k: 3, f: 1}", "input: {size: 4x4x2, dtype: int8, quant: {scale: 1}}"), "E401"),
        (one("relu", "input: {size: 4x4x2, quant: {scale: 0}}"), "E404"),
        (one("reshape: [7, -1]"), "E504"),
        (one("add"), "E504"),
        (one("add: {by: [1, 2]}"), "E504"),
        (one("clip"), "E123"),
        (one("split: {parts: 5}"), "E504"),
        (one("transpose: [0, 1]"), "E504"),
        (one("where: {of: [input, input, input]}"), "E504"),
    ],
)
def test_mistakes(text: str, code: str) -> None:
    found = mistakes(text)
    assert [entry[0] for entry in found] == [code], found


def test_a_mapping_has_the_same_meaning() -> None:
    data = {
        "network": "m",
        "input": [8, 8, 3],
        "weights": {"init": "truncated_normal", "stddev": 0.1},
        "layers": [{"conv": {"k": 4, "f": 3}}, "softmax"],
    }
    graph = parse_network_mapping(data).load()
    assert graph.values["softmax"].shape == (1, 6, 6, 4)
    with pytest.raises(SpecError, match=r"layers\[0\].conv.k"):
        parse_network_mapping(data | {"layers": [{"conv": {"k": "x", "f": 3}}]})


def again(graph: Graph, folder: Path) -> Graph:
    """The graph written and read back."""
    written = write_network(graph, "net.npz")
    np.savez(folder / "net.npz", **written.arrays)  # type: ignore[arg-type]
    path = folder / "net.yaml"
    path.write_text(written.text, encoding="utf-8")
    spec = parse_network_file(path)
    assert not spec.missing
    return spec.load()


def held(graph: Graph, folder: Path) -> None:
    """Do both graphs compute the same values?"""
    copy = again(graph, folder)
    assert copy.inputs == graph.inputs and len(copy.outputs) == len(graph.outputs)
    rng = np.random.default_rng(0)
    inputs = {}
    for name in graph.inputs:
        value = graph.values[name]
        real = value.dtype.is_float
        inputs[name] = (
            rng.standard_normal(value.shape) if real else rng.integers(-9, 9, value.shape)
        ).astype(str(value.dtype))
    want, got = evaluate(graph, inputs), evaluate(copy, inputs)
    for one_name, two_name in zip(graph.outputs, copy.outputs, strict=True):
        np.testing.assert_array_equal(got[two_name], want[one_name])
    assert write_network(copy, "net.npz").text == write_network(copy, "net.npz").text


class Net(Builder):
    def __init__(self, *shape: int, last: bool = True) -> None:
        super().__init__("net")
        self.random = np.random.default_rng(0)
        self.last = last
        self.x = self.input("a / b: [c]", shape, Elem.FLOAT32)

    def array(self, *shape: int) -> str:
        array = self.random.standard_normal(shape).astype(np.float32)
        return self.constant(f"c{len(self.constants)}", array)

    def do(self, op: Any, *inputs: str) -> str:
        return self.node(f"n{len(self.nodes)}", op, inputs, [f"v/{len(self.nodes)}"])[0]


HIGH = Activation(Act.CLIP, high=2.0)
ONE = (1, 1)
OPERATORS: list[tuple[Any, tuple[tuple[int, ...], ...]]] = [
    (ops.Conv((3, 2), (2, 1), ((1, 0), (0, 1)), (1, 2), True, groups=2), ((3, 2, 2, 6), (6,))),
    (ops.Conv(ONE, channels_last=True, activation=HIGH), ((1, 1, 4, 3),)),
    (
        ops.ConvTransposed((2, 3), (2, 2), ((0, 0), (1, 1)), ONE, True, output_padding=(1, 0)),
        ((2, 3, 4, 5), (5,)),
    ),
    (ops.ConvTransposed((2, 2), (2, 2), channels_last=True, groups=2), ((2, 2, 2, 6), (6,))),
    (ops.MaxPool((3, 3), (2, 2), ((1, 1), (0, 1)), (1, 1), True, ceil=True), ()),
    (ops.AvgPool((2, 2), (1, 1), ((1, 0), (0, 0)), (1, 1), True, include_pad=True), ()),
    (ops.Dense(Activation(Act.RELU6)), ((4, 3), (3,))),
    (ops.Binary(ops.BinaryFn.MUL, Activation(Act.RELU)), ((4,),)),
    (ops.Binary(ops.BinaryFn.SUB), ((1, 1, 4),)),
    (ops.PRelu(), ((4,),)),
    (ops.BatchNorm(3, 1e-3), ((4,), (4,), (4,), (4,))),
    (ops.LayerNorm(-1, 1e-4), ((4,), (4,))),
    (ops.LayerNorm(2), ((5, 4),)),
    (ops.LocalResponseNorm(3, 0.2, 0.5, 2.0, 3), ()),
    (ops.Softmax(-1, 0.5), ()),
    (ops.Softmax(1, log=True), ()),
    (ops.Reduce(ops.ReduceFn.L2, (1, 2), keepdims=False), ()),
    (ops.Pad(((0, 0), (1, 0), (0, 2), (0, 0)), ops.PadMode.REFLECT), ()),
    (ops.Pad(((0, 0), (1, 0), (0, 2), (0, 0)), value=-1.5), ()),
    (ops.sliced((1, 6, 5, 4), [4, -1], [0, -9], [1, 3], [-2, -1]), ()),
    (ops.Resize((1, 9, 10, 4), (), ops.ResizeMode.LINEAR, ops.Coordinates.ALIGN_CORNERS), ()),
    (ops.Resize((1, 12, 10, 4), (1.0, 2.0, 2.0, 1.0), nearest=ops.Nearest.FLOOR), ()),
    (ops.Reshape((6, 20)), ()),
    (ops.Transpose((0, 3, 1, 2)), ()),
    (ops.DepthToSpace(2, True, True), ()),
    (ops.Tile((1, 2, 1, 1)), ()),
    (ops.Activate(Activation(Act.LEAKY_RELU, alpha=0.25)), ()),
    (ops.Activate(Activation(Act.GELU_TANH)), ()),
    (ops.Unary(ops.UnaryFn.SELU, 1.5, 0.0, 1.25), ()),
    (ops.Unary(ops.UnaryFn.ERF), ()),
    (ops.Identity(), ()),
]


@pytest.mark.parametrize("case", OPERATORS, ids=lambda case: case[0].kind)
def test_operators_written_and_read_back(case: Any, tmp_path: Path) -> None:
    op, shapes_of = case
    net = Net(1, 6, 5, 4)
    y = net.do(op, net.x, *(net.array(*shape) for shape in shapes_of))
    held(net.finish([y]), tmp_path)


def test_graphs_written_and_read_back(tmp_path: Path) -> None:
    net = Net(1, 4, 6, 5, last=False)
    y = net.do(ops.Conv((3, 3), groups=2), net.x, net.array(3, 3, 2, 6))
    a, b = net.node("s", ops.Split(1, (2, 4)), [y], ["s a", "s b"])
    z = net.do(ops.Concat(1), b, a, b)
    bias = net.array(10, 1, 1)
    index = net.constant("i", np.array([[2, 0], [1, 3]], np.int64))
    y = net.do(ops.Binary(), z, bias)
    held(net.finish([net.do(ops.Gather(1), y, index), y, a]), tmp_path)


def test_integers_written_and_read_back(tmp_path: Path) -> None:
    net = Builder("q")
    x = net.input("x", (1, 5, 5, 3), Elem.INT8, Quantization((0.1,), (4,)))
    rng = np.random.default_rng(1)
    scales = tuple(float(np.float32(0.01 * (i + 1))) for i in range(4))
    w = rng.integers(-127, 128, (3, 3, 3, 4)).astype(np.int8)
    w_name = net.constant("w", w, Quantization(scales, (0,) * 4, 3))
    b_name = net.constant("b", rng.integers(-99, 99, 4).astype(np.int32))
    op = ops.Conv((3, 3), channels_last=True, activation=Activation(Act.RELU))
    (y,) = net.node("y", op, [x, w_name, b_name], quants=[Quantization((0.3,), (-9,))])
    (p,) = net.node("p", ops.MaxPool((2, 2), channels_last=True), [y], quants=[net.values[y].quant])
    (s,) = net.node("s", ops.Softmax(), [p], quants=[Quantization((1 / 256,), (-128,))])
    (r,) = net.node("r", ops.Dequantize(), [s])
    held(net.finish([s, r]), tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_networks_are_refused_or_read(seed: int) -> None:
    """Characters lost, doubled or swapped: a typed error, or a network."""
    rng = random.Random(seed)
    for _ in range(60):
        text = list(DIGITS)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(3)] = rng.choice(["", "x", "0", ": ", "[", "}", "\n  - "])
        try:
            simplify(parse_network_text("".join(text), "n.yaml").graph)
        except SpecError as error:
            assert error.diagnostics


def test_the_schema_for_editors() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    import yaml

    from convgen.network.text.schema import network_schema

    jsonschema.Draft7Validator.check_schema(network_schema())
    good = jsonschema.Draft7Validator(network_schema()).is_valid
    assert good(yaml.safe_load(DIGITS))
    assert good(yaml.safe_load(one("split: {parts: 3}", "inputs: {a: {size: 4x4x3}}")))
    for text in (
        one("maxpol: {f: 2}"),
        one("conv: {k: 3}"),
        one("conv: {k: 3, f: 1, stirde: 2}"),
        one("relu: 3"),
        one("softmax", "input: 3x3x3\ninputs: {a: 3x3x3}"),
        "network: n\ninput: 3x3x3\n",
    ):
        assert not good(yaml.safe_load(text)), text

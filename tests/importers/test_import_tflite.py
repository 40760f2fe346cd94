"""TFLite models as graphs: each operator in float and int8, against LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tflite", reason="the tflite package writes the models")
pytest.importorskip("flatbuffers", reason="flatbuffers writes the models")

from in_process import graph_of, outputs, translated
from tflite_models import Op, Tensor, constant, model

from convgen.importers.refusal import ModelError
from convgen.network.graph import Graph
from convgen.network.meaning import evaluate

MODELS = next(
    (
        found
        for p in Path(__file__).resolve().parents
        if (found := p / "shared" / "models").is_dir()
    ),
    Path("shared/models"),
)
SAME, VALID = 0, 1
RNG = np.random.default_rng


def interpreter(content: bytes) -> Any:
    """LiteRT's, with its reference kernels; skips where the package is missing."""
    litert = pytest.importorskip(
        "ai_edge_litert.interpreter", reason="ai-edge-litert has the reference kernels"
    )
    return litert.Interpreter(
        model_content=content,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )


def drawn(details: Mapping[str, Any], seed: int = 0) -> np.ndarray:
    """Inputs over the whole range of the type."""
    shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
    if dtype.kind == "f":
        return (RNG(seed).standard_normal(shape) * 3).astype(dtype)
    info = np.iinfo(dtype)
    return RNG(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def same_as_litert(content: bytes, *, tolerance: float = 1e-4) -> Graph:
    """Every tensor of the file that the graph still has is the same; the graph."""
    graph = graph_of(content, "TFLite")
    peer = interpreter(content)
    peer.allocate_tensors()
    arrays = {}
    for at, details in enumerate(peer.get_input_details()):
        arrays[details["name"]] = drawn(details, at)
        peer.set_tensor(details["index"], arrays[details["name"]])
    peer.invoke()
    values = evaluate(graph, {name: arrays[name] for name in graph.inputs})
    made = {name for node in graph.nodes for name in node.outputs}
    compared = 0
    for details in peer.get_tensor_details():
        if details["name"] in made:
            compared += 1
            _equal(values[details["name"]], peer.get_tensor(details["index"]), tolerance)
    assert compared >= 1
    return graph


def _equal(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    assert found.shape == wanted.shape
    if wanted.dtype.kind == "f":
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        assert np.abs(found - wanted).max(initial=0) <= tolerance * scale
    else:
        assert np.array_equal(found, wanted)


def quant(dtype: str, scale: float = 0.05, zero: int = 3) -> dict[str, Any]:
    """The meaning of an activation of this type."""
    if dtype == "float32":
        return {"dtype": dtype}
    return {"dtype": dtype, "scale": [scale], "zero": [zero]}


FIRST = frozenset(  # operators that int8 gave no new version
    {
        "RELU_N1_TO_1",
        "HARD_SWISH",
        "ELU",
        "LEAKY_RELU",
        "PRELU",
        "RESHAPE",
        "SQUEEZE",
        "EXPAND_DIMS",
    }
)


def one(
    op: str,
    shapes: Sequence[Sequence[int]],
    out: Sequence[int],
    options: tuple[str, Mapping[str, Any]] | None = None,
    *,
    dtype: str = "float32",
    constants: Sequence[Tensor] = (),
    version: int = 2,
    y_quant: Mapping[str, Any] | None = None,
    order: Sequence[str] | None = None,
) -> bytes:
    """A model of one operator with the inputs x0, x1, ... and then the constants."""
    xs = [
        Tensor(f"x{at}", shape, **quant(dtype, 0.05 + 0.01 * at, 3 - 7 * at))
        for at, shape in enumerate(shapes)
    ]
    y = Tensor("y", out, **(y_quant or quant(dtype, 0.07, -5)))
    names = order or [t.name for t in (*xs, *constants)]
    version = 1 if op in FIRST else version
    given = [t.name for t in xs]
    return model([*xs, *constants, y], [Op(op, names, ["y"], options, version)], given, ["y"])


def weights(
    shape: Sequence[int], dtype: str, channels: int, axis: int, x_scale: float = 0.05
) -> tuple[Tensor, Tensor]:
    """w and b of a layer, with a scale per channel when they are integers."""
    if dtype == "float32":
        w = RNG(1).standard_normal(shape).astype(np.float32)
        return constant("w", w), constant("b", RNG(2).standard_normal(channels).astype(np.float32))
    scales = (RNG(3).random(channels) * 0.01 + 0.001).astype(np.float32)
    w = RNG(1).integers(-127, 128, shape).astype(np.int8)
    b = RNG(2).integers(-3000, 3000, channels).astype(np.int32)
    meaning = {"scale": scales, "axis": axis}
    return constant("w", w, **meaning), constant("b", b, scale=scales * np.float32(x_scale))


def window(padding: int, h: int = 2, w: int = 1, act: int = 0, **more: Any) -> dict[str, Any]:
    fields = {"Padding": padding, "StrideH": h, "StrideW": w, "FusedActivationFunction": act}
    return fields | more


def size(n: int, k: int, s: int, padding: int) -> int:
    return -(-n // s) if padding == SAME else (n - k) // s + 1


both = pytest.mark.parametrize("dtype", ["float32", "int8"])


@both
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("act", [0, 1, 2, 3])
def test_convolutions(dtype: str, padding: int, act: int) -> None:
    """SAME with the odd element at the end: 10 rows by 2 with 3 taps take 0 + 1."""
    out = (1, size(10, 3, 2, padding), size(7, 2, 1, padding), 5)
    w = weights((5, 3, 2, 4), dtype, 5, 0)
    options = ("Conv2D", window(padding, act=act, DilationHFactor=1, DilationWFactor=1))
    same_as_litert(one("CONV_2D", [(1, 10, 7, 4)], out, options, dtype=dtype, constants=w))


@both
@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("multiplier", [1, 3])
def test_depthwise_convolutions_have_weights_1hwc(
    dtype: str, padding: int, multiplier: int
) -> None:
    oc = 4 * multiplier
    out = (1, size(10, 3, 2, padding), size(7, 2, 2, padding), oc)
    w = weights((1, 3, 2, oc), dtype, oc, 3)
    fields = window(padding, 2, 2, 1, DepthMultiplier=multiplier)
    fields |= {"DilationHFactor": 1, "DilationWFactor": 1}
    options = ("DepthwiseConv2D", fields)
    graph = same_as_litert(
        one("DEPTHWISE_CONV_2D", [(1, 10, 7, 4)], out, options, dtype=dtype, constants=w)
    )
    assert graph.nodes[0].op.groups == 4


@both
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_transposed_convolutions(dtype: str, padding: int) -> None:
    out = (1, 10, 12, 5) if padding == SAME else (1, 12, 15, 5)
    w, _ = weights((5, 4, 3, 4), dtype, 5, 0)
    shape = constant("shape", np.array(out, np.int32))
    options = ("TransposeConv", {"Padding": padding, "StrideH": 2, "StrideW": 3})
    same_as_litert(
        one(
            "TRANSPOSE_CONV",
            [(1, 5, 4, 4) if padding == SAME else (1, 5, 5, 4)],
            out,
            options,
            dtype=dtype,
            constants=[shape, w],
            order=["shape", "w", "x0"],
        )
    )


@both
@pytest.mark.parametrize("keep", [False, True])
def test_dense_layers_of_any_rank(dtype: str, keep: bool) -> None:
    w, b = weights((5, 12), dtype, 1 if dtype == "int8" else 5, 0)
    if dtype == "int8":
        b = constant("b", np.arange(5, dtype=np.int32), scale=b.scale)
    out = (2, 3, 5) if keep else (6, 5)
    options = ("FullyConnected", {"KeepNumDims": keep, "FusedActivationFunction": 1})
    content = one(
        "FULLY_CONNECTED", [(2, 3, 12)], out, options, dtype=dtype, constants=[w, b], version=4
    )
    same_as_litert(content)


@both
@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_pools(dtype: str, op: str, padding: int) -> None:
    out = (1, size(9, 3, 2, padding), size(8, 2, 2, padding), 4)
    options = ("Pool2D", window(padding, 2, 2, 3, FilterHeight=3, FilterWidth=2))
    meaning = quant(dtype, 0.05, 3)
    same_as_litert(one(op, [(1, 9, 8, 4)], out, options, dtype=dtype, y_quant=meaning))


@both
@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("act", [0, 1, 3])
@pytest.mark.parametrize("second", [(1, 5, 4, 3), (3,), (1, 1, 1, 1)], ids=str)
def test_arithmetic_with_broadcasting(
    dtype: str, op: str, act: int, second: tuple[int, ...]
) -> None:
    options = (op.capitalize(), {"FusedActivationFunction": act})
    shape = (1, 5, 4, 3)
    same_as_litert(one(op, [shape, second], shape, options, dtype=dtype))


@both
@pytest.mark.parametrize("op", ["MAXIMUM", "MINIMUM"])
def test_extremes(dtype: str, op: str) -> None:
    shape = (1, 5, 4, 3)
    meaning = quant(dtype, 0.05, 3)
    xs = [Tensor(name, shape, **meaning) for name in ("a", "b")]
    y = Tensor("y", shape, **meaning)
    options = ("MaximumMinimum", {})
    op_ = Op(op, ["a", "b"], ["y"], options, 2)
    same_as_litert(model([*xs, y], [op_], ["a", "b"], ["y"]))


@both
@pytest.mark.parametrize(
    "op", ["RELU", "RELU6", "RELU_N1_TO_1", "LOGISTIC", "TANH", "HARD_SWISH", "ABS"]
)
def test_activations(dtype: str, op: str) -> None:
    if dtype == "int8" and op == "ABS":
        pytest.skip("of integers it is no part of the first three tiers")
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
    meaning = quant(dtype, *fixed.get(op, (0.07, -5)))
    shape = (1, 5, 4, 16)
    same_as_litert(one(op, [shape], shape, dtype=dtype, y_quant=meaning))


@both
def test_leaky_relu_and_prelu(dtype: str) -> None:
    shape = (1, 5, 4, 3)
    options = ("LeakyRelu", {"Alpha": 0.2})
    same_as_litert(one("LEAKY_RELU", [shape], shape, options, dtype=dtype))
    slope = np.array([[[0.1, 0.2, 0.3]]], np.float32)
    held = constant("slope", slope)
    if dtype == "int8":
        held = constant("slope", (slope * 100).astype(np.int8), scale=[0.01])
    same_as_litert(one("PRELU", [shape], shape, dtype=dtype, constants=[held]))


@both
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_softmax(dtype: str, beta: float) -> None:
    meaning = quant(dtype, 1 / 256, -128)
    options = ("Softmax", {"Beta": beta})
    same_as_litert(one("SOFTMAX", [(3, 10)], (3, 10), options, dtype=dtype, y_quant=meaning))


@both
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("axes", [[1, 2], [-1], [1]], ids=str)
def test_means(dtype: str, keep: bool, axes: list[int]) -> None:
    shape = (1, 5, 4, 3)
    gone = {a % 4 for a in axes}
    out = [1 if a in gone else n for a, n in enumerate(shape) if keep or a not in gone]
    held = constant("axes", np.array(axes, np.int32))
    options = ("Reducer", {"KeepDims": keep})
    same_as_litert(one("MEAN", [shape], out, options, dtype=dtype, constants=[held]))


@both
@pytest.mark.parametrize("corners,half", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("op", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("to", [(9, 13), (3, 4)], ids=str)
def test_resizes(dtype: str, corners: bool, half: bool, op: str, to: tuple[int, int]) -> None:
    kind = "ResizeBilinear" if op == "RESIZE_BILINEAR" else "ResizeNearestNeighbor"
    options = (kind, {"AlignCorners": corners, "HalfPixelCenters": half})
    held = constant("size", np.array(to, np.int32))
    meaning = quant(dtype, 0.05, 3)
    content = one(
        op, [(1, 5, 7, 3)], (1, *to, 3), options, dtype=dtype, constants=[held], y_quant=meaning
    )
    same_as_litert(content)


MOVES: dict[str, tuple[str, tuple[int, ...], Any, list[np.ndarray]]] = {
    "reshape": ("RESHAPE", (1, 60), ("Reshape", {"NewShape": [1, 60]}), [np.array([1, -1])]),
    "squeeze": ("SQUEEZE", (5, 4, 3), ("Squeeze", {"SqueezeDims": [0]}), []),
    "transpose": ("TRANSPOSE", (1, 3, 4, 5), ("Transpose", {}), [np.array([0, 3, 2, 1])]),
    "expand": ("EXPAND_DIMS", (1, 5, 1, 4, 3), ("ExpandDims", {}), [np.array([2])]),
    "pad": ("PAD", (1, 8, 4, 4), ("Pad", {}), [np.array([[0, 0], [1, 2], [0, 0], [0, 1]])]),
    "mirror": ("MIRROR_PAD", (1, 8, 4, 3), ("MirrorPad", {"Mode": 0}),
               [np.array([[0, 0], [1, 2], [0, 0], [0, 0]])]),
    "symmetric": ("MIRROR_PAD", (1, 8, 4, 3), ("MirrorPad", {"Mode": 1}),
                  [np.array([[0, 0], [1, 2], [0, 0], [0, 0]])]),
    "slice": ("SLICE", (1, 3, 4, 2), ("Slice", {}),
              [np.array([0, 2, 0, 1]), np.array([1, 3, -1, -1])]),
    "strided": ("STRIDED_SLICE", (1, 2, 4, 3),
                ("StridedSlice", {"BeginMask": 1, "EndMask": 9}),
                [np.array([0, 4, 0, -3]), np.array([1, 0, 4, 0]), np.array([1, -2, 1, 1])]),
    "shrunk": ("STRIDED_SLICE", (1, 4, 3), ("StridedSlice", {"ShrinkAxisMask": 2}),
               [np.array([0, -2, 0, 0]), np.array([1, 0, 4, 3]), np.array([1, 1, 1, 1])]),
    "gather": ("GATHER", (1, 5, 2, 3), ("Gather", {"Axis": 2}), [np.array([3, 0])]),
    "tile": ("TILE", (1, 10, 4, 3), ("Tile", {}), [np.array([1, 2, 1, 1])]),
}  # fmt: skip


@both
@pytest.mark.parametrize("name", MOVES)
def test_moves(dtype: str, name: str) -> None:
    op, out, options, held = MOVES[name]
    tensors = [constant(f"c{at}", a.astype(np.int32)) for at, a in enumerate(held)]
    meaning = quant(dtype, 0.05, 3)
    same_as_litert(
        one(op, [(1, 5, 4, 3)], out, options, dtype=dtype, constants=tensors, y_quant=meaning)
    )


@both
@pytest.mark.parametrize("op", ["DEPTH_TO_SPACE", "SPACE_TO_DEPTH"])
def test_depth_and_space(dtype: str, op: str) -> None:
    out = (1, 8, 12, 2) if op == "DEPTH_TO_SPACE" else (1, 2, 3, 32)
    kind = "DepthToSpace" if op == "DEPTH_TO_SPACE" else "SpaceToDepth"
    meaning = quant(dtype, 0.05, 3)
    options = (kind, {"BlockSize": 2})
    same_as_litert(one(op, [(1, 4, 6, 8)], out, options, dtype=dtype, y_quant=meaning, version=1))


@both
def test_concatenation_and_split(dtype: str) -> None:
    meaning = quant(dtype)
    tensors = [
        Tensor("a", (1, 4, 4, 2), **meaning),
        Tensor("b", (1, 4, 4, 6), **meaning),
        Tensor("whole", (1, 4, 4, 8), **meaning),
        constant("axis", np.array([3], np.int32)),
        Tensor("p", (1, 4, 4, 4), **meaning),
        Tensor("q", (1, 4, 4, 4), **meaning),
    ]
    ops = [
        Op("CONCATENATION", ["a", "b"], ["whole"], ("Concatenation", {"Axis": -1}), 2),
        Op("SPLIT", ["axis", "whole"], ["p", "q"], ("Split", {"NumSplits": 2}), 2),
    ]
    same_as_litert(model(tensors, ops, ["a", "b"], ["p", "q"]))


@both
def test_pack_and_unpack(dtype: str) -> None:
    meaning = quant(dtype)
    tensors = [
        *(Tensor(name, (2, 3), **meaning) for name in ("a", "b", "p", "q", "r")),
        Tensor("whole", (2, 2, 3), **meaning),
    ]
    ops = [
        Op("PACK", ["a", "b"], ["whole"], ("Pack", {"ValuesCount": 2, "Axis": 1}), 2),
        Op("UNPACK", ["whole"], ["p", "q", "r"], ("Unpack", {"Num": 3, "Axis": 2}), 2),
    ]
    for name in "pqr":
        tensors = [t if t.name != name else Tensor(name, (2, 2), **meaning) for t in tensors]
    same_as_litert(model(tensors, ops, ["a", "b"], ["p", "q", "r"]))


def test_quantise_requantise_dequantise() -> None:
    tensors = [
        Tensor("x", (4, 64)),
        Tensor("q", (4, 64), **quant("int8", 0.05, 3)),
        Tensor("r", (4, 64), **quant("int8", 0.03, -20)),
        Tensor("u", (4, 64), **quant("uint8", 0.03, 108)),
        Tensor("y", (4, 64)),
    ]
    ops = [
        Op("QUANTIZE", ["x"], ["q"], ("Quantize", {})),
        Op("QUANTIZE", ["q"], ["r"], ("Quantize", {}), 2),
        Op("QUANTIZE", ["r"], ["u"], ("Quantize", {}), 2),
        Op("DEQUANTIZE", ["u"], ["y"], ("Dequantize", {}), 2),
    ]
    same_as_litert(model(tensors, ops, ["x"], ["y"]))


def test_half_precision_weights_are_dequantised() -> None:
    w = RNG(1).standard_normal((5, 3, 2, 4)).astype(np.float16)
    tensors = [
        Tensor("x", (1, 10, 7, 4)),
        constant("w16", w),
        Tensor("w", w.shape),
        constant("b", np.zeros(5, np.float32)),
        Tensor("y", (1, 8, 6, 5)),
    ]
    ops = [
        Op("DEQUANTIZE", ["w16"], ["w"], ("Dequantize", {}), 3),
        Op("CONV_2D", ["x", "w", "b"], ["y"], ("Conv2D", window(VALID, 1))),
    ]
    content = model(tensors, ops, ["x"], ["y"])
    graph = same_as_litert(content)
    assert [n.op.kind for n in graph.nodes] == ["conv"]
    rows = translated(content, "TFLite").rows
    assert [(r.op, r.outcome) for r in rows] == [("DEQUANTIZE", "folded"), ("CONV_2D", "taken")]


def test_shapes_computed_by_operators_are_folded() -> None:
    """What TensorFlow writes for ``tf.reshape(x, [tf.shape(x)[0], -1])`` and the like."""
    tensors = [
        Tensor("x", (2, 3, 4)),
        Tensor("shape", (3,), "int32"),
        *(constant(n, np.array([v], np.int32)) for n, v in (("b", 0), ("e", 1), ("s", 1))),
        Tensor("n", (), "int32"),
        constant("six", np.array(6, np.int32)),
        Tensor("twelve", (), "int32"),
        Tensor("to", (2,), "int32"),
        Tensor("y", (2, 12)),
    ]
    ops = [
        Op("SHAPE", ["x"], ["shape"], ("Shape", {"OutType": 2})),
        Op(
            "STRIDED_SLICE",
            ["shape", "b", "e", "s"],
            ["n"],
            ("StridedSlice", {"ShrinkAxisMask": 1}),
        ),
        Op("MUL", ["n", "six"], ["twelve"], ("Mul", {})),
        Op("PACK", ["n", "twelve"], ["to"], ("Pack", {"ValuesCount": 2, "Axis": 0})),
        Op("RESHAPE", ["x", "to"], ["y"], ("Reshape", {})),
    ]
    content = model(tensors, ops, ["x"], ["y"])
    graph = same_as_litert(content)
    assert [n.op.kind for n in graph.nodes] == ["reshape"]
    assert [row.outcome for row in translated(content, "TFLite").rows] == ["folded"] * 4 + ["taken"]


def test_tensors_without_names_and_with_the_same_name() -> None:
    """Names in the file only help people: places tell tensors apart."""
    tensors = [Tensor("aa", (2, 3)), Tensor("bb", (2, 3)), Tensor("cc", (2, 3))]
    ops = [Op("RELU", ["aa"], ["bb"]), Op("ABS", ["bb"], ["cc"])]
    content = model(tensors, ops, ["aa"], ["cc"])
    for name in (b"bb", b"cc"):
        content = content.replace(name + b"\0", b"aa\0")
    graph = graph_of(content, "TFLite")
    assert [graph.inputs, graph.outputs] == [("aa#0",), ("aa#2",)]


def test_an_open_batch_takes_the_size_in_the_file_or_that_of_shape() -> None:
    tensors = [
        Tensor("x", (1, 6), signature=(-1, 6)),
        Tensor("y", (1, 6), signature=(-1, 6)),
    ]
    content = model(tensors, [Op("RELU", ["x"], ["y"])], ["x"], ["y"])
    graph = graph_of(content, "TFLite")
    assert graph.values["y"].shape == (1, 6) and "--shape" in graph.notes[0]
    assert graph_of(content, "TFLite", x=(4, 6)).values["y"].shape == (4, 6)
    with pytest.raises(ModelError, match="M011"):
        graph_of(content, "TFLite", x=(4, 7))


STATEFUL = [
    Op("VAR_HANDLE", [], ["h"], ("VarHandle", {})),
    Op("READ_VARIABLE", ["h"], ["s"], ("ReadVariable", {})),
    Op("ADD", ["x", "s"], ["y"], ("Add", {})),
    Op("ASSIGN_VARIABLE", ["h", "y"], [], ("AssignVariable", {})),
]


def test_what_cannot_be_taken_is_told_at_once() -> None:
    tensors = [
        Tensor("x", (1, 6)),
        Tensor("h", (), "int32"),
        Tensor("s", (1, 6)),
        Tensor("y", (1, 6)),
        Tensor("z", (1, 6)),
    ]
    ops = [*STATEFUL, Op("CUSTOM", ["y"], ["z"], custom="MaxUnpool")]
    done = translated(model(tensors, ops, ["x"], ["z"]), "TFLite")
    assert done.graph is None
    assert [(r.code, r.op) for r in done.refused] == [
        ("M024", "VAR_HANDLE"),
        ("M024", "READ_VARIABLE"),
        ("M020", "MaxUnpool"),
    ]
    assert all("--cut" in r.advice for r in done.refused)


@pytest.mark.parametrize("name", sorted(p.name for p in MODELS.glob("*.tflite")) or ["none"])
def test_real_models(name: str) -> None:
    """int8: the bytes of LiteRT's reference kernels at every tensor; float within 1e-4."""
    if not (MODELS / name).is_file():
        pytest.skip(f"no model files in {MODELS.name}")
    content = (MODELS / name).read_bytes()
    graph = graph_of(content, "TFLite")
    # LiteRT quantises the activations of such layers anew in every call: coarser than the model.
    hybrid = any("made float32" in note for note in graph.notes)
    same_as_litert(content, tolerance=0.1 if hybrid else 1e-4)


def test_the_graph_keeps_float_results_without_litert() -> None:
    """One layer by hand, so that something is held where LiteRT is missing."""
    w = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    tensors = [
        Tensor("x", (1, 1, 2, 3)),
        constant("w", w),
        constant("b", np.array([1], np.float32)),
        Tensor("y", (1, 1, 1, 1)),
    ]
    op = Op("CONV_2D", ["x", "w", "b"], ["y"], ("Conv2D", window(VALID, 1)))
    graph = graph_of(model(tensors, [op], ["x"], ["y"]), "TFLite")
    (y,) = outputs(graph, {"x": np.ones((1, 1, 2, 3), np.float32)})
    assert y.reshape(-1).tolist() == [16]

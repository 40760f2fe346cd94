"""ONNX models as graphs: the traps of the format, each against ONNX's reference implementation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the onnx package writes the models")

from in_process import graph_of, outputs, translated  # noqa: E402
from onnx_models import model, node, random, reference  # noqa: E402

from convgen.importers.refusal import ModelError  # noqa: E402

X = {"x": [1, 4, 9, 8]}


def same_values(proto: Any, arrays: Mapping[str, np.ndarray], expected: Any = None) -> Any:
    """The graph gives what ONNX's reference (or ``expected``) does; the graph."""
    wanted = reference(proto, arrays) if expected is None else expected
    graph = graph_of(proto.SerializeToString(), "ONNX")
    for found, want in zip(outputs(graph, arrays), wanted, strict=True):
        assert found.shape == want.shape
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    return graph


def one(op: str, *more: str, opset: int = 21, constants: Any = None, **attributes: Any) -> Any:
    """A model of one node with the input x and the output y."""
    return model([node(op, ["x", *more], ["y"], **attributes)], X, ["y"], constants, opset=opset)


W = {"w": random(6, 4, 3, 3, seed=1), "b": random(6, seed=2)}


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21, onnx.defs.onnx_opset_version()])
def test_conv_in_every_operator_set(opset: int) -> None:
    same_values(
        one("Conv", "w", "b", opset=opset, constants=W, pads=[1, 0, 2, 1], strides=[2, 1]),
        {"x": random(1, 4, 9, 8)},
    )


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_auto_pad(op: str, auto: str) -> None:
    attributes: dict[str, Any] = {"auto_pad": auto, "strides": [2, 3], "kernel_shape": [3, 2]}
    if op == "Conv":
        w = {"w": random(6, 4, 3, 2, seed=1)}
        same_values(one(op, "w", constants=w, **attributes), {"x": random(1, 4, 9, 8)})
        return
    # 9 rows by 2 take 1 + 9 + 1, 8 columns by 3 take 8 + 0: SAME in numbers, as onnx 1.23's
    # reference gets MaxPool's SAME_LOWER wrong.
    pads = [1, 0, 1, 0] if auto.startswith("SAME") else [0, 0, 0, 0]
    written = {k: v for k, v in attributes.items() if k != "auto_pad"} | {"pads": pads}
    arrays = {"x": random(1, 4, 9, 8)}
    same_values(one(op, **attributes), arrays, reference(one(op, **written), arrays))


def test_grouped_dilated_and_depthwise_convolutions() -> None:
    w = {"w": random(6, 2, 3, 3, seed=1)}
    arrays = {"x": random(1, 4, 9, 8)}
    same_values(one("Conv", "w", constants=w, group=2, dilations=[2, 1]), arrays)
    w = {"w": random(8, 1, 3, 3, seed=1)}
    graph = same_values(one("Conv", "w", constants=w, group=4, pads=[1, 1, 1, 1]), arrays)
    assert graph.nodes[0].op.groups == 4


def test_one_and_three_dimensional_convolutions() -> None:
    for spatial in ((17,), (5, 6, 7)):
        w = {"w": random(3, 2, *(2,) * len(spatial), seed=1)}
        proto = model([node("Conv", ["x", "w"], ["y"])], {"x": [1, 2, *spatial]}, ["y"], w)
        same_values(proto, {"x": random(1, 2, *spatial)})


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2]},
        {"strides": [3, 2], "output_shape": [28, 18]},
        {"strides": [2, 2], "pads": [1, 0, 1, 1], "output_padding": [1, 0]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"dilations": [2, 2]},
    ],
    ids=str,
)
def test_transposed_convolutions(attributes: dict[str, Any]) -> None:
    w = {"w": random(4, 3, 3, 3, seed=1), "b": random(3, seed=2)}
    proto = one("ConvTranspose", "w", "b", constants=w, **attributes)
    same_values(proto, {"x": random(1, 4, 9, 8)})


def test_groups_of_a_transposed_convolution_are_convolutions_side_by_side() -> None:
    x, w = random(1, 4, 9, 8), random(4, 3, 3, 3, seed=1)
    whole = one("ConvTranspose", "w", constants={"w": w}, group=2, strides=[2, 1])
    halves = []
    for at in (0, 2):
        part = node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 1])
        proto = model([part], {"x": [1, 2, 9, 8]}, ["y"], {"w": w[at : at + 2]})
        halves += reference(proto, {"x": x[:, at : at + 2]})
    same_values(whole, {"x": x}, [np.concatenate(halves, 1)])


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("ceil", [0, 1])
def test_pools_count_their_padding_and_round_up(count: int, ceil: int) -> None:
    shape: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": ceil}
    arrays = {"x": random(1, 4, 9, 8)}
    pads = [1, 1, 1, 1]
    same_values(one("AveragePool", count_include_pad=count, pads=pads, **shape), arrays)
    same_values(one("MaxPool", pads=pads, **shape), arrays)


@pytest.mark.parametrize("opset", [7, 12, 13, 21])
@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, 3, -1, -2])
def test_softmax_meant_something_else_before_13(op: str, opset: int, axis: int | None) -> None:
    if opset < 11 and axis is not None and axis < 0:
        pytest.skip("negative axes came with operator set 11")
    x = random(1, 4, 9, 8)
    given = {} if axis is None else {"axis": axis}
    place = (1 if opset < 13 else -1) if axis is None else axis
    rows = x.reshape(int(np.prod(x.shape[:place])), -1) if opset < 13 else x
    along = 1 if opset < 13 else place
    big = np.exp(rows - rows.max(along, keepdims=True))
    wanted = (big / big.sum(along, keepdims=True)).reshape(x.shape)
    wanted = np.log(wanted) if op == "LogSoftmax" else wanted
    same_values(one(op, opset=opset, **given), {"x": x}, [wanted])


def test_sum_of_one_two_and_five_inputs() -> None:
    for count in (1, 2, 5):
        names = [f"x{i}" for i in range(count)]
        for op in ("Sum", "Max", "Min", "Mean"):
            proto = model([node(op, names, ["y"])], {n: [2, 3] for n in names}, ["y"])
            same_values(proto, {n: random(2, 3, seed=i) for i, n in enumerate(names)})


@pytest.mark.parametrize(
    "mode",
    ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "asymmetric", "align_corners"],
)
@pytest.mark.parametrize("kind", ["linear", "nearest", "cubic"])
def test_resize_has_many_coordinate_modes(mode: str, kind: str) -> None:
    for sizes in ([1, 4, 13, 20], [1, 4, 5, 3]):
        constants = {"sizes": np.array(sizes, np.int64)}
        names = ["", "", "sizes"]
        proto = one(
            "Resize", *names, constants=constants, mode=kind, coordinate_transformation_mode=mode
        )
        same_values(proto, {"x": random(1, 4, 9, 8)})


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_nearest_has_four_roundings(rounding: str) -> None:
    constants = {"scales": np.array([1, 1, 1.5, 0.5], np.float32)}
    proto = one("Resize", "", "scales", constants=constants, mode="nearest", nearest_mode=rounding)
    same_values(proto, {"x": random(1, 4, 9, 8)})


def test_upsample_was_resize_once() -> None:
    scales = [1.0, 1.0, 2.0, 3.0]
    x = random(1, 4, 9, 8)
    wanted = x.repeat(2, 2).repeat(3, 3)
    same_values(one("Upsample", opset=7, scales=scales, mode="nearest"), {"x": x}, [wanted])
    held = {"s": np.array(scales, np.float32)}
    for op, opset in (("Upsample", 9), ("Resize", 10)):
        proto = one(op, "s", opset=opset, constants=held, mode="nearest")
        same_values(proto, {"x": x}, [wanted])


@pytest.mark.parametrize("limits", [(None, None), (0.0, 6.0), (-1.0, None), (None, 1.0), (2, 1)])
def test_clip_by_attributes_and_by_inputs(limits: tuple[float | None, float | None]) -> None:
    x = random(1, 4, 9, 8) * 5
    low, high = (-np.inf if limits[0] is None else limits[0]), limits[1]
    wanted = np.minimum(np.maximum(x, low), np.inf if high is None else high)
    names = {"min": limits[0], "max": limits[1]}
    said = {name: float(v) for name, v in names.items() if v is not None}
    same_values(one("Clip", opset=7, **said), {"x": x}, [wanted])
    held = {name: np.array(v, np.float32) for name, v in said.items()}
    given = [name if name in held else "" for name in ("min", "max")]
    same_values(one("Clip", *given, opset=13, constants=held), {"x": x}, [wanted])


@pytest.mark.parametrize("alpha,beta", [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0)])
@pytest.mark.parametrize("turned", [(0, 0), (1, 1)])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 1), ()])
def test_gemm(alpha: float, beta: float, turned: tuple[int, int], shape: tuple[int, ...]) -> None:
    a = random(4, 3) if turned[0] else random(3, 4)
    w = random(5, 4, seed=1) if turned[1] else random(4, 5, seed=1)
    attributes = {"alpha": alpha, "beta": beta, "transA": turned[0], "transB": turned[1]}
    gemm = node("Gemm", ["x", "w", "c"], ["y"], **attributes)
    constants = {"w": w, "c": random(*shape, seed=2)}
    proto = model([gemm], {"x": a.shape}, ["y"], constants)
    same_values(proto, {"x": a})
    both = model([gemm], {"x": a.shape, "w": w.shape, "c": shape}, ["y"])
    same_values(both, {"x": a, **constants})


def test_matmul_of_vectors_matrices_and_stacks() -> None:
    for left, right in (((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 3, 4), (2, 4, 5))):
        proto = model([node("MatMul", ["x", "z"], ["y"])], {"x": left, "z": right}, ["y"])
        arrays = {"x": random(*left), "z": random(*right, seed=1)}
        same_values(proto, arrays)
        held = model([node("MatMul", ["x", "z"], ["y"])], {"x": left}, ["y"], {"z": arrays["z"]})
        same_values(held, {"x": arrays["x"]})


def test_initializers_that_are_inputs_too() -> None:
    conv = [node("Conv", ["x", "w", "b"], ["y"])]
    proto = model(conv, X, ["y"], W, opset=8, ir_version=3, listed=True)
    graph = same_values(proto, {"x": random(1, 4, 9, 8)}, None)
    assert graph.inputs == ("x",)


def test_a_tensor_used_twice_and_an_output_that_goes_on() -> None:
    nodes = [
        node("Relu", ["x"], ["mid"]),
        node("Add", ["mid", "mid"], ["twice"]),
        node("Sigmoid", ["mid"], ["y"]),
    ]
    same_values(model(nodes, X, ["mid", "twice", "y"]), {"x": random(1, 4, 9, 8)})


def test_the_input_itself_and_a_constant_as_outputs() -> None:
    nodes = [node("Identity", ["x"], ["y"]), node("Relu", ["x"], ["z"])]
    proto = model(nodes, X, ["x", "y", "c", "z", "z"], {"c": random(3)})
    graph = graph_of(proto.SerializeToString(), "ONNX")
    x = random(1, 4, 9, 8)
    found = outputs(graph, {"x": x})
    wanted = [x, x, random(3), np.maximum(x, 0), np.maximum(x, 0)]
    assert all(map(np.array_equal, found, wanted))
    assert len(set(graph.outputs)) == 5


NAMES = ["a/b", 'quo"te', "semi;colon */", "\n", "größe", "x" * 500, "${jinja}{{ 1 }}", "0"]


@pytest.mark.parametrize("name", NAMES)
def test_any_text_is_a_name(name: str) -> None:
    made = name + "'"
    nodes = [node("Relu", [name], [made], name=name), node("Neg", [made], [made + "2"], name=name)]
    proto = model(nodes, {name: [2, 3]}, [made + "2"])
    graph = same_values(proto, {name: random(2, 3)})
    assert graph.inputs == (name,) and graph.outputs == (made + "2",)


def test_nodes_out_of_order_are_put_in_order() -> None:
    nodes = [node("Neg", ["m"], ["y"]), node("Relu", ["x"], ["m"])]
    graph = graph_of(model(nodes, X, ["y"]).SerializeToString(), "ONNX")
    assert [n.op.kind for n in graph.nodes] == ["relu", "neg"]


def test_shapes_computed_by_nodes_are_folded() -> None:
    """What PyTorch writes for ``x.view(x.size(0), -1)``."""
    held = {"zero": np.array(0, np.int64), "axes": np.array([0], np.int64)}
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Constant", [], ["rest"], value_ints=[-1]),
        node("Concat", ["n1", "rest"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["y"]),
    ]
    graph = same_values(model(nodes, X, ["y"], held), {"x": random(1, 4, 9, 8)})
    assert [n.op.kind for n in graph.nodes] == ["reshape"]


def test_a_branch_whose_condition_is_known() -> None:
    """What PyTorch writes for ``x.squeeze(1)``."""
    import onnx.helper as h

    then = h.make_graph(
        [node("Squeeze", ["x", "one"], ["t"])], "t", [], [h.make_empty_tensor_value_info("t")]
    )
    other = h.make_graph(
        [node("Identity", ["x"], ["e"])], "e", [], [h.make_empty_tensor_value_info("e")]
    )
    held = {"one": np.array([1], np.int64), "i": np.array(1, np.int64)}
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "i"], ["n"]),
        node("Equal", ["n", "one"], ["is"]),
        node("If", ["is"], ["y"], then_branch=then, else_branch=other),
    ]
    for size in (1, 2):
        x = random(3, size, 5)
        wanted = x[:, 0] if size == 1 else x
        same_values(model(nodes, {"x": x.shape}, ["y"], held), {"x": x}, [wanted])


@pytest.mark.parametrize("opset", [10, 12, 13, 18, 21])
def test_axes_that_were_attributes_once(opset: int) -> None:
    held = {"axes": np.array([0], np.int64), "parts": np.array([1, 3], np.int64)}
    late = opset >= 13
    nodes = [
        node("Squeeze", ["x", "axes"] if late else ["x"], ["s"], **({} if late else {"axes": [0]})),
        node(
            "Split",
            ["s", "parts"] if late else ["s"],
            ["p", "q"],
            axis=0,
            **({} if late else {"split": [1, 3]}),
        ),
        node(
            "ReduceSum", ["q", "axes"] if late else ["q"], ["r"], **({} if late else {"axes": [0]})
        ),
        node("ReduceMean", ["p"], ["m"], keepdims=0)
        if opset >= 18
        else node("ReduceMean", ["p"], ["m"], keepdims=0, axes=[0, 1, 2]),
    ]
    same_values(model(nodes, X, ["s", "r", "m"], held, opset=opset), {"x": random(1, 4, 9, 8)})


@pytest.mark.parametrize("opset", [8, 10, 11, 18])
def test_pad_and_slice_in_every_form(opset: int) -> None:
    pads, starts, ends = [0, 0, 1, 2, 0, 0, 0, -1], [1, -3], [9, 100]
    held = {
        "pads": np.array(pads, np.int64),
        "value": np.array(1.5, np.float32),
        "starts": np.array(starts, np.int64),
        "ends": np.array(ends, np.int64),
        "axes": np.array([2, 3], np.int64),
    }
    pad = (
        node("Pad", ["x", "pads", "value"], ["p"])
        if opset >= 11
        else node("Pad", ["x"], ["p"], pads=pads, value=1.5)
    )
    cut = (
        node("Slice", ["p", "starts", "ends", "axes"], ["y"])
        if opset >= 10
        else node("Slice", ["p"], ["y"], starts=starts, ends=ends, axes=[2, 3])
    )
    x = random(1, 4, 9, 8)
    wide = np.pad(x, ((0, 0), (0, 0), (1, 0), (2, 0)), constant_values=1.5)[..., :-1]
    same_values(model([pad, cut], X, ["y"], held, opset=opset), {"x": x}, [wide[:, :, 1:9, -3:]])


def test_slices_backwards() -> None:
    held = {
        "starts": np.array([-1, 7], np.int64),
        "ends": np.array([np.iinfo(np.int64).min, 0], np.int64),
        "axes": np.array([-2, -1], np.int64),
        "steps": np.array([-1, -3], np.int64),
    }
    proto = one("Slice", "starts", "ends", "axes", "steps", constants=held)
    same_values(proto, {"x": random(1, 4, 9, 8)})


def test_dropout_identity_and_cast_to_the_same_type_are_nothing() -> None:
    nodes = [
        node("Dropout", ["x"], ["a", "mask"]),
        node("Identity", ["a"], ["b"]),
        node("Cast", ["b"], ["c"], to=onnx.TensorProto.FLOAT),
        node("Relu", ["c"], ["y"]),
    ]
    done = translated(model(nodes, X, ["y"]).SerializeToString(), "ONNX")
    assert done.graph is not None and [n.op.kind for n in done.graph.nodes] == ["relu"]
    assert [row.outcome for row in done.rows] == ["folded", "folded", "folded", "taken"]


def test_batch_normalisation_before_9_had_an_attribute_more() -> None:
    held = {name: abs(random(4, seed=i)) + 0.5 for i, name in enumerate("sbmv")}
    for opset in (7, 9, 15):
        proto = one("BatchNormalization", *"sbmv", opset=opset, constants=held, epsilon=1e-3)
        shape = (1, 4, 1, 1)
        x = random(1, 4, 9, 8)
        s, b, m, v = (held[name].reshape(shape) for name in "sbmv")
        same_values(proto, {"x": x}, [(x - m) / np.sqrt(v + 1e-3) * s + b])


def test_an_attribute_that_nobody_knows_is_not_overlooked() -> None:
    proto = one("Relu", unheard_of=1)
    with pytest.raises(ModelError, match=r"M021.*unheard_of"):
        graph_of(proto.SerializeToString(), "ONNX")


def test_operator_set_6_said_how_to_broadcast() -> None:
    x, slope = random(1, 4, 9, 8), random(4)
    held = {"c": slope}
    add = one("Add", "c", opset=6, constants=held, broadcast=1, axis=1)
    same_values(add, {"x": x}, [x + slope[:, None, None]])
    last = one("Mul", "c", opset=6, constants={"c": random(8)}, broadcast=1)
    same_values(last, {"x": x}, [x * random(8)])
    prelu = one("PRelu", "c", opset=6, constants=held)
    same_values(prelu, {"x": x}, [np.where(x < 0, x * slope[:, None, None], x)])
    training = one("Dropout", opset=6)
    with pytest.raises(ModelError, match="training"):
        graph_of(training.SerializeToString(), "ONNX")
    same_values(one("Dropout", opset=6, is_test=1), {"x": x}, [x])


def test_sparse_constants_are_made_dense() -> None:
    values = onnx.numpy_helper.from_array(np.array([2.0, 3.0], np.float32), "c")
    for places in (np.array([1, 5], np.int64), np.array([[0, 1], [1, 2]], np.int64)):
        sparse = onnx.helper.make_sparse_tensor(
            values, onnx.numpy_helper.from_array(places, "places"), [2, 3]
        )
        proto = model([node("Add", ["x", "c"], ["y"])], {"x": [2, 3]}, ["y"])
        proto.graph.sparse_initializer.append(sparse)
        x = random(2, 3)
        wanted = x + np.array([[0, 2, 0], [0, 0, 3]], np.float32)
        same_values(proto, {"x": x}, [wanted])


def test_functions_of_the_model_are_written_out() -> None:
    import onnx.helper as h

    twice = h.make_function(
        "mine", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [h.make_opsetid("", 21)]
    )
    proto = model([h.make_node("Twice", ["x"], ["y"], domain="mine")], X, ["y"])
    proto.functions.append(twice)
    proto.opset_import.append(h.make_opsetid("mine", 1))
    same_values(proto, {"x": random(1, 4, 9, 8)})


def test_quantised_layers_keep_their_integers() -> None:
    """QDQ around a convolution: integer weights with a Dequantize node, transposed with them."""
    w = np.random.default_rng(1).integers(-127, 128, (6, 4, 3, 3)).astype(np.int8)
    scales = (np.arange(6) + 1).astype(np.float32) / 100
    held = {
        "s": np.array(0.05, np.float32),
        "z": np.array(3, np.int8),
        "w": w,
        "ws": scales,
        "wz": np.zeros(6, np.int8),
        "b": np.arange(6, dtype=np.int32),
        "bs": scales * np.float32(0.05),
        "bz": np.zeros(6, np.int32),
    }
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "ws", "wz"], ["dw"], axis=0),
        node("DequantizeLinear", ["b", "bs", "bz"], ["db"], axis=0),
        node("Conv", ["d", "dw", "db"], ["y"]),
    ]
    graph = same_values(model(nodes, X, ["y"], held), {"x": random(1, 4, 9, 8)})
    kinds = [n.op.kind for n in graph.nodes]
    assert kinds == ["quantize", "dequantize", "dequantize", "dequantize", "conv"]
    turned = next(v for v in graph.values.values() if v.name.startswith("dw/"))
    assert turned.dtype == "int8" and turned.quant is not None and turned.quant.axis == 3


def test_qlinear_conv_is_an_integer_layer() -> None:
    rng = np.random.default_rng(0)
    held = {
        "xs": np.array(0.05, np.float32),
        "xz": np.array(10, np.uint8),
        "w": rng.integers(-50, 50, (6, 4, 3, 3)).astype(np.int8),
        "ws": np.full(6, 0.01, np.float32),
        "wz": np.zeros(6, np.int8),
        "ys": np.array(0.1, np.float32),
        "yz": np.array(128, np.uint8),
        "b": rng.integers(-500, 500, 6).astype(np.int32),
    }
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    proto = model([node("QLinearConv", names, ["y"])], X, ["y"], held, dtype=onnx.TensorProto.UINT8)
    x = rng.integers(0, 256, (1, 4, 9, 8)).astype(np.uint8)
    (wanted,) = reference(proto, {"x": x})
    graph = graph_of(proto.SerializeToString(), "ONNX")
    (found,) = outputs(graph, {"x": x})
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1  # halves: ONNX's reference
    assert graph.nodes[0].op.kind == "conv" and found.dtype == np.uint8

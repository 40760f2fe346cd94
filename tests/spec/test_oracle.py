"""The oracle against brute-force loops, a second library, and the source document's examples."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from spec_strategies import linear, specs

from convgen.oracle.floats import (
    ACT_ERRORS,
    ROUNDING,
    Points,
    act_error,
    activation,
    error_bound,
    reference,
    reference_at,
)
from convgen.spec.model import (
    Act,
    Activation,
    ConvSpec,
    DType,
    Layout,
    Padding,
    WeightLayout,
)

GRID = settings(derandomize=True, deadline=None, max_examples=150)
U = 2.0**-24


def arrays(spec: ConvSpec, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal(spec.x_shape), rng.standard_normal(spec.w_shape)
    b = rng.standard_normal(spec.oc) if spec.bias else None
    return x.astype("f4"), w.astype("f4"), None if b is None else b.astype("f4")


# --- brute force -----------------------------------------------------------------------------


def brute(spec: ConvSpec, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
    """The formula of the contract, one multiplication at a time, in Python floats."""
    y = np.zeros((spec.batch, spec.oh, spec.ow, spec.oc))
    axes = (range(size) for size in y.shape)
    for n, oh, ow, oc in itertools.product(*axes):
        total = 0.0 if b is None else float(b[oc])
        first = oc // (spec.oc // spec.groups) * (spec.c // spec.groups)
        taps = itertools.product(range(spec.kh), range(spec.kw), range(spec.c // spec.groups))
        for kh, kw, ic in taps:
            ih = oh * spec.sh - spec.padding.top + kh * spec.dh
            iw = ow * spec.sw - spec.padding.left + kw * spec.dw
            if 0 <= ih < spec.h and 0 <= iw < spec.w:
                place = (n, ih, iw, first + ic)
                value = x[place] if spec.layout is Layout.NHWC else x[n, first + ic, ih, iw]
                total += float(value) * float(w[weight_place(spec, kh, kw, ic, oc)])
        y[n, oh, ow, oc] = brute_act(spec.activation, total)
    return y if spec.layout is Layout.NHWC else y.transpose(0, 3, 1, 2)


def weight_place(spec: ConvSpec, kh: int, kw: int, ic: int, oc: int) -> tuple[int, ...]:
    match spec.weight_layout:
        case WeightLayout.HWIO:
            return kh, kw, ic, oc
        case WeightLayout.OIHW:
            return oc, ic, kh, kw
        case WeightLayout.OHWI:
            return oc, kh, kw, ic
        case WeightLayout.IOHW:
            return ic, oc, kh, kw
        case WeightLayout.HWOI:
            return kh, kw, oc, ic


def brute_act(act: Activation, v: float) -> float:
    single = np.float32
    match act.kind:
        case Act.NONE:
            return v
        case Act.RELU:
            return max(0.0, v)
        case Act.RELU6:
            return min(max(0.0, v), 6.0)
        case Act.LEAKY_RELU:
            return float(single(act.alpha)) * v if v < 0 else v
        case Act.CLIP:
            low = -math.inf if act.low is None else float(single(act.low))
            return min(max(v, low), math.inf if act.high is None else float(single(act.high)))
        case Act.SIGMOID:
            return 0.5 + 0.5 * math.tanh(v / 2)
        case Act.TANH:
            return (math.exp(v) - math.exp(-v)) / (math.exp(v) + math.exp(-v))
        case Act.SILU:
            return v / (1 + math.exp(-v))
        case Act.HARDSWISH:
            return v * min(max(v + 3, 0.0), 6.0) / 6
        case Act.GELU:
            return v / 2 * (1 + math.erf(v / math.sqrt(2)))
        case Act.GELU_TANH:
            return v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


@GRID
@given(spec=specs())
def test_reference_is_the_formula(spec: ConvSpec) -> None:
    x, w, b = arrays(spec)
    y = reference(spec, x, w, b)
    assert y.dtype == np.float64 and y.shape == spec.y_shape and y.flags.c_contiguous
    np.testing.assert_allclose(y, brute(spec, x, w, b), rtol=1e-12, atol=1e-12)


@GRID
@given(spec=specs())
def test_reference_at_some_points_is_part_of_it(spec: ConvSpec) -> None:
    x, w, b = arrays(spec)
    every = Points.every(spec, spec.batch)
    points = Points(every.n[::2], every.oh[1::2], every.ow[::3], every.oc[1:])
    part = reference_at(spec, x, w, b, points)
    np.testing.assert_allclose(part, points.take(spec, reference(spec, x, w, b)), rtol=1e-13)


@GRID
@given(spec=specs())
def test_nonfinite_values_stay_in_their_window(spec: ConvSpec) -> None:
    """Zeros of the padding are never multiplied: with Inf everywhere in w, no NaN appears."""
    spec = linear(spec)
    x, w, b = arrays(spec)
    x = np.abs(x) + 1
    y = reference(spec, x, np.full_like(w, np.inf), b)
    assert not np.isnan(y).any()
    empty = brute(spec, np.ones_like(x), np.ones_like(w), None if b is None else b * 0) == 0
    np.testing.assert_array_equal(np.isinf(y), ~empty)


def test_every_number_of_images_where_the_batch_is_any() -> None:
    spec = ConvSpec(name="any", h=5, w=4, c=2, oc=3, kh=3, kw=3, batch_any=True)
    x, w, b = arrays(replace(spec, batch=3, batch_any=False))
    y = reference(spec, x, w, b)
    assert y.shape == (3, 3, 2, 3)
    for n in range(3):
        np.testing.assert_array_equal(y[n : n + 1], reference(spec, x[n : n + 1], w, b))
    assert reference(spec, x[:0], w, b).shape == (0, 3, 2, 3)


def test_inputs_need_no_particular_memory_order() -> None:
    spec = ConvSpec(name="order", h=6, w=5, c=4, oc=3, kh=3, kw=2, groups=1)
    x, w, b = arrays(spec)
    y = reference(spec, x, w, b)
    np.testing.assert_array_equal(reference(spec, np.asfortranarray(x), w[::1], b.tolist()), y)


# --- a second library ------------------------------------------------------------------------


def onnx_reference(node: object, inputs: dict[str, np.ndarray]) -> np.ndarray:
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    values = [
        onnx.helper.make_tensor_value_info(key, onnx.TensorProto.DOUBLE, value.shape)
        for key, value in inputs.items()
    ]
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)
    graph = onnx.helper.make_graph([node], "g", values, [out])
    opset = onnx.helper.make_opsetid("", 22)
    model = onnx.helper.make_model(graph, opset_imports=[opset])
    return ReferenceEvaluator(model).run(None, inputs)[0]


@GRID
@given(spec=specs())
def test_reference_agrees_with_onnx(spec: ConvSpec) -> None:
    onnx = pytest.importorskip("onnx")
    spec = replace(linear(spec), layout=Layout.NCHW, weight_layout=WeightLayout.OIHW)
    x, w, b = arrays(spec)
    p = spec.padding
    inputs = {"x": x, "w": w} | ({} if b is None else {"b": b})
    node = onnx.helper.make_node(
        "Conv", list(inputs), ["y"], kernel_shape=[spec.kh, spec.kw], strides=[spec.sh, spec.sw],
        dilations=[spec.dh, spec.dw], group=spec.groups, pads=[p.top, p.left, p.bottom, p.right],
    )  # fmt: skip
    theirs = onnx_reference(node, {key: value.astype("f8") for key, value in inputs.items()})
    np.testing.assert_allclose(reference(spec, x, w, b), theirs, rtol=1e-10, atol=1e-10)


ONNX_ACTS = {
    Act.RELU: ("Relu", {}),
    Act.LEAKY_RELU: ("LeakyRelu", {"alpha": 0.25}),
    Act.SIGMOID: ("Sigmoid", {}),
    Act.TANH: ("Tanh", {}),
    Act.HARDSWISH: ("HardSwish", {}),
    Act.GELU: ("Gelu", {}),
    Act.GELU_TANH: ("Gelu", {"approximate": "tanh"}),
}


@pytest.mark.parametrize("kind", ONNX_ACTS)
def test_activations_agree_with_onnx(kind: Act) -> None:
    onnx = pytest.importorskip("onnx")
    name, attributes = ONNX_ACTS[kind]
    v = np.concatenate([np.linspace(-20, 20, 4001), [0.0, 1e-30, -1e-30]])
    theirs = onnx_reference(onnx.helper.make_node(name, ["x"], ["y"], **attributes), {"x": v})
    ours = activation(Activation(kind, alpha=0.25), v)
    # ONNX's attributes and function bodies hold float32 constants: 1/6, sqrt(2), 0.044715.
    np.testing.assert_allclose(ours, theirs, rtol=2e-7, atol=1e-7)


# --- the source document ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "channels", "filters", "kernel", "stride", "pad", "out"),
    [
        (32, 3, 6, 5, 1, 0, 28),
        (32, 3, 10, 5, 1, 2, 32),
        (5, 1, 1, 3, 1, 1, 5),
        (5, 1, 1, 3, 2, 0, 2),
    ],
)
def test_the_sources_shapes(
    size: int, channels: int, filters: int, kernel: int, stride: int, pad: int, out: int
) -> None:
    spec = ConvSpec(
        name="source", h=size, w=size, c=channels, oc=filters, kh=kernel, kw=kernel,
        sh=stride, sw=stride, padding=Padding(pad, pad, pad, pad), activation=Activation(Act.RELU),
    )  # fmt: skip
    x, w, b = arrays(spec)
    y = reference(spec, x, w, b)
    assert y.shape == (1, out, out, filters)
    padded = np.pad(x.astype("f8"), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    corner = padded[0, :kernel, :kernel]
    middle = padded[0, stride : stride + kernel, stride : stride + kernel]
    for place, window in (((0, 0), corner), ((1, 1), middle)):
        want = np.maximum((window[..., None] * w).sum((0, 1, 2)) + b, 0)
        np.testing.assert_allclose(y[0, *place], want, rtol=1e-12, atol=1e-13)


def test_each_channel_is_filtered_and_the_maps_are_added() -> None:
    """The source's computation: per channel a map, the maps added up, then the bias."""
    spec = ConvSpec(name="maps", h=4, w=4, c=3, oc=1, kh=3, kw=3)
    x, w, b = arrays(spec)
    one = replace(spec, c=1, bias=False)
    maps = [reference(one, x[..., c : c + 1], w[:, :, c : c + 1]) for c in range(3)]
    np.testing.assert_allclose(reference(spec, x, w, b), sum(maps) + b[0], rtol=1e-13)


# --- activations -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Act)
def test_nan_passes_through_every_activation(kind: Act) -> None:
    act = Activation(kind, low=-1.0, high=1.0)
    assert np.isnan(activation(act, np.array([np.nan]))).all()


def test_infinities_of_the_piecewise_linear_ones() -> None:
    v = np.array([-np.inf, np.inf])
    cases = {
        Act.NONE: (-np.inf, np.inf),
        Act.RELU: (0, np.inf),
        Act.RELU6: (0, 6),
        Act.CLIP: (-1, 1),
        Act.LEAKY_RELU: (-np.inf, np.inf),
    }
    for kind, want in cases.items():
        got = activation(Activation(kind, low=-1.0, high=1.0), v)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", [Act.SIGMOID, Act.TANH, Act.SILU, Act.GELU, Act.GELU_TANH])
def test_far_arguments_give_the_limits(kind: Act) -> None:
    v = np.array([-1e30, -1e4, -800.0, 800.0, 1e4, 1e30])
    y = activation(Activation(kind), v)
    assert np.isfinite(y).all()
    left, right = {Act.SIGMOID: (0, 1), Act.TANH: (-1, 1)}.get(kind, (0, None))
    np.testing.assert_array_equal(y[:3], np.full(3, left, float))
    np.testing.assert_array_equal(y[3:], v[3:] if right is None else np.full(3, right, float))


def test_limits_and_slopes_are_the_nearest_float32() -> None:
    v = np.array([-1.0, 1.0])
    third = float(np.float32(0.1))
    np.testing.assert_array_equal(activation(Activation(Act.LEAKY_RELU, 0.1), v), [-third, 1])
    clip = activation(Activation(Act.CLIP, low=-0.1, high=0.1), v)
    np.testing.assert_array_equal(clip, [-third, third])
    np.testing.assert_array_equal(
        activation(Activation(Act.CLIP, low=-0.1, high=0.1), v, DType.FLOAT64), [-0.1, 0.1]
    )


def test_gelu_does_not_cancel() -> None:
    """Far below 0 the value is v * tail; 1 + erf would give nothing but rounding errors."""
    v = -8.0
    tail = math.exp(-v * v / 2) / (-v * math.sqrt(2 * math.pi))  # first term for the tail
    y = float(activation(Activation(Act.GELU), np.array([v]))[0])
    assert y == pytest.approx(v * tail, rel=0.02)


# --- the error bound -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Act)
def test_lipschitz_constants_hold_and_are_not_loose(kind: Act) -> None:
    act = Activation(kind, alpha=0.25, low=-1.0, high=1.0)
    v = np.linspace(-12, 12, 240_001)
    slope = np.abs(np.diff(activation(act, v)) / np.diff(v)).max()
    assert slope <= act_error(act).lipschitz * (1 + 1e-9)
    assert slope >= 0.99 * act_error(act).lipschitz


def test_a_steep_leaky_relu_carries_more_error() -> None:
    assert act_error(Activation(Act.LEAKY_RELU, alpha=-3.0)).lipschitz == 3
    assert set(ACT_ERRORS) == set(Act)


def test_the_bound_is_the_published_formula() -> None:
    spec = ConvSpec(name="sum", h=3, w=3, c=2, oc=2, kh=3, kw=3)
    x, w, b = arrays(spec)
    taps = 18
    gamma = (taps + 2) * U / (1 - (taps + 2) * U)
    size = (np.abs(x[0].astype("f8"))[..., None] * np.abs(w)).sum((0, 1, 2)) + np.abs(b)
    want = gamma * size + (taps + 1) * 2.0**-150
    np.testing.assert_allclose(error_bound(spec, x, w, b)[0, 0, 0], want, rtol=1e-12)
    sigmoid = replace(spec, activation=Activation(Act.SIGMOID))
    y = reference(sigmoid, x, w, b)[0, 0, 0]
    row = ACT_ERRORS[Act.SIGMOID]
    through = 0.25 * want + U * (row.absolute + row.relative * y)
    np.testing.assert_allclose(error_bound(sigmoid, x, w, b)[0, 0, 0], through, rtol=1e-5)


@GRID
@given(spec=specs())
def test_float32_sums_in_two_orders_keep_the_bound(spec: ConvSpec) -> None:
    """A float32 evaluation, tap after tap or the other way round, stays inside."""
    spec = linear(spec)
    x, w, b = arrays(spec)
    bound, exact = error_bound(spec, x, w, b), reference(spec, x, w, b)
    single = reference(spec, x, w, b, dtype=np.float32)
    assert single.dtype == np.float32
    assert (np.abs(single - exact) <= bound).all()
    assert bound.shape == spec.y_shape and (bound > 0).all()


def test_without_any_tap_the_bias_is_exact_to_underflow() -> None:
    """An output that sees only padding is b, and 0 without a bias."""
    spec = ConvSpec(
        name="rim", h=1, w=1, c=1, oc=1, kh=1, kw=1, padding=Padding(1, 1, 1, 1), bias=False
    )
    y, bound = (
        reference(spec, [[[[5.0]]]], [[[[3.0]]]]),
        error_bound(spec, [[[[5.0]]]], [[[[3.0]]]]),
    )
    assert y[0, 0, 0, 0] == 0 and y[0, 1, 1, 0] == 15
    assert bound[0, 0, 0, 0] == 2 * 2.0**-150


def test_float64_layers_have_a_wider_oracle() -> None:
    spec = ConvSpec(name="wide", h=4, w=4, c=2, oc=2, kh=3, kw=3, dtype=DType.FLOAT64)
    x, w, b = (None if a is None else a.astype("f8") for a in arrays(spec))
    y = reference(spec, x, w, b)
    assert y.dtype == np.longdouble
    assert ROUNDING[DType.FLOAT64].unit == 2.0**-53
    again = reference(spec, x, w, b, dtype=np.float64)
    assert (np.abs(y - again) <= error_bound(spec, x, w, b)).all()


# --- wrong shapes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": np.zeros((1, 5, 5, 3))}, r"x: expected \(1, 5, 5, 2\).*got \(1, 5, 5, 3\)"),
        ({"x": np.zeros((5, 5, 2))}, r"x: expected .*NHWC"),
        ({"x": np.zeros((2, 5, 5, 2))}, r"batch 1"),
        ({"w": np.zeros((4, 2, 3, 3))}, r"w: expected \(3, 3, 2, 4\) \(HWIO\)"),
        ({"b": np.zeros(3)}, r"b: expected \(4,\), got \(3,\)"),
        ({"b": None}, r"needs b"),
    ],
)
def test_wrong_shapes_are_named(change: dict[str, np.ndarray], words: str) -> None:
    spec = ConvSpec(name="shape", h=5, w=5, c=2, oc=4, kh=3, kw=3)
    x, w, b = arrays(spec)
    with pytest.raises(ValueError, match=words):
        reference(spec, **({"x": x, "w": w, "b": b} | change))


def test_a_bias_that_the_layer_has_not() -> None:
    spec = ConvSpec(name="shape", h=5, w=5, c=2, oc=4, kh=3, kw=3, bias=False)
    x, w, _ = arrays(spec)
    with pytest.raises(ValueError, match="has no bias"):
        reference(spec, x, w, np.zeros(4))

"""Lowering and the arena: plans are run step by step and held to the graph's own values."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from plan_runner import run_plan

from convgen.network import ops
from convgen.network.arena import Span, place, plan
from convgen.network.fuse import simplify
from convgen.network.graph import Builder, Elem, Graph, Quantization
from convgen.network.lower import LowerError, lower
from convgen.network.meaning import evaluate
from convgen.network.order import best_order, flow_of, peak
from convgen.network.plan import Moves, Needs, NetworkPlan, Step
from convgen.spec.model import Act, Activation, Layout

RELU = Activation(Act.RELU)


def no_needs(step: Step) -> Needs:
    return Needs()


class Net(Builder):
    """Builds small graphs."""

    def __init__(self, *shape: int, last: bool = False) -> None:
        super().__init__("net")
        self.random = np.random.default_rng(3)
        self.last = last
        self.x = self.input("x", shape or (2, 6, 7, 5), Elem.FLOAT32)

    def array(self, *shape: int) -> str:
        array = self.random.standard_normal(shape).astype(np.float32)
        return self.constant(f"c{len(self.constants)}", array)

    def do(self, op: Any, *inputs: str) -> str:
        return self.node(f"n{len(self.nodes)}", op, inputs)[0]

    def conv(self, x: str, filters: int = 4, k: int = 3, p: int = 1, **more: Any) -> str:
        depth = self.shape(x)[-1 if self.last else 1] // more.get("groups", 1)
        rank = len(self.shape(x)) - 2
        op = ops.Conv(
            (k,) * rank, (1,) * rank, ((p, p),) * rank, (1,) * rank,
            channels_last=self.last, **more,
        )  # fmt: skip
        return self.do(op, x, self.array(*(k,) * rank, depth, filters), self.array(filters))


def check(net: Net, *outputs: str, fuse: bool = True) -> NetworkPlan:
    """The plan, after its outputs were compared with the graph's."""
    graph = net.finish(outputs)
    made = plan(lower(simplify(graph) if fuse else graph), no_needs)
    inputs = {
        name: net.random.standard_normal(net.shape(name)).astype(np.float32)
        for name in graph.inputs
    }
    want, got = evaluate(graph, inputs), run_plan(made, inputs)
    assert set(got) == set(outputs)
    for name in outputs:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-4, atol=2e-4)
    return made


def _spec(made: NetworkPlan) -> Any:
    return made.steps[0].spec


def kinds(made: NetworkPlan) -> list[str]:
    return [step.op.kind for step in made.steps]


@pytest.mark.parametrize("last", [False, True])
def test_a_chain_of_convolutions(last: bool) -> None:
    net = Net(1, 6, 7, 5, last=last)
    y = net.conv(net.conv(net.conv(net.x)), groups=2)
    made = check(net, y)
    # Channels first, the image is turned once at each end and never in between.
    assert kinds(made) == (["conv"] * 3 if last else ["copy", "conv", "conv", "conv", "copy"])
    assert all(s.spec is None or s.spec.layout is Layout.NHWC for s in made.steps)


def test_a_single_channels_first_layer_stays_planar() -> None:
    net = Net(1, 6, 7, 5)
    made = check(net, net.conv(net.x))
    assert kinds(made) == ["conv"] and _spec(made).layout is Layout.NCHW


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("rank", [1, 2])
def test_windows(last: bool, rank: int) -> None:
    shape = (2, 6, 8, 9)[: rank + 2]
    net = Net(*(shape if not last else (shape[0], *shape[2:], shape[1])), last=last)
    one = (1,) * rank
    window: Any = {
        "kernel": (3,) * rank,
        "strides": (2,) * rank,
        "pads": ((1, 1),) * rank,
        "dilations": one,
        "channels_last": last,
    }
    y = net.do(ops.MaxPool(**window), net.x)
    y = net.conv(y)
    y = net.do(ops.AvgPool(**window, include_pad=True), y)
    up = ops.ConvTransposed(
        (2,) * rank, (2,) * rank, ((0, 0),) * rank, one, output_padding=(0,) * rank,
        channels_last=last,
    )  # fmt: skip
    y = net.do(up, y, net.array(*(2,) * rank, 4, 3), net.array(3))
    check(net, y)


def test_three_dimensions() -> None:
    net = Net(1, 3, 4, 5, 6)
    pool = ops.MaxPool((2, 2, 2), (1, 2, 2), ((0, 0),) * 3, (1, 1, 1))
    op = ops.Conv((2, 3, 2), (1, 2, 1), ((1, 0), (0, 1), (2, 1)), (1, 1, 1))
    y = net.do(op, net.do(pool, net.conv(net.x)), net.array(2, 3, 2, 4, 5))
    check(net, y)


@pytest.mark.parametrize("last", [False, True])
def test_pools_of_volumes_are_two_flat_pools(last: bool) -> None:
    net = Net(*((2, 5, 4, 6, 3) if last else (2, 3, 5, 4, 6)), last=last)
    window: Any = {
        "kernel": (2, 3, 2),
        "strides": (2, 1, 2),
        "pads": ((1, 0), (1, 1), (0, 1)),
        "dilations": (1, 1, 1),
        "channels_last": last,
        "activation": RELU,
    }
    y = net.do(ops.MaxPool(**window), net.conv(net.x))
    made = check(net, y, net.do(ops.AvgPool(**window, include_pad=True), net.conv(net.x)))
    pools = [step.op for step in made.steps if isinstance(step.op, (ops.MaxPool, ops.AvgPool))]
    assert len(pools) == 4 and all(len(op.kernel) == 2 for op in pools)


def test_what_no_kernel_computes_is_named_with_every_node() -> None:
    net = Net(1, 3, 4, 5)
    w = net.do(ops.Reshape((1, 1, 3, 20)), net.x)
    y = net.do(ops.Conv((1, 1)), net.x, w)
    z = net.do(ops.Conv((1, 1), pads=((-1, 0), (0, 0))), net.x, net.array(1, 1, 3, 2))
    with pytest.raises(LowerError, match=r"conv `n1`: its weights .*\nconv `n2`: its pads"):
        lower(net.finish([y, z]))


def test_arithmetic_broadcasts_and_runs_in_place() -> None:
    net = Net(1, 6, 7, 5)
    a = net.conv(net.x)
    b = net.do(ops.Binary(activation=RELU), net.conv(a), a)
    c = net.do(ops.Binary(ops.BinaryFn.MUL), net.do(ops.Reduce(axes=(2, 3)), b), b)
    d = net.do(ops.Binary(ops.BinaryFn.SUB), c, net.array(4, 1, 1))
    e = net.do(ops.PRelu(), d, net.array(4, 1, 1))
    made = check(net, net.conv(e))
    places = made.arena.places
    assert places["n2"] in (places["n0"], places["n1"])  # the sum lies over one of its summands
    assert places["n4"] == places["n2"] and places["n6"] == places["n5"] == places["n4"]


@pytest.mark.parametrize("last", [False, True])
def test_concat_split_and_slices(last: bool) -> None:
    axis = 3 if last else 1
    net = Net(1, 6, 7, 4, last=last)
    a, b = net.conv(net.x), net.conv(net.x, 6)
    y = net.do(ops.Concat(axis), a, b)
    one, two = net.node("s", ops.Split(axis, (3, 7)), [y], ["s0", "s1"])
    part = net.do(
        ops.sliced(net.shape(two), [1, 5], [6, 0], [axis, 2 if last else 3], [2, -2]), two
    )
    check(net, net.conv(part), one, net.do(ops.Activate(RELU), one))


@pytest.mark.parametrize("last", [False, True])
def test_parts_of_a_concatenation_are_written_in_place(last: bool) -> None:
    """A block of dense connections: one buffer, no copies but of what Winograd makes."""
    net = Net(*((1, 6, 7, 8) if last else (1, 8, 6, 7)), last=last)
    x = net.conv(net.x, 8, k=1, p=0)
    for k in (1, 5, 3):
        y = net.conv(net.do(ops.Activate(RELU), x), 4, k=1, p=0)
        x = net.do(ops.Concat(3 if last else 1), x, net.conv(y, 4, k=k, p=k // 2))
    made = check(net, net.do(ops.Reduce(axes=(1, 2) if last else (2, 3)), net.conv(x, 3, 1, 0)))
    assert kinds(made).count("concat") == 2  # four channels each, which Winograd may make
    wide = [s.spec for s in made.steps if s.spec is not None and s.spec.y_pixel]
    assert [spec.y_pixel for spec in wide] == [20, 20]


@pytest.mark.parametrize("mode", list(ops.PadMode))
def test_pads(mode: ops.PadMode) -> None:
    net = Net(1, 6, 7, 5)
    y = net.conv(net.x)
    pads = ((0, 0), (0, 0), (2, 3), (1, 2))
    y = net.do(ops.Pad(pads, mode, 1.5), y)
    check(net, y)
    net = Net(1, 6, 7, 5)
    check(net, net.do(ops.Pad(((0, 0), (1, 0), (-2, 3), (-1, 0)), mode, -0.5), net.x))


def test_moves_are_right_in_every_memory_order() -> None:
    net = Net(1, 8, 6, 4)
    y = net.conv(net.x, 16)
    y = net.do(ops.DepthToSpace(2), y)
    y = net.do(ops.SpaceToDepth(2), y)
    y = net.do(ops.DepthToSpace(2, columns_first=True), y)
    y = net.do(ops.Tile((1, 2, 1, 3)), y)
    index = net.constant("i", np.array([[0, 2], [-1, 1]], np.int64))
    z = net.do(ops.Gather(1), y, index)
    big = net.do(ops.Resize((1, 8, 24, 72), mode=ops.ResizeMode.NEAREST), y)
    made = check(net, net.conv(y), z, big)
    assert all(isinstance(s.op, (Moves, ops.Conv)) for s in made.steps)


def test_interpolation_and_odd_factors_are_steps_of_their_own() -> None:
    net = Net(1, 4, 6, 4)
    y = net.conv(net.x)
    a = net.do(ops.Resize((1, 4, 12, 8), mode=ops.ResizeMode.LINEAR), y)
    b = net.do(ops.Resize((1, 4, 9, 5)), y)
    assert kinds(check(net, net.conv(a), net.conv(b))).count("resize") == 2


def test_reshapes_keep_the_logical_order() -> None:
    net = Net(1, 6, 4, 4)
    y = net.conv(net.x, 8)
    flat = net.do(ops.Reshape((1, 128)), y)  # read twice: the rows of the weights cannot move
    d = net.do(ops.Dense(), flat, net.array(128, 5), net.array(5))
    again = net.do(ops.Reshape((2, 4, 4, 4)), flat)
    check(net, d, net.conv(again))


def test_a_channel_shuffle_takes_one_copy() -> None:
    net = Net(1, 6, 4, 4)
    y = net.do(ops.Reshape((1, 2, 4, 4, 4)), net.conv(net.x, 8))
    y = net.do(ops.Reshape((1, 8, 4, 4)), net.do(ops.Transpose((0, 2, 1, 3, 4)), y))
    y = net.do(ops.Reduce(axes=(2, 3)), net.conv(y))
    assert kinds(check(net, y)) == ["copy", "conv", "copy", "conv", "reduce_mean"]


@pytest.mark.parametrize("seed", range(60))
def test_random_reshapes(seed: int) -> None:
    """Views and orders under any permutation and any regrouping of the axes."""
    rng = random.Random(seed)
    shape = tuple(rng.choice((1, 2, 3, 4)) for _ in range(rng.randrange(2, 6)))
    net = Net(*shape)
    y = net.do(ops.Activate(RELU), net.x)
    for _ in range(3):
        rank = len(net.shape(y))
        y = net.do(ops.Transpose(tuple(rng.sample(range(rank), rank))), y)
        flat: list[int] = []
        rest = int(np.prod(net.shape(y)))
        while rest > 1 and len(flat) < 4:
            part = rng.choice([d for d in range(1, rest + 1) if rest % d == 0])
            flat.append(part)
            rest //= part
        y = net.do(ops.Reshape((*flat, rest)), y)
    check(net, y, fuse=False)


def test_a_pool_to_one_pixel_flattens_without_a_copy() -> None:
    net = Net(1, 6, 4, 4)
    y = net.do(ops.Reduce(axes=(2, 3)), net.conv(net.x, 8))
    y = net.do(ops.Dense(), net.do(ops.Reshape((1, 8)), y), net.array(8, 5), net.array(5))
    made = check(net, net.do(ops.Reshape((5,)), net.do(ops.Softmax(), y)))
    assert kinds(made) == ["copy", "conv", "reduce_mean", "dense", "softmax"]


def test_flattening_before_a_dense_layer_takes_no_copy() -> None:
    net = Net(1, 6, 4, 4)
    flat = net.do(ops.Reshape((1, 128)), net.conv(net.x, 8))
    made = check(net, net.do(ops.Dense(), flat, net.array(128, 5)))
    assert kinds(made) == ["copy", "conv", "dense"]


def test_an_output_may_be_used_and_named_twice() -> None:
    net = Net(1, 6, 7, 5, last=True)
    y = net.conv(net.x)
    z = net.do(ops.Activate(RELU), y)
    check(net, y, z, net.do(ops.Identity(), net.x), fuse=False)


def test_normalisations_and_products() -> None:
    net = Net(1, 6, 7, 5)
    y = net.conv(net.x)
    y = net.do(ops.LocalResponseNorm(3), y)
    y = net.do(ops.Softmax(1), y)
    y = net.do(ops.LayerNorm(2), y, net.array(7, 5), net.array(7, 5))
    t = net.do(ops.Transpose((0, 1, 3, 2)), y)
    check(net, net.do(ops.MatMul(), y, t), y)


def test_reductions_without_their_axes() -> None:
    net = Net(2, 6, 7, 5)
    y = net.conv(net.x)
    a = net.do(ops.Reduce(ops.ReduceFn.MAX, (1,), keepdims=False), y)
    b = net.do(ops.Reduce(ops.ReduceFn.SUM, (-1, 0)), y)
    check(net, net.do(ops.Activate(RELU), a), b)


def test_integers_pad_with_the_zero_point() -> None:
    net = Builder("int")
    quant = Quantization((0.1,), (5,))
    x = net.input("x", (1, 4, 5, 3), Elem.INT8, quant)
    (y,) = net.node("y", ops.Pad(((0, 0), (1, 2), (0, 1), (0, 0))), [x], quants=[quant])
    (z,) = net.node("z", ops.Concat(3), [y, y], quants=[quant])
    (s,) = net.node("s", ops.Softmax(), [z], quants=[Quantization((1 / 256,), (-128,))])
    graph = net.finish([z, s])
    made = plan(lower(graph), no_needs)
    inputs = {"x": np.random.default_rng(0).integers(-128, 128, (1, 4, 5, 3)).astype(np.int8)}
    want, got = evaluate(graph, inputs), run_plan(made, inputs)
    for name in (z, s):
        np.testing.assert_array_equal(got[name], want[name])
    assert want["y"][0, 0, 0, 0] == 5


def diamond(width: int, count: int) -> Graph:
    """Branches that can run in any order; a bad one keeps all their wide middles alive."""
    net = Net(1, 4, 4, 4, last=True)
    wide = [net.conv(net.x, width) for _ in range(count)]
    narrow = [net.conv(x, 1) for x in wide]
    return net.finish([net.do(ops.Concat(3), *narrow)])


def test_the_order_keeps_little_alive() -> None:
    lowered = lower(diamond(16, 5))
    flow = flow_of(lowered.steps, lowered.buffers, lambda step: 0)
    given = list(range(len(lowered.steps)))
    order = best_order(flow)
    assert peak(flow, order) < peak(flow, given) / 2
    done: set[int] = set()
    for at in order:
        assert flow.needs[at] <= done
        done.add(at)


def test_workspaces_count_and_lie_apart() -> None:
    net = Net(1, 6, 7, 5, last=True)
    lowered = lower(net.finish([net.conv(net.conv(net.conv(net.x)))]))
    made = plan(lowered, lambda step: Needs(1000 if step.weights else 0, 128))
    assert made.arena.part_bytes == 1024
    first, second = (made.buffers[name].bytes for name in ("n0", "n1"))
    assert made.arena.max_live == first + second + 1000
    assert [item.offset for item in made.weights] == [0, 128, 256]


def test_random_blocks_are_placed_near_the_bound() -> None:
    worst = 0.0
    for seed in range(20):
        rng = random.Random(seed)
        spans = []
        for at in range(40):
            first = rng.randrange(60)
            last = first + rng.randrange(12)
            spans.append(Span((str(at),), 64 * rng.randrange(1, 100), first, last))
        offsets, total = place(spans)
        for i, one in enumerate(spans):
            for j, two in enumerate(spans[:i]):
                apart = offsets[i] + one.bytes <= offsets[j] or offsets[j] + two.bytes <= offsets[i]
                assert apart or not one.meets(two)
        live = max(sum(s.bytes for s in spans if s.first <= t <= s.last) for t in range(80))
        worst = max(worst, total / live)
    assert worst <= 1.02


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed: int) -> None:
    """Operators picked at random, channels first or last, with skips between any two values."""
    rng = random.Random(seed)
    last = rng.random() < 0.5
    size = (rng.randrange(3, 7), rng.randrange(3, 7))
    net = Net(*((1, *size, 4) if last else (1, 4, *size)), last=last)
    axis = 3 if last else 1
    alive = [net.x]
    for _ in range(rng.randrange(3, 12)):
        x, y = rng.choice(alive), rng.choice(alive)
        pick = rng.randrange(9)
        one = (1, 1)
        if pick < 3:
            alive.append(net.conv(x, rng.choice((2, 4, 5)), groups=1))
        elif pick == 3 and net.shape(x) == net.shape(y):
            alive.append(net.do(ops.Binary(rng.choice((ops.BinaryFn.ADD, ops.BinaryFn.MAX))), x, y))
        elif pick == 4:
            alive.append(net.do(ops.Concat(axis), x, y))
        elif pick == 5:
            act = Activation(rng.choice((Act.RELU, Act.SIGMOID, Act.TANH)))
            alive.append(net.do(ops.Activate(act), x))
        elif pick == 6:
            pool = ops.MaxPool((3, 3), one, ((1, 1), (1, 1)), one, channels_last=last)
            alive.append(net.do(pool, x))
        elif pick == 7 and net.shape(x)[axis] > 1:
            depth = net.shape(x)[axis]
            alive.append(net.do(ops.sliced(net.shape(x), [1], [depth], [axis]), x))
        else:
            gate = net.do(ops.Reduce(axes=(1, 2) if last else (2, 3)), x)
            alive.append(net.do(ops.Binary(ops.BinaryFn.MUL), x, gate))
    outputs = list(dict.fromkeys([alive[-1], rng.choice(alive[1:])]))
    check(net, *outputs)

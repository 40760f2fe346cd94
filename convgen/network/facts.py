"""What ``check`` and ``explain`` tell of a network: sizes, receptive fields, a drawing in text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from convgen.network.graph import Elem, Graph, Node, Value
from convgen.network.ops import (
    AvgPool,
    Conv,
    ConvTransposed,
    Dense,
    DepthToSpace,
    Gather,
    LayerNorm,
    MatMul,
    MaxPool,
    Reduce,
    Resize,
    ResizeMode,
    SpaceToDepth,
)
from convgen.network.ops.face import times


@dataclass(frozen=True)
class Reach:
    """How much of the network's inputs one element sees along each spatial axis: ``sizes`` input
    elements, the next element ``steps`` further. None: it may see everything.
    """

    sizes: tuple[Fraction, ...]
    steps: tuple[Fraction, ...]

    def __str__(self) -> str:
        return "x".join(str(ceil(size)) for size in self.sizes) or "1"


@dataclass(frozen=True)
class Row:
    """One node of a network, in words and numbers."""

    name: str
    kind: str
    shape: str
    parameters: int
    macs: int
    reach: str
    notes: tuple[str, ...]


def rows(graph: Graph) -> list[Row]:
    """The nodes in order."""
    reaches = receptive_fields(graph)
    found = []
    for node in graph.nodes:
        value = graph.values[node.outputs[0]]
        reach = reaches[node.outputs[0]]
        found.append(
            Row(
                printable(node.name),
                node.op.kind,
                sizes(value),
                graph.parameters(node),
                graph.macs(node),
                "all" if reach is None else str(reach),
                node.notes,
            )
        )
    return found


def sizes(value: Value) -> str:
    """``1x28x28x8``, and the element type where it is not float32."""
    return f"{times(value.shape)}{'' if value.dtype is Elem.FLOAT32 else f' {value.dtype}'}"


def printable(name: str) -> str:
    """A name of a model file as a terminal may show it."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def receptive_fields(graph: Graph) -> Mapping[str, Reach | None]:
    """Of every value; of constants and of inputs without spatial axes nothing is said (1)."""
    found: dict[str, Reach | None] = {}
    for name, value in graph.values.items():
        spatial = max(0, len(value.shape) - 2)
        if name in graph.inputs:
            found[name] = Reach((Fraction(1),) * spatial, (Fraction(1),) * spatial)
    for node in graph.nodes:
        reads = [name for name in node.given if name not in graph.constants]
        known = [found[name] for name in reads]
        reach = _joined(known)
        for output in node.outputs:
            found[output] = _after(graph, node, reach)
    return found


def _joined(known: Sequence[Reach | None]) -> Reach | None:
    """Of a node with several inputs: the widest, axis by axis."""
    if not known:
        return Reach((), ())
    reaches = [reach for reach in known if reach is not None]
    if len(reaches) < len(known):
        return None
    rank = max(len(reach.sizes) for reach in reaches)
    wide = [reach for reach in reaches if len(reach.sizes) == rank]
    return Reach(
        tuple(max(reach.sizes[at] for reach in wide) for at in range(rank)),
        tuple(max(reach.steps[at] for reach in wide) for at in range(rank)),
    )


def _after(graph: Graph, node: Node, reach: Reach | None) -> Reach | None:
    op = node.op
    if reach is None or not reach.sizes:
        return reach
    x = graph.values[node.inputs[0]]
    match op:
        case Conv() | MaxPool() | AvgPool() | ConvTransposed():
            if len(op.kernel) != len(reach.sizes):
                return None
            return _windowed(op, reach)
        case Dense():
            # Over an image's channels it is a 1x1 convolution; over flattened ones it sees all.
            return reach if len(x.shape) == len(reach.sizes) + 2 else None
        case Reduce():
            axes = {axis % len(x.shape) for axis in op.axes}
            last = graph.values[node.output].shape
            return reach if axes in ({1}, {len(x.shape) - 1}) and len(last) >= 2 else None
        case MatMul() | LayerNorm() | Gather():
            return None
        case Resize():
            return _resized(op, x.shape, reach)
        case DepthToSpace():
            return Reach(reach.sizes, tuple(step / op.block for step in reach.steps))
        case SpaceToDepth():
            wider = [s + (op.block - 1) * t for s, t in zip(reach.sizes, reach.steps, strict=True)]
            return Reach(tuple(wider), tuple(step * op.block for step in reach.steps))
        case _:
            return reach


def _windowed(op: Conv | MaxPool | AvgPool | ConvTransposed, reach: Reach) -> Reach:
    sizes, steps = [], []
    for at, (size, step) in enumerate(zip(reach.sizes, reach.steps, strict=True)):
        extent = (op.kernel[at] - 1) * op.dilations[at] + 1
        stride = op.strides[at]
        if isinstance(op, ConvTransposed):
            sizes.append(size + (ceil(Fraction(extent, stride)) - 1) * step)
            steps.append(step / stride)
        else:
            sizes.append(size + (extent - 1) * step)
            steps.append(step * stride)
    return Reach(tuple(sizes), tuple(steps))


def _resized(op: Resize, shape: tuple[int, ...], reach: Reach) -> Reach | None:
    """Spatial axes are those that change, in order; others keep what they have."""
    rank = len(reach.sizes)
    first = 1 if op.sizes[-1] == shape[-1] and op.sizes[1] != shape[1] else 2
    taps = {ResizeMode.NEAREST: 1, ResizeMode.LINEAR: 2, ResizeMode.CUBIC: 4}[op.mode]
    if len(shape) != rank + 2:
        return None
    sizes, steps = [], []
    for at in range(rank):
        ratio = Fraction(op.sizes[first + at], shape[first + at])
        more = (taps - 1) * reach.steps[at] if ratio != 1 else 0
        sizes.append(reach.sizes[at] + more)
        steps.append(reach.steps[at] / ratio)
    return Reach(tuple(sizes), tuple(steps))


def drawing(graph: Graph) -> list[str]:
    """One line for each input and node: which live values it reads, and what it makes.

    Every value that is still to be read has a column. ``o`` makes a value, ``+`` reads one that
    others read later, ``'`` reads one for the last time.
    """
    left = {name: len(graph.users[name]) + (name in graph.outputs) for name in graph.values}
    lanes: list[str | None] = []
    lines = []
    for name in graph.inputs:
        lanes.append(name)
        lines.append(_line(lanes, {len(lanes) - 1}, set(), set()))
    for node in graph.nodes:
        reads = [name for name in dict.fromkeys(node.given) if name not in graph.constants]
        for name in node.given:
            left[name] -= 1
        at = {lanes.index(name) for name in reads if name in lanes}
        ended = {i for i in at if left[lanes[i] or ""] == 0}
        shown = list(lanes)
        for i in ended:
            lanes[i] = None
        made = set()
        for output in node.outputs:
            if None in lanes:
                place = lanes.index(None)
                lanes[place] = output
            else:
                place = len(lanes)
                lanes.append(output)
                shown.append(None)
            made.add(place)
        lines.append(_line(shown, made, at - ended, ended))
        for i in made:
            if left[lanes[i] or ""] == 0:
                lanes[i] = None
        while lanes and lanes[-1] is None:
            lanes.pop()
    width = max(map(len, lines), default=0)
    return [line.ljust(width) for line in lines]


def _line(lanes: Sequence[str | None], made: set[int], kept: set[int], ended: set[int]) -> str:
    used = made | kept | ended
    first, last = min(used), max(used)
    text = ""
    for i, lane in enumerate(lanes):
        joined = first <= i <= last
        if i in made:
            mark = "o"
        elif i in kept:
            mark = "+"
        elif i in ended:
            mark = "'"
        else:
            mark = "|" if lane is not None else "-" if joined else " "
        text += mark + ("-" if joined and i < last else " ")
    return text.rstrip()

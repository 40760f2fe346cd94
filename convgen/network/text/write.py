"""A graph as YAML and the arrays of its .npz: what ``convgen import`` writes.

Reading it back gives a graph that computes the same. Layers are named after the values that they
make, so inputs and outputs keep their names.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from convgen.errors import ConvgenError
from convgen.network import ops
from convgen.network.graph import ABSENT, Graph, Node, Quantization, Value
from convgen.network.ops import Elem
from convgen.network.ops.windows import Window, spatial
from convgen.network.text.sources import all_inputs
from convgen.spec.elements import ELEMENTS
from convgen.spec.model import Activation
from convgen.spec.quant import Rounding
from convgen.spec.resolved import activation_form
from convgen.spec.window import Axis

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*", re.ASCII)
_WORDS = frozenset({"true", "false", "null", "previous", "y", "n", "yes", "no", "on", "off"})


@dataclass(frozen=True, eq=False)
class Written:
    """``text``: the YAML. ``arrays``: what its .npz holds, by key."""

    text: str
    arrays: Mapping[str, NDArray[Any]]


def write_network(graph: Graph, weights: str) -> Written:
    """The YAML form of a graph; ``weights``: the name of the .npz, as the YAML names it.

    Raises ``ConvgenError`` for a graph that has no such form: weights computed at run time.
    """
    return _Writer(graph).written(weights)


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.arrays: dict[str, NDArray[Any]] = {}
        self.names: dict[str, str] = {}
        self.lines: list[str] = []
        self.previous: str | None = None
        self.last = not any(
            getattr(node.op, "channels_last", True) is False for node in graph.nodes
        )
        taken: set[str] = set()
        for name in graph.values:
            self.names[name] = _nice(name, taken)
            taken.add(self.names[name])
        for node in graph.nodes:
            if isinstance(node.op, ops.Split):
                for at, output in enumerate(node.outputs[1:], 1):
                    self.names[output] = f"{self.names[node.outputs[0]]}.{at}"

    def written(self, weights: str) -> Written:
        graph = self.graph
        if len(graph.inputs) == 1:
            self.previous = graph.inputs[0]
        for node in graph.nodes:
            self._node(node)
        layers = self.lines
        self.lines = [f"network: {graph.name}"]
        if not self.last:
            self.lines.append("layout: NCHW")
        if any(v.quant for v in graph.values.values()) and graph.rounding is not Rounding.TFLITE:
            self.lines.append(f"rounding: {graph.rounding}")
        self.lines.append("inputs:")
        for name in graph.inputs:
            self.lines.append(f"  {_scalar(self.names[name])}: {self._input(graph.values[name])}")
        if self.arrays:
            self.lines.append(f"weights: {_scalar(weights)}")
        outputs = [self._read_as(name) for name in graph.outputs]
        text = "\n".join([*self.lines, "layers:", *layers, f"outputs: {_flow(outputs)}"])
        return Written(text + "\n", self.arrays)

    def _read_as(self, name: str) -> str:
        """How ``of`` and ``outputs`` name a value; a split's first one by its number, too."""
        node = self.graph.producer.get(name)
        first = node is not None and isinstance(node.op, ops.Split) and node.outputs[0] == name
        return f"{self.names[name]}.0" if first else self.names[name]

    def _input(self, value: Value) -> str:
        shape = value.shape
        plain = value.dtype is Elem.FLOAT32 and value.quant is None
        if plain and self.last and len(shape) == 4 and shape[0] == 1:
            return "x".join(map(str, shape[1:]))
        given: dict[str, Any] = {"shape": list(shape)}
        if value.dtype is not Elem.FLOAT32:
            given["dtype"] = str(value.dtype)
        if value.quant is not None:
            given["quant"] = _meaning(value.quant)
        return _flow(given)

    def _node(self, node: Node) -> None:
        kind, keys, run_time = self._form(node)
        name = self.names[node.outputs[0]]
        for source in run_time:
            if source in self.graph.constants:
                self._constant(source)
        body: dict[str, Any] = {"name": name}
        if run_time != [self.previous]:
            named = [self._read_as(source) for source in run_time]
            body["of"] = named[0] if len(named) == 1 else named
        body |= keys
        self._meanings(node, kind, body)
        self.lines.append(f"  - {kind}: {_flow(body)}")
        self.previous = node.outputs[0]

    def _meanings(self, node: Node, kind: str, body: dict[str, Any]) -> None:
        """``quant`` and ``dtype``, where they do not follow from the first input."""
        if kind in ("quantize", "requantize", "dequantize", "cast"):
            return
        out = self.graph.results(node)[0]
        first = self.graph.values[node.inputs[0]] if node.inputs else None
        inherited = first.quant if first is not None and not first.dtype.is_float else None
        weighted = isinstance(node.op, (ops.Conv, ops.ConvTransposed, ops.Dense))
        if out.quant is not None and (out.quant != inherited or weighted):
            body["quant"] = _meaning(out.quant)
        types = tuple(None if v is None else v.type for v in self.graph.operands(node))
        if node.op.infer(types)[0].dtype != out.dtype:
            body["dtype"] = str(out.dtype)

    def _constant(self, name: str) -> None:
        """A constant that is read as any other value, once, before its first reader."""
        line = f"  - constant: {_flow(self._constant_keys(name))}"
        if line not in self.lines:
            self.lines.append(line)

    def _constant_keys(self, name: str) -> dict[str, Any]:
        value, array = self.graph.values[name], self.graph.constants[name]
        keys: dict[str, Any] = {"name": self.names[name], "shape": list(value.shape)}
        if value.dtype is not Elem.FLOAT32:
            keys["dtype"] = str(value.dtype)
        if value.quant is not None:
            keys["quant"] = _meaning(value.quant)
        inline = str(value.dtype) not in ELEMENTS or (array.size <= 1 and value.dtype.is_float)
        if inline and array.size:
            keys["value"] = (
                array.reshape(-1).tolist() if array.size > 1 else array.reshape(-1)[0].item()
            )
        else:
            self.arrays[f"{self.names[name]}.value"] = array
        return keys

    def _form(self, node: Node) -> tuple[str, dict[str, Any], list[str]]:
        """The operator's word, its keys, and the inputs that ``of`` names."""
        op, ins = node.op, [name for name in node.inputs if name != ABSENT]
        match op:
            case ops.Conv() | ops.ConvTransposed() | ops.Dense():
                return self._weighted(node)
            case ops.MaxPool() | ops.AvgPool():
                keys = self._window(op, ins[0]) | _set(ceil=op.ceil)
                if isinstance(op, ops.AvgPool):
                    keys |= _set(include_pad=op.include_pad)
                return op.kind, keys, ins
            case ops.Binary():
                return str(op.fn), _act(op.activation), ins
            case ops.Activate():
                form = activation_form(op.activation)
                extra = dict(form) if isinstance(form, dict) else {}
                kind = str(extra.pop("kind", form))
                return ("identity" if kind == "none" else kind), extra, ins
            case ops.Unary():
                return str(op.fn), {"alpha": op.alpha, "beta": op.beta, "gamma": op.gamma}, ins
            case ops.PRelu() | ops.BatchNorm() | ops.LayerNorm() | ops.LocalResponseNorm():
                return self._normal(node)
            case ops.Gather():
                indices = self.graph.constants.get(ins[1])
                if indices is None:
                    raise ConvgenError(f"gather `{node.name}`: its indices are no constant")
                keys = {"indices": indices.reshape(-1).tolist(), "axis": op.axis}
                keys["shape"] = list(indices.shape) or [0]
                return "gather", keys, ins[:1]
            case ops.Quantize() | ops.Requantize():
                quant = self.graph.values[node.output].quant
                assert quant is not None
                return op.kind, {**_meaning(quant), "dtype": str(op.dtype)}, ins
            case _:
                return self._moving(node, ins)

    def _moving(self, node: Node, ins: list[str]) -> tuple[str, dict[str, Any], list[str]]:
        op = node.op
        match op:
            case ops.Split():
                return "split", {"axis": op.axis, "sizes": list(op.sizes)}, ins
            case ops.Slice():
                return "slice", self._slice(op, ins[0]), ins
            case ops.Pad():
                keys: dict[str, Any] = {"pads": [list(pair) for pair in op.pads]}
                return "pad", keys | {"mode": str(op.mode), "value": op.value}, ins
            case ops.Resize():
                keys = {"sizes": list(op.sizes), "mode": str(op.mode)}
                keys |= {"scales": list(op.scales)} if op.scales else {}
                keys |= {"coordinates": str(op.coordinates), "nearest": str(op.nearest)}
                keys |= {"cubic": op.cubic, "exclude_outside": op.exclude_outside}
                return "resize", keys, ins
            case ops.DepthToSpace():
                order = "crd" if op.columns_first else "dcr"
                return op.kind, {"block": op.block, "order": order} | self._layout(op), ins
            case ops.SpaceToDepth():
                return op.kind, {"block": op.block} | self._layout(op), ins
            case ops.Softmax():
                return op.kind, {"axis": op.axis, "beta": op.beta}, ins
            case ops.Reduce():
                return "reduce", {"fn": str(op.fn), "axes": list(op.axes), "keep": op.keepdims}, ins
            case ops.Concat():
                return "concat", {"axis": op.axis}, ins
            case ops.Cast():
                return "cast", {"dtype": str(op.dtype)}, ins
            case ops.Reshape() | ops.Broadcast():
                return op.kind, {"shape": list(op.shape)}, ins
            case ops.Transpose():
                return "transpose", {"perm": list(op.perm)}, ins
            case ops.Tile():
                return "tile", {"repeats": list(op.repeats)}, ins
            case _:
                return op.kind, {}, ins

    def _slice(self, op: ops.Slice, name: str) -> dict[str, Any]:
        """Axes that are cut, with ends as ``sliced`` counts them."""
        keys: dict[str, list[int]] = {"axes": [], "starts": [], "ends": [], "steps": []}
        for axis, size in enumerate(self.graph.values[name].shape):
            start, count, step = op.starts[axis], op.sizes[axis], op.steps[axis]
            if (start, count, step) == (0, size, 1):
                continue
            end = start + count * step
            keys["axes"].append(axis)
            keys["starts"].append(start)
            keys["ends"].append(end if end >= 0 else -size - 1)
            keys["steps"].append(step)
        return dict(keys)

    def _layout(self, op: Any) -> dict[str, Any]:
        """Where one operator differs from the rest of the network."""
        if getattr(op, "channels_last", self.last) == self.last:
            return {}
        return {"layout": "NCHW" if self.last else "NHWC"}

    def _window(self, op: Window, name: str) -> dict[str, Any]:
        keys: dict[str, Any] = {"kernel": list(op.kernel)}
        if set(op.strides) != {1}:
            keys["stride"] = list(op.strides)
        if any(a or b for a, b in op.pads):
            if min(min(pair) for pair in op.pads) < 0:
                raise ConvgenError("a window with negative pads has no form in YAML")
            before, after = zip(*op.pads, strict=True)
            keys["padding"] = {"before": list(before), "after": list(after)}
        if set(op.dilations) != {1}:
            keys["dilation"] = list(op.dilations)
        sizes = spatial(self.graph.values[name].shape, channels_last=op.channels_last)
        axes = [
            Axis(size, taps, stride, dilation, *pads)
            for size, pads, taps, dilation, stride in zip(
                sizes, op.pads, op.kernel, op.dilations, op.strides, strict=True
            )
        ]
        transposed = isinstance(op, ops.ConvTransposed)
        if not transposed and not all(axis.harmless for axis in axes):
            keys["remainder"] = "floor"
        return keys | _act(op.activation) | self._layout(op)

    def _weighted(self, node: Node) -> tuple[str, dict[str, Any], list[str]]:
        op, graph = node.op, self.graph
        assert isinstance(op, (ops.Conv, ops.ConvTransposed, ops.Dense))
        ins = list(node.given)
        if any(name not in graph.constants for name in ins[1:]):
            raise ConvgenError(f"{op.kind} `{node.name}`: its weights are computed at run time")
        w = graph.values[ins[1]]
        layer = self.names[node.output]
        array = graph.constants[ins[1]]
        if isinstance(op, ops.ConvTransposed) and op.groups > 1:
            array = all_inputs(array, op.groups)
        self.arrays[f"{layer}.w"] = array
        if len(ins) > 2:
            self.arrays[f"{layer}.b"] = graph.constants[ins[2]]
        keys: dict[str, Any] = {"filters": w.shape[-1]}
        if isinstance(op, ops.Dense):
            flat = {} if len(graph.values[ins[0]].shape) <= 2 else {"flatten": False}
            keys |= flat | _act(op.activation)
        else:
            keys |= self._window(op, ins[0]) | ({"groups": op.groups} if op.groups > 1 else {})
        if isinstance(op, ops.ConvTransposed) and any(op.output_padding):
            keys["output_padding"] = list(op.output_padding)
        if len(ins) == 2:
            keys["bias"] = False
        if w.quant is not None:
            keys["weight_quant"] = _meaning(w.quant)
        return op.kind, keys, ins[:1]

    def _normal(self, node: Node) -> tuple[str, dict[str, Any], list[str]]:
        op, ins = node.op, node.inputs
        layer = self.names[node.output]
        rows = {
            ops.PRelu: ("slope",),
            ops.BatchNorm: ("scale", "shift", "mean", "var"),
            ops.LayerNorm: ("scale", "shift"),
        }.get(type(op), ())
        for key, name in zip(rows, ins[1:], strict=False):
            if name == ABSENT:
                continue
            if name not in self.graph.constants:
                raise ConvgenError(f"{op.kind} `{node.name}`: its {key} is computed at run time")
            self.arrays[f"{layer}.{key}"] = self.graph.constants[name]
        match op:
            case ops.PRelu():
                return "prelu", {"shape": list(self.graph.values[ins[1]].shape)}, [ins[0]]
            case ops.BatchNorm():
                return "norm", {"kind": "batch", "axis": op.axis, "epsilon": op.epsilon}, [ins[0]]
            case ops.LayerNorm():
                given = [name != ABSENT for name in (*ins[1:], ABSENT, ABSENT)[:2]]
                keys = {"kind": "layer", "axis": op.axis, "epsilon": op.epsilon}
                return "norm", {**keys, "scale": given[0], "shift": given[1]}, [ins[0]]
            case _:
                assert isinstance(op, ops.LocalResponseNorm)
                keys = {"kind": "local_response", "axis": op.axis, "size": op.size}
                return (
                    "norm",
                    {**keys, "alpha": op.alpha, "beta": op.beta, "bias": op.bias},
                    [ins[0]],
                )


def _nice(name: str, taken: set[str]) -> str:
    """The name where YAML takes it, else the nearest one that it does."""
    text = "".join(c if c.isprintable() else "_" for c in name).strip() or "tensor"
    text = f"{text}_" if text == "previous" else text
    unique, number = text, 2
    while unique in taken:
        unique, number = f"{text}_{number}", number + 1
    return unique


def _set(**flags: bool) -> dict[str, Any]:
    return {key: value for key, value in flags.items() if value}


def _act(activation: Activation) -> dict[str, Any]:
    form = activation_form(activation)
    return {} if form == "none" else {"activation": form}


def _meaning(quant: Quantization) -> dict[str, Any]:
    if quant.per_tensor:
        return {"scale": quant.scale[0], "zero_point": quant.zero_point[0]}
    zeros = quant.zero_point
    given = zeros[0] if len(set(zeros)) == 1 else list(zeros)
    return {"scale": list(quant.scale), "zero_point": given, "axis": quant.axis}


def _flow(value: Any) -> str:
    """One line of YAML in flow style."""
    match value:
        case dict():
            inside = ", ".join(f"{_scalar(key)}: {_flow(entry)}" for key, entry in value.items())
            return f"{{{inside}}}"
        case list() | tuple():
            return f"[{', '.join(map(_flow, value))}]"
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case float() if value == -math.inf:
            return "-inf"
        case float():
            assert math.isfinite(value), value
            return repr(value)
        case StrEnum() | str():
            text = str(value)
            plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
            return text if plain else json.dumps(text, ensure_ascii=False)
        case _:
            return str(value)

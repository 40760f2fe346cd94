"""An .onnx file as a ``Source``. Called in the importers' child process alone.

Protobuf checks the frame; every size, name and reference that a tensor or node holds is checked
here before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from convgen.importers.limits import MAX_ELEMENTS, MAX_NODES, MAX_RANK, MAX_TENSORS
from convgen.importers.onnx.external import Neighbours, Outside
from convgen.importers.refusal import ModelError, model_error, shown
from convgen.importers.source import ABSENT, Node, Shape, Source, Tensor

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

OLDEST_OPSET = 6
OWN_DOMAINS = ("", "ai.onnx")
METADATA = ("license", "licence", "author", "authors", "description", "source", "url", "version")
METADATA_LIMIT = 4000  # characters of one text


class Damaged(Exception):
    """The file contradicts itself; the text says where."""


@dataclass(frozen=True)
class Inner:
    """A graph inside a node's attribute: a branch of If, the body of a loop."""

    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read(content: bytes, path: str) -> Source:
    """The model in ``content``, which came from ``path``. Raises ``ModelError``."""
    model = _parsed(content, path)
    opset = _opset(model, path)
    model = _inlined(model, path)
    try:
        return _Reader(model, opset, path).source()
    except Damaged as error:
        raise model_error(path, "M003", f"{error}; repair the model, or fetch it anew") from None
    except Outside as error:
        raise model_error(path, "M007", str(error)) from None


def _parsed(content: bytes, path: str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise model_error(
            path, "M003", f"the file is no whole ONNX model ({error}): fetch it anew"
        ) from None
    if not model.HasField("graph"):
        raise model_error(path, "M003", "the file holds no graph: fetch it anew")
    return model


def _opset(model: Any, path: str) -> int:
    """The version of ONNX's own operators. Raises ``ModelError``."""
    import onnx

    newest = int(onnx.defs.onnx_opset_version())
    found = [int(o.version) for o in model.opset_import if o.domain in OWN_DOMAINS]
    if len(found) != 1:
        raise model_error(
            path, "M006", f"the file names {len(found)} operator sets of ONNX's own, not one"
        )
    if not OLDEST_OPSET <= found[0] <= newest:
        raise model_error(
            path,
            "M006",
            f"operator set {found[0]}: convgen reads {OLDEST_OPSET} to {newest} (the newest that "
            "the installed package onnx knows); onnx.version_converter makes another of it",
        )
    return found[0]


def _inlined(model: Any, path: str) -> Any:
    """The model with its own functions written out."""
    if not len(model.functions):
        return model
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # whatever the native code throws is about the file
        raise model_error(
            path, "M003", f"its functions cannot be written out ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


class _Reader:
    def __init__(self, model: Any, opset: int, path: str) -> None:
        self.model, self.opset, self.path = model, opset, path
        self.beside = Neighbours(path)
        self.notes: list[str] = []

    def source(self) -> Source:
        graph = self.model.graph
        if len(graph.node) > MAX_NODES or len(graph.initializer) > MAX_TENSORS:
            raise Damaged(f"{len(graph.node)} nodes, {len(graph.initializer)} constants")
        constants = dict(self._constants(graph))
        inputs = self._inputs(graph, constants)
        described = {text(v.name): self._described(v) for v in (*graph.value_info, *graph.output)}
        tensors = {**described, **{t.name: t for t in inputs}, **constants}
        nodes = tuple(self._nodes(graph.node))
        return Source(
            format="ONNX",
            name=text(graph.name),
            inputs=tuple(t.name for t in inputs),
            outputs=tuple(text(v.name) for v in graph.output),
            tensors=tensors,
            nodes=nodes,
            notes=tuple(self.notes),
            metadata=self._metadata(),
        )

    def _metadata(self) -> dict[str, str]:
        """What the file says about its origin and licence."""
        found: dict[str, str] = {}
        made = (self.model.producer_name, self.model.producer_version)
        found["producer"] = " ".join(map(text, made)).strip()[:METADATA_LIMIT]
        for entry in self.model.metadata_props:
            if text(entry.key).lower() in METADATA:
                found[text(entry.key).lower()] = text(entry.value)[:METADATA_LIMIT]
        return {key: value for key, value in found.items() if value}

    # -- tensors

    def _inputs(self, graph: Any, constants: Mapping[str, Tensor]) -> list[Tensor]:
        """Those without a value in the file. Old files list their weights among the inputs."""
        found = []
        for value in graph.input:
            if text(value.name) in constants:
                if self.model.ir_version >= 4:
                    self.notes.append(f"input {text(value.name)} has a default, which is taken")
                continue
            found.append(self._described(value))
        return found

    def _described(self, value: Any) -> Tensor:
        """A tensor of which the file tells type and shape."""
        name = text(value.name)
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            return Tensor(name, None, kind or "unknown")
        tensor = value.type.tensor_type
        shape: Shape | None = None
        if tensor.HasField("shape"):
            shape = tuple(_dimension(d) for d in tensor.shape.dim)
            if len(shape) > MAX_RANK:
                raise Damaged(f"tensor {shown(name)} has {len(shape)} axes")
        return Tensor(name, shape, type_name(tensor.elem_type))

    def _constants(self, graph: Any) -> Iterator[tuple[str, Tensor]]:
        seen: set[str] = set()
        for proto in graph.initializer:
            yield from self._constant(
                text(proto.name), self._array(proto, text(proto.name)), proto.data_type, seen
            )
        for sparse in graph.sparse_initializer:
            name = text(sparse.values.name)
            yield from self._constant(
                name, self._dense(sparse, name), sparse.values.data_type, seen
            )

    def _constant(
        self, name: str, array: Array | None, kind: int, seen: set[str]
    ) -> Iterator[tuple[str, Tensor]]:
        if name in seen or not name:
            raise Damaged(f"constant {shown(name)} stands twice, or has no name")
        seen.add(name)
        shape = None if array is None else tuple(array.shape)
        yield name, Tensor(name, shape, type_name(kind), array, unread=array is None)

    def _array(self, proto: Any, name: str) -> Array | None:
        """The values of a TensorProto; how many there must be is looked at first. None of types
        that no graph has."""
        import numpy as np
        import onnx
        from onnx import numpy_helper

        shape = tuple(int(d) for d in proto.dims)
        if len(shape) > MAX_RANK or min(shape, default=0) < 0 or prod(shape) > MAX_ELEMENTS:
            raise Damaged(f"constant {shown(name)} has the shape {list(shape)}")
        if proto.data_type not in TYPES:
            return None
        dtype = np.dtype(TYPES[proto.data_type])
        if proto.data_location == onnx.TensorProto.EXTERNAL:
            entries = {text(e.key): text(e.value) for e in proto.external_data}
            return self.beside.array(entries, shape, dtype.newbyteorder("<"), name)
        if proto.HasField("raw_data"):
            if len(proto.raw_data) != prod(shape) * dtype.itemsize:
                raise Damaged(
                    f"constant {shown(name)} of shape {list(shape)} and type {dtype.name} has "
                    f"{len(proto.raw_data)} bytes"
                )
            little = np.frombuffer(proto.raw_data, dtype.newbyteorder("<")).reshape(shape)
            return little.astype(dtype, copy=False)
        try:
            return np.asarray(numpy_helper.to_array(proto))
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            raise Damaged(f"constant {shown(name)}: {_first_line(error)}") from None

    def _dense(self, sparse: Any, name: str) -> Array | None:
        """A constant of which the file holds the elements that are not 0."""
        import numpy as np

        shape = tuple(int(d) for d in sparse.dims)
        if len(shape) > MAX_RANK or min(shape, default=0) < 0 or prod(shape) > MAX_ELEMENTS:
            raise Damaged(f"constant {shown(name)} has the shape {list(shape)}")
        found = self._array(sparse.values, name)
        places = self._array(sparse.indices, f"{name} (indices)")
        if found is None:
            return None
        values = found.reshape(-1)
        if places is None or places.dtype != np.int64:
            raise Damaged(f"constant {shown(name)} has indices of another type than int64")
        if places.shape not in (
            (values.size,),
            (values.size, len(shape)),
        ):
            raise Damaged(f"constant {shown(name)} has indices of shape {list(places.shape)}")
        limits = np.array([prod(shape)] if places.ndim == 1 else shape)
        if (places < 0).any() or (places >= limits).any():
            raise Damaged(f"constant {shown(name)} has an index outside of it")
        whole = np.zeros(shape, values.dtype)
        if places.ndim == 1:
            whole.reshape(-1)[places] = values
        else:
            whole[tuple(places.T)] = values
        return whole

    # -- nodes

    def _nodes(self, protos: Iterable[Any]) -> Iterator[Node]:
        for index, proto in enumerate(protos):
            outputs = tuple(map(text, proto.output))
            name = next((name for name in outputs if name), f"node {index}")
            op, domain = text(proto.op_type), text(proto.domain)
            attributes = Watched({text(a.name): self._attribute(a, op) for a in proto.attribute})
            yield Node(
                label=text(proto.name) or name,
                op=op,
                inputs=tuple(map(text, proto.input)),
                outputs=outputs,
                attributes=attributes,
                domain="" if domain in OWN_DOMAINS else domain,
                version=self.opset,
                captured=_captured(attributes.values()),
                origin=proto,
            )

    def _attribute(self, proto: Any, op: str) -> Any:
        """A number, a text, a list of those, an array, or an inner graph."""
        import onnx

        kinds = onnx.AttributeProto
        match proto.type:
            case kinds.FLOAT:
                return float(proto.f)
            case kinds.INT:
                return int(proto.i)
            case kinds.STRING:
                return text(proto.s)
            case kinds.FLOATS:
                return tuple(float(v) for v in proto.floats)
            case kinds.INTS:
                return tuple(int(v) for v in proto.ints)
            case kinds.STRINGS:
                return tuple(map(text, proto.strings))
            case kinds.TENSOR:
                return self._array(proto.t, f"{op}.{text(proto.name)}")
            case kinds.SPARSE_TENSOR:
                return self._dense(proto.sparse_tensor, f"{op}.{text(proto.name)}")
            case kinds.GRAPH:
                constants = dict(self._constants(proto.g))
                nodes = tuple(self._nodes(proto.g.node))
                return Inner(
                    constants,
                    nodes,
                    tuple(text(v.name) for v in proto.g.input),
                    tuple(text(v.name) for v in proto.g.output),
                )
        return None  # lists of graphs and types: no operator that convgen takes has them


# onnx.TensorProto.DataType, those that NumPy has too.
TYPES: Mapping[int, str] = MappingProxyType(
    {
        1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
        9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    }
)  # fmt: skip


def _captured(attributes: Iterable[Any]) -> tuple[str, ...]:
    """Tensors that inner graphs take from around them."""
    found: dict[str, None] = {}
    for inner in attributes:
        if isinstance(inner, Inner):
            own = {name for node in inner.nodes for name in node.outputs}
            own |= {*inner.tensors, *inner.inputs}
            for node in inner.nodes:
                found |= dict.fromkeys((*node.inputs, *node.captured))
            found |= dict.fromkeys(inner.outputs)
            found = {name: None for name in found if name not in own and name != ABSENT}
    return tuple(found)


class Watched(dict[str, Any]):
    """Attributes of one node; ``unread`` are those that no rule has asked for.

    Newer operator sets give old operators new attributes: one that convgen does not know must be
    refused, not overlooked.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        super().__init__(found)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    @property
    def unread(self) -> list[str]:
        return [name for name in self if name not in self.asked]


def text(found: str | bytes) -> str:
    """A name; protobuf gives those that are no UTF-8 as bytes."""
    return found if isinstance(found, str) else found.decode("utf-8", "backslashreplace")


def _dimension(proto: Any) -> int | str:
    """A size, or the name of an open one; exporters write open ones as 0 or -1 too."""
    if proto.WhichOneof("value") == "dim_value" and proto.dim_value > 0:
        return int(proto.dim_value)
    name = text(proto.dim_param)
    return "" if name == "?" else name  # which some write for every open one


def type_name(number: int) -> str:
    """NumPy's word for an element type, or ONNX's for the others."""
    import onnx

    if number in TYPES:
        return TYPES[number]
    try:
        return str(onnx.TensorProto.DataType.Name(number)).lower()
    except ValueError:
        return f"number {number}"


__all__ = ["Inner", "ModelError", "read"]

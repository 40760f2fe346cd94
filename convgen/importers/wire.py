"""A ``Graph`` in a form that is safe to take from a process that read a hostile file.

Two files: ``graph.json`` (plain values, every operator's class looked up in a closed list and every
field converted to its declared type) and ``constants.bin`` (the arrays, each at a checked place).
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from convgen.network import ops
from convgen.network.graph import Elem, Graph, Node, Quantization, Value
from convgen.spec.quant import Rounding

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

JSON, ARRAYS = "graph.json", "constants.bin"
ALIGN = 64  # bytes
OPS: Mapping[str, type[Any]] = types.MappingProxyType(
    {
        name: found
        for name in ops.__all__
        if isinstance(found := getattr(ops, name), type)
        and is_dataclass(found)
        and hasattr(found, "infer")
    }
)


def write_graph(graph: Graph, folder: Path) -> None:
    """Write both files into ``folder``."""
    import numpy as np

    places: dict[str, list[Any]] = {}
    with (folder / ARRAYS).open("wb") as file:
        for name, array in graph.constants.items():
            file.write(b"\0" * (-file.tell() % ALIGN))
            places[name] = [array.dtype.name, list(array.shape), file.tell()]
            np.ascontiguousarray(array).tofile(file)  # tobytes() would hold large arrays twice
    document = {
        "name": graph.name,
        "inputs": graph.inputs,
        "outputs": graph.outputs,
        "nodes": [
            [n.name, type(n.op).__name__, plain(n.op), n.inputs, n.outputs, n.notes]
            for n in graph.nodes
        ],
        "values": [
            [v.name, v.shape, str(v.dtype), None if v.quant is None else plain(v.quant)]
            for v in graph.values.values()
        ],
        "constants": places,
        "rounding": str(graph.rounding),
        "metadata": dict(graph.metadata),
        "notes": graph.notes,
    }
    (folder / JSON).write_text(json.dumps(document), encoding="utf-8")


def read_graph(folder: Path) -> Graph:
    """What ``write_graph`` wrote. Raises ``ValueError`` and the like when it is anything else."""
    document = json.loads((folder / JSON).read_text(encoding="utf-8"))
    constants = dict(_constants(document["constants"], folder / ARRAYS))
    values = {}
    for name, shape, dtype, quant in document["values"]:
        meaning = None if quant is None else value_of(Quantization, quant)
        values[name] = Value(name, tuple(map(int, shape)), Elem(dtype), meaning)
    return Graph(
        str(document["name"]),
        _texts(document["inputs"]),
        _texts(document["outputs"]),
        tuple(_node(*row) for row in document["nodes"]),
        types.MappingProxyType(values),
        types.MappingProxyType(constants),
        Rounding(document["rounding"]),
        types.MappingProxyType({str(k): str(v) for k, v in document["metadata"].items()}),
        _texts(document["notes"]),
    )


def _node(name: str, op: str, attributes: Any, inputs: Any, outputs: Any, notes: Any) -> Node:
    operator = value_of(OPS[op], attributes)
    return Node(str(name), operator, _texts(inputs), _texts(outputs), _texts(notes))


def _texts(found: Any) -> tuple[str, ...]:
    return tuple(str(text) for text in found)


def _constants(places: Mapping[str, Any], path: Path) -> Any:
    import numpy as np

    size = path.stat().st_size
    with path.open("rb") as file:
        for name, (dtype, shape, offset) in places.items():
            kind = np.dtype(str(Elem(dtype)))
            count = prod(map(int, shape))
            if offset < 0 or count < 0 or offset + count * kind.itemsize > size:
                raise ValueError(f"constant {name!r} lies outside the file")
            file.seek(offset)
            array = np.fromfile(file, kind, count).reshape(tuple(map(int, shape)))
            array.flags.writeable = False
            yield str(name), array


# -- plain values


def plain(value: Any) -> Any:
    """A frozen value as JSON: dataclasses as maps, tuples as lists, enumerations as their words."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.item()  # a NumPy number


def value_of(kind: Any, found: Any) -> Any:
    """The value of type ``kind`` that ``plain`` made ``found`` of. Raises on anything else."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        if found is None and type(None) in get_args(kind):
            return None
        (inner,) = (k for k in get_args(kind) if k is not type(None))
        return value_of(inner, found)
    if origin is tuple:
        return _tuple(get_args(kind), found)
    if is_dataclass(kind):
        assert isinstance(kind, type)
        hints = get_type_hints(kind)
        if set(found) != {f.name for f in fields(kind)}:
            raise ValueError(f"fields of {kind.__name__}: {sorted(found)}")
        return kind(**{name: value_of(hints[name], v) for name, v in found.items()})
    if issubclass(kind, Enum):
        return kind(found)
    if kind is float and isinstance(found, int) and not isinstance(found, bool):
        return float(found)
    if type(found) is not kind:
        raise TypeError(f"{found!r} is no {kind.__name__}")
    return found


def _tuple(kinds: tuple[Any, ...], found: Any) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(value_of(kinds[0], v) for v in found)
    return tuple(value_of(k, v) for k, v in zip(kinds, found, strict=True))

"""A .tflite file as a ``Source``. Called in the importers' child process alone.

Python's flatbuffers follow any offset that a file holds, so whatever it finds is doubted: every
index, length and type is checked here, and what breaks the reading itself is a damaged file.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convgen.importers.limits import MAX_ELEMENTS, MAX_NODES, MAX_RANK, MAX_TENSORS
from convgen.importers.refusal import model_error
from convgen.importers.source import ABSENT, Meaning, Node, Source, Tensor
from convgen.importers.tflite.options import OPTIONS, options_of
from convgen.importers.tflite.sparse import dense

if TYPE_CHECKING:
    import numpy as np

SCHEMA = 3
BROKEN = (  # what the flatbuffers package raises when offsets lead nowhere
    struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError, KeyError,
)  # fmt: skip
DTYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "FLOAT64": "float64", "INT8": "int8",
    "UINT8": "uint8", "INT16": "int16", "UINT16": "uint16", "INT32": "int32", "UINT32": "uint32",
    "INT64": "int64", "UINT64": "uint64", "BOOL": "bool",
}  # fmt: skip


class Damaged(Exception):
    """The file contradicts itself; the text says where."""


def read(content: bytes, path: str) -> Source:
    """The model in ``content``, which came from ``path``. Raises ``ModelError``."""
    try:
        return _Reader(content).source()
    except Damaged as error:
        raise model_error(path, "M003", f"{error}: the file is damaged, fetch it anew") from None
    except BROKEN as error:
        what = f"an offset leads outside the file ({type(error).__name__})"
        raise model_error(path, "M003", f"{what}: the file is damaged, fetch it anew") from None


def _names(kind: Any) -> dict[int, str]:
    """The generated class of an enumeration the other way round."""
    return {value: name for name, value in vars(kind).items() if isinstance(value, int)}


class _Reader:
    def __init__(self, content: bytes) -> None:
        import tflite

        self.content = content
        self.tflite = tflite
        self.model = tflite.Model.GetRootAs(content, 0)
        if self.model.Version() != SCHEMA:
            raise Damaged(f"the format's version is {self.model.Version()}, not {SCHEMA}")
        if self.model.SubgraphsLength() < 1:
            raise Damaged("there is no subgraph")
        self.graph = self.model.Subgraphs(0)
        self.types = _names(tflite.TensorType)
        self.operators = _names(tflite.BuiltinOperator)

    def source(self) -> Source:
        tensors = list(self._tensors())
        count = len(tensors)
        names = [t.name for t in tensors]
        nodes = tuple(self._nodes(names))
        inputs = self._indices(self.graph, "Inputs", count)
        outputs = self._indices(self.graph, "Outputs", count)
        return Source(
            format="TFLite",
            name=_text(self.graph.Name()),
            inputs=tuple(names[i] for i in inputs),
            outputs=tuple(names[i] for i in outputs),
            tensors={t.name: t for t in tensors},
            nodes=nodes,
            notes=tuple(_open(tensors[i]) for i in inputs if tensors[i].open),
            metadata=self._metadata(),
        )

    # -- tensors

    def _tensors(self) -> Iterator[Tensor]:
        count = _bounded(self.graph.TensorsLength(), MAX_TENSORS, "tensors")
        raw = [self.graph.Tensors(i) for i in range(count)]
        texts = [_text(t.Name()) for t in raw]
        often = Counter(texts)
        for index, (tensor, text) in enumerate(zip(raw, texts, strict=True)):
            # A name that several tensors bear, or none, would not tell them apart.
            name = text if text and often[text] == 1 else f"{text}#{index}"
            yield self._tensor(tensor, name)

    def _tensor(self, tensor: Any, name: str) -> Tensor:
        shape = tuple(int(n) for n in _vector(tensor, "Shape"))
        kind = self.types.get(tensor.Type(), f"type {tensor.Type()}")
        if len(shape) > MAX_RANK or any(n < 0 for n in shape):
            raise Damaged(f"tensor {name!r} has the shape {list(shape)}")
        signature = _vector(tensor, "ShapeSignature")
        is_open = len(signature) == len(shape) and any(n < 0 for n in signature)
        return Tensor(
            name=name,
            shape=shape,
            dtype=DTYPES.get(kind, kind.lower()),
            data=self._data(tensor, name, shape, kind),
            meaning=self._meaning(tensor, name, shape),
            open=tuple(int(n) if n > 0 else "" for n in signature) if is_open else None,
        )

    def _data(
        self, tensor: Any, name: str, shape: tuple[int, ...], kind: str
    ) -> np.ndarray[Any, Any] | None:
        import numpy as np

        place = tensor.Buffer()
        if place >= self.model.BuffersLength():
            raise Damaged(f"tensor {name!r} lies in buffer {place}, which is not there")
        content = self._buffer(self.model.Buffers(place))
        if content is None or kind not in DTYPES:
            return None
        dtype = np.dtype(DTYPES[kind]).newbyteorder("<")
        if tensor.Sparsity() is not None:
            return dense(tensor.Sparsity(), content.view(np.uint8), shape, dtype)
        elements = _elements(shape, name)
        if content.size != elements * dtype.itemsize:
            raise Damaged(
                f"tensor {name!r} of shape {list(shape)} and type {kind} needs "
                f"{elements * dtype.itemsize} bytes and has {content.size}"
            )
        found = np.frombuffer(content.tobytes(), dtype).reshape(shape)
        return found.astype(dtype.newbyteorder("="))

    def _buffer(self, buffer: Any) -> np.ndarray[Any, Any] | None:
        """The bytes, or None of an empty one. Large models keep theirs behind the tables."""
        import numpy as np

        offset, size = buffer.Offset(), buffer.Size()
        if offset > 1:
            if offset + size > len(self.content):
                raise Damaged("a buffer lies behind the end of the file")
            return np.frombuffer(self.content, np.uint8, size, offset) if size else None
        data = _vector(buffer, "Data")
        return data if len(data) else None

    def _meaning(self, tensor: Any, name: str, shape: tuple[int, ...]) -> Meaning | None:
        import numpy as np

        quantization = tensor.Quantization()
        if quantization is None:
            return None
        scale, zero = _vector(quantization, "Scale"), _vector(quantization, "ZeroPoint")
        if not len(scale):
            return None
        axis = quantization.QuantizedDimension() if len(scale) > 1 else 0
        if len(scale) > 1 and (not 0 <= axis < len(shape) or shape[axis] != len(scale)):
            raise Damaged(f"tensor {name!r} has {len(scale)} scales along axis {axis} of {shape}")
        if len(zero) not in (0, 1, len(scale)):
            raise Damaged(f"tensor {name!r} has {len(scale)} scales and {len(zero)} zero points")
        if not np.isfinite(scale).all() or (scale < 0).any():
            raise Damaged(f"tensor {name!r} has a scale that is no positive number")
        zeros = tuple(int(z) for z in zero) or (0,)
        return Meaning(tuple(float(s) for s in scale), zeros, axis)

    # -- operators

    def _nodes(self, names: list[str]) -> Iterator[Node]:
        count = _bounded(self.graph.OperatorsLength(), MAX_NODES, "operators")
        for index in range(count):
            operator = self.graph.Operators(index)
            place = operator.OpcodeIndex()
            if place >= self.model.OperatorCodesLength():
                raise Damaged(f"operator {index} has the code {place}, which is not there")
            code = self.model.OperatorCodes(place)
            number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            op = self.operators.get(number, f"OPERATOR_{number}")
            domain = ""
            if op == "CUSTOM":
                op, domain = _text(code.CustomCode()) or "CUSTOM", "custom"
            inputs = self._indices(operator, "Inputs", len(names), optional=True)
            outputs = self._indices(operator, "Outputs", len(names))
            yield Node(
                label=names[outputs[0]] if outputs else f"operator {index}",
                op=op,
                inputs=tuple(ABSENT if i < 0 else names[i] for i in inputs),
                outputs=tuple(names[i] for i in outputs),
                attributes=self._options(operator, op),
                domain=domain,
                version=code.Version(),
            )

    def _options(self, operator: Any, op: str) -> Mapping[str, Any]:
        if op not in OPTIONS:
            return {}
        kind = OPTIONS[op].kind
        found = operator.BuiltinOptionsType()
        table = operator.BuiltinOptions()
        if table is None or found == self.tflite.BuiltinOptions.NONE:
            return options_of(op, None)
        if found != getattr(self.tflite.BuiltinOptions, kind):
            raise Damaged(f"an operator {op} has the options of another (type {found})")
        options = getattr(self.tflite, kind)()
        options.Init(table.Bytes, table.Pos)
        return options_of(op, options)

    def _indices(
        self, table: Any, field: str, count: int, *, optional: bool = False
    ) -> tuple[int, ...]:
        """Places of tensors; -1 stands for an optional one that is left out."""
        found = tuple(int(i) for i in _vector(table, field))
        least = -1 if optional else 0
        if len(found) > MAX_TENSORS or any(not least <= i < count for i in found):
            raise Damaged(f"{field.lower()} name a tensor that is not there")
        return found

    def _metadata(self) -> dict[str, str]:
        """What the file says about itself. Its other entries are for other tools."""
        description = _text(self.model.Description())
        return {"description": description} if description else {}


def _open(tensor: Tensor) -> str:
    sizes = "x".join(map(str, tensor.shape or ()))
    return f"input {tensor.name} is open in size; {sizes} is the file's, --shape sets another"


def _vector(table: Any, field: str) -> np.ndarray[Any, Any]:
    """A vector of numbers; an absent one is empty (the generated code returns 0 for those)."""
    import numpy as np

    found = getattr(table, f"{field}AsNumpy")()
    return found if isinstance(found, np.ndarray) else np.zeros(0, np.int64)


def _text(raw: bytes | None) -> str:
    """A name; bytes that are no UTF-8 stay visible and distinct."""
    return "" if raw is None else raw.decode("utf-8", "backslashreplace")


def _bounded(count: int, most: int, what: str) -> int:
    if count > most:
        raise Damaged(f"there are {count} {what}, beyond the bound of {most}")
    return int(count)


def _elements(shape: tuple[int, ...], name: str) -> int:
    from math import prod

    elements = prod(shape)
    if elements > MAX_ELEMENTS:
        raise Damaged(f"tensor {name!r} has {elements} elements")
    return elements


def type_name(number: int) -> str:
    """A tensor type of the schema by its number."""
    import tflite

    return _names(tflite.TensorType).get(number, f"type {number}")

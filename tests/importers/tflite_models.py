"""Small .tflite files in few words, written with the format's own schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

KINDS = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
    "int16": tflite.TensorType.INT16,
    "int32": tflite.TensorType.INT32,
    "int64": tflite.TensorType.INT64,
    "bool": tflite.TensorType.BOOL,
}


@dataclass(frozen=True)
class Tensor:
    """``scale``: None of real numbers. ``signature``: a shape with -1 where it is open."""

    name: str
    shape: Sequence[int]
    dtype: str = "float32"
    data: np.ndarray | None = None
    scale: Sequence[float] | None = None
    zero: Sequence[int] = (0,)
    axis: int = 0
    signature: Sequence[int] | None = None


def constant(name: str, data: np.ndarray, **more: Any) -> Tensor:
    return Tensor(name, data.shape, data.dtype.name, data, **more)


@dataclass(frozen=True)
class Op:
    """``options``: the table's name without ``Options``, and its fields."""

    op: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    options: tuple[str, Mapping[str, Any]] | None = None
    version: int = 1
    custom: str = ""


@dataclass
class Writer:
    builder: Any = field(default_factory=lambda: flatbuffers.Builder(1 << 12))

    def table(self, kind: str, **fields: Any) -> int:
        """A table of the schema; its fields are numbers or offsets."""
        getattr(tflite, f"{kind}Start")(self.builder)
        for name, value in fields.items():
            if value is not None:
                getattr(tflite, f"{kind}Add{name}")(self.builder, value)
        return int(getattr(tflite, f"{kind}End")(self.builder))

    def numbers(self, values: Sequence[float], dtype: Any = np.int32) -> int:
        return int(self.builder.CreateNumpyVector(np.asarray(values, dtype)))

    def offsets(self, values: Sequence[int]) -> int:
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependUOffsetTRelative(value)
        return int(self.builder.EndVector())


def model(
    tensors: Sequence[Tensor], ops: Sequence[Op], inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """The bytes of a model with one subgraph."""
    w = Writer()
    buffers, made = [w.table("Buffer")], []
    for tensor in tensors:
        place = 0
        if tensor.data is not None:
            data = w.numbers(np.frombuffer(tensor.data.tobytes(), np.uint8), np.uint8)
            place = len(buffers)
            buffers.append(w.table("Buffer", Data=data))
        made.append(_tensor(w, tensor, place))
    names = [tensor.name for tensor in tensors]
    codes, nodes = [], []
    for op in ops:
        number = getattr(tflite.BuiltinOperator, op.op)
        custom = w.builder.CreateString(op.custom) if op.custom else None
        codes.append(
            w.table(
                "OperatorCode",
                DeprecatedBuiltinCode=min(number, 127),
                BuiltinCode=number,
                Version=op.version,
                CustomCode=custom,
            )
        )
        nodes.append(_operator(w, op, names, len(codes) - 1))
    graph = w.table(
        "SubGraph",
        Tensors=w.offsets(made),
        Inputs=w.numbers([names.index(n) for n in inputs]),
        Outputs=w.numbers([names.index(n) for n in outputs]),
        Operators=w.offsets(nodes),
    )
    root = w.table(
        "Model",
        Version=3,
        OperatorCodes=w.offsets(codes),
        Subgraphs=w.offsets([graph]),
        Buffers=w.offsets(buffers),
    )
    w.builder.Finish(root, b"TFL3")
    return bytes(w.builder.Output())


def _tensor(w: Writer, tensor: Tensor, place: int) -> int:
    quantization = None
    if tensor.scale is not None:
        zeros = list(tensor.zero) * (len(tensor.scale) if len(tensor.zero) == 1 else 1)
        quantization = w.table(
            "QuantizationParameters",
            Scale=w.numbers(tensor.scale, np.float32),
            ZeroPoint=w.numbers(zeros, np.int64),
            QuantizedDimension=tensor.axis,
        )
    name, shape = w.builder.CreateString(tensor.name), w.numbers(tensor.shape)
    signature = None if tensor.signature is None else w.numbers(tensor.signature)
    return w.table(
        "Tensor",
        Shape=shape,
        Type=KINDS[tensor.dtype],
        Buffer=place,
        Name=name,
        Quantization=quantization,
        ShapeSignature=signature,
    )


def _operator(w: Writer, op: Op, names: Sequence[str], code: int) -> int:
    kind, options = None, None
    if op.options is not None:
        table, fields = op.options
        fields = {
            name: w.numbers(value) if isinstance(value, list) else value
            for name, value in fields.items()
        }
        kind = getattr(tflite.BuiltinOptions, f"{table}Options")
        options = w.table(f"{table}Options", **fields)
    return w.table(
        "Operator",
        OpcodeIndex=code,
        Inputs=w.numbers([names.index(n) if n else -1 for n in op.inputs]),
        Outputs=w.numbers([names.index(n) for n in op.outputs]),
        BuiltinOptionsType=kind,
        BuiltinOptions=options,
    )

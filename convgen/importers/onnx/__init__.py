"""ONNX model files: ``read`` makes plain values of one, ``rules`` a graph of those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convgen.importers.refusal import Refusal, model_error, shown
from convgen.importers.shapes import chosen_shapes
from convgen.importers.task import Task
from convgen.importers.translate import Translated, element, translate

if TYPE_CHECKING:
    from convgen.importers.source import Source
    from convgen.network.graph import Elem


def import_onnx(content: bytes, task: Task) -> Translated:
    """The model in ``content`` as a graph. Raises ``ModelError``."""
    from convgen.importers.onnx.read import read
    from convgen.importers.onnx.rules import onnx_format, unknown
    from convgen.importers.trim import trimmed

    source = trimmed(read(content, task.path), task.path, task.cut)
    shapes = chosen_shapes(source, task, unknown(source))
    inputs = [(name, sizes, _type(source, name, task.path), None) for name, sizes in shapes.items()]
    return translate(source, onnx_format(source), task.name, inputs)


def _type(source: Source, name: str, path: str) -> Elem:
    """The element type of an input; float32 where a cut begins at a tensor of no known type."""
    tensor = source.tensors.get(name)
    try:
        return element("float32" if tensor is None else tensor.dtype)
    except Refusal as why:
        raise model_error(path, "M022", f"input {shown(name)}: {why}; {why.advice}") from None

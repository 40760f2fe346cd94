"""TFLite model files: ``read`` makes plain values of one, ``rules`` a graph of those."""

from __future__ import annotations

from convgen.importers.shapes import chosen_shapes
from convgen.importers.task import Task
from convgen.importers.translate import Translated, translate


def import_tflite(content: bytes, task: Task) -> Translated:
    """The model in ``content`` as a graph. Raises ``ModelError``."""
    from convgen.importers.tflite.read import read
    from convgen.importers.tflite.rules import declared_type, tflite_format
    from convgen.importers.trim import trimmed

    source = trimmed(read(content, task.path), task.path, task.cut)
    shapes = chosen_shapes(source, task)
    inputs = [(name, shapes[name], *declared_type(source, name, task.path)) for name in shapes]
    return translate(source, tflite_format(source, resized=bool(task.shapes)), task.name, inputs)

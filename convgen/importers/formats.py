"""From a task to a graph, by format. Runs in the child process alone."""

from __future__ import annotations

from convgen.importers.kinds import Format
from convgen.importers.limits import MAX_FILE
from convgen.importers.refusal import model_error
from convgen.importers.task import Task
from convgen.importers.translate import Translated


def imported(task: Task) -> Translated:
    """The model of the task as a graph, or the nodes that are refused. Raises ``ModelError``."""
    content = content_of(task.path)
    if task.format == Format.TFLITE:
        from convgen.importers.tflite import import_tflite

        return import_tflite(content, task)
    from convgen.importers.onnx import import_onnx

    return import_onnx(content, task)


def content_of(path: str) -> bytes:
    """The file's bytes; how many there are is looked at first."""
    from pathlib import Path

    place = Path(path)
    try:
        size = place.stat().st_size
        if size > MAX_FILE:
            raise model_error(path, "M026", f"the file has {size} bytes, more than {MAX_FILE}")
        return place.read_bytes()
    except OSError as error:
        raise model_error(path, "M001", error.strerror or str(error)) from None

"""From a task to a graph, by format. Runs in the child process alone."""

from __future__ import annotations

from convgen.importers.kinds import PACKAGES, Format
from convgen.importers.limits import MAX_FILE
from convgen.importers.refusal import model_error, shown
from convgen.importers.task import Task
from convgen.importers.translate import Translated


def imported(task: Task) -> Translated:
    """The model of the task as a graph, or the nodes that are refused. Raises ``ModelError``."""
    content = content_of(task.path)
    _check_reader(task.path, Format(task.format))
    if task.format == Format.TFLITE:
        from convgen.importers.tflite import import_tflite

        return import_tflite(content, task)
    from convgen.importers.onnx import import_onnx

    return import_onnx(content, task)


def _check_reader(path: str, form: Format) -> None:
    """Raises ``ModelError`` where the package that reads the format cannot be imported.

    An installation that broke raises anything: protobuf beside code of a newer one has an error of
    its own.
    """
    from importlib import import_module

    module, extra = PACKAGES[form]
    try:
        import_module(module)
    except Exception as error:
        why = shown(" ".join(str(error).split()))
        raise model_error(
            path,
            "M005",
            f"the package {module} is installed but cannot be imported: {why}; "
            f"pip install -U 'convgen[{extra}]', or use an environment of its own",
        ) from None


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

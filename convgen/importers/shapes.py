"""Shapes of a model's inputs: what the file says, and what --shape says of open dimensions."""

from __future__ import annotations

from collections.abc import Iterable

from convgen.errors import Diagnostic
from convgen.importers.refusal import ModelError, Refused, model_error, shown
from convgen.importers.source import Shape, Source
from convgen.importers.task import Task


def chosen_shapes(
    source: Source, task: Task, unknown: Iterable[Refused] = ()
) -> dict[str, tuple[int, ...]]:
    """A static shape for each input: the file's, or what --shape says. Raises ``ModelError``.

    ``unknown``: nodes that are refused whatever the shapes are; told beside open dimensions, so
    that nobody fixes those for nothing.
    """
    strange = [name for name in task.shapes if name not in source.inputs]
    if strange:
        there = ", ".join(shown(name) for name in source.inputs)
        raise model_error(
            task.path, "M011", f"--shape: there is no input {shown(strange[0])}; inputs: {there}"
        )
    found: dict[str, tuple[int, ...]] = {}
    open_inputs: list[str] = []
    for name in source.inputs:
        tensor = source.tensors.get(name)
        given, said = task.shapes.get(name), None if tensor is None else tensor.shape
        if given is not None:
            asked = said if tensor is None or tensor.open is None else tensor.open
            if asked is not None and not fits(given, asked):
                raise model_error(
                    task.path,
                    "M011",
                    f"--shape {shown(name)}: {dimensions(given)} does not fit the file's "
                    f"{dimensions(said)}",
                )
            found[name] = given
        elif said is None or any(not isinstance(n, int) for n in said):
            open_inputs.append(f"{shown(name)} {dimensions(said)}")
        else:
            found[name] = tuple(int(n) for n in said)
    if open_inputs:
        refused = tuple(unknown)
        text = (
            f"open dimensions: {', '.join(open_inputs)}; fix them with --shape NAME=SIZES, "
            "as in --shape x=1x3x224x224"
        )
        first = Diagnostic(task.path, 0, 0, "M010", text)
        rest = (Diagnostic(task.path, 0, 0, r.code, str(r)) for r in refused)
        raise ModelError([first, *rest], refused)
    return found


def fits(given: tuple[int, ...], said: Shape) -> bool:
    """Does a shape agree with one whose open dimensions have names? One name is one number."""
    names: dict[str, int] = {}
    if len(given) != len(said) or min(given, default=1) < 1:
        return False
    for size, dimension in zip(given, said, strict=True):
        if isinstance(dimension, int):
            if size != dimension:
                return False
        elif dimension and names.setdefault(dimension, size) != size:
            return False
    return True


def dimensions(shape: Shape | None) -> str:
    """``1x3xHxW``; what has no name is ``?``."""
    if shape is None:
        return "of unknown rank"
    return "x".join(str(n) or "?" for n in shape) or "scalar"

"""Models imported in the test's own process: what the child does, without starting one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from convgen.importers.refusal import refused_error
from convgen.importers.task import Task
from convgen.importers.translate import Translated
from convgen.network.graph import Graph
from convgen.network.meaning import evaluate


def translated(
    content: bytes, form: str, *, path: str = "model", cut: str | None = None, **shapes: Any
) -> Translated:
    """Whatever becomes of the model. Raises ``ModelError`` for the file as a whole."""
    task = Task(path=path, format=form, name="net", folder="", shapes=shapes, cut=cut)
    if form == "ONNX":
        from convgen.importers.onnx import import_onnx

        return import_onnx(content, task)
    from convgen.importers.tflite import import_tflite

    return import_tflite(content, task)


def graph_of(content: bytes, form: str, **how: Any) -> Graph:
    """The graph; refused nodes are raised as the user would see them."""
    done = translated(content, form, **how)
    if done.graph is None:
        raise refused_error(how.get("path", "model"), done.refused)
    return done.graph


def outputs(graph: Graph, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What the graph means, in the order of its outputs."""
    values = evaluate(graph, {name: inputs[name] for name in graph.inputs})
    return [values[name] for name in graph.outputs]

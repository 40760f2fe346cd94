"""The networks without weights that the onnx wheel ships, and weights for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def with_random_weights(path: Path) -> Any:
    """The model with a seeded array where it fills a constant with one number.

    Scaled by the inputs of each filter, so that values neither vanish nor explode.
    """
    model = onnx.load(path)
    graph = model.graph
    shapes = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    rng = np.random.default_rng(0)
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = tuple(int(n) for n in shapes[node.input[0]])
        spread = 1 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.1
        values = (rng.standard_normal(shape) * spread).astype(np.float32)
        if len(shape) == 1:
            values = np.abs(values) + 0.5  # scales and variances of normalisations
        graph.initializer.append(onnx.numpy_helper.from_array(values, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    return model

"""Large grids: a push tries a slice of them, which the sources choose; ``make deep`` the rest.

Every worker and every run of the same tree takes the same slice, and random tests the same seed;
the next change takes others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from convgen.package.disk.inputs import own_digest

# Modules whose grids take minutes: a push runs one case in so many of them.
GRIDS = {
    "c/test_activations.py": 6,
    "c/test_assembly.py": 3,
    "c/test_generated_c.py": 3,
    "c/test_guarantees.py": 2,
    "c/test_prove.py": 5,
    "c/test_sanitizers.py": 4,
    "c/test_vector_model.py": 6,
    "importers/test_import_onnx.py": 3,
    "importers/test_import_tflite.py": 3,
    "kernels/core/test_core_steps.py": 2,
    "kernels/dots/test_other_dots.py": 2,
    "kernels/dots/test_dot_kernels.py": 5,
    "kernels/pairs/test_bf16_pairs.py": 6,
    "kernels/planes/test_planes.py": 6,
    "kernels/test_choose.py": 2,
    "kernels/test_dtype_kernels.py": 6,
    "kernels/test_fast_math.py": 8,
    "kernels/test_fat.py": 3,
    "kernels/test_kernels.py": 10,
    "kernels/test_operators.py": 8,
    "kernels/test_plan.py": 4,
    "kernels/test_vectors_everywhere.py": 2,
    "kernels/test_views.py": 6,
    "kernels/windows/test_windows.py": 6,
    "kernels/winograd/test_winograd.py": 7,
    "network/test_step_kernels.py": 3,
    "package/test_cache.py": 2,
    "package/test_embedding.py": 2,
    "package/test_emit.py": 3,
    "package/test_fit.py": 2,
    "package/test_project.py": 2,
    "package/test_size.py": 2,
    "spec/test_coverage_table.py": 3,
    "spec/test_onnx_node.py": 4,
    "tools/test_accuracy.py": 2,
    "tools/test_cross.py": 6,
    "tools/test_mutants.py": 2,
}
FEW = 20  # cases: whoever names so few wants them all
TURN = int(own_digest()[:8], 16)  # which slice, and which seed


def thin(items: Sequence[pytest.Item], folder: Path) -> None:
    """Mark as deep what a push leaves out of the large grids."""
    grids: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.path.is_relative_to(folder):
            grids.setdefault(item.path.relative_to(folder).as_posix(), []).append(item)
    for name, share in GRIDS.items():
        cases = grids.get(name, [])
        for i, item in enumerate(cases if len(cases) > FEW else ()):
            if i % share != TURN % share:
                item.add_marker(pytest.mark.deep)


def share(count: int, cases: Sequence[Any], shift: int = 0) -> list[Any]:
    """Every ``count``th of the cases, from one on that the sources and ``shift`` choose."""
    return list(cases[(TURN + shift) % count :: count])


def one_in(share: int, cases: Sequence[Any], name: Callable[[Any], str]) -> list[ParameterSet]:
    """Parameters for ``parametrize``: all but one in ``share`` are marked deep."""
    return [
        pytest.param(
            case, id=name(case), marks=() if i % share == TURN % share else pytest.mark.deep
        )
        for i, case in enumerate(cases)
    ]  # fmt: skip

"""Large grids: a push tries a slice of them, which the sources choose; ``make deep`` the rest.

Every worker and every run of the same tree takes the same slice; the next change takes another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from _pytest.mark import ParameterSet

from convgen.package.disk.inputs import own_digest


def one_in(share: int, cases: Sequence[Any], name: Callable[[Any], str]) -> list[ParameterSet]:
    """Parameters for ``parametrize``: all but one in ``share`` are marked deep."""
    turn = int(own_digest()[:8], 16) % share
    return [
        pytest.param(
            case, id=name(case), marks=() if i % share == turn else pytest.mark.deep
        )
        for i, case in enumerate(cases)
    ]  # fmt: skip

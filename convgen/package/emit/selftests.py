"""selftest.c: the C program that checks a layer on the machine it runs on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convgen.package.emit.selftest import float_selftest
from convgen.package.emit.selftest_int import integer_selftest
from convgen.plan.kernel import KernelPlan

if TYPE_CHECKING:
    from convgen.spec.weights import Weights


def selftest_file(plan: KernelPlan, weights: Weights | None, sources: Sequence[str] = ()) -> str:
    """The text of selftest.c. ``sources``: the C files it checks, ``<name>.c`` without any."""
    make = integer_selftest if plan.spec.quantized else float_selftest
    return make(plan, weights, sources)

"""Kernels with lanes along the reduction in text."""

from __future__ import annotations

from convgen.kernels.kind import Section
from convgen.kernels.reduction.body import ReductionBody
from convgen.plan.kernel import KernelPlan


def reduction_lines(plan: KernelPlan, body: ReductionBody) -> list[str]:
    """How one output is summed."""
    runs = plan.packing.depth // body.run
    strands = body.strands
    return [
        f"one pixel x {body.channels} channel{'s' * (body.channels > 1)}, each in {strands} "
        f"vector{'s' * (strands > 1)} of {body.isa.lanes} partial sums",
        f"{runs} run{'s' * (runs > 1)} of {body.run} inputs that lie side by side, and so do "
        "their weights",
    ]


def sums(plan: KernelPlan, everything: bool) -> list[Section]:
    """What ``explain`` shows of such a kernel."""
    assert isinstance(plan.body, ReductionBody)
    return [Section("Sums", tuple(reduction_lines(plan, plan.body)))]

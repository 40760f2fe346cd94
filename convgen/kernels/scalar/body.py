"""The plan of an 8-bit kernel in plain C, or in core registers: that of a tiled one."""

from __future__ import annotations

from convgen.plan.kernel import Body


class ScalarBody(Body):
    """Sums in int32, one or several products a step (``KernelPlan.step``)."""

    @property
    def table_in(self) -> str:
        return "run_part"

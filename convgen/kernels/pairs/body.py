"""The plan of a kernel that multiplies pairs of bfloat16 numbers: that of a tiled one."""

from __future__ import annotations

from convgen.plan.kernel import Body


class PairedBody(Body):
    """Weights are packed in pairs of input channels, as they are stored."""

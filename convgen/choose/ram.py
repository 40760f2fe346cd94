"""The RAM of one run: what it adds up to, and what is set aside for a stack not yet compiled."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convgen.ctext.parts import parts_of
from convgen.plan.kernel import KernelPlan
from convgen.spec.elements import arrays_of

# Set aside for the stack below ``run``: this many bytes, and this many vectors of the widest body,
# for the registers that a compiler spills. Above what gcc 12 (the deepest chain of calls), gcc for
# Cortex-M4 and clang 14 (the sum of all frames) took for each of 180 kernels of all families,
# element types and many activations: most took 90 to 400 bytes, one of clang's for AVX-512 1968.
FRAMES = 768
SPILLED = 24


@dataclass(frozen=True)
class Ram:
    """Bytes that must be there while one ``run`` goes on.

    ``packed``: 0 where the weights are constants; ``workspace``: of one running part;
    ``variables``: the object file's, of which convgen's C has none.
    """

    x: int
    y: int
    packed: int
    workspace: int
    stack: int
    variables: int = 0

    @property
    def total(self) -> int:
        return self.x + self.y + self.packed + self.workspace + self.stack + self.variables

    def __str__(self) -> str:
        return (
            f"x {self.x}, y {self.y}, packed {self.packed}, workspace {self.workspace}, "
            f"stack {self.stack}"
        )


def ram_of(plan: KernelPlan, baked: bool, stack: int, variables: int = 0) -> Ram:
    """The RAM of one run of this plan's kernel, ``baked`` weights being constants."""
    spec, of = plan.spec, arrays_of(plan.spec)
    return Ram(
        x=math.prod(spec.x_shape) * of.x.size,
        y=math.prod(spec.y_shape) * of.y.size,
        packed=0 if baked else plan.packed_bytes,
        workspace=plan.workspace_bytes,
        stack=stack,
        variables=variables,
    )


def stack_allowance(plan: KernelPlan) -> int:
    """Bytes of stack that a compiler hardly ever exceeds; data, as nothing is compiled for it."""
    bodies = [body for _, body in parts_of(plan)] if plan.fat else [plan.body]
    lane = max(arrays_of(plan.spec).x.size, 4)  # narrower elements are calculated with as 32 bits
    return FRAMES + SPILLED * lane * max(body.isa.lanes for body in bodies)

"""Which bodies a file holds, in order, and by which names each goes in C."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from convgen.plan.kernel import AnyBody, KernelPlan
from convgen.target.isa import Operation, VectorIsa


def parts_of(plan: KernelPlan) -> list[tuple[KernelPlan, AnyBody]]:
    """Every body of the file with the plan it belongs to, widest first, plain C last.

    In a fat file each plan's ``tag`` and each body's prefix are its own.
    """
    if not plan.fat:
        return [(plan, body) for body in plan.bodies]
    own = [(p, p.body) for p in (plan, *plan.narrower)]
    return list(_told_apart([*own, (plan, plan.plain)]))


def _told_apart(
    parts: list[tuple[KernelPlan, AnyBody]],
) -> Iterator[tuple[KernelPlan, AnyBody]]:
    taken: set[str] = set()
    for plan, body in parts:
        isa = body.isa
        if isa.prefix in taken:  # four lanes of AVX2 and SSE2's four
            isa = renamed(isa, f"{isa.prefix}_{isa.name}")
        taken.add(isa.prefix)
        yield replace(plan, tag=f"_{isa.name}"), replace(body, isa=isa)


def renamed(isa: VectorIsa, prefix: str) -> VectorIsa:
    """The same instructions under another prefix, which is also the name of the vector type."""

    def words(text: str) -> str:
        # The type, and operations that call one another; no lane's type has a name of its own.
        return re.sub(rf"\b{isa.prefix}(?=\b|_)", prefix, text)

    operations = tuple(
        Operation(op.name, words(op.params), words(op.result), words(op.body))
        for op in isa.operations
    )
    modelled = None if isa.modelled is None else renamed(isa.modelled, prefix)
    return replace(isa, prefix=prefix, operations=operations, modelled=modelled)

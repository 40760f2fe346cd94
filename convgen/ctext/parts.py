"""Which bodies a file holds, in order, and by which names each goes in C."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from convgen.plan.kernel import AnyBody, KernelPlan
from convgen.target.arm.core import CoreStep
from convgen.target.isa import Operation, VectorIsa


def scoped(plan: KernelPlan) -> KernelPlan:
    """The same plan, whose vector types and operations begin with the layer's name in C, so that
    any number of generated files can stand in one translation unit."""

    def named(isa: VectorIsa) -> VectorIsa:
        return renamed(isa, f"{plan.spec.name}_{isa.prefix}")

    step = plan.step
    return replace(
        plan,
        bodies=tuple(_with(body, named(body.isa)) for body in plan.bodies),
        narrower=tuple(scoped(part) for part in plan.narrower),
        step=None if step is None else _renamed_step(step, f"{plan.spec.name}_{step.prefix}"),
    )


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
        yield replace(plan, tag=f"_{isa.name}"), _with(body, isa)


def _with(body: AnyBody, isa: VectorIsa) -> AnyBody:
    changed: AnyBody = replace(body, isa=isa)  # type: ignore[type-var]  # each body is a dataclass
    return changed


def renamed(isa: VectorIsa, prefix: str) -> VectorIsa:
    """The same instructions under another prefix, which is also the name of the vector type."""
    modelled = None if isa.modelled is None else renamed(isa.modelled, prefix)
    types = tuple((suffix, _word(isa.prefix, prefix, ctype)) for suffix, ctype in isa.types)
    operations = _renamed(isa.operations, isa.prefix, prefix)
    return replace(isa, prefix=prefix, operations=operations, types=types, modelled=modelled)


def _renamed_step(step: CoreStep, prefix: str) -> CoreStep:
    return replace(step, prefix=prefix, operations=_renamed(step.operations, step.prefix, prefix))


def _renamed(operations: tuple[Operation, ...], old: str, new: str) -> tuple[Operation, ...]:
    return tuple(
        Operation(op.name, *(_word(old, new, text) for text in (op.params, op.result, op.body)))
        for op in operations
    )


def _word(old: str, new: str, text: str) -> str:
    """The type, and operations that call one another; no lane's type has a name of its own."""
    return re.sub(rf"\b{old}(?=\b|_)", new, text)

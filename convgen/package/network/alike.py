"""Convolutions that differ in their scales alone: one C function, which is told whose to take."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from convgen.kernels import kind_of
from convgen.package.emit.files import Decided
from convgen.package.network.unit import embedded
from convgen.plan.kernel import KernelPlan
from convgen.render.source import render_c
from convgen.spec.model import Activation, ConvSpec

NAME = "any"


def groups_of(layers: Mapping[str, Decided]) -> Iterator[Sequence[str]]:
    """The names of layers, by twos or more, whose C is the same but for the tables of scales."""
    near: dict[ConvSpec, list[str]] = defaultdict(list)
    for name, decided in layers.items():
        if decided.plan.spec.quantized and kind_of(decided.plan.body).scales(decided.plan):
            plain = replace(decided.plan.spec, name=NAME, quant=None, activation=Activation())
            near[plain].append(name)
    for names in near.values():
        if len(names) > 1:
            yield from _same_text({name: layers[name].plan for name in names})


def _same_text(plans: Mapping[str, KernelPlan]) -> Iterator[Sequence[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name, plan in plans.items():
        found[_without_scales(plan)].append(name)
    yield from (names for names in found.values() if len(names) > 1)


def _without_scales(plan: KernelPlan) -> str:
    """The layer's code as a part of a larger file, with empty tables of scales."""
    anonymous = replace(plan, spec=replace(plan.spec, name=NAME))
    text = embedded(render_c(anonymous)[f"{NAME}.c"], NAME, NAME)
    tables = "|".join(kind_of(plan.body).scales(plan))
    pattern = rf"^(static const \w+ {NAME}_(?:{tables})\[\d+\] = \{{)$.*?^\}};$"
    return re.sub(pattern, r"\1};", text, flags=re.M | re.S)


def together(first: Decided, others: Iterable[Decided]) -> Decided:
    """The first layer's code, with the scales of the others behind its own."""
    specs = tuple(decided.plan.spec for decided in others)
    return replace(first, plan=replace(first.plan, alike=specs))

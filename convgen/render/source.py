"""A KernelPlan through the templates to C text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from convgen.ctext.parts import parts_of, scoped
from convgen.ctext.wrap import wrapped
from convgen.kernels import kind_of
from convgen.plan.kernel import KernelPlan
from convgen.render.baked import Form, baked_lines
from convgen.render.environment import environment
from convgen.render.head import PlanText, plan_text

if TYPE_CHECKING:
    from convgen.spec.weights import Weights


def render_c(
    plan: KernelPlan, weights: Weights | None = None, *, form: Form = Form.INSIDE
) -> dict[str, str]:
    """``{"<name>.c": text, "<name>.h": text}``; with weights they are baked in packed order.

    ``form``: where baked weights stand; apart, ``<name>_weights.c`` is a third file.
    """
    if weights is None:
        return dict(_without_weights(plan))
    return _printed(plan, weights, form)


@lru_cache(maxsize=64)
def _without_weights(plan: KernelPlan) -> Mapping[str, str]:
    """Remembered, since the size of 8-bit code is estimated from its text."""
    return _printed(plan, None, Form.INSIDE)


def _printed(plan: KernelPlan, weights: Weights | None, form: Form) -> dict[str, str]:
    plan = scoped(plan)
    text = plan_text(plan, weights)
    env = environment()
    name = plan.spec.name
    lines = () if weights is None or form is Form.BIN else baked_lines(plan, weights)
    inside = replace(text, baked=lines) if form is Form.INSIDE else text
    files = {
        f"{name}.c": _source(plan, inside),
        f"{name}.h": env.get_template("kernel.h.j2").render(plan=text),
    }
    if weights is not None and form is not Form.INSIDE:
        apart, template = replace(text, baked=lines), env.get_template("weights.c.j2")
        files[f"{name}_weights.c"] = template.render(plan=apart)
    return {file: wrapped(body) for file, body in files.items()}


def _source(plan: KernelPlan, text: PlanText) -> str:
    env, kind = environment(), kind_of(plan.body)
    if kind.whole:
        words = kind.words(plan, plan.body)
        return env.get_template(kind.template).render(plan=text, body=words)
    bodies = [kind_of(body).words(part, body) for part, body in parts_of(plan)]
    return env.get_template("kernel.c.j2").render(plan=text, bodies=bodies, plain=bodies[-1])

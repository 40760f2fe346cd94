"""Render: a KernelPlan through the templates to C text. No decision is taken here, only wording."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.ctext.parts import parts_of, scoped
from convgen.ctext.wrap import wrapped
from convgen.kernels import kind_of
from convgen.plan.kernel import KernelPlan
from convgen.render.head import ABI, PlanText, plan_text, spec_id

if TYPE_CHECKING:
    from jinja2 import Environment

    from convgen.spec.weights import Weights

__all__ = ["ABI", "environment", "render_c", "spec_id", "templates_folder"]


def templates_folder() -> Path:
    """The templates of an installed wheel, or those beside the package in a checkout."""
    here = Path(__file__).resolve().parent.parent
    inside = here / "templates"
    return inside if inside.is_dir() else here.parent / "templates"


@cache
def environment() -> Environment:
    """The one Jinja2 environment: undefined names are errors, C keeps its own indentation."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(templates_folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render_c(
    plan: KernelPlan, weights: Weights | None = None, *, split: bool = False
) -> dict[str, str]:
    """``{"<name>.c": text, "<name>.h": text}``; with weights they are baked in packed order.

    ``split``: baked weights stand in ``<name>_weights.c``, a third file.
    """
    plan = scoped(plan)
    text = plan_text(plan, weights)
    env = environment()
    name = plan.spec.name
    apart = split and weights is not None
    inside = replace(text, baked=()) if apart else text
    files = {
        f"{name}.c": _source(plan, inside),
        f"{name}.h": env.get_template("kernel.h.j2").render(plan=text),
    }
    if apart:
        files[f"{name}_weights.c"] = env.get_template("weights.c.j2").render(plan=text)
    return {file: wrapped(body) for file, body in files.items()}


def _source(plan: KernelPlan, text: PlanText) -> str:
    env, kind = environment(), kind_of(plan.body)
    if kind.whole:
        words = kind.words(plan, plan.body)
        return env.get_template(kind.template).render(plan=text, body=words)
    bodies = [kind_of(body).words(part, body) for part, body in parts_of(plan)]
    return env.get_template("kernel.c.j2").render(plan=text, bodies=bodies, plain=bodies[-1])

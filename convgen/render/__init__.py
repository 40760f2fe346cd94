"""Render: a KernelPlan through the templates to C text. No decision is taken here, only wording."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.ctext.body import BodyText
from convgen.ctext.parts import parts_of, scoped
from convgen.ctext.wrap import wrapped
from convgen.kernels.dots.body import DotBody
from convgen.kernels.dots.words import dot_text
from convgen.kernels.planar.body import PlanarBody
from convgen.kernels.planar.words import planar_text
from convgen.kernels.planes.body import PlanesBody
from convgen.kernels.planes.words import planes_text
from convgen.kernels.scalar.words import scalar_text
from convgen.kernels.tiled.words import tiled_text
from convgen.kernels.windows.body import WindowBody
from convgen.kernels.windows.words import window_text
from convgen.kernels.winograd.body import WinogradBody
from convgen.kernels.winograd.words import winograd_text
from convgen.plan.kernel import AnyBody, KernelPlan
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


def body_text(plan: KernelPlan, body: AnyBody) -> BodyText:
    """The words of one body, for its family's template."""
    match body:
        case WinogradBody():
            return winograd_text(plan, body)
        case PlanarBody():
            return planar_text(plan, body)
        case PlanesBody():
            return planes_text(plan, body)
        case _:
            return tiled_text(plan, body)


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
    env = environment()
    if isinstance(plan.body, DotBody):
        return env.get_template("kernels/dots/dots.c.j2").render(
            plan=text, body=dot_text(plan, plan.body)
        )
    if isinstance(plan.body, WindowBody):
        words = window_text(plan, plan.body)
        return env.get_template("kernels/windows/windows.c.j2").render(plan=text, body=words)
    if plan.sections is not None:  # 8-bit plain C
        (body,) = plan.bodies
        assert not isinstance(body, WinogradBody | PlanarBody | PlanesBody)
        scalar = scalar_text(plan, body)
        return env.get_template("kernels/scalar/scalar.c.j2").render(plan=text, body=scalar)
    bodies = [body_text(part, body) for part, body in parts_of(plan)]
    return env.get_template("kernel.c.j2").render(plan=text, bodies=bodies, plain=bodies[-1])

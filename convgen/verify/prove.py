"""Prove with frama-c's EVA that a kernel stays inside its arrays and does no undefined arithmetic.

The claim is about ``pack``, ``run`` and ``run_part``, for every content of the arrays and every
``part`` and ``parts``. The SIMD body is read through the scalar model of its vector operations
(``<NAME>_MODEL``), the plain body as it stands. This module is one run of EVA; ``evidence.py`` says
which runs a kernel needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from convgen.plan.kernel import KernelPlan
from convgen.verify.eva import MACHINE, SECONDS, SPARE, Proof, Reading, analyse
from convgen.verify.harness import FILL, Content, driver

STEPS = 64  # of a sum that EVA takes one by one; beyond, that costs more than it shows


def prove(
    plan: KernelPlan,
    files: Mapping[str, str],
    reading: Reading,
    *,
    machine: str = MACHINE,
    timeout: float = SECONDS,
    isa: str | None = None,
    content: Content = Content.ANY,
) -> Proof:
    """Run EVA on one body of the rendered ``files`` of a plan.

    ``isa``: which vector body of a fat file, the widest without it. ``content``: what the packed
    array holds. ``machine``, and what is raised: as ``analyse``.
    """
    name = plan.spec.name
    macro = name.upper()
    apart = kept_apart(plan, f"_{_body_name(plan, reading, isa)}" if plan.fat else "")
    options = (
        *(word for f, n in apart.items() for word in ("-eva-slevel-function", f"{f}:{n}")),
        *(_sums(plan, content) if plan.spec.quantized else ()),
    )
    found = analyse(
        files,
        driver(plan, content),
        [f"{name}.c"],
        options,
        [f"{macro}_{reading}", *([f"{macro}_ONLY_{isa.upper()}"] if isa else ())],
        machine=machine,
        timeout=timeout,
        unreached=_idle(plan),
    )
    return replace(found, content=content)


def _body_name(plan: KernelPlan, reading: Reading, isa: str | None) -> str:
    """The instruction set of the body that is read."""
    if reading is Reading.PLAIN:
        return plan.plain.isa.name
    return isa or plan.body.isa.name


def kept_apart(plan: KernelPlan, tag: str = "") -> dict[str, int]:
    """The functions whose loops' rounds EVA must not merge, for its intervals to be exact enough.

    Tiled: the rows of the table of regions; everything inside a region is an interval. Winograd:
    none, places in the image and in the workspace are intervals that its tests cut to size.
    ``tag``: what the functions of one body of a fat file end in.
    """
    if not plan.body.table_in:
        return {}
    bodies = (body for part in (plan, *plan.narrower) for body in part.bodies)
    rounds = SPARE + max(len(body.regions) for body in bodies)
    entry = plan.body.table_in
    entry += tag if entry == "body" else ""
    return {f"{plan.spec.name}_{entry}": rounds}


def _sums(plan: KernelPlan, content: Content) -> tuple[str, ...]:
    """What bounds an 8-bit layer's sums: few steps one by one, or many by how often the loop goes
    round (gauges). Nothing where the content lets them be anything."""
    if content is Content.ANY or plan.body.wraps:
        return ()
    channels = plan.spec.oc + SPARE  # each of a bias's four bytes is a cell of its own
    levels = [f"{FILL}:{channels}"] if content is Content.BOUNDED else []
    grown: tuple[str, ...] = ("-eva-domains", "gauges")
    if plan.packing.depth <= STEPS:
        steps = 2 * plan.packing.depth + SPARE
        tiles = dict.fromkeys(r.tile.name for body in plan.bodies for r in body.regions)
        levels += [f"{plan.spec.name}_tile_{tile}:{steps}" for tile in tiles]
        grown = ()
    kept = ("-eva-slevel-function", ",".join(levels)) if levels else ()
    return *grown, "-eva-plevel", str(channels), *kept


def _idle(plan: KernelPlan) -> bool:
    """No window of the layer has a tap inside the image: its multiply-adds are never reached."""
    return any(body.regions for body in plan.bodies) and not any(
        region.area.kh_taps for body in plan.bodies for region in body.regions
    )

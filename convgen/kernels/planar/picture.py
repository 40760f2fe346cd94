"""A planar kernel in text: its tile of pixels and channels, its planes, strips and bands."""

from __future__ import annotations

from convgen.kernels.kind import Section
from convgen.kernels.planar.body import PlanarBody
from convgen.plan.kernel import KernelPlan


def planar_tile_lines(body: PlanarBody) -> list[str]:
    """What the largest tile holds in registers."""
    tile = max(body.tiles, key=lambda t: len(t.vectors))
    vectors, isa = len(tile.vectors), body.isa
    sums = vectors * tile.channels
    lines = [
        f"{vectors} vector{'s' * (vectors > 1)} of {isa.lanes} pixels x {tile.channels} "
        f"channel{'s' * (tile.channels > 1)}: {sums} accumulators of {isa.registers} {isa.name} "
        "registers",
        "a step multiplies vectors of pixels with one weight after the other",
    ]
    if any(len(segments) > 1 for t in body.tiles for segments in t.vectors):
        lines.append("pixels count on from row to row: some vectors join two or more rows")
    return lines


def plane_lines(plan: KernelPlan, body: PlanarBody) -> list[str]:
    """How the input is laid out, and which rows of the output go together."""
    spec = plan.spec
    phases = f" x {spec.sw} phases of the stride" if spec.sw > 1 else ""
    strips = " and ".join(
        f"{strip.rows} row{'s' * (strip.rows > 1)} ({strip.rows * spec.ow} pixels)"
        for strip in body.strips
    )
    return [
        f"a row of the input becomes {spec.c} channels{phases}, {body.pitch} elements each with "
        "the padding",
        f"bands of {body.band} rows of outputs, in strips of {strips}",
        "sums are stored as they are"
        if body.straight
        else "sums of a strip are interleaved on their way to y",
    ]


def tile_and_planes(plan: KernelPlan, everything: bool) -> list[Section]:
    """What ``explain`` shows of a planar kernel."""
    assert isinstance(plan.body, PlanarBody)
    return [
        Section("Register tile", tuple(planar_tile_lines(plan.body))),
        Section("Rows, taken apart into planes", tuple(plane_lines(plan, plan.body))),
    ]

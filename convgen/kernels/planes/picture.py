"""Kernels over planes in text: their tiles, and how the work is cut."""

from __future__ import annotations

from convgen.kernels.kind import Section
from convgen.kernels.planes.body import PlanesBody
from convgen.plan.kernel import KernelPlan


def planes_tile_lines(body: PlanesBody) -> list[str]:
    """What the largest tile holds in registers."""
    tile, isa = max(body.tiles, key=lambda t: t.vectors), body.isa
    sums = tile.vectors * tile.channels
    rows = f"{tile.rows} rows of " if tile.rows > 1 else ""
    many = len(tile.places)
    lines = [
        f"{rows}{many} vector{'s' * (many > 1)} of {isa.lanes} pixels x {tile.channels} "
        f"channel{'s' * (tile.channels > 1)}: {sums} accumulator{'s' * (sums > 1)} of "
        f"{isa.registers} {isa.name} registers",
    ]
    if body.windows:
        return [*lines, "taps are written out, and the weights of a channel stay in registers"]
    return [*lines, "a step multiplies vectors of pixels with one weight after the other"]


def band_lines(plan: KernelPlan, body: PlanesBody) -> list[str]:
    """How the outputs are cut, and where tiles read the input."""
    spec = plan.spec
    whose = "a group" if spec.groups > 1 else "an image"
    what = f"{spec.oh * spec.ow} pixels as one row" if body.flat else f"{spec.oh} rows"
    lines = [
        f"{what} of {whose} in {body.bands} band{'s' * (body.bands > 1)}, "
        f"{plan.packing.blocks} block{'s' * (plan.packing.blocks > 1)} of channels in "
        f"{body.chunks} chunk{'s' * (body.chunks > 1)}",
    ]
    if body.slot:
        lines.append(f"the pixels of a tile are copied side by side first, {body.slot} elements")
    elif body.staged:
        lines.append(
            f"the rows under a band are copied first, {body.pitch} elements a row with the padding"
        )
    else:
        lines.append("x is read where it lies")
    return lines


def tile_and_bands(plan: KernelPlan, everything: bool) -> list[Section]:
    """What ``explain`` shows of a kernel over planes."""
    assert isinstance(plan.body, PlanesBody)
    return [
        Section("Register tile", tuple(planes_tile_lines(plan.body))),
        Section("Output, cut into bands", tuple(band_lines(plan, plan.body))),
    ]

"""Words of kernels with lanes along the reduction."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.ctext.body import BodyText, common
from convgen.kernels.reduction.body import ReductionBody
from convgen.kernels.reduction.lowering import ragged, spilling
from convgen.plan.kernel import KernelPlan


@dataclass(frozen=True)
class ReductionText(BodyText):
    """What templates/kernels/reduction/reduction.j2 prints for one body.

    ``counts``: channels of the blocks that a group is cut into; ``stride``: between the packed
    weights of two channels; ``loops``: whether taps of a row are walked one by one; ``bounded``:
    whether windows leave the image; ``ragged``: whether a run may end inside a vector. Sizes and
    steps as in the spec and the view.
    """

    counts: tuple[int, ...]
    strands: int
    stride: int
    run: int
    loops: bool
    bounded: bool
    ragged: bool
    rows: int
    x_down: int
    x_across: int
    w_down: int
    blocks: int
    channels: int
    images: int
    groups: int
    x_image: int
    x_row: int
    x_pixel: int
    x_group: int
    y_image: int
    y_group: int
    y_pixel: int
    group_stride: int
    h: int
    w: int
    oh: int
    ow: int
    ic: int
    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    pt: int
    pl: int
    number: str
    read: str
    read_part: str
    spill: str


def reduction_text(plan: KernelPlan, body: ReductionBody) -> ReductionText:
    """The words of one body."""
    spec, view, packing, isa = plan.spec, plan.view, plan.packing, body.isa
    whole, rest = divmod(spec.ocg, body.channels)
    read = "each" if isa.has("each") else "load"
    p, how = spec.padding, spilling(isa)
    return ReductionText(
        **common(plan, body),
        counts=(*((body.channels,) if whole else ()), *((rest,) if rest else ())),
        strands=body.strands, stride=packing.group_stride // packing.oc, run=body.run,
        loops=not body.joined and spec.kw > 1, bounded=any((p.top, p.left, p.bottom, p.right)),
        ragged=ragged(spec, body.run, isa.lanes),
        rows=1 if body.whole else spec.kh, x_down=spec.dh * view.x_row,
        x_across=spec.dw * view.x_pixel, w_down=spec.kw * spec.icg,
        blocks=-(-spec.ocg // body.channels), channels=body.channels, images=spec.batch,
        groups=spec.groups, x_image=view.x_image, x_row=view.x_row, x_pixel=view.x_pixel,
        x_group=view.x_group, y_image=view.y_image, y_group=view.y_group, y_pixel=view.y_pixel,
        group_stride=packing.group_stride, h=spec.h, w=spec.w, oh=spec.oh, ow=spec.ow,
        ic=spec.icg, kh=spec.kh, kw=spec.kw, sh=spec.sh, sw=spec.sw, dh=spec.dh, dw=spec.dw,
        pt=p.top, pl=p.left, number=isa.number, read=f"{isa.prefix}_{read}",
        read_part=f"{isa.prefix}_{read}_part",
        spill=f"{isa.prefix}_{how}(t, {{}})" if how else "memcpy(t, &{}, sizeof t)",
    )  # fmt: skip

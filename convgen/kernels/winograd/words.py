"""Words of the Winograd family: transforms as sums of products, matrix products as microkernels."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace

from convgen.ctext.activations import float_literal
from convgen.ctext.body import BodyText, block_of, common, plus, times
from convgen.kernels.winograd.body import WinogradBody, Work
from convgen.kernels.winograd.combination import Combination, program
from convgen.kernels.winograd.matrices import IDENTITY, Matrix, matrices
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Packing
from convgen.plan.tile import Tile

_WIDTH = 74  # columns left for a sum beside its name


@dataclass(frozen=True)
class WinogradText(BodyText):
    """What winograd.j2 prints for one body; sizes as in WinogradBody and the spec.

    ``mh`` x ``mw``, ``ah`` x ``aw``: outputs and inputs of a tile. ``..._steps``: elements
    from row to row and column to column, or only along the axis that a ``flat`` kernel transforms:
    of x, of y, and of patches with a tile's inputs and outputs. ``k_row``, ``k_col``: what takes
    row and column of a ``flat`` tile's first place to its k-th; ``apart``: what a number of a
    tile's rows or columns is multiplied with. ``last_...``: where the last tile lies that is whole.
    ``turned``: x and y are planes; ``x_channel`` and ``y_channel`` lie between them, and ``x_row``,
    ``x_pixel`` are those of the band. ``square``: whether there is an operation that transposes.
    """

    packing: Packing
    flat: bool
    mh: int
    mw: int
    ah: int
    aw: int
    patch: str
    planes: int
    rows: int
    cols: int
    count: int
    block: int
    blocks: int
    mr: int
    strips: int
    block_strips: int
    oc_blocks: int
    work: Work
    v_pitch: int
    v_plane: int
    m_pitch: int
    m_plane: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    oc: int
    pt: int
    pl: int
    d: int
    last_ih: int
    last_iw: int
    last_oh: int
    last_ow: int
    apart: str
    x_image: int
    x_row: int
    x_pixel: int
    y_image: int
    y_row: int
    y_pixel: int
    x_channel: int
    y_channel: int
    turned: bool
    square: bool
    band: int
    row_of: str
    x_steps: str
    y_steps: str
    in_steps: str
    out_steps: str
    outputs: int
    k_row: str
    k_col: str
    t_param: str
    t_arg: str
    fetch_in: bool
    fetch_out: bool
    inward: SimpleNamespace
    outward: SimpleNamespace
    products: tuple[SimpleNamespace, ...]
    block_of_c: str
    block_of_oc: str
    # of the products' microkernel
    loops: tuple[SimpleNamespace, ...]
    inner: str
    w_index: str
    x_index: str
    input_words: str
    bias_param: str
    finish: str
    finish_words: str
    tap_params: str

    @property
    def inside(self) -> bool:
        """Whether the image is large enough for a tile that needs no zeros around it."""
        return self.last_ih >= 0 and self.last_iw >= 0


def winograd_text(plan: KernelPlan, body: WinogradBody) -> WinogradText:
    """The words of one body of a Winograd plan."""
    spec, view, packing, isa = plan.spec, plan.view, plan.packing, body.isa
    high, wide, flat = body.high, body.wide, body.flat
    mats = matrices(body.along.m, body.along.r)
    d, turned = spec.dh, body.band > 0
    m_pitch = body.tile.vectors * isa.lanes
    # Rows of a band are those that tiles read, whatever the dilation.
    down, x_row, x_pixel = d * view.x_row, view.x_row, view.x_pixel
    if turned:
        down, x_row, x_pixel = spec.w * spec.c, spec.w * spec.c, spec.c
    k_row = "0" if high == IDENTITY else "k"
    return WinogradText(
        **common(plan, body),
        packing=packing,
        flat=flat, mh=high.m, mw=wide.m, ah=high.alpha, aw=wide.alpha,
        patch=f"{high.alpha}x{wide.alpha}", planes=body.planes, rows=body.rows, cols=body.cols,
        count=body.count, block=body.block, blocks=body.blocks, mr=body.tile.pixels,
        strips=body.strips, block_strips=body.block // body.tile.pixels,
        oc_blocks=-(-spec.oc // m_pitch), work=body.work,
        v_pitch=body.v_pitch, v_plane=body.v_plane, m_pitch=m_pitch, m_plane=body.m_plane,
        h=spec.h, w=spec.w, c=spec.c, oh=spec.oh, ow=spec.ow, oc=spec.oc,
        pt=spec.padding.top, pl=spec.padding.left, d=d,
        last_ih=spec.h - 1 - (high.alpha - 1) * d, last_iw=spec.w - 1 - (wide.alpha - 1) * d,
        last_oh=spec.oh - 1 - (high.m - 1) * d, last_ow=spec.ow - 1 - (wide.m - 1) * d,
        apart=f" * {d}" if d > 1 else "",
        x_image=view.x_image, x_row=x_row, x_pixel=x_pixel,
        y_image=view.y_image, y_row=view.y_row, y_pixel=view.y_pixel,
        x_channel=view.x_channel, y_channel=view.y_channel,
        turned=turned, square="transpose" in body.operations, band=body.band,
        row_of=(k_row if flat else "i") if turned else "h",
        x_steps=_steps(body, down, d * x_pixel),
        y_steps=_steps(body, d * view.y_row, d * view.y_pixel),
        in_steps=_steps(body, wide.alpha * isa.lanes, isa.lanes),
        out_steps=_steps(body, wide.m * isa.lanes, isa.lanes),
        outputs=high.m * wide.m,
        k_row="" if high == IDENTITY else " + " + times("k", d),
        k_col="" if wide == IDENTITY else " + " + times("k", d),
        t_param="" if flat else "float *t, ", t_arg="" if flat else "t, ",
        fetch_in=body.fetch_in, fetch_out=body.fetch_out,
        inward=_combinations(isa.prefix, mats.bt),
        outward=_combinations(isa.prefix, mats.at),
        products=tuple(_product(plan, body, tile) for tile in body.tiles),
        block_of_c=block_of("c", packing.lanes, packing.block_stride),
        block_of_oc=block_of("oc", packing.lanes, packing.block_stride),
        loops=(SimpleNamespace(var="ic", count=str(spec.c), indent="  "),),
        inner="    ",
        w_index=f" + ic * {packing.lanes}",
        x_index=" + ic",
        input_words="one input of each tile",
        bias_param="",
        finish="{}",
        finish_words="Store.",
        tap_params="",
    )  # fmt: skip


def _steps(body: WinogradBody, row: int, column: int) -> str:
    """Both, or that of the only axis that is transformed, as arguments."""
    if not body.flat:
        return f"{row}, {column}"
    return str(column if body.high == IDENTITY else row)


def _product(plan: KernelPlan, body: WinogradBody, tile: Tile) -> SimpleNamespace:
    lanes, v = body.isa.lanes, body.isa.prefix
    m_pitch = body.tile.vectors * lanes
    accumulators = tile.pixels * tile.vectors
    return SimpleNamespace(
        name=tile.name + plan.tag,
        rows=tile.pixels,
        holds_inputs=tile.pixels < tile.vectors,
        comment=f"{tile.pixels} tiles x {tile.channels} channels: {accumulators} accumulators.",
        pixels=[
            SimpleNamespace(
                index=i, y=plus(i * m_pitch), input=f"{v}_set1(s[{i * body.v_pitch}])"
            )
            for i in range(tile.pixels)
        ],
        vectors=[
            SimpleNamespace(
                index=j, start=f"{v}_set1(0.0f)", packed=plus(plan.packing.offset(j * lanes)),
                y=plus(j * lanes), store=f"{v}_store", store_count="",
            )
            for j in range(tile.vectors)
        ],
    )  # fmt: skip


def _combinations(v: str, matrix: Matrix) -> SimpleNamespace:
    """What the rows of a transform share, and the rows, as C."""
    found = program(matrix)
    return SimpleNamespace(
        shared=[_lines(v, sum_) for sum_ in found.shared],
        rows=[_lines(v, sum_) for sum_ in found.rows],
    )


def _lines(v: str, combination: Combination) -> SimpleNamespace:
    """The sum as one expression: the first term innermost, the others around it."""
    (factor, symbol), *others = combination.terms
    text = symbol if factor == 1 else f"{v}_mul({symbol}, {_constant(v, factor)})"
    for factor, symbol in others:
        if factor == 1:
            text = f"{v}_add({text}, {symbol})"
        elif factor == -1:
            text = f"{v}_sub({text}, {symbol})"
        else:
            before = f"{v}_fma({symbol}, {_constant(v, factor)},"
            # Of a sum of many terms the last one goes around the rest on a line of its own.
            space = "\n        " if len(before) + len(text) > _WIDTH else " "
            text = f"{before}{space}{text})"
    return SimpleNamespace(name=combination.name, value=text)


def _constant(v: str, factor: Fraction) -> str:
    return f"{v}_set1({float_literal(float(factor))})"

"""Words of kernels of gathered windows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

from convgen.ctext.body import times
from convgen.ctext.requantize import RequantText, numbers, requant_text
from convgen.kernels.windows.body import WindowBody, WindowPacking
from convgen.kernels.windows.lowering import MOST_UNROLLED, pointwise
from convgen.plan.kernel import KernelPlan
from convgen.spec.elements import arrays_of
from convgen.spec.model import ConvSpec, DType, Padding
from convgen.spec.quant import Rounding, spread
from convgen.spec.requantize import input_reach, requantization, weight_room
from convgen.target.arm.window_text import operations, tile_type
from convgen.target.arm.windows import Numbers, WindowKernel
from convgen.target.isa import Operation

_STRAIGHT = 8  # steps that take no loop
_ROUND = 4  # steps of a loop's round


@dataclass(frozen=True)
class WindowText:
    """What the templates of this room print.

    ``operations``, ``model``: in instructions and in plain C; ``tile_type``, ``lane_type`` and
    ``model_lanes``: their structures. ``rest``: steps before the loop of ``rounds`` times
    ``unrolled``. ``place``: how many elements of a window lie between two inputs of a pixel.
    ``vector_ends``: ``factors`` and ``shifts`` scale a tile's sums together. ``zero``: what sums of
    weights are multiplied with before they are taken from the biases; ``outside``: a staged byte
    outside the image. ``fixed``: scaling is one multiply-add, by ``factors`` and ``addends``.
    """

    plan: KernelPlan
    body: WindowBody
    packed: WindowPacking
    kernel: WindowKernel
    spec: ConvSpec
    d: str
    simd: tuple[Operation, ...]
    model: tuple[Operation, ...]
    tile_type: str
    lane_type: str
    model_lanes: str
    pixels: int
    filters: int
    rest: int
    rounds: int
    unrolled: int
    place: int
    pointwise: bool
    rows: bool
    x: str
    y: str
    by_channel: bool
    vector_ends: bool
    whole: bool
    requant: RequantText
    down: bool
    across: bool
    outside: int
    tables: SimpleNamespace | None
    y_params: str
    y_args: str
    filter_words: str
    w_tap: str
    limit: SimpleNamespace


def window_text(plan: KernelPlan, body: WindowBody) -> WindowText:
    spec, packed = plan.spec, plan.sections
    kernel = replace(body.kernel, prefix=f"{spec.name}_{body.kernel.prefix}")
    assert isinstance(packed, WindowPacking)
    assert spec.quant is not None
    pixels, filters = plan.schedule.tile_w, packed.filters
    steps = packed.padded // packed.depth
    rest, rounds = (steps, 0) if steps <= _STRAIGHT else (steps % _ROUND, steps // _ROUND)
    counts = () if kernel.looped else tuple({rest, _ROUND if rounds else 0} - {0})
    requant = requant_text(spec, fixed=f"{kernel.prefix}_scaled")
    ends = kernel.vector_ends and _doubly(spec)
    n = replace(_constants(spec, body, pixels, filters, counts), down=requant.down)
    names = _names(spec, body, ends, requant, n)
    words = requant if not ends else requant_text(spec)
    p = plan.packing
    return WindowText(
        plan=plan, body=body, packed=packed, kernel=kernel, spec=spec, d=kernel.prefix,
        simd=operations(kernel, n, _of_simd(names, kernel, spec), model=False),
        model=operations(kernel, n, names, model=True),
        tile_type=tile_type(kernel, n),
        lane_type=kernel.lane_type,
        model_lanes=f"struct {{\n  int32_t sum[{kernel.lanes}];\n}}",
        pixels=pixels, filters=filters, rest=rest, rounds=rounds, unrolled=_ROUND,
        place=1 if kernel.looped else pixels,
        pointwise=pointwise(spec),
        rows=spec.dw == 1 and spec.groups == 1 and spec.kw > 1,
        x=arrays_of(spec).x.c, y=arrays_of(spec).y.c,
        by_channel=bool(words.oc_param),
        vector_ends=ends,
        whole=body.depthwise and packed.taps <= MOST_UNROLLED,
        requant=words,
        down=spec.padding.top + spec.padding.bottom > 0,
        across=spec.padding.left + spec.padding.right > 0,
        outside=spec.quant.x_zero,
        tables=_tables(spec) if ends else None,
        y_params=", ".join(f"{arrays_of(spec).y.c} *y{p}" for p in range(pixels)),
        y_args=", ".join(_y_arg(spec, p, plan.view.groups, packed.oc) for p in range(pixels)),
        filter_words="one filter" if filters == 1 else f"{filters} filters",
        w_tap=" + ".join(
            times(var, step)
            for var, step in (
                ("kh", p.w_kh), ("kw", p.w_kw), ("ic", p.w_ic), ("oc", p.w_oc),
            )
        ),
        limit=SimpleNamespace(reach=input_reach(spec), room=weight_room(spec)),
    )  # fmt: skip


def _y_arg(spec: ConvSpec, pixel: int, groups: int, channels: int) -> str:
    """Where a pixel's outputs of the group begin."""
    at = f"y + pixel{f'_{pixel}' if pixel else ''} * {spec.oc}"
    return f"{at} + group * {channels}" if groups > 1 else at


def _constants(
    spec: ConvSpec, body: WindowBody, pixels: int, filters: int, counts: tuple[int, ...]
) -> Numbers:
    quant, how = spec.quant, requantization(spec)
    assert quant is not None
    unsigned = spec.dtype is DType.UINT8
    centred = body.kernel.centred or body.depthwise
    return Numbers(
        tile=(pixels, filters),
        counts=counts,
        taps=_taps(spec) if body.depthwise and spec.kh * spec.kw <= MOST_UNROLLED else (),
        zero=quant.x_zero if centred else 0,
        outside=0 if centred else quant.x_zero - (128 if unsigned else 0),
        unsigned=unsigned,
        out_zero=how.zero if how else 0,
        low=how.low if how else 0,
        high=how.high if how else 0,
        y=arrays_of(spec).y.c,
    )


def _taps(spec: ConvSpec) -> tuple[int, ...]:
    """Where a window's taps lie from its corner, in bytes."""
    rows = range(0, spec.kh * spec.dh, spec.dh)
    cols = range(0, spec.kw * spec.dw, spec.dw)
    return tuple((row * spec.w + col) * spec.c for row in rows for col in cols)


def _doubly(spec: ConvSpec) -> bool:
    """Whether sums are scaled in TFLite's two roundings, each to the right."""
    how = requantization(spec)
    if how is None or how.rounding is not Rounding.TFLITE:
        return False
    return max(how.shifts) < 0 and not how.table


def _names(
    spec: ConvSpec, body: WindowBody, ends: bool, requant: RequantText, n: Numbers
) -> list[str]:
    """The operations that the text calls, or the model's."""
    whole = body.depthwise and len(n.taps) > 0
    scaled = ["scaled_signed" if requant.below else "scaled"]
    scaled = scaled if requant.kind == "steps" and not ends else []
    if body.depthwise:
        taps = ["tap", *(["window"] if whole else [])]
        return ["number", "start", *taps, *(["out_lanes"] if ends else ["spill", *scaled])]
    names = ["number"]
    if not body.direct:
        names += ["take", *(["fill"] if _filled(spec, body) else [])]
    names += ["dots"] if body.kernel.looped else [f"steps_{count}" for count in n.counts]
    return [*names, *(["out_tile"] if ends else scaled)]


def _of_simd(names: list[str], kernel: WindowKernel, spec: ConvSpec) -> list[str]:
    """Less a tap that only whole windows would call, where those are one piece, and numbers that
    start a lane."""
    idle = kernel.looped and "window" in names and spec.padding == Padding()
    left_out = {"tap"} if idle else set()
    left_out |= {"number"} if "start" in names else set()
    return [name for name in names if name not in left_out]


def _filled(spec: ConvSpec, body: WindowBody) -> bool:
    """Whether places outside the image are filled one by one."""
    return spec.padding != Padding() and not body.staged


def _tables(spec: ConvSpec) -> SimpleNamespace:
    """One factor and one shift for every filter."""
    how = requantization(spec)
    assert how is not None
    return SimpleNamespace(
        factors=numbers(spread(how.factors, spec.oc)), shifts=numbers(spread(how.shifts, spec.oc))
    )

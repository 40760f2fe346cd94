"""Words of the whole file: its head, its sizes, the packing and baked weights."""

from __future__ import annotations

import hashlib
import math
import textwrap
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from convgen import __version__
from convgen.ctext.activations import ActivationText, activation_text, double_text
from convgen.ctext.parts import parts_of
from convgen.kernels import kind_of
from convgen.plan.kernel import KernelPlan
from convgen.plan.packing import Packing
from convgen.render.baked import BIN_HEAD
from convgen.spec.elements import arrays_of
from convgen.spec.layouts import image_letters, weight_letters
from convgen.spec.model import Act, ConvSpec, DType
from convgen.target.halves import WIDEN

if TYPE_CHECKING:
    from convgen.spec.weights import Weights

FLUSHED = (
    "Two input channels to a step, summed in float32. Numbers below 2^-126 count as 0:",
    "error at most gamma(K+2) * (sum of |x * w| + |b|) + 2^-126 * (sum of |x| + |w| + 2K+4).",
)
ABI = 1  # of the generated C interface; a caller compiled against another number must not link


@dataclass(frozen=True)
class PlanText:
    """Words and numbers of the whole file. ``baked``: lines of numbers, where weights stand."""

    name: str
    macro: str
    template: str
    fat: bool
    workspace: str
    scratch: str
    version: str
    target: str
    story: tuple[str, ...]
    macros: tuple[tuple[str, str], ...]
    act: ActivationText
    packing: Packing
    bias: bool
    groups: int
    images: int
    head: SimpleNamespace | None
    scatter: int
    has_weights: bool
    bin_head: int
    baked: tuple[str, ...]
    feature_words: str
    isa_words: str
    layout: str
    w_layout: str
    x_shape: str
    w_shape: str
    y_shape: str
    b_words: str
    packed_words: str
    workspace_words: str
    x_type: str
    w_type: str
    b_type: str
    y_type: str
    packed_type: str
    packed_per: str
    pack_words: str
    widen: str
    zero: str
    items: str
    deep: bool
    kd_loop: bool
    kh: int
    down: tuple[str, ...]
    across: tuple[str, ...]

    @property
    def macro_names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.macros)

    @property
    def header_id(self) -> str:
        """A C integer that ties the files of one run together: a header of another layer,
        schedule, target, version or other weights has another."""
        digest = hashlib.sha256(repr((self.version, self.story, self.macros)).encode())
        return f"0x{digest.hexdigest()[:8]}"


def spec_id(plan: KernelPlan, weights: Weights | None = None) -> str:
    """16 hex digits that stand for what is computed: the spec, and baked weights if any."""
    digest = hashlib.sha256(repr(plan.spec).encode())
    if weights is not None:
        digest.update(weights.w.tobytes())
        digest.update(b"" if weights.b is None else weights.b.tobytes())
    return digest.hexdigest()[:16]


def plan_text(plan: KernelPlan, weights: Weights | None) -> PlanText:
    spec, kind = plan.spec, kind_of(plan.body)
    macro = spec.name.upper()
    workspace = f"{macro}_WORKSPACE_BYTES is 0: not used, may be NULL"
    if plan.workspace_bytes:
        aligned = "any alignment" if kind.modelled else "aligned to a float at least"
        workspace = f"{macro}_WORKSPACE_BYTES bytes, {aligned}; contents void"
    arrays, scattered = arrays_of(spec), plan.view.y_channel
    element, double = plan.packed, arrays.x.compute is DType.FLOAT64
    packed = f"what {spec.name}_pack wrote"
    if weights is not None:
        packed = f"{spec.name}_packed, or {packed}"
    return PlanText(
        name=spec.name,
        macro=macro,
        template=kind.template,
        fat=plan.fat,
        workspace=f", ({arrays.x.c} *)workspace" if plan.workspace_bytes else "",
        scratch=arrays.x.c,
        version=__version__,
        target=plan.target.name,
        story=story(plan),
        macros=macros(plan, weights),
        act=double_text(spec.activation) if double else activation_text(spec.activation),
        packing=plan.packing,
        bias=spec.bias,
        groups=plan.view.groups,
        images=spec.batch,
        head=kind.head(plan),
        scatter=scattered if scattered != 1 and kind.scattered else 0,
        has_weights=weights is not None,
        bin_head=BIN_HEAD,
        baked=(),
        feature_words=_feature_words(plan),
        isa_words=_isa_words(plan),
        layout=image_letters(spec),
        w_layout=weight_letters(spec),
        x_shape="][".join(map(str, spec.x_shape)),
        w_shape="][".join(map(str, spec.w_shape)),
        y_shape="][".join(map(str, spec.y_shape)),
        b_words=f"{arrays.b.c}[{spec.oc}], element alignment"
        if spec.bias
        else "not read, may be NULL",
        packed_words=packed,
        workspace_words=workspace,
        x_type=arrays.x.c,
        w_type=arrays.w.c,
        b_type=arrays.b.c,
        y_type=arrays.y.c,
        packed_type=element.c,
        pack_words="0, or\n * 1 + the first channel whose sums could leave int32"
        if spec.quantized
        else "0",
        widen=WIDEN.get(spec.dtype, "") if plan.packing.side == 1 else "",
        zero="0.0" if double else "0.0f",
        items="doubles" if double else "16-bit numbers" if arrays.x.size == 2 else "floats",
        packed_per="" if element.size == 1 else f" / {element.size}",
        deep=spec.od > 1,
        kd_loop=spec.kd > 1,
        kh=spec.kh,
        # Where the taps are packed in another order than they lie in; else empty.
        down=_offsets(plan.packing.rows, plan.packing.w_kh),
        across=_offsets(plan.packing.columns, plan.packing.w_kw),
    )


def _offsets(order: tuple[int, ...], step: int) -> tuple[str, ...]:
    """Lines of a table: where rows or columns of taps lie in w, in the order of packing."""
    if not order:
        return ()
    return tuple(textwrap.wrap(", ".join(str(place * step) for place in order) + ",", 92))


def _feature_words(plan: KernelPlan) -> str:
    if plan.fat:
        return " (any x86-64)"
    features = plan.body.isa.features
    return f" ({', '.join(features)})" if features else ""


def _isa_words(plan: KernelPlan) -> str:
    names = [body.isa.name for _, body in parts_of(plan)]
    if kind_of(plan.body).modelled:
        names.append("plain")
    if plan.step is not None:
        names = [plan.step.name, *names]
    *others, last = [f'"{name}"' for name in names]
    return f"{', '.join(others)} or {last}" if others else last


def macros(plan: KernelPlan, weights: Weights | None) -> tuple[tuple[str, str], ...]:
    """The sizes that a program can use in ``#if``."""
    s = plan.spec
    numbers = {
        "N": s.batch, "H": s.h, "W": s.w, "C": s.c,
        "OH": s.oh, "OW": s.ow, "OC": s.oc, "KH": s.kh, "KW": s.kw,
        "SH": s.sh, "SW": s.sw, "DH": s.dh, "DW": s.dw, "G": s.groups,
        "PT": s.padding.top, "PL": s.padding.left, "PB": s.padding.bottom, "PR": s.padding.right,
        "MACS": s.macs, "PACKED_BYTES": plan.packed_bytes,
        "WORKSPACE_BYTES": plan.workspace_bytes, "ALIGN": plan.align,
        "BAKED": int(weights is not None), "ABI": ABI,
    }  # fmt: skip
    if s.rank == 3:
        p = s.padding
        numbers |= {"D": s.d, "OD": s.od, "KD": s.kd, "SD": s.sd, "DD": s.dd}
        numbers |= {"PF": p.front, "PK": p.back}
    if s.transposed:
        numbers |= {"TRANSPOSED": 1, "OPH": s.extra[1], "OPW": s.extra[2]}
        numbers |= {"OPD": s.extra[0]} if s.rank == 3 else {}
    found = [(name, str(value)) for name, value in numbers.items()]
    found.append(("SPEC_ID", f'"{spec_id(plan, weights)}"'))
    return tuple(found)


def story(plan: KernelPlan) -> tuple[str, ...]:
    """What the file computes, how, and what it costs."""
    s = plan.spec
    formula = _formula(s)
    sizes = [(tile.pixels, tile.channels) for tile in plan.body.tiles]
    pixels, channels = max(sizes, key=math.prod)
    return (
        *formula,
        "Taps outside the image count as nothing. Indices are logical; the arrays lie as follows:",
        f"x {'x'.join(map(str, s.x_shape))} {image_letters(s)}, w {'x'.join(map(str, s.w_shape))} "
        f"{weight_letters(s)}, y {'x'.join(map(str, s.y_shape))} {image_letters(s)}, {_types(s)}",
        *(("Compiled for one image: for more, call it once for each.",) if s.batch_any else ()),
        "",
        f"Spec {spec_id(plan)}, target {plan.target.name}",
        f"Schedule {plan.schedule}",
        *(f"  on {p.body.isa.name} {p.schedule}" for p in plan.narrower),
        f"Cost: {s.macs} multiply-adds, {plan.packed_bytes} bytes of packed weights",
        f"Tiles of up to {pixels} pixels x {channels} channels",
        *((f"Steps of {plan.step.depth} products ({plan.step.name})",) if plan.step else ()),
        *_flags_story(plan),
        *kind_of(plan.body).story(plan),
        *(FLUSHED if plan.body.isa.flushes else ()),
    )


def _formula(s: ConvSpec) -> tuple[str, ...]:
    """The layer's formula, over the axes that it has."""
    bias = "b[oc] + " if s.bias else ""
    act, letters = s.activation.kind, "dhw"[3 - s.rank :]
    taps = ", ".join(f"k{a}" for a in letters)
    inner = f"{bias}sum over {taps}, ic of"
    channel, depth = "ic", "ic"
    if s.icg == 1 and s.groups > 1:
        inner = f"{bias}sum over {taps} of"
        channel, depth = ("oc" if s.ocg == 1 else f"oc / {s.ocg}"), "0"
    elif s.groups > 1:
        channel = f"oc / {s.ocg} * {s.icg} + ic"
    axes = list(zip(letters, s.axes[3 - s.rank :], strict=True))
    left = f"y[n,{','.join(f'o{a}' for a in letters)},oc] = "
    weight = f"w[{taps.replace(' ', '')},{depth},oc]"
    if s.transposed:
        met = " and ".join(
            f"o{a} = {_affine(f'i{a}', x.stride, x.before, f'k{a}', x.dilation)}" for a, x in axes
        )
        places = ", ".join(f"i{a}" for a in letters)
        inner = inner.replace(f"sum over {taps}", f"sum over {places}, {taps}")
        product = f"x[n, {places}, {channel}] * {weight}"
    else:
        met = ""
        places = ", ".join(
            _affine(f"o{a}", x.stride, x.before, f"k{a}", x.dilation) for a, x in axes
        )
        product = f"x[n, {places}, {channel}] * {weight}"
    opening, closing = (f"{act}(", ")") if act is not Act.NONE else ("", "")
    where = (f"    where {met}",) if met else ()
    if s.quantized:
        return (*integer_formula(s, inner, product, left), *where)
    return (f"{left}{opening}{inner}", f"    {product}{closing}", *where)


def _flags_story(plan: KernelPlan) -> tuple[str, ...]:
    """What the compiler must be told, where the file cannot ask for it itself."""
    target = plan.target
    if not target.flags:
        return ()
    flags = f"Made for a compiler with {' '.join(target.flags)}"
    if len(plan.bodies) == 1 and plan.step is None:
        return (f"{flags}.",)
    return (f"{flags};", f"without, its plain C is compiled: {plan.spec.name}_isa() says which.")


def _types(s: ConvSpec) -> str:
    of = arrays_of(s)
    names = (of.x.name, of.w.name, of.y.name)
    return names[0] if len(set(names)) == 1 else ", ".join(names)


def integer_formula(s: ConvSpec, inner: str, taps: str, left: str) -> tuple[str, ...]:
    """What an 8-bit layer computes; scales and zero points are the spec's."""
    quant = s.quant
    assert quant is not None
    x, _, w = taps.rpartition(" * ")
    zeros = quant.weight.zero_point
    x = f"({x} - ({quant.x_zero}))" if quant.x_zero else x
    w = f"({w} - w_zero[oc])" if len(set(zeros)) > 1 else f"({w} - ({zeros[0]}))" if zeros[0] else w
    act = s.activation.kind
    if quant.output is None:
        whole = "max(0, sum)" if act is Act.RELU else "sum"
        return f"{left}{whole}", f"sum = {inner}", f"    {x} * {w}"
    target = quant.sum or quant.output
    several = len(quant.weight.scale) > 1
    scale = "w_scale[oc]" if several else f"{quant.weight.scale[0]:.9g}"
    ratio = f"{quant.input.scale[0]:.9g} * {scale} / {target.scale[0]:.9g}"
    whole = f"{target.zero_point[0]} + rounded(sum * {ratio})"
    after = f"saturated; rounding {quant.rounding}"
    if quant.sum is not None:
        after = f"saturated, then looked up in the table of {act}; rounding {quant.rounding}"
    elif act is not Act.NONE:
        after = f"{act} as a clamp, {after}"
    return (
        f"{left}{whole},",
        f"    {after}",
        f"sum = {inner}",
        f"    {x} * {w}",
    )


def _affine(out: str, stride: int, pad: int, tap: str, dilation: int) -> str:
    """``oh*2 - 3 + kh``, as a person would write it."""
    first = out if stride == 1 else f"{out}*{stride}"
    last = tap if dilation == 1 else f"{tap}*{dilation}"
    return f"{first} - {pad} + {last}" if pad else f"{first} + {last}"

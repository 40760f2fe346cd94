"""Render: a KernelPlan through the templates to C text. No decision is taken here, only wording."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from convgen import __version__
from convgen.activations import ActivationText, activation_text, float_literal
from convgen.plan import Body, KernelPlan, Loop, Packing, Region, Tile
from convgen.spec.model import Act, ConvSpec
from convgen.target.isa import VectorIsa, model

if TYPE_CHECKING:
    from jinja2 import Environment

    from convgen.spec.weights import Weights

ABI = 1  # of the generated C interface; a caller compiled against another number must not link


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


def spec_id(plan: KernelPlan, weights: Weights | None = None) -> str:
    """16 hex digits that stand for what is computed: the spec, and baked weights if any."""
    digest = hashlib.sha256(repr(plan.spec).encode())
    if weights is not None:
        digest.update(weights.w.tobytes())
        digest.update(b"" if weights.b is None else weights.b.tobytes())
    return digest.hexdigest()[:16]


def render_c(plan: KernelPlan, weights: Weights | None = None) -> dict[str, str]:
    """``{"<name>.c": text, "<name>.h": text}``; with weights they are baked in packed order."""
    text = plan_text(plan, weights)
    bodies = [body_text(plan, body) for body in plan.bodies]
    env = environment()
    name = plan.spec.name
    source = env.get_template("kernel.c.j2").render(plan=text, bodies=bodies, plain=bodies[-1])
    return {
        f"{name}.c": source,
        f"{name}.h": env.get_template("kernel.h.j2").render(plan=text),
    }


# -- what the templates print ---------------------------------------------------------------------


@dataclass(frozen=True)
class PlanText:
    """Words and numbers of the whole file."""

    name: str
    macro: str
    template: str
    workspace: str
    version: str
    target: str
    story: tuple[str, ...]
    macros: tuple[tuple[str, str], ...]
    act: ActivationText
    packing: Packing
    bias: bool
    groups: int
    images: int
    scatter: int
    baked: tuple[str, ...]
    feature_words: str
    layout: str
    w_layout: str
    x_shape: str
    w_shape: str
    y_shape: str
    b_words: str
    packed_words: str
    workspace_words: str


@dataclass(frozen=True)
class TileText:
    """One tile's microkernel and sweep; offsets are C text such as ``" + 96"``, empty for 0."""

    name: str
    comment: str
    channels: int
    pixels: tuple[SimpleNamespace, ...]
    vectors: tuple[SimpleNamespace, ...]
    y_row: int
    y_col: int


@dataclass(frozen=True)
class BodyText:
    """One instruction set's part of the file."""

    isa: VectorIsa
    model: VectorIsa
    prefix: str
    header: str
    condition: str
    words: str
    features: str
    function: str
    driver: str
    sweep: str
    operations: tuple[str, ...]
    table: str
    regions: tuple[Region, ...]
    runs: tuple[tuple[str, int, int], ...]
    tiles: tuple[TileText, ...]
    x_lane: int
    loops: tuple[SimpleNamespace, ...]
    inner: str
    w_index: str
    x_index: str
    input_words: str
    bias_param: str
    finish: str
    finish_words: str
    tap_params: str
    tap_args: str
    unit_factor: str
    x_unit: str
    b_unit: str
    y_unit: str


def plan_text(plan: KernelPlan, weights: Weights | None) -> PlanText:
    spec = plan.spec
    macro = spec.name.upper()
    features = plan.body.isa.features
    workspace = f"{macro}_WORKSPACE_BYTES is 0: not used, may be NULL"
    packed = f"what {spec.name}_pack wrote"
    if weights is not None:
        packed = f"{spec.name}_packed, or {packed}"
    return PlanText(
        name=spec.name,
        macro=macro,
        template="tiled.j2",
        workspace=", (float *)workspace" if plan.workspace_bytes else "",
        version=__version__,
        target=plan.target.name,
        story=story(plan),
        macros=macros(plan, weights),
        act=activation_text(spec.activation),
        packing=plan.packing,
        bias=spec.bias,
        groups=plan.view.groups,
        images=spec.batch,
        scatter=0 if plan.view.y_channel == 1 else plan.view.y_channel,
        baked=baked_lines(plan.packing, weights) if weights is not None else (),
        feature_words=f" ({', '.join(features)})" if features else "",
        layout=spec.layout,
        w_layout=spec.weight_layout,
        x_shape="][".join(map(str, spec.x_shape)),
        w_shape="][".join(map(str, spec.w_shape)),
        y_shape="][".join(map(str, spec.y_shape)),
        b_words=f"float[{spec.oc}], element alignment" if spec.bias else "not read, may be NULL",
        packed_words=packed,
        workspace_words=workspace,
    )


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
    found = [(name, str(value)) for name, value in numbers.items()]
    found.append(("SPEC_ID", f'"{spec_id(plan, weights)}"'))
    return tuple(found)


def story(plan: KernelPlan) -> tuple[str, ...]:
    """What the file computes, how, and what it costs."""
    s, p = plan.spec, plan.spec.padding
    bias = "b[oc] + " if s.bias else ""
    act = s.activation.kind
    inner = f"{bias}sum over kh, kw, ic of"
    group = f"oc / {s.ocg} * {s.icg} + ic" if s.groups > 1 else "ic"
    if s.groups == s.c == s.oc and s.groups > 1:
        group = "oc"
    left = "y[n,oh,ow,oc] = "
    taps = (
        f"x[n, {_affine('oh', s.sh, p.top, 'kh', s.dh)}, "
        f"{_affine('ow', s.sw, p.left, 'kw', s.dw)}, {group}] * w[kh,kw,ic,oc]"
    )
    opening, closing = (f"{act}(", ")") if act is not Act.NONE else ("", "")
    per_step = plan.regions[0].tile
    return (
        f"{left}{opening}{inner}",
        f"    {taps}{closing}",
        "Taps outside the image count as nothing. All indices are bounded by the sizes below.",
        "",
        f"x {'x'.join(map(str, s.x_shape))} {s.layout}, w {'x'.join(map(str, s.w_shape))} "
        f"{s.weight_layout}, y {'x'.join(map(str, s.y_shape))} {s.layout}, {s.dtype}",
        f"Spec {spec_id(plan)}, target {plan.target.name}",
        f"Schedule {plan.schedule}",
        f"Cost: {s.macs} multiply-adds; {per_step.pixels * per_step.vectors} accumulators of "
        f"{per_step.lanes} lanes; {plan.packed_bytes} bytes of packed weights",
    )


def _affine(out: str, stride: int, pad: int, tap: str, dilation: int) -> str:
    """``oh*2 - 3 + kh``, as a person would write it."""
    first = out if stride == 1 else f"{out}*{stride}"
    last = tap if dilation == 1 else f"{tap}*{dilation}"
    return f"{first} - {pad} + {last}" if pad else f"{first} + {last}"


def baked_lines(packing: Packing, weights: Weights) -> tuple[str, ...]:
    """The packed weights as hexadecimal float literals, eight to a line: exact in every compiler."""
    from convgen.pack import pack

    literals = [float_literal(v) for v in pack(packing, weights).tolist()]
    return tuple(", ".join(literals[i : i + 8]) + "," for i in range(0, len(literals), 8))


def body_text(plan: KernelPlan, body: Body) -> BodyText:
    isa, view, packing = body.isa, plan.view, plan.packing
    v = isa.prefix.upper()
    first, last = _tap_names(body.loops)
    groups, images = view.groups, plan.spec.batch
    factor = "".join(f"(ptrdiff_t){n} * " for n in (images, groups) if n > 1)
    depth = len(body.loops)
    return BodyText(
        isa=isa,
        model=model(isa),
        prefix=isa.prefix,
        header=isa.header,
        condition=isa.condition,
        words=f"{isa.name}: vectors of {isa.lanes} floats" if isa.lanes > 1 else "plain C99",
        features=" && ".join(f'__builtin_cpu_supports("{f}")' for f in isa.features),
        function=f"{v}_OP",
        driver=f"{v}_SWEEP",
        sweep=f"static __attribute__(({isa.attribute}))" if isa.attribute else "static",
        operations=body.operations,
        table=f"{plan.spec.name}_regions",
        regions=body.regions,
        runs=tuple((tile.name, a, b) for tile, a, b in body.runs),
        tiles=tuple(tile_text(plan, body, tile) for tile in body.tiles),
        x_lane=view.x_lane,
        loops=tuple(
            SimpleNamespace(var=x.var, count=x.count, indent="  " * (i + 1))
            for i, x in enumerate(body.loops)
        ),
        inner="  " * (depth + 1),
        w_index="".join(f" + {_times(x.var, x.w_step)}" for x in body.loops),
        x_index="".join(f" + {_times(x.var, x.x_step)}" for x in body.loops),
        input_words="a vector of inputs per pixel" if view.x_lane else "one input of each pixel",
        bias_param="const float *b, ",
        finish=f"{isa.prefix}_act",
        finish_words="Activation and store.",
        tap_params=first,
        tap_args=last,
        unit_factor=factor,
        x_unit=(f" + image * {view.x_image}" if images > 1 else "")
        + (f" + group * {view.x_group}" if groups > 1 else "")
        + (" + oc" if view.x_lane else ""),
        b_unit=(f"group * {packing.group_stride} + " if groups > 1 else "") + _block(packing),
        y_unit=(f" + image * {view.y_image}" if images > 1 else "")
        + (f" + group * {view.y_group}" if groups > 1 else "")
        + f" + {_times('oc', view.y_channel)}",
    )


def _block(packing: Packing) -> str:
    """The address of channel oc's block, plus its lane where a tile is narrower than a block."""
    if packing.lanes == 1:
        return f"oc * {packing.block_stride}"
    return f"oc / {packing.lanes} * {packing.block_stride} + oc % {packing.lanes}"


def _tap_names(loops: tuple[Loop, ...]) -> tuple[str, str]:
    names = [
        name for name in ("kh_taps", "kw_taps") if any(x.count.startswith(name) for x in loops)
    ]
    params = "".join(f", ptrdiff_t {name}" for name in names)
    return params, "".join(f", a->{name}" for name in names)


def _times(var: str, step: int) -> str:
    return var if step == 1 else f"{var} * {step}"


def _plus(offset: int) -> str:
    return f" + {offset}" if offset else ""


def tile_text(plan: KernelPlan, body: Body, tile: Tile) -> TileText:
    spec, view = plan.spec, plan.view
    stored = "1 channel" if tile.channels == 1 else f"{tile.channels} channels"
    shape = f"{tile.h}x{tile.w} pixels" if tile.pixels > 1 else "1 pixel"
    accumulators = tile.pixels * tile.vectors
    comment = f"{shape} x {stored}: {accumulators} accumulator{'s' if accumulators > 1 else ''}"
    pixels = []
    for index in range(tile.pixels):
        row, col = tile.pixel(index)
        x = row * spec.sh * view.x_row + col * spec.sw * view.x_pixel
        y = row * view.y_row + col * view.y_pixel
        pixels.append(SimpleNamespace(index=index, x=_plus(x), x_first=x, y=_plus(y)))
    return TileText(
        name=tile.name,
        comment=f"{comment}, {accumulators} multiply-add{'s' if accumulators > 1 else ''} a step.",
        channels=tile.channels,
        pixels=tuple(pixels),
        vectors=tuple(_vector_text(plan, body.isa, tile, j) for j in range(tile.vectors)),
        y_row=tile.h * view.y_row,
        y_col=tile.w * view.y_pixel,
    )


def _vector_text(plan: KernelPlan, isa: VectorIsa, tile: Tile, j: int) -> Any:
    view, part = plan.view, tile.stored(j)
    whole = part == isa.lanes
    v = isa.prefix
    scattered = view.y_channel != 1
    if scattered:
        store, count = f"{v}_scatter", f", {part}"
    else:
        store, count = (f"{v}_store", "") if whole else (f"{v}_store_part", f", {part}")
    return SimpleNamespace(
        index=j,
        start=f"load(b{_plus(plan.packing.offset(j * isa.lanes))})",
        packed=_plus(plan.packing.offset(j * isa.lanes)),
        lane=_plus(j * isa.lanes),
        load="load" if whole else "load_part",
        load_count="" if whole else f", {part}",
        y=_plus(j * isa.lanes * view.y_channel),
        store=store,
        store_count=count,
    )

"""Render the Python side of a built layer: module, type stub, and the glue between it and C."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from convgen import __version__
from convgen.kernels import kind_of
from convgen.plan.kernel import KernelPlan
from convgen.render.environment import environment
from convgen.spec.elements import Element, arrays_of
from convgen.spec.layouts import image_letters, weight_letters
from convgen.spec.model import SIDES, Act, Calibration, ConvSpec, InitWeights, Layer
from convgen.spec.requantize import input_reach
from convgen.spec.resolved import quant_mapping, resolved_mapping


@dataclass(frozen=True)
class GlueText:
    """What the glue's templates print: names, the C element type, bytes of one call's arrays.

    ``strips``: pieces of an image that cost something to take up, 0 where they cost nothing.
    """

    name: str
    macro: str
    version: str
    x_type: str
    y_type: str
    x_bytes: int
    y_bytes: int
    batch_any: bool
    strips: int


@dataclass(frozen=True)
class PackageText:
    """What the module's templates print. Shapes are Python literals; ``None`` is any batch.

    ``image_shape`` and ``out_image_shape``: without the batch. ``*_types``: of the type stub.
    ``reach``: max|x - zero| of an 8-bit layer, else 0. ``filters_last``: is the weights' last axis
    the output channels? ``out_shape``, ``images``, ``packed_pointer``: expressions inside ``run``
    and ``bind``.
    """

    name: str
    version: str
    story: tuple[str, ...]
    extension: str
    isa: str
    features: str
    public: tuple[str, ...]
    brain: bool
    x_dtype: str
    w_dtype: str
    b_dtype: str
    y_dtype: str
    baked: bool
    bias: bool
    batch_any: bool
    input_shape: str
    image_shape: str
    image_axes: int
    weight_shape: str
    bias_shape: str
    reach: int
    weight_zeros: str
    filter_index: str
    output_shape: str
    out_image_shape: str
    out_shape: str
    images: str
    packed_pointer: str
    packed_bytes: int
    align: int
    macs: int
    schedule: str
    spec: tuple[str, ...]
    conv_params: str
    run_params: str
    input_words: str
    weight_words: str
    bias_words: str
    output_words: str
    input_types: str
    weight_types: str
    bias_type: str
    bias_param: str
    output_types: str


def glue_files(plan: KernelPlan) -> dict[str, str]:
    """``{"<name>_glue.c": text, "<name>_glue.h": text}``; the header is what cffi reads, too."""
    spec = plan.spec
    arrays = arrays_of(spec)
    text = GlueText(
        name=spec.name,
        macro=spec.name.upper(),
        version=__version__,
        x_type=arrays.x.c,
        y_type=arrays.y.c,
        x_bytes=_count(spec.x_shape) * arrays.x.size,
        y_bytes=_count(spec.y_shape) * arrays.y.size,
        batch_any=spec.batch_any,
        strips=kind_of(plan.body).strips(plan),
    )
    env = environment()
    return {
        f"{spec.name}_glue.{suffix}": env.get_template(f"python/glue.{suffix}.j2").render(g=text)
        for suffix in ("c", "h")
    }


def python_files(layer: Layer, plan: KernelPlan, extension: str) -> dict[str, str]:
    """``__init__.py``, ``__init__.pyi`` and ``py.typed`` around the module ``extension``."""
    text = package_text(layer, plan, extension)
    env = environment()
    names = ("__init__.py", "__init__.pyi")
    files = {name: env.get_template(f"python/{name}.j2").render(p=text) for name in names}
    return {**files, "py.typed": ""}


def bundle_files(name: str, specs: Sequence[ConvSpec]) -> dict[str, str]:
    """The same for a package in which each layer is one; ``specs``: theirs, in order."""
    layers = [(spec.name, _story(spec)[0]) for spec in specs]
    env = environment()
    files = {
        file: env.get_template(f"python/together/{file}.j2").render(
            name=name, version=__version__, layers=layers
        )
        for file in ("__init__.py", "__init__.pyi")
    }
    return {**files, "py.typed": ""}


def package_text(layer: Layer, plan: KernelPlan, extension: str) -> PackageText:
    spec = plan.spec
    baked = layer.weights is not None
    x_shape, y_shape = _batched(spec, spec.x_shape), _batched(spec, spec.y_shape)
    arrays = arrays_of(spec)
    return PackageText(
        name=spec.name,
        version=__version__,
        story=_story(spec),
        extension=extension,
        isa=", ".join(plan.isas),
        features=_listed(() if plan.fat else plan.body.isa.features) or "nothing special",
        public=_public(baked),
        brain=arrays.x.name == "bfloat16",
        x_dtype=arrays.x.storage,
        w_dtype=arrays.w.storage,
        b_dtype=arrays.b.storage,
        y_dtype=arrays.y.storage,
        baked=baked,
        bias=spec.bias,
        batch_any=spec.batch_any,
        input_shape=repr(x_shape),
        image_shape=repr(x_shape[1:]),
        image_axes=len(x_shape) - 1,
        weight_shape=repr(spec.w_shape),
        bias_shape=repr(spec.b_shape),
        reach=input_reach(spec) if spec.quantized else 0,
        weight_zeros=repr(spec.quant.weight.zero_point if spec.quant else ()),
        filter_index=_filter_index(spec),
        output_shape=repr(y_shape),
        out_image_shape=repr(y_shape[1:]),
        out_shape="shape" if spec.batch_any else repr(y_shape),
        images="images" if spec.batch_any else "1",
        packed_pointer="_packed" if baked else "packed._pointer",
        packed_bytes=plan.packed_bytes,
        align=plan.align,
        macs=spec.macs,
        schedule=str(plan.schedule),
        spec=_spec_lines(layer),
        conv_params="x" if baked else "x, w, b=None",
        run_params="x" if baked else "x, packed",
        input_words=_words(arrays.x, x_shape, image_letters(spec)),
        weight_words=_words(arrays.w, spec.w_shape, weight_letters(spec)),
        bias_words=f"{arrays.b.name} {spec.oc}",
        output_words=_words(arrays.y, y_shape, image_letters(spec)),
        input_types=_types(x_shape),
        weight_types=_types(spec.w_shape),
        bias_type=f"tuple[{_types(spec.b_shape)}]" if spec.b_shape else "None",
        bias_param="_Bias" if spec.bias else "None = None",
        output_types=_types(y_shape),
    )


def _story(spec: ConvSpec) -> tuple[str, ...]:
    act = "" if spec.activation.kind is Act.NONE else f", {spec.activation.kind}"
    axes = spec.axes[3 - spec.rank :]
    sides = [axis.before for axis in axes] + [axis.after for axis in axes]
    more = f", output padding {_sizes(a.extra for a in axes)}" if spec.transposed else ""
    return (
        f"a {'transposed ' if spec.transposed else ''}convolution of "
        f"{_sizes(a.size for a in axes)}x{spec.c} to {_sizes(a.out for a in axes)}x{spec.oc}.",
        f"{spec.oc} filters {_sizes(a.taps for a in axes)}x{spec.icg}, stride "
        f"{_sizes(a.stride for a in axes)}, padding "
        f"{' '.join(map(str, sides))} ({' '.join(SIDES[spec.rank])}){more},",
        f"dilation {_sizes(a.dilation for a in axes)}, groups {spec.groups}, "
        f"{'bias' if spec.bias else 'no bias'}{act}; {spec.dtype}, {image_letters(spec)}, weights "
        f"{weight_letters(spec)}.",
    )


def _sizes(values: Iterable[int]) -> str:
    return "x".join(map(str, values))


def _filter_index(spec: ConvSpec) -> str:
    """The index of one filter's weights in w, of output channel ``channel``."""
    letters = weight_letters(spec)
    if not spec.transposed or spec.groups == 1:
        return (
            "..., channel"
            if letters.endswith("O")
            else "".join(
                "channel" if letter == "O" else ":, "
                for letter in letters[: letters.index("O") + 1]
            )
        )
    group = f"channel // {spec.ocg}"
    into = f"{group} * {spec.icg} : ({group} + 1) * {spec.icg}"
    index = {"O": f"channel % {spec.ocg}", "I": into}
    return ", ".join(index.get(letter, ":") for letter in letters)


def _public(baked: bool) -> tuple[str, ...]:
    shapes = ("BIAS_SHAPE", "INPUT_SHAPE", "ISA", "MACS", "OUTPUT_SHAPE", "SCHEDULE", "SPEC")
    packing = () if baked else ("Packed", "pack")
    return tuple(sorted((*shapes, "WEIGHT_SHAPE", "bind", "conv", "run", *packing)))


def _spec_lines(layer: Layer) -> tuple[str, ...]:
    """The spec as entries of a Python dict; weights of a file are in the C already, and a path is
    nobody else's."""
    data = resolved_mapping(layer)
    if layer.spec.quant is not None:
        data.pop("quantize", None)
        data["quant"] = quant_mapping(layer.spec.quant)
    if not isinstance(layer.weights, InitWeights) or isinstance(layer.quant, Calibration):
        data.pop("weights", None)
    # No value holds a quote: words of the schema, numbers and the layer's name.
    return tuple(f"{key!r}: {value!r},".replace("'", '"') for key, value in data.items())


def _batched(spec: ConvSpec, shape: tuple[int, ...]) -> tuple[int | None, ...]:
    return (None, *shape[1:]) if spec.batch_any else shape


def _words(element: Element, shape: tuple[int | None, ...], order: str) -> str:
    sizes = "x".join("N" if n is None else str(n) for n in shape)
    return f"{element.name} {sizes}, {order}"


def _types(shape: tuple[int | None, ...]) -> str:
    return ", ".join("None" if n is None else f"Literal[{n}]" for n in shape)


def _listed(words: tuple[str, ...]) -> str:
    return " and ".join([*filter(None, [", ".join(words[:-1])]), *words[-1:]])


def _count(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total

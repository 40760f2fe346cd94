"""Rules across the keys of an 8-bit layer, and the ``Quant`` of a form that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from convgen.spec.elements import ELEMENTS
from convgen.spec.model import Act, Activation, AffineForm, DType, QuantForm, ScaleFile
from convgen.spec.problem import Problem
from convgen.spec.quant import (
    MAX_SHIFT,
    Affine,
    Quant,
    Rounding,
    fixed_point,
    float32,
    ratios,
    spread,
)
from convgen.spec.requantize import single_product
from convgen.spec.table import CLAMPS

BIAS_TOLERANCE = 1e-5  # relative: of a product of two float32 written down as a decimal


@dataclass(frozen=True)
class Meaning:
    """What the rules need of a layer beside its ``quant``."""

    dtype: DType
    filters: int
    activation: Activation


def quant_problems(form: QuantForm, layer: Meaning) -> list[Problem]:
    """Every rule that ``form`` breaks; what lies in a file still unread is passed over."""
    found = [*_of_input_and_output(form, layer), *_of_weight(form, layer), *_of_sum(form, layer)]
    if form.sums:
        found += _of_int32(form, layer)
    if not found:
        found += [*_of_bias(form, layer), *_of_ratios(form, layer)]
    return found


def quant_of(form: QuantForm, layer: Meaning) -> Quant:
    """The values of a form without mistakes and without files."""
    assert not quant_problems(form, layer) and is_settled(form)
    return _quant(form)


def is_settled(form: QuantForm) -> bool:
    """Does ``form`` hold every number that a kernel needs, without a look into any file?"""
    return not files_of(form) and not filters_of_zeros(form, 1)


def filters_of_zeros(form: QuantForm, filters: int) -> tuple[int, ...]:
    """The filters whose scale is 0: only one whose weights are all zero may have it."""
    scales = form.weight.scale
    if not isinstance(scales, tuple):
        return ()
    return tuple(at for at, scale in enumerate(spread(scales, filters)) if scale == 0)


def without_zeros(form: QuantForm) -> QuantForm:
    """``form`` with another filter's scale where that is 0.

    Right for a filter of zeros without a bias, whose sums are 0 and stay it in any scale.
    """
    scales = form.weight.scale
    target = form.sum or form.output
    if not isinstance(scales, tuple) or 0 not in scales:
        return form
    x, y = form.input.scale, target.scale if target else None
    ratio_of_one = y[0] / x[0] if isinstance(x, tuple) and isinstance(y, tuple) else 1.0
    other = next(filter(None, scales), float32(ratio_of_one))
    weight = replace(form.weight, scale=tuple(scale or other for scale in scales))
    return replace(form, weight=weight, bias=None)  # a bias scale was held against the 0


def files_of(form: QuantForm) -> tuple[tuple[str, ScaleFile], ...]:
    """(key, file) of every scale that lies in a file."""
    named = {"input": form.input, "weight": form.weight, "output": form.output, "sum": form.sum}
    return tuple(
        (key, affine.scale)
        for key, affine in named.items()
        if affine is not None and isinstance(affine.scale, ScaleFile)
    )


def _problem(code: str, text: str, *under: str | int) -> Problem:
    return Problem(code, "quant", text, under)


def _of_input_and_output(form: QuantForm, layer: Meaning) -> Iterator[Problem]:
    for key, affine in (("input", form.input), ("output", form.output), ("sum", form.sum)):
        if affine is None:
            continue
        if affine.scale is None and not form.sums and key != "sum":
            text = f"the {key}'s scale is missing: add `{key}: {{scale: 0.02, zero_point: 0}}`"
            yield _problem("E403", text, key)
        for what, values in (("scale", affine.scale), ("zero_point", affine.zero_point)):
            if isinstance(values, tuple) and len(values) != 1:
                text = f"{len(values)} entries where the {key} has one: only `weight` may have a"
                yield _problem("E406", f"{text} list, one entry for each filter", key, what)
        yield from _zeros(key, affine, ELEMENTS[layer.dtype].limits, str(layer.dtype))


def _of_weight(form: QuantForm, layer: Meaning) -> Iterator[Problem]:
    weight = form.weight
    if weight.scale is None and not form.sums:
        text = "the weights' scale is missing: add `weight: {scale: 0.01}`"
        yield _problem("E403", text, "weight")
    for what, values in (("scale", weight.scale), ("zero_point", weight.zero_point)):
        if isinstance(values, tuple) and len(values) not in (1, layer.filters):
            text = f"{len(values)} entries for {layer.filters} filters: write one for each, or a"
            yield _problem("E406", f"{text} single number for all of them", "weight", what)
    yield from _zeros("weight", weight, ELEMENTS["int8"].limits, "int8, as weights are")


def _zeros(key: str, affine: AffineForm, limits: tuple[int, int], of: str) -> Iterator[Problem]:
    low, high = limits
    for at, zero in enumerate(affine.zero_point or ()):
        if not low <= zero <= high:
            text = f"zero point {zero} lies outside {low}..{high}, the range of {of}"
            more = (at,) if len(affine.zero_point or ()) > 1 else ()
            yield _problem("E405", text, key, "zero_point", *more)


def _of_sum(form: QuantForm, layer: Meaning) -> Iterator[Problem]:
    kind = layer.activation.kind
    if form.sums:
        return
    if kind in CLAMPS and form.sum is not None:
        text = f"`sum` is for activations that are tables; `{kind}` is a clamp of the output"
        yield _problem("E408", f"{text}: remove it", "sum")
    elif kind not in CLAMPS and (form.sum is None or form.sum.scale is None):
        text = f"`{kind}` is looked up in a table of 256 sums, which need a scale of their own"
        yield _problem("E403", f"{text}: add `sum: {{scale: 0.05, zero_point: 0}}`", "sum")


def _of_int32(form: QuantForm, layer: Meaning) -> Iterator[Problem]:
    """An int32 output is the sum itself: nothing that scales it may be given."""
    named = {"input": form.input, "weight": form.weight}
    for key, affine in named.items():
        if affine.scale is not None:
            text = "an int32 output is not scaled: remove the scale, zero points alone count"
            yield _problem("E408", text, key, "scale")
    for key, value in (("sum", form.sum), ("bias", form.bias), ("rounding", form.rounding)):
        if value is not None:
            yield _problem("E408", f"an int32 output has no use for `{key}`: remove it", key)
    if layer.activation.kind not in (Act.NONE, Act.RELU):
        kind = layer.activation.kind
        text = f"`{kind}` of an int32 output has no meaning without a scale"
        yield Problem("E408", "activation", f"{text}: write none or relu, or give output a scale")


def _of_bias(form: QuantForm, layer: Meaning) -> Iterator[Problem]:
    bias = form.bias
    if bias is None:
        return
    if any(bias.zero_point or ()):
        yield _problem("E405", "a bias has no zero point, or 0", "bias", "zero_point")
    x, w, b = form.input.scale, form.weight.scale, bias.scale
    if not (isinstance(x, tuple) and isinstance(w, tuple) and isinstance(b, tuple)):
        return
    if len(b) not in (1, layer.filters):
        text = f"{len(b)} entries for {layer.filters} filters: write one for each, or one for all"
        yield _problem("E406", text, "bias", "scale")
        return
    pairs = zip(spread(b, layer.filters), spread(w, layer.filters), strict=True)
    for channel, (given, weight) in enumerate(pairs):
        wanted = x[0] * weight
        if abs(given - wanted) > BIAS_TOLERANCE * wanted:
            where = f" of filter {channel}" if max(len(b), len(w)) > 1 else ""
            text = f"the bias scale{where} is {given:.9g}, but a sum's scale is input x weight ="
            yield _problem("E407", f"{text} {wanted:.9g}; quantise the bias with that", "bias")
            return


def _of_ratios(form: QuantForm, layer: Meaning) -> Iterator[Problem]:
    if form.sums or files_of(form):
        return
    quant = _quant(without_zeros(form))
    target = quant.sum or quant.output
    assert target is not None
    single = single_product(quant, layer.dtype)
    for channel, ratio in enumerate(ratios(quant, target, layer.filters, single_product=single)):
        if not 0 < ratio < 2.0**MAX_SHIFT or fixed_point(ratio)[1] > MAX_SHIFT:
            text = f"input scale x weight scale / output scale is {ratio:.3g} for filter {channel}"
            yield _problem("E409", f"{text}: it must lie above 0 and below 2^{MAX_SHIFT}")
            return


def _quant(form: QuantForm) -> Quant:
    return Quant(
        input=_affine(form.input),
        weight=_affine(form.weight),
        output=None if form.output is None else _affine(form.output),
        sum=None if form.sum is None else _affine(form.sum),
        rounding=form.rounding or Rounding.TFLITE,
    )


def _affine(form: AffineForm) -> Affine:
    assert not isinstance(form.scale, ScaleFile)
    return Affine(form.scale or (), form.zero_point or (0,))

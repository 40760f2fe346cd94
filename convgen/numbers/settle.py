"""What a layer's numbers are in the end: scales read from files or found by calibration, weights.

``settled`` is the one door between what a spec file says and what is built: behind it an 8-bit
layer has its scales, and baked weights are integers that cannot overflow a sum.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from convgen.errors import Diagnostic, SpecError, UsageError
from convgen.spec import load_weights
from convgen.spec.elements import ELEMENTS
from convgen.spec.model import AffineForm, Calibration, Layer, QuantForm, ScaleFile, WeightLayout
from convgen.spec.quant import spread
from convgen.spec.quant_rules import (
    Meaning,
    files_of,
    filters_of_zeros,
    quant_of,
    quant_problems,
    without_zeros,
)

if TYPE_CHECKING:
    from convgen.numbers.calibrate import Findings
    from convgen.spec.weights import Weights


@dataclass(frozen=True, eq=False)
class Settled:
    """``layer``: with every number of its spec known. ``weights``: to bake in, or None.

    ``findings``: of a calibration, else None.
    """

    layer: Layer
    weights: Weights | None
    findings: Findings | None = None


def settled(layer: Layer) -> Settled:
    """Read scales, weights and samples, and quantise where the spec asks for it.

    Raises ``SpecError`` with what is wrong in those files, at the place in the spec that names
    them, and ``UsageError`` for an 8-bit ``ConvSpec`` without its ``Quant``.
    """
    spec = layer.spec
    if not spec.quantized:
        return Settled(layer, load_weights(layer))
    if spec.quant is None:
        match layer.quant:
            case Calibration() as calibration:
                return _calibrated(layer, calibration)
            case QuantForm() as form:
                return _with_zero_filters(layer, _from_files(layer, form))
            case None:
                text = f"layer {spec.name}: an {spec.dtype} ConvSpec needs its `quant`"
                raise UsageError(text)
    weights = load_weights(layer)
    if weights is not None:
        _refuse_overflow(layer, weights)
    return Settled(layer, weights)


def _from_files(layer: Layer, form: QuantForm) -> QuantForm:
    """``form`` with the scales that lie in files."""
    from convgen.spec.weights import BadArrayError

    meaning = Meaning(layer.spec.dtype, layer.spec.oc, layer.spec.activation)
    whole: dict[str, AffineForm] = {}
    refused: list[tuple[str, str]] = []
    for key, file in files_of(form):
        given = getattr(form, key)
        try:
            whole[key] = replace(given, scale=_scales(layer, key, file))
        except BadArrayError as bad:
            refused.append((bad.code, f"quant.{key}.scale: {bad.text}"))
    if not refused:
        form = replace(
            form,
            input=whole.get("input", form.input),
            weight=whole.get("weight", form.weight),
            output=whole.get("output", form.output),
            sum=whole.get("sum", form.sum),
        )
        problems = quant_problems(form, meaning)
        refused = [
            (p.code, f"{'.'.join(map(str, ('quant', *p.under)))}: {p.text}") for p in problems
        ]
    if refused:
        raise _error(layer, refused)
    return form


def _with_zero_filters(layer: Layer, form: QuantForm) -> Settled:
    """Every scale known. A filter of zeros may have scale 0, as real TFLite models have: with the
    scale of another filter and no bias its outputs are the same, the zero point of y.
    """
    from convgen.spec.weights import Weights

    spec = layer.spec
    zeros = filters_of_zeros(form, spec.oc)
    meaning = Meaning(spec.dtype, spec.oc, spec.activation)
    layer = replace(layer, spec=replace(spec, quant=quant_of(without_zeros(form), meaning)))
    if zeros and layer.weights is None:
        text = f"quant.weight.scale: filter {zeros[0]} has scale 0, which only a filter of zeros"
        raise _error(layer, [("E404", f"{text} may have: name the weights, which show it")])
    weights = load_weights(layer)
    if weights is None:
        return Settled(layer, None)
    _refuse_full(layer, form, weights, zeros)
    if zeros and weights.b is not None:
        b = weights.b.copy()
        b[list(zeros)] = 0
        b.setflags(write=False)
        weights = Weights(weights.w, b)
    if zeros:
        several = len(zeros) > 1
        who = f"{'Filters' if several else 'Filter'} {', '.join(map(str, zeros[:8]))}"
        note = f"{who}{', ...' if len(zeros) > 8 else ''} with scale 0: all zeros, as it must be."
        layer = replace(layer, notes=(*layer.notes, note))
    _refuse_overflow(layer, weights)
    return Settled(layer, weights)


def _refuse_full(layer: Layer, form: QuantForm, weights: Weights, zeros: tuple[int, ...]) -> None:
    import numpy as np

    spec = layer.spec
    last = spec.weight_layout is WeightLayout.HWIO
    points = spread(form.weight.zero_point or (0,), spec.oc)
    for at in zeros:
        filter_ = weights.w[..., at] if last else weights.w[at]
        if count := int(np.count_nonzero(filter_ != points[at])):
            text = f"quant.weight.scale: filter {at} has scale 0, but {count} of its weights are"
            text += f" not {points[at]}: give the scale that it was quantised with"
            raise _error(layer, [("E404", text)])


def _scales(layer: Layer, key: str, file: ScaleFile) -> tuple[float, ...]:
    from convgen.spec.weights import BadArrayError, Want, read_array

    count = layer.spec.oc if key == "weight" else 1
    path = Path(layer.source).parent / file.path
    shapes = ((count,), ()) if count == 1 or key != "weight" else ((count,),)
    for last, shape in enumerate(shapes, 1 - len(shapes)):
        want = Want(shape, ELEMENTS["float32"], "one per filter" if count > 1 else "a single scale")
        try:
            values = tuple(float(v) for v in read_array(path, file.key, want).reshape(-1))
            break
        except BadArrayError as bad:
            if last == 0 or bad.code != "E306":
                raise
    for at, value in enumerate(values):
        if value < 2.0**-126 and not (value == 0 and key == "weight"):
            text = f"{file} holds {value:.9g} at {at}: a scale is positive, and not subnormal"
            raise BadArrayError("E404", text)
    return values


def _calibrated(layer: Layer, calibration: Calibration) -> Settled:
    from convgen.numbers.calibrate import calibrate
    from convgen.spec.weights import BadArrayError, Weights, read_samples

    weights = load_weights(layer)
    assert weights is not None, "quantize without weights is refused when the spec is read"
    path = Path(layer.source).parent / calibration.path
    try:
        samples = read_samples(path, layer.spec)
    except BadArrayError as bad:
        raise _error(layer, [(bad.code, f"quantize.calibration: {bad.text}")]) from None
    found = calibrate(layer.spec, samples, weights, calibration)
    note = found.summary(calibration.path.name)
    done = replace(layer, spec=replace(layer.spec, quant=found.quant), notes=(*layer.notes, note))
    integers = Weights(found.w, found.b)
    _refuse_overflow(done, integers)
    return Settled(done, integers, found)


def _refuse_overflow(layer: Layer, weights: Weights) -> None:
    from convgen.oracle.integers import overflow_words, overflowing

    channel = overflowing(layer.spec, weights.w, weights.b)
    if channel is None:
        return
    text = f"weights: {overflow_words(layer.spec, weights.w, weights.b, channel)}: use more groups,"
    text += " or smaller weights"
    at = layer.weights_place
    raise SpecError([Diagnostic(layer.source, at.line, at.col, "E410", text, at.snippet)])


def _error(layer: Layer, refused: Iterable[tuple[str, str]]) -> SpecError:
    at = layer.quant_place
    return SpecError(
        [Diagnostic(layer.source, at.line, at.col, c, t, at.snippet) for c, t in refused]
    )

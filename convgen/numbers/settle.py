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
from convgen.spec.model import AffineForm, Calibration, ConvSpec, Layer, QuantForm, ScaleFile
from convgen.spec.quant import SUM_LIMIT
from convgen.spec.quant_rules import Meaning, files_of, quant_of, quant_problems

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
                layer = replace(layer, spec=_with_scales(layer, form))
            case None:
                text = f"layer {spec.name}: an {spec.dtype} ConvSpec needs its `quant`"
                raise UsageError(text)
    weights = load_weights(layer)
    if weights is not None:
        _refuse_overflow(layer, weights)
    return Settled(layer, weights)


def _with_scales(layer: Layer, form: QuantForm) -> ConvSpec:
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
    return replace(layer.spec, quant=quant_of(form, meaning))


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
        if value < 2.0**-126:
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
    from convgen.oracle.integers import largest_sums, overflowing

    channel = overflowing(layer.spec, weights.w, weights.b)
    if channel is None:
        return
    size = int(largest_sums(layer.spec, weights.w, weights.b)[channel])
    text = f"weights: sums of output channel {channel} can reach {size:,}, beyond 2^31 - 1 = "
    text += f"{SUM_LIMIT:,}: use more groups, or smaller weights"
    at = layer.weights_place
    raise SpecError([Diagnostic(layer.source, at.line, at.col, "E410", text, at.snippet)])


def _error(layer: Layer, refused: Iterable[tuple[str, str]]) -> SpecError:
    at = layer.quant_place
    return SpecError(
        [Diagnostic(layer.source, at.line, at.col, c, t, at.snippet) for c, t in refused]
    )

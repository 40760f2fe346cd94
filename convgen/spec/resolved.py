"""A layer back as a spec mapping: every default written out, in canonical keys."""

from __future__ import annotations

from typing import Any

from convgen.spec.model import (
    SIDES,
    Act,
    Activation,
    AffineForm,
    ArrayWeights,
    Calibration,
    InitWeights,
    Layer,
    NpyWeights,
    NpzWeights,
    QuantForm,
    ScaleFile,
    WeightSource,
)
from convgen.spec.quant import Affine, Quant


def resolved_mapping(layer: Layer) -> dict[str, Any]:
    """The layer as a spec mapping in canonical keys; parsing it gives the same layer again
    (arrays from Python aside, of which the digest is told).

    Padding is what the kernel uses, each side by itself. ``remainder`` is ``floor`` where the
    layer's windows leave some of the padded input over, which a map cannot say otherwise.
    """
    s = layer.spec
    axes = s.axes[3 - s.rank :]
    left = any(axis.left for axis in axes)
    pads = zip(SIDES[s.rank], _sides(layer), strict=True)
    data: dict[str, Any] = {
        "version": 1,
        "name": s.name,
        "input": [*(axis.size for axis in axes), s.c],
        "batch": "any" if s.batch_any else s.batch,
        "filters": s.oc,
        "kernel": [axis.taps for axis in axes],
        "stride": [axis.stride for axis in axes],
        "padding": dict(pads),
        "dilation": [axis.dilation for axis in axes],
        "groups": s.groups,
        "bias": s.bias,
        "activation": activation_form(s.activation),
        "dtype": str(s.dtype),
        "layout": str(s.layout),
        "weight_layout": str(s.weight_layout),
        "remainder": "floor" if left else "error",
        "accuracy": str(s.accuracy),
        "schedule": layer.schedule.to_mapping() if layer.schedule else "auto",
    }
    if s.transposed:
        data["transposed"] = True
        data["output_padding"] = [axis.extra for axis in axes]
    if layer.weights is not None:
        data["weights"] = _weights(layer.weights)
    match layer.quant:
        case Calibration(path, percentile, rounding):
            found = {"percentile": percentile, "rounding": str(rounding)}
            data["quantize"] = {"calibration": str(path), **found}
        case QuantForm() as form if s.quant is None:
            data["quant"] = _form(form)
        case _ if s.quant is not None:
            data["quant"] = quant_mapping(s.quant)
    return data


def _sides(layer: Layer) -> list[int]:
    """The paddings in the order of ``SIDES``: every side before, then every side after."""
    axes = layer.spec.axes[3 - layer.spec.rank :]
    return [axis.before for axis in axes] + [axis.after for axis in axes]


def quant_mapping(quant: Quant) -> dict[str, Any]:
    """Every zero point written out; scales as the float32 numbers that they are."""
    data: dict[str, Any] = {"input": _affine(quant.input), "weight": _affine(quant.weight)}
    if quant.output is None:
        return data | {"output": "int32"}
    data["output"] = _affine(quant.output)
    if quant.sum is not None:
        data["sum"] = _affine(quant.sum)
    return data | {"rounding": str(quant.rounding)}


def _affine(affine: Affine) -> dict[str, Any]:
    scale = {"scale": _one_or_list(affine.scale)} if affine.scale else {}
    return scale | {"zero_point": _one_or_list(affine.zero_point)}


def _one_or_list(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else list(values)


def _form(form: QuantForm) -> dict[str, Any]:
    """As it was given: scales may be names of files."""
    named = {"input": form.input, "weight": form.weight, "output": form.output, "sum": form.sum}
    data: dict[str, Any] = {}
    for key, affine in named.items():
        if affine is None or affine == AffineForm():
            continue
        scale, zero = affine.scale, affine.zero_point
        given = str(scale) if isinstance(scale, ScaleFile) else scale and _one_or_list(scale)
        entry = {"scale": given, "zero_point": zero and _one_or_list(zero)}
        data[key] = {name: value for name, value in entry.items() if value is not None}
    return data if form.rounding is None else data | {"rounding": str(form.rounding)}


def activation_form(act: Activation) -> str | dict[str, Any]:
    match act.kind:
        case Act.LEAKY_RELU:
            return {"kind": "leaky_relu", "alpha": act.alpha}
        case Act.CLIP:
            limits = {"min": act.low, "max": act.high}
            return {"kind": "clip", **{k: v for k, v in limits.items() if v is not None}}
        case Act.GELU_TANH:
            return {"kind": "gelu", "approximate": "tanh"}
        case _:
            return str(act.kind)


def _weights(source: WeightSource) -> str | dict[str, Any]:
    match source:
        case NpzWeights(path):
            return str(path)
        case NpyWeights(w, b):
            return {"w": str(w)} if b is None else {"w": str(w), "b": str(b)}
        case ArrayWeights(_, b, digest):  # a word: a mapping is printed, and arrays are not
            word = f"array {digest[:16]}"
            return {"w": word} if b is None else {"w": word, "b": word}
        case InitWeights(stddev, seed):
            return {"init": "truncated_normal", "stddev": stddev, "seed": seed}

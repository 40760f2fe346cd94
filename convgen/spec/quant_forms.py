"""Readers of ``quant`` and ``quantize``: scales, zero points, where else they may be found."""

from __future__ import annotations

from functools import partial
from pathlib import PurePath

from convgen.spec.forms import choice, each, file_path, number, whole
from convgen.spec.model import AffineForm, Calibration, QuantForm, ScaleFile
from convgen.spec.quant import Rounding, float32
from convgen.spec.reading import Map, Mistake, read_by
from convgen.spec.scalars import show

SUMS = "int32"
SMALLEST = 2.0**-126
_AFFINE = "{scale: 0.02, zero_point: -3}"
_ZERO = 2**31  # zero points of a type are held against its limits where the type is known


def _scale(value: object, *, zero: bool = False) -> float:
    """A positive number, as the nearest float32; 0 as well where a filter may be all zeros."""
    scale = float32(number(value))
    if zero and scale == 0 and number(value) == 0:
        return 0.0
    if scale < SMALLEST:
        what = "zero" if scale == 0 else "negative" if scale < 0 else "below float32's normal range"
        text = f"{show(value)} is {what}: a scale is the positive step between two neighbours"
        raise Mistake("E404", f"{text}, such as 0.02")
    return scale


def _scales(value: object, *, zero: bool = False) -> tuple[float, ...] | ScaleFile:
    match value:
        case list():
            if not value:
                raise Mistake("E406", "an empty list; write a number, or one for each filter")
            return tuple(each(value, partial(_scale, zero=zero)))
        case str() if "#" in value:
            name, _, array = value.rpartition("#")
            path = file_path(name, ".npz", "a scale's file is FILE.npz#KEY")
            if not array.isidentifier():
                raise Mistake("E119", f"{show(value)} names no array; write FILE.npz#KEY")
            return ScaleFile(path, array)
        case str() if value.lower().endswith((".npz", ".npy")):
            raise Mistake("E119", f"{show(value)} names no array in the file; write FILE.npz#KEY")
    return (_scale(value, zero=zero),)


def _zero_points(value: object) -> tuple[int, ...]:
    read = partial(whole, low=-_ZERO, high=_ZERO)
    if not isinstance(value, list):
        return (read(value),)
    if not value:
        raise Mistake("E406", "an empty list; write a whole number, or one for each filter")
    return tuple(each(value, read))


class _AffineMap(Map):
    scale: tuple[float, ...] | ScaleFile | None = read_by(_scales, None)
    zero_point: tuple[int, ...] | None = read_by(_zero_points, None)


class _FilterMap(_AffineMap):
    """Of weights and biases: real models have filters of zeros, whose scale is 0."""

    scale: tuple[float, ...] | ScaleFile | None = read_by(partial(_scales, zero=True), None)


def _filters(value: object) -> AffineForm:
    return _affine(value, _FilterMap)


def _affine(value: object, form: type[_AffineMap] = _AffineMap) -> AffineForm:
    match value:
        case dict() if value:
            read = form.read(value)
            return AffineForm(read.scale, read.zero_point)
        case dict():
            raise Mistake("E119", f"an empty map; write {_AFFINE}")
        case None:
            raise Mistake("E104", f"there is no value; write {_AFFINE}")
    raise Mistake("E119", f"{show(value)} is no quantisation; write {_AFFINE}")


def _output(value: object) -> AffineForm | None:
    """None for ``int32``."""
    if value == SUMS:
        return None
    if isinstance(value, str):
        raise Mistake("E120", f"{show(value)} is not {SUMS}; write {SUMS} or {_AFFINE}")
    return _affine(value)


_rounding = partial(choice, kind=Rounding)


class _QuantMap(Map):
    input: AffineForm = read_by(_affine, AffineForm())
    weight: AffineForm = read_by(_filters, AffineForm())
    output: AffineForm | None = read_by(_output, AffineForm())
    sum: AffineForm | None = read_by(_affine, None)
    bias: AffineForm | None = read_by(_filters, None)
    rounding: Rounding | None = read_by(_rounding, None)


def quant(value: object) -> QuantForm:
    """``{input, weight, output, sum, bias, rounding}``; rules across them are checked later."""
    if not isinstance(value, dict) or not value:
        what = "nothing" if not value else show(value)
        text = f"{what} says nothing of the integers; write the scales of input, weight and output"
        raise Mistake("E119", f"{text}, such as {{input: {_AFFINE}, ...}}")
    q = _QuantMap.read(value)
    return QuantForm(q.input, q.weight, q.output, q.output is None, q.sum, q.bias, q.rounding)


def _percentile(value: object) -> float:
    percent = number(value)
    if not 50 < percent <= 100:
        raise Mistake("E115", f"{show(value)} is out of range: a percentile lies in 50..100")
    return percent


def _samples(value: object) -> PurePath:
    return file_path(value, ".npy", "calibration is a .npy file of sample inputs")


class _CalibrationMap(Map):
    calibration: PurePath = read_by(_samples)
    percentile: float = read_by(_percentile, 100.0)
    rounding: Rounding = read_by(_rounding, Rounding.TFLITE)


def quantize(value: object) -> Calibration:
    """``{calibration: x.npy, percentile: 99.9, rounding: tflite}``."""
    if not isinstance(value, dict) or not value:
        raise Mistake("E119", "quantize names sample inputs; write {calibration: x.npy}")
    read = _CalibrationMap.read(value)
    return Calibration(read.calibration, read.percentile, read.rounding)

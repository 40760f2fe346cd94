"""Readers of ``quant`` and ``quantize``: scales, zero points, where else they may be found."""

from __future__ import annotations

from functools import partial
from pathlib import PurePath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainValidator

from convgen.spec.forms import choice, each, file_path, mistake, number, whole
from convgen.spec.model import AffineForm, Calibration, QuantForm, ScaleFile
from convgen.spec.quant import Rounding, float32
from convgen.spec.scalars import show

SUMS = "int32"
SMALLEST = 2.0**-126
_AFFINE = "{scale: 0.02, zero_point: -3}"
_ZERO = 2**31  # zero points of a type are held against its limits where the type is known


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def _scale(value: object, *, zero: bool = False) -> float:
    """A positive number, as the nearest float32; 0 as well where a filter may be all zeros."""
    scale = float32(number(value))
    if zero and scale == 0 and number(value) == 0:
        return 0.0
    if scale < SMALLEST:
        what = "zero" if scale == 0 else "negative" if scale < 0 else "below float32's normal range"
        text = f"{show(value)} is {what}: a scale is the positive step between two neighbours"
        raise mistake("E404", f"{text}, such as 0.02")
    return scale


def _scales(value: object, *, zero: bool = False) -> tuple[float, ...] | ScaleFile:
    match value:
        case list():
            if not value:
                raise mistake("E406", "an empty list; write a number, or one for each filter")
            return tuple(each(value, partial(_scale, zero=zero)))
        case str() if "#" in value:
            name, _, key = value.rpartition("#")
            path = file_path(name, ".npz", "a scale's file is FILE.npz#KEY")
            if not key.isidentifier():
                raise mistake("E119", f"{show(value)} names no array; write FILE.npz#KEY")
            return ScaleFile(path, key)
        case str() if value.lower().endswith((".npz", ".npy")):
            raise mistake("E119", f"{show(value)} names no array in the file; write FILE.npz#KEY")
    return (_scale(value, zero=zero),)


def _zero_points(value: object) -> tuple[int, ...]:
    read = partial(whole, low=-_ZERO, high=_ZERO)
    if not isinstance(value, list):
        return (read(value),)
    if not value:
        raise mistake("E406", "an empty list; write a whole number, or one for each filter")
    return tuple(each(value, read))


class _AffineMap(_Strict):
    scale: Annotated[tuple[float, ...] | ScaleFile | None, PlainValidator(_scales)] = None
    zero_point: Annotated[tuple[int, ...] | None, PlainValidator(_zero_points)] = None


class _FilterMap(_AffineMap):
    """Of weights and biases: real models have filters of zeros, whose scale is 0."""

    scale: Annotated[
        tuple[float, ...] | ScaleFile | None, PlainValidator(partial(_scales, zero=True))
    ] = None


def _filters(value: object) -> AffineForm:
    return _affine(value, _FilterMap)


def _affine(value: object, form: type[_AffineMap] = _AffineMap) -> AffineForm:
    match value:
        case dict() if value:
            read = form.model_validate(value)
            return AffineForm(read.scale, read.zero_point)
        case dict():
            raise mistake("E119", f"an empty map; write {_AFFINE}")
        case None:
            raise mistake("E104", f"there is no value; write {_AFFINE}")
    raise mistake("E119", f"{show(value)} is no quantisation; write {_AFFINE}")


def _output(value: object) -> AffineForm | None:
    """None for ``int32``."""
    if value == SUMS:
        return None
    if isinstance(value, str):
        raise mistake("E120", f"{show(value)} is not {SUMS}; write {SUMS} or {_AFFINE}")
    return _affine(value)


_Rounding = PlainValidator(partial(choice, kind=Rounding))


class _QuantMap(_Strict):
    input: Annotated[AffineForm, PlainValidator(_affine)] = AffineForm()
    weight: Annotated[AffineForm, PlainValidator(_filters)] = AffineForm()
    output: Annotated[AffineForm | None, PlainValidator(_output)] = AffineForm()
    sum: Annotated[AffineForm | None, PlainValidator(_affine)] = None
    bias: Annotated[AffineForm | None, PlainValidator(_filters)] = None
    rounding: Annotated[Rounding | None, _Rounding] = None


def quant(value: object) -> QuantForm:
    """``{input, weight, output, sum, bias, rounding}``; rules across them are checked later."""
    if not isinstance(value, dict) or not value:
        what = "nothing" if not value else show(value)
        text = f"{what} says nothing of the integers; write the scales of input, weight and output"
        raise mistake("E119", f"{text}, such as {{input: {_AFFINE}, ...}}")
    q = _QuantMap.model_validate(value)
    return QuantForm(q.input, q.weight, q.output, q.output is None, q.sum, q.bias, q.rounding)


def _percentile(value: object) -> float:
    percent = number(value)
    if not 50 < percent <= 100:
        raise mistake("E115", f"{show(value)} is out of range: a percentile lies in 50..100")
    return percent


def _samples(value: object) -> PurePath:
    return file_path(value, ".npy", "calibration is a .npy file of sample inputs")


class _CalibrationMap(_Strict):
    calibration: Annotated[PurePath, PlainValidator(_samples)]
    percentile: Annotated[float, PlainValidator(_percentile)] = 100.0
    rounding: Annotated[Rounding, _Rounding] = Rounding.TFLITE


def quantize(value: object) -> Calibration:
    """``{calibration: x.npy, percentile: 99.9, rounding: tflite}``."""
    if not isinstance(value, dict) or not value:
        raise mistake("E119", "quantize names sample inputs; write {calibration: x.npy}")
    read = _CalibrationMap.model_validate(value)
    return Calibration(read.calibration, read.percentile, read.rounding)

"""Readers of single values in a network's layers; each raises as ``convgen.spec.forms`` does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any

from convgen.network.graph import Quantization
from convgen.network.ops import Elem
from convgen.spec.forms import MAX_SIZE, MAX_STEP, choice, each, number, whole
from convgen.spec.model import Padding
from convgen.spec.nested import PadMode, padding
from convgen.spec.quant import float32
from convgen.spec.reading import Mistake
from convgen.spec.scalars import disputed, show

_TIMES = re.compile(r"(?:0|[1-9][0-9]{0,9})(?:x(?:0|[1-9][0-9]{0,9}))*", re.ASCII)
FAR = 2**31 - 1

Sizes = int | tuple[int, ...]


class Elements(StrEnum):
    """Element types that a network's YAML may name."""

    FLOAT32 = "float32"
    FLOAT64 = "float64"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"
    UINT8 = "uint8"
    INT32 = "int32"
    INT64 = "int64"
    BOOL = "bool"


def element(value: object) -> Elem:
    return Elem(str(choice(value, Elements)))


def spatial(value: object, low: int, high: int = MAX_STEP) -> Sizes:
    """One number for every axis, or one each: ``3``, ``[5, 3]``, ``5x3``."""
    if isinstance(value, str) and _TIMES.fullmatch(value) and not disputed(value):
        value = [int(part) for part in value.split("x")]
    if isinstance(value, list):
        if not 1 <= len(value) <= 3:
            text = f"{len(value)} entries where one for each axis belongs, such as [5, 3]"
            raise Mistake("E117", text)
        return tuple(each(value, lambda v: whole(v, low, high)))
    if isinstance(value, (dict, str)) and not (isinstance(value, str) and disputed(value)):
        raise Mistake("E119", f"{show(value)} is no size; write 3, [5, 3] or 5x3")
    return whole(value, low, high)


def ints(value: object, low: int = -FAR, high: int = FAR) -> tuple[int, ...]:
    """A list of whole numbers, or one; ``2x3x4`` where none may be negative."""
    if isinstance(value, str) and _TIMES.fullmatch(value) and "x" in value:
        value = [int(part) for part in value.split("x")]
    values = value if isinstance(value, list) else [value]
    return tuple(each(values, lambda v: whole(v, low, high)))


def pairs(value: object) -> tuple[tuple[int, int], ...]:
    """[[before, after], ...], one pair for each axis."""
    if not isinstance(value, list) or not all(isinstance(p, list) and len(p) == 2 for p in value):
        raise Mistake("E119", f"{show(value)} is no list of [before, after], one for each axis")
    found = [each(pair, lambda v: whole(v, -MAX_STEP, MAX_STEP)) for pair in value]
    return tuple((a, b) for a, b in found)


def shape(value: object) -> tuple[int, ...]:
    """``28x28x1`` or [28, 28, 1]: one to five sizes."""
    if isinstance(value, str) and not _TIMES.fullmatch(value):
        why = disputed(value)
        raise Mistake("E119", f"{why or show(value) + ' is no size'}; write 28x28x1")
    found = ints(value, 1, MAX_SIZE)
    if len(found) > 6:
        raise Mistake("E117", f"{len(found)} sizes: a tensor has at most 6")
    return found


def window_padding(value: object) -> Padding | PadMode | tuple[Sizes, Sizes]:
    """A layer's padding, or {before, after} with one number for each axis."""
    if isinstance(value, dict) and {"before", "after"} & value.keys():
        for key in value:
            if key not in ("before", "after"):
                raise Mistake("E119", f"{show(key)} beside before and after; keep those two")
        return spatial(value.get("before", 0), 0), spatial(value.get("after", 0), 0)
    found = padding(value)
    return (found, found) if isinstance(found, (int, tuple)) else found


def names(value: object) -> tuple[str, ...]:
    """One name, or a list of them."""
    values = value if isinstance(value, list) else [value]

    def one(entry: object) -> str:
        if isinstance(entry, str) and entry:
            return entry
        raise Mistake("E119", f"{show(entry)} is no layer's name; names are text")

    return tuple(each(values, one))


def layer_name(value: object) -> str:
    """Any printable text that can be told from the words of a spec."""
    if not isinstance(value, str) or not value or not value.isprintable() or value != value.strip():
        raise Mistake("E506", f"{show(value)} is no name: printable text, such as stem")
    if value == "previous":
        raise Mistake("E506", "`previous` stands for the layer before; choose another name")
    return value


def word(kind: type[StrEnum]) -> Callable[[object], Any]:
    return partial(choice, kind=kind)


def numbers(value: object) -> tuple[float, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(each(values, number))


def constants(value: object) -> tuple[Any, ...]:
    """Numbers and truth values, or one of them."""
    values = value if isinstance(value, list) else [value]

    def one(entry: object) -> Any:
        return entry if isinstance(entry, (bool, int)) else number(entry)

    return tuple(each(values, one))


def meaning(value: object) -> Quantization:
    """{scale, zero_point}: one number each, or a list along ``axis`` (by default the last one)."""
    if not isinstance(value, dict):
        raise Mistake("E119", f"{show(value)} is no meaning of integers; write {{scale: 0.1}}")
    for key in value:
        if key not in ("scale", "zero_point", "axis"):
            text = f"unknown key {show(key)}: the keys are scale, zero_point, axis"
            raise Mistake("E101", text)
    if "scale" not in value:
        raise Mistake("E103", "`scale` is missing: add it, as in `{scale: 0.1}`")
    scales = tuple(float32(scale) for scale in numbers(value["scale"]))
    if not scales or min(scales) < 2.0**-126:
        raise Mistake("E404", "a scale is positive, in float32's normal range")
    zeros = ints(value.get("zero_point", 0))
    zeros = zeros * len(scales) if len(zeros) == 1 else zeros
    if len(zeros) != len(scales):
        text = f"{len(zeros)} zero points for {len(scales)} scales: give one, or as many"
        raise Mistake("E117", text)
    axis = whole(value["axis"], -8, 7) if "axis" in value else -1
    return Quantization(scales, zeros, axis if len(scales) > 1 else None)


def filling(value: object) -> float:
    """What a border holds: a number, or ``-inf``, which no maximum takes."""
    return -math.inf if value == "-inf" else number(value)

"""Words of how 8-bit sums become outputs: what templates/requantize.j2 prints."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from convgen.ctext.activations import float_literal
from convgen.ctext.body import plus
from convgen.spec.elements import arrays_of
from convgen.spec.model import Act, ConvSpec
from convgen.spec.quant import Rounding
from convgen.spec.requantize import requantization

if TYPE_CHECKING:
    from convgen.numbers.fixed_steps import FixedSteps

COLUMNS = 96  # of a table's lines
WORDS = {
    "fixed": "A sum as an output: scaled in fixed point, rounded twice as TFLite's reference is.",
    "once": "A sum as an output: scaled in fixed point, rounded once, halves up.",
    "float": "A sum as an output: scaled in float, rounded half to even, saturated.",
    "steps": "A sum as an output: one multiply-add, shown to give what the spec's rounding does.",
    "sum": "The sum is the output.",
}


@dataclass(frozen=True)
class RequantText:
    """What templates/requantize.j2 prints; numbers are C text, ``""`` where there is none.

    ``span``: the farthest that an output lies from its zero point. ``right``: one less than how far
    twice the high half is shifted, where that is known to be 1 or more. ``positive``: sums below 0
    end at the least output; ``lowest``: which is the zero point itself.
    """

    kind: str
    words: str
    y: str
    zero: str = ""
    low: int = 0
    high: int = 0
    span: int = 0
    oc_param: str = ""
    factor: str = ""
    shift: str = ""
    right: str = ""
    positive: bool = False
    lowest: bool = False
    scale: str = ""
    least: str = ""
    most: str = ""
    first: str = ""
    left: bool = False
    relu: bool = False
    factors: SimpleNamespace | None = None
    shifts: SimpleNamespace | None = None
    rights: SimpleNamespace | None = None
    scales: SimpleNamespace | None = None
    call: str = ""
    addend: str = ""
    addends: SimpleNamespace | None = None
    down: int = 0
    below: str = ""
    belows: SimpleNamespace | None = None
    type_low: int = 0
    type_high: int = 0
    table: SimpleNamespace | None = None
    w_zeros: SimpleNamespace | None = None


def requant_text(spec: ConvSpec, *, fixed: str = "") -> RequantText:
    """The words of an 8-bit layer's output. ``fixed``: the C function that scales by one
    multiply-add of 64 bits, where there is one; it is taken where it is shown to agree."""
    assert spec.quant is not None
    y = arrays_of(spec).y.c
    zeros = spec.quant.weight.zero_point
    w_zeros = numbers(zeros) if len(set(zeros)) > 1 else None
    how = requantization(spec)
    if how is None:
        relu = spec.activation.kind is Act.RELU
        return RequantText("sum", WORDS["sum"], y, relu=relu, w_zeros=w_zeros)
    found: dict[str, Any] = {
        "zero": str(how.zero) if how.zero >= 0 else f"({how.zero})",
        "low": how.low,
        "high": how.high,
        "span": max(how.high - how.zero, how.zero - how.low),
        "table": numbers(how.table) if how.table else None,
        "first": plus(-how.low),
        "w_zeros": w_zeros,
    }
    if how.rounding is Rounding.ONNX:
        found["least"] = float_literal(how.low - how.zero)
        found["most"] = float_literal(how.high - how.zero)
        literals = [float_literal(s) for s in how.scales]
        several = len(set(literals)) > 1
        found |= {
            "scale": f"{spec.name}_scales[oc]" if several else literals[0],
            "scales": numbers(literals) if several else None,
            "oc_param": ", ptrdiff_t oc" if several else "",
        }
        return RequantText("float", WORDS["float"], y, **found)
    steps = None
    if fixed:
        from convgen.numbers.fixed_steps import (
            fixed_steps,  # with NumPy, which few layers need here
        )

        steps = fixed_steps(how)
    if steps is not None:
        return RequantText("steps", WORDS["steps"], y, **found, **_steps_text(spec, steps, fixed))
    kind = "once" if how.rounding is Rounding.TFLITE_SINGLE else "fixed"
    several = len(set(zip(how.factors, how.shifts, strict=True))) > 1
    rights = [-shift - 1 for shift in how.shifts]
    plainly = kind == "fixed" and min(rights) >= 0
    found |= {
        "factor": f"{spec.name}_factors[oc]" if several else str(how.factors[0]),
        "factors": numbers(how.factors) if several else None,
        "left": max(how.shifts) > 0,
        "positive": kind == "fixed" and how.low >= how.zero,
        "lowest": kind == "fixed" and how.low == how.zero,
        "oc_param": ", ptrdiff_t oc" if several else "",
    }
    if plainly:
        found["right"] = f"{spec.name}_rights[oc]" if several else str(rights[0])
        found["rights"] = numbers(rights) if several else None
    else:
        found["shift"] = f"{spec.name}_shifts[oc]" if several else str(how.shifts[0])
        found["shifts"] = numbers(how.shifts) if several else None
    return RequantText(kind, WORDS[kind], y, **found)


def _steps_text(spec: ConvSpec, steps: FixedSteps, call: str) -> dict[str, Any]:
    below = steps.below
    several = len(set(zip(steps.factors, steps.addends, strict=True))) > 1
    addends = [f"INT64_C({value})" for value in steps.addends]
    return {
        "call": f"{call}_signed" if below else call,
        "factor": f"{spec.name}_factors[oc]" if several else str(steps.factors[0]),
        "factors": numbers(steps.factors) if several else None,
        "addend": f"{spec.name}_addends[oc]" if several else addends[0],
        "addends": numbers(addends) if several else None,
        "down": steps.shift,
        "below": (f", {spec.name}_below[oc]" if several else f", {below[0]}") if below else "",
        "belows": numbers(below) if several and below else None,
        "type_low": arrays_of(spec).y.limits[0],
        "type_high": arrays_of(spec).y.limits[1],
        "oc_param": ", ptrdiff_t oc" if several else "",
    }


def numbers(values: Iterable[object]) -> SimpleNamespace:
    texts = [str(value) for value in values]
    lines = textwrap.wrap(", ".join(texts) + ",", COLUMNS)
    return SimpleNamespace(count=len(texts), text=lines)

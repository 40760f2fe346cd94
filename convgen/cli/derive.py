"""How each number of a layer comes about: the formula, then the same with its numbers put in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from convgen.spec.elements import arrays_of
from convgen.spec.model import ConvSpec
from convgen.spec.window import Axis


@dataclass(frozen=True)
class Step:
    """One derived number: ``name = formula = numbers = value``; ``remark`` explains it in words."""

    name: str
    formula: str
    numbers: str
    value: int
    remark: str = ""

    def __str__(self) -> str:
        chain = [self.name, self.formula, self.numbers]
        if self.numbers != str(self.value):
            chain.append(f"{self.value:,}")
        text = " = ".join(chain)
        return f"{text}    ({self.remark})" if self.remark else text


_UNITS = {"D": ("F", "K", "planes"), "H": ("T", "B", "rows"), "W": ("L", "R", "columns")}


def size_steps(spec: ConvSpec) -> tuple[Step, ...]:
    """Effective filter and output size along every axis that the layer has."""
    axes = zip("DHW"[3 - spec.rank :], spec.axes[3 - spec.rank :], strict=True)
    return tuple(step for letter, axis in axes for step in _axis_steps(letter, axis))


def _axis_steps(letter: str, axis: Axis) -> tuple[Step, Step]:
    first, last, unit = _UNITS[letter]
    dense = axis.dilation == 1
    holes = "the filter's own extent" if dense else "its taps with the holes between them"
    what = f"reach of one input in {unit}" if axis.transposed else f"receptive field in {unit}"
    span = Step(
        f"f_{letter.lower()}", f"(K{letter}-1)*D{letter} + 1",
        f"({axis.taps}-1)*{axis.dilation} + 1", axis.extent, f"{what}: {holes}",
    )  # fmt: skip
    formula, numbers = _out_formula(letter, axis, f"P{first}", f"P{last}")
    lost = ""
    if axis.left:
        lost = f"remainder {axis.left}: the last {axis.left} padded {unit} end no window"
    return span, Step(f"O{letter}", formula, numbers, axis.out, lost)


def _out_formula(letter: str, axis: Axis, first: str, last: str) -> tuple[str, str]:
    """How many outputs there are, in letters and in numbers."""
    size, stride, span = axis.size, axis.stride, axis.extent
    if axis.transposed:
        extra = f" + OP{letter}" if axis.extra else ""
        more = f" + {axis.extra}" if axis.extra else ""
        return (
            f"({letter}-1)*S{letter} - {first} - {last} + f_{letter.lower()}{extra}",
            f"({size}-1)*{stride} - {axis.before} - {axis.after} + {span}{more}",
        )
    numbers = (
        f"floor(({size} + {axis.before} + {axis.after} - {span}) / {stride}) + 1 = "
        f"floor({axis.padded - span} / {stride}) + 1"
    )
    return f"floor(({letter} + {first} + {last} - f_{letter.lower()}) / S{letter}) + 1", numbers


def cost_steps(spec: ConvSpec) -> tuple[Step, ...]:
    """Multiply-adds and parameters of the layer."""
    s = spec
    letters, axes = "DHW"[3 - s.rank :], s.axes[3 - s.rank :]
    depth = s.taps * s.icg
    bias = s.oc if s.bias else 0
    taps = "*".join(str(axis.taps) for axis in axes)
    if s.transposed:  # every input times every tap
        name, each, places = "OC/G", s.taps * s.ocg, [axis.size for axis in axes]
        product = Step(
            "K", f"{_stars('K', letters)}*(OC/G)", f"{taps}*({s.oc}/{s.groups})", each,
            "multiply-adds of one input",
        )  # fmt: skip
        macs = Step(
            "MACs", f"N*{_stars('', letters)}*C*K", f"{s.batch}*{_stars('', places)}*{s.c}*{each}",
            s.macs, "of one image" if s.batch_any else "of one call",
        )  # fmt: skip
        weights = f"{taps}*{s.c}*{s.ocg}"
        formula = f"{_stars('K', letters)}*C*({name})"
        return (
            product, macs,
            Step(
                "parameters", f"{formula} + OC" if bias else formula,
                f"{weights} + {s.oc}" if bias else weights, s.params,
            ),
        )  # fmt: skip
    outs = [axis.out for axis in axes]
    return (
        Step(
            "K", f"{_stars('K', letters)}*(C/G)", f"{taps}*({s.c}/{s.groups})", depth,
            "multiply-adds of one output",
        ),
        Step(
            "MACs", f"N*{_stars('O', letters)}*OC*K",
            f"{s.batch}*{_stars('', outs)}*{s.oc}*{depth}", s.macs,
            "of one image" if s.batch_any else "of one call",
        ),
        Step(
            "parameters", "K*OC + OC" if bias else "K*OC",
            f"{depth}*{s.oc} + {s.oc}" if bias else f"{depth}*{s.oc}", s.params,
        ),
    )  # fmt: skip


def _stars(prefix: str, names: Iterable[object]) -> str:
    """A product of them, each after ``prefix``."""
    return "*".join(f"{prefix}{name}" for name in names)


def byte_steps(spec: ConvSpec) -> tuple[Step, ...]:
    """Bytes of the caller's arrays."""
    s, of = spec, arrays_of(spec)
    x, w, b, y = of.x.size, of.w.size, of.b.size, of.y.size
    named = f"e: {x} bytes of a {of.x.name}"
    if of.b is not of.x:
        named = f"e: bytes of an element of {of.x.name}, {of.w.name}, {of.y.name}, {of.b.name}"
    letters, axes = "DHW"[3 - s.rank :], s.axes[3 - s.rank :]
    image, outs = _stars("", (a.size for a in axes)), _stars("", (a.out for a in axes))
    found = [
        Step("input", f"N*{_stars('', letters)}*C*e", f"{s.batch}*{image}*{s.c}*{x}",
             prod(s.x_shape) * x, named),
        _weight_bytes(s, w),
        Step("output", f"N*{_stars('O', letters)}*OC*e", f"{s.batch}*{outs}*{s.oc}*{y}",
             prod(s.y_shape) * y),
    ]  # fmt: skip
    if s.bias:
        found.insert(2, Step("bias", "OC*e", f"{s.oc}*{b}", s.oc * b))
    return tuple(found)


def _weight_bytes(s: ConvSpec, size: int) -> Step:
    if s.transposed:
        number = s.taps * s.ocg
        return Step("weights", "K*C*e", f"{number}*{s.c}*{size}", number * s.c * size)
    number = s.taps * s.icg
    return Step("weights", "K*OC*e", f"{number}*{s.oc}*{size}", number * s.oc * size)

"""How each number of a layer comes about: the formula, then the same with its numbers put in."""

from __future__ import annotations

from dataclasses import dataclass

from convgen.spec.elements import arrays_of
from convgen.spec.model import ConvSpec


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


def size_steps(spec: ConvSpec) -> tuple[Step, ...]:
    """Effective filter and output size along both axes."""
    p = spec.padding
    return (
        *_axis_steps("H", spec.h, p.top, p.bottom, spec.kh, spec.dh, spec.sh, "rows"),
        *_axis_steps("W", spec.w, p.left, p.right, spec.kw, spec.dw, spec.sw, "columns"),
    )


def _axis_steps(
    axis: str, size: int, before: int, after: int, taps: int, dil: int, stride: int, unit: str
) -> tuple[Step, Step]:
    low = axis.lower()
    span = (taps - 1) * dil + 1
    room = size + before + after - span
    first, last = ("PT", "PB") if axis == "H" else ("PL", "PR")
    remark = "the filter's own extent" if dil == 1 else "its taps with the holes between them"
    left = room % stride
    lost = f"remainder {left}: the last {left} padded {unit} end no window" if left else ""
    numbers = (
        f"floor(({size} + {before} + {after} - {span}) / {stride}) + 1 = "
        f"floor({room} / {stride}) + 1"
    )
    return (
        Step(
            f"f_{low}", f"(K{axis}-1)*D{axis} + 1", f"({taps}-1)*{dil} + 1", span,
            f"receptive field in {unit}: {remark}",
        ),
        Step(
            f"O{axis}", f"floor(({axis} + {first} + {last} - f_{low}) / S{axis}) + 1",
            numbers, room // stride + 1, lost,
        ),
    )  # fmt: skip


def cost_steps(spec: ConvSpec) -> tuple[Step, ...]:
    """Multiply-adds and parameters of the layer."""
    s = spec
    depth = s.kh * s.kw * s.icg
    bias = s.oc if s.bias else 0
    return (
        Step(
            "K", "KH*KW*(C/G)", f"{s.kh}*{s.kw}*({s.c}/{s.groups})", depth,
            "multiply-adds of one output",
        ),
        Step(
            "MACs", "N*OH*OW*OC*K", f"{s.batch}*{s.oh}*{s.ow}*{s.oc}*{depth}", s.macs,
            "of one image" if s.batch_any else "of one call",
        ),
        Step(
            "parameters", "K*OC + OC" if bias else "K*OC",
            f"{depth}*{s.oc} + {s.oc}" if bias else f"{depth}*{s.oc}", s.params,
        ),
    )  # fmt: skip


def byte_steps(spec: ConvSpec) -> tuple[Step, ...]:
    """Bytes of the caller's arrays."""
    s, of = spec, arrays_of(spec)
    x, w, b, y = of.x.size, of.w.size, of.b.size, of.y.size
    named = f"e: {x} bytes of a {of.x.name}"
    if of.b is not of.x:
        named = f"e: bytes of an element of {of.x.name}, {of.w.name}, {of.y.name}, {of.b.name}"
    found = [
        Step("input", "N*H*W*C*e", f"{s.batch}*{s.h}*{s.w}*{s.c}*{x}",
             s.batch * s.h * s.w * s.c * x, named),
        Step("weights", "K*OC*e", f"{s.kh * s.kw * s.icg}*{s.oc}*{w}",
             s.kh * s.kw * s.icg * s.oc * w),
        Step("output", "N*OH*OW*OC*e", f"{s.batch}*{s.oh}*{s.ow}*{s.oc}*{y}",
             s.batch * s.oh * s.ow * s.oc * y),
    ]  # fmt: skip
    if s.bias:
        found.insert(2, Step("bias", "OC*e", f"{s.oc}*{b}", s.oc * b))
    return tuple(found)

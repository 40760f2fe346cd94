"""What the makers of kernels share: an element's C type, a kernel at work, limits of 8 bits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from convgen.kernels.steps import StepBody
from convgen.network.ops.face import Elem
from convgen.network.plan import Slot, Step
from convgen.spec.model import Act, Activation
from convgen.spec.quant import Rounding

C_TYPES = {
    Elem.FLOAT32: "float",
    Elem.FLOAT64: "double",
    Elem.FLOAT16: "uint16_t",
    Elem.BFLOAT16: "uint16_t",
    Elem.INT8: "int8_t",
    Elem.UINT8: "uint8_t",
    Elem.INT16: "int16_t",
    Elem.UINT16: "uint16_t",
    Elem.INT32: "int32_t",
    Elem.UINT32: "uint32_t",
    Elem.INT64: "int64_t",
    Elem.UINT64: "uint64_t",
    Elem.BOOL: "uint8_t",
}
NO_ACT = Activation()


@dataclass(frozen=True)
class Use:
    """One kernel at work: its body, and the slots it is given: inputs, then the output.

    ``packed``: bytes of packed weights that stand before the output, 0 without.
    """

    body: StepBody
    slots: tuple[Slot, ...]
    packed: int = 0


def literal(value: float, dtype: Elem) -> str:
    """A stored value as C has it."""
    from convgen.ctext.activations import float_literal, odd_literal

    if dtype is Elem.FLOAT32:
        return float_literal(value)
    if dtype is not Elem.FLOAT64:
        return str(int(value))
    return repr(float(value)) if math.isfinite(value) else odd_literal(value, "")


def clamp(act: Activation, y: Slot, rounding: Rounding) -> tuple[int, int]:
    """The limits of 8-bit outputs: their type's, narrowed by an activation that is a clamp."""
    from convgen.spec.elements import ELEMENTS
    from convgen.spec.quant import Affine
    from convgen.spec.table import clamp as narrowed

    limits = ELEMENTS[y.dtype].limits
    if act.kind is Act.NONE or y.quant is None:
        return limits
    meaning = Affine(y.quant.scale, y.quant.zero_point)
    return narrowed(act, meaning, limits, rounding)


def both(step: Step) -> tuple[Slot, Slot]:
    a, b = step.inputs
    assert a is not None and b is not None, step
    return a, b


def only(step: Step) -> tuple[Slot, Slot]:
    (x,), (y,) = step.inputs[:1], step.outputs
    assert x is not None, step
    return x, y

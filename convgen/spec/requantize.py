"""The numbers that bring a layer's int32 sums to its output, as the spec's rounding makes them."""

from __future__ import annotations

from functools import lru_cache

from convgen.spec.elements import ELEMENTS, arrays_of
from convgen.spec.model import Act, ConvSpec, DType
from convgen.spec.quant import (
    SUM_LIMIT,
    Quant,
    Requantization,
    Rounding,
    farthest,
    fixed_point,
    ratios,
)
from convgen.spec.table import CLAMPS, clamp, table


@lru_cache(maxsize=16)  # asked for by choice, words, oracle and check of one layer
def requantization(spec: ConvSpec) -> Requantization | None:
    """Of an 8-bit layer with an 8-bit output; None where y holds the sums."""
    quant = spec.quant
    assert quant is not None, "an 8-bit layer whose scales are still unread"
    if quant.output is None:
        return None
    limits = ELEMENTS[spec.dtype].limits
    target = quant.sum or quant.output
    found = ratios(quant, target, spec.oc, single_product=single_product(quant, spec.dtype))
    low, high = limits
    entries: tuple[int, ...] = ()
    if spec.activation.kind in CLAMPS:
        low, high = clamp(spec.activation, quant.output, limits, quant.rounding)
    else:
        entries = table(spec.activation, target, quant.output, limits, quant.rounding)
    zero = target.zero_point[0]
    if quant.rounding is Rounding.ONNX:
        return Requantization(quant.rounding, zero, low, high, scales=found, table=entries)
    # A factor of 0 gives 0 by any shift: by this one it is like those of living filters.
    pairs = [(factor, shift if factor else -1) for factor, shift in map(fixed_point, found)]
    factors, shifts = zip(*pairs, strict=True)
    return Requantization(quant.rounding, zero, low, high, factors, shifts, table=entries)


def single_product(quant: Quant, dtype: DType) -> bool:
    """TFLite multiplies the scales of uint8 layers in float32, unlike those of int8 ones."""
    return dtype is DType.UINT8 and len(quant.weight.scale) == 1


def least_output(spec: ConvSpec) -> int:
    """The least value that y can hold where y holds the sums: 0 after ReLU."""
    return 0 if spec.activation.kind is Act.RELU else arrays_of(spec).y.limits[0]


def input_reach(spec: ConvSpec) -> int:
    """max|x - zero point| over the input's type."""
    assert spec.quant is not None
    return farthest(ELEMENTS[spec.dtype].limits, spec.quant.x_zero)


def weight_room(spec: ConvSpec) -> int:
    """The most that sum|w - zero point| of a filter may be for a bias of 0."""
    return SUM_LIMIT // max(1, input_reach(spec))

"""The error numbers of 8-bit layers: their scales, zero points, sums and calibration."""

from __future__ import annotations

from convgen.spec.code import Code

_EXAMPLE = (
    "`quant: {input: {scale: 0.02, zero_point: -3}, weight: {scale: 0.01}, "
    "output: {scale: 0.05, zero_point: 4}}`"
)

QUANT = (
    Code(
        "E401",
        "8-bit layer that does not say what its integers mean",
        "An int8 or uint8 layer has `quant`, or `quantize` with the float weights to quantise.",
        _EXAMPLE,
    ),
    Code(
        "E402",
        "scales where none belong",
        "`quant` and `quantize` are for int8 and uint8 layers, one of them in each.",
        "`dtype: int8`, or no such key",
    ),
    Code(
        "E403",
        "missing scale",
        "Input, weight and output each have a scale; so have the sums before an activation that "
        "is looked up in a table (all but none, relu, relu6 and clip).",
        _EXAMPLE,
    ),
    Code(
        "E404",
        "scale that is no step",
        "A scale is positive, in float32's normal range; 0 for a baked filter of zeros alone.",
        "`scale: 0.02`",
    ),
    Code(
        "E405",
        "zero point outside the type",
        "Zero points of input, output and sum lie in the layer's dtype, those of weights in int8; "
        "a bias has none.",
        "`zero_point: -128`",
    ),
    Code(
        "E406",
        "wrong number of scales or zero points",
        "`weight` has one entry, or a list with one for each filter; the others have one.",
        "`weight: {scale: [0.01, 0.02]}` with `filters: 2`",
    ),
    Code(
        "E407",
        "bias scale mismatch",
        "A bias is added to sums, so its scale is input scale x weight scale.",
        "Quantise the bias with that scale, or leave `bias` out.",
    ),
    Code(
        "E408",
        "key that does not apply",
        "An int32 output is the sum itself: no scales, no rounding, no activation but relu. `sum` "
        "is for activations that are looked up in a table.",
        "`quant: {input: {zero_point: 3}, output: int32}`",
    ),
    Code(
        "E409",
        "scales out of proportion",
        "input scale x weight scale / output scale lies above 0 and below 2^30.",
        "Look at the units of the three scales.",
    ),
    Code(
        "E410",
        "sums may overflow",
        "For each filter sum|w - zero| x max|x - zero| + |bias| is at most 2^31 - 1, so that no "
        "sum of int32 overflows whatever the input.",
        "More groups, or smaller weights.",
    ),
    Code(
        "E411",
        "calibration of no use",
        "Sample inputs are a float32 array of the layer's input shape, any number of images, "
        "finite, not all zero.",
        "`np.save('x.npy', images.astype(np.float32))`",
    ),
)

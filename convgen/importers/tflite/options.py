"""The options of TFLite's operators: which table holds them, its fields, what they default to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Options:
    """``kind``: the table's name in the schema. ``fields``: its scalars, with the value that an
    absent table stands for. ``vectors``: its lists of numbers."""

    kind: str
    fields: tuple[tuple[str, int | float | bool], ...] = ()
    vectors: tuple[str, ...] = ()


_ACT = ("FusedActivationFunction", 0)
_STRIDES = (("StrideW", 1), ("StrideH", 1))
_DILATIONS = (("DilationWFactor", 1), ("DilationHFactor", 1))
_POOL = Options(
    "Pool2DOptions",
    (("Padding", 0), *_STRIDES, ("FilterWidth", 1), ("FilterHeight", 1), _ACT),
)
_RESIZE = (("AlignCorners", False), ("HalfPixelCenters", False))
_MASKS = ("Begin", "End", "Ellipsis", "NewAxis", "ShrinkAxis")
_REDUCER = Options("ReducerOptions", (("KeepDims", False),))

OPTIONS: Mapping[str, Options] = MappingProxyType(
    {
        "CONV_2D": Options("Conv2DOptions", (("Padding", 0), *_STRIDES, *_DILATIONS, _ACT)),
        "DEPTHWISE_CONV_2D": Options(
            "DepthwiseConv2DOptions",
            (("Padding", 0), *_STRIDES, *_DILATIONS, ("DepthMultiplier", 0), _ACT),
        ),
        "TRANSPOSE_CONV": Options("TransposeConvOptions", (("Padding", 0), *_STRIDES, _ACT)),
        "FULLY_CONNECTED": Options(
            "FullyConnectedOptions",
            (_ACT, ("WeightsFormat", 0), ("KeepNumDims", False)),
        ),
        "AVERAGE_POOL_2D": _POOL,
        "MAX_POOL_2D": _POOL,
        "ADD": Options("AddOptions", (_ACT,)),
        "SUB": Options("SubOptions", (_ACT,)),
        "MUL": Options("MulOptions", (_ACT,)),
        "DIV": Options("DivOptions", (_ACT,)),
        "CONCATENATION": Options("ConcatenationOptions", (("Axis", 0), _ACT)),
        "MIRROR_PAD": Options("MirrorPadOptions", (("Mode", 0),)),
        "MEAN": _REDUCER,
        "SUM": _REDUCER,
        "REDUCE_MAX": _REDUCER,
        "REDUCE_MIN": _REDUCER,
        "REDUCE_PROD": _REDUCER,
        "SOFTMAX": Options("SoftmaxOptions", (("Beta", 0.0),)),
        "LEAKY_RELU": Options("LeakyReluOptions", (("Alpha", 0.0),)),
        "GELU": Options("GeluOptions", (("Approximate", False),)),
        "RESIZE_BILINEAR": Options("ResizeBilinearOptions", _RESIZE),
        "RESIZE_NEAREST_NEIGHBOR": Options("ResizeNearestNeighborOptions", _RESIZE),
        "RESHAPE": Options("ReshapeOptions", (), ("NewShape",)),
        "SQUEEZE": Options("SqueezeOptions", (), ("SqueezeDims",)),
        "STRIDED_SLICE": Options(
            "StridedSliceOptions",
            (*((f"{mask}Mask", 0) for mask in _MASKS), ("Offset", False)),
        ),
        "SPLIT": Options("SplitOptions", (("NumSplits", 0),)),
        "SPLIT_V": Options("SplitVOptions", (("NumSplits", 0),)),
        "DEPTH_TO_SPACE": Options("DepthToSpaceOptions", (("BlockSize", 0),)),
        "SPACE_TO_DEPTH": Options("SpaceToDepthOptions", (("BlockSize", 0),)),
        "GATHER": Options("GatherOptions", (("Axis", 0), ("BatchDims", 0))),
        "PACK": Options("PackOptions", (("ValuesCount", 0), ("Axis", 0))),
        "UNPACK": Options("UnpackOptions", (("Num", 0), ("Axis", 0))),
        "BATCH_MATMUL": Options("BatchMatMulOptions", (("AdjX", False), ("AdjY", False))),
        "CAST": Options("CastOptions", (("InDataType", 0), ("OutDataType", 0))),
        "L2_NORMALIZATION": Options("L2NormOptions", (_ACT,)),
        "LOCAL_RESPONSE_NORMALIZATION": Options(
            "LocalResponseNormalizationOptions",
            (("Radius", 0), ("Bias", 0.0), ("Alpha", 0.0), ("Beta", 0.0)),
        ),
    }
)


def options_of(op: str, table: Any) -> Mapping[str, Any]:
    """The options of one operator as plain values; ``table`` None: the file leaves them out."""
    import numpy as np

    row = OPTIONS[op]
    if table is None:
        return {**dict(row.fields), **dict.fromkeys(row.vectors)}
    found: dict[str, Any] = {}
    for name, default in row.fields:
        value = getattr(table, name)()
        if isinstance(default, float) and not math.isfinite(value):
            raise ValueError(f"{name} is {value}")
        found[name] = type(default)(value)
    for name in row.vectors:
        values = getattr(table, f"{name}AsNumpy")()
        given = isinstance(values, np.ndarray)
        found[name] = tuple(int(v) for v in values) if given else None
    return found

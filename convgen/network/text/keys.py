"""Which keys each operator's map has in YAML, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any

from convgen.network.ops import (
    BinaryFn,
    Coordinates,
    Nearest,
    PadMode,
    ReduceFn,
    ResizeMode,
    UnaryFn,
)
from convgen.network.text import forms
from convgen.spec import nested
from convgen.spec.fields import ALIASES, Remainder
from convgen.spec.forms import MAX_SIZE, number, truth, whole, word_or_whole
from convgen.spec.model import Layout, WeightLayout
from convgen.spec.nested import ActKind

Read = Callable[[object], Any]
_size = partial(whole, low=1, high=MAX_SIZE)
_axis = partial(whole, low=-8, high=7)


class Norm(StrEnum):
    BATCH = "batch"
    LAYER = "layer"
    LOCAL_RESPONSE = "local_response"


class Order(StrEnum):
    DCR = "dcr"
    CRD = "crd"


@dataclass(frozen=True)
class Kind:
    """One operator's word. ``keys``: its own, beside those of ``COMMON``. ``needed``: those that
    must be there, with an example. ``bare``: what the word alone, or a value that is no map, means
    (the key that takes it). ``inputs``: how many, at least and at most.
    """

    keys: Mapping[str, Read] = field(default_factory=dict)
    needed: Mapping[str, str] = field(default_factory=dict)
    bare: str = ""
    inputs: tuple[int, int] = (1, 1)


_WINDOW: Mapping[str, Read] = {
    "kernel": partial(forms.spatial, low=1),
    "stride": partial(forms.spatial, low=1),
    "padding": forms.window_padding,
    "dilation": partial(forms.spatial, low=1),
    "activation": nested.activation,
    "layout": forms.word(Layout),
}
_WEIGHTED: Mapping[str, Read] = {
    "filters": _size,
    "bias": truth,
    "weights": nested.weights,
    "activation": nested.activation,
    "weight_quant": forms.meaning,
}
_CONV: Mapping[str, Read] = {
    **_WINDOW,
    **_WEIGHTED,
    "groups": partial(word_or_whole, word="depthwise", high=MAX_SIZE),
    "weight_layout": forms.word(WeightLayout),
    "remainder": forms.word(Remainder),
}
_NEEDS_FILTER = {"filters": "`k: 8`", "kernel": "`f: 3`"}
_POOL: Mapping[str, Read] = {**_WINDOW, "ceil": truth, "remainder": forms.word(Remainder)}
_PAIR = Kind({"by": forms.constants, "activation": nested.activation}, {}, "by", (1, 64))
_NUMBERS: Mapping[str, Read] = {"alpha": number, "beta": number, "gamma": number}

# Keys of every layer. ``quant``: what 8-bit outputs mean.
COMMON: Mapping[str, Read] = MappingProxyType(
    {"name": forms.layer_name, "of": forms.names, "dtype": forms.element, "quant": forms.meaning}
)
_CONVERSION = {"scale": forms.numbers, "zero_point": forms.ints, "dtype": forms.element}

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "conv": Kind(_CONV, _NEEDS_FILTER),
        "transposed": Kind(
            {**_CONV, "output_padding": partial(forms.spatial, low=0)}, _NEEDS_FILTER
        ),
        "maxpool": Kind(_POOL, {"kernel": "`f: 2`"}, "kernel"),
        "avgpool": Kind({**_POOL, "include_pad": truth}, {"kernel": "`f: 2`"}, "kernel"),
        "dense": Kind({**_WEIGHTED, "flatten": truth}, {"filters": "`k: 10`"}, "filters"),
        "matmul": Kind(inputs=(2, 2)),
        **{
            str(fn): _PAIR
            for fn in BinaryFn
            if fn not in (BinaryFn.EQUAL, BinaryFn.POW) and not fn.compares
        },
        **{
            str(fn): Kind({"by": forms.constants}, {}, "by", (1, 2))
            for fn in BinaryFn
            if fn is BinaryFn.POW or fn.compares
        },
        "concat": Kind({"axis": _axis}, {}, "axis", (1, 4096)),
        "split": Kind({"axis": _axis, "sizes": partial(forms.ints, low=0), "parts": _size}),
        "slice": Kind(
            {
                "axes": partial(forms.ints, low=-8, high=7),
                "starts": forms.ints,
                "ends": forms.ints,
                "steps": forms.ints,
            },
            {"starts": "`starts: [0], ends: [5], axes: [1]`", "ends": "`ends: [5]`"},
        ),
        "pad": Kind(
            {"pads": forms.pairs, "mode": forms.word(PadMode), "value": forms.filling},
            {"pads": "`pads: [[0, 0], [1, 1], [1, 1], [0, 0]]`"},
            "pads",
        ),
        "resize": Kind(
            {
                "size": partial(forms.spatial, low=1, high=MAX_SIZE),
                "scale": forms.numbers,
                "sizes": partial(forms.ints, low=1),
                "scales": forms.numbers,
                "mode": forms.word(ResizeMode),
                "coordinates": forms.word(Coordinates),
                "nearest": forms.word(Nearest),
                "cubic": number,
                "exclude_outside": truth,
                "layout": forms.word(Layout),
            }
        ),
        "reshape": Kind({"shape": forms.ints}, {"shape": "`shape: [1, -1]`"}, "shape"),
        "flatten": Kind(),
        "transpose": Kind(
            {"perm": partial(forms.ints, low=0, high=7)}, {"perm": "`perm: [0, 2, 1]`"}, "perm"
        ),
        "softmax": Kind({"axis": _axis, "beta": number}, {}, "axis"),
        "log_softmax": Kind({"axis": _axis, "beta": number}, {}, "axis"),
        "prelu": Kind({"shape": forms.shape, "weights": nested.weights}),
        "norm": Kind(
            {
                "kind": forms.word(Norm),
                "epsilon": number,
                "axis": _axis,
                "size": _size,
                "alpha": number,
                "beta": number,
                "bias": number,
                "scale": truth,
                "shift": truth,
            },
            {"kind": "`norm: batch`"},
            "kind",
        ),
        "reduce": Kind(
            {
                "fn": forms.word(ReduceFn),
                "axes": partial(forms.ints, low=-8, high=7),
                "keep": truth,
            },
            {"axes": "`axes: [1, 2]`"},
        ),
        "depth_to_space": Kind(
            {"block": _size, "order": forms.word(Order), "layout": forms.word(Layout)},
            {"block": "`block: 2`"},
            "block",
        ),
        "space_to_depth": Kind(
            {"block": _size, "layout": forms.word(Layout)}, {"block": "`block: 2`"}, "block"
        ),
        "tile": Kind(
            {"repeats": partial(forms.ints, low=1)}, {"repeats": "`repeats: [1, 2]`"}, "repeats"
        ),
        "broadcast": Kind({"shape": forms.shape}, {"shape": "`shape: [1, 8]`"}, "shape"),
        "gather": Kind(
            {"indices": forms.ints, "shape": forms.ints, "axis": _axis},
            {"indices": "`indices: [0, 2]`"},
        ),
        "where": Kind(inputs=(3, 3)),
        "cast": Kind({}, {"dtype": "`dtype: float32`"}, "dtype"),
        "constant": Kind(
            {"shape": partial(forms.ints, low=0), "value": forms.constants}, {}, "value", (0, 0)
        ),
        "quantize": Kind(_CONVERSION, {"scale": "`scale: 0.1`"}, "scale"),
        "requantize": Kind(_CONVERSION, {"scale": "`scale: 0.1`"}, "scale"),
        "dequantize": Kind(),
        "identity": Kind(),
        **{str(act): Kind(_NUMBERS) for act in UnaryFn},
        **{
            str(act): Kind(
                {
                    "leaky_relu": {"alpha": number},
                    "clip": {"min": number, "max": number},
                    "gelu": {"approximate": lambda v: v},
                }.get(str(act), {}),
                {},
                {"leaky_relu": "alpha"}.get(str(act), ""),
            )
            for act in ActKind
            if act is not ActKind.NONE
        },
    }
)
CANONICAL: Mapping[str, str] = MappingProxyType(
    {alias: key for key, aliases in ALIASES.items() for alias in aliases}
)

"""The raw spec as a pydantic model: which keys there are, their aliases, forms and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from convgen.spec import forms, nested, quant_forms, ranks
from convgen.spec.foreign import KEYS, PADDING_KEYS, folded
from convgen.spec.forms import MAX_SIZE, Sizes, choice, sizes, whole, word_or_whole
from convgen.spec.model import (
    Accuracy,
    Activation,
    Calibration,
    DType,
    Layout,
    Padding,
    QuantForm,
    WeightLayout,
    WeightSource,
)
from convgen.spec.scalars import show
from convgen.spec.schedule import Schedule
from convgen.spec.tree import Path, Report, holds_unread

ALIASES: Mapping[str, tuple[str, ...]] = {
    "filters": ("k", "out_channels"),
    "kernel": ("f", "kernel_size", "kernel_shape"),
    "stride": ("s", "strides"),
    "padding": ("p", "pad"),
    "dilation": ("d", "dilations", "dilation_rate"),
    "groups": ("g", "group"),
    "activation": ("act",),
}
CANONICAL: Mapping[str, str] = {alias: key for key, names in ALIASES.items() for alias in names}
REQUIRED: Mapping[str, str] = {
    "input": "the input's height x width x channels, such as `input: 32x32x3`",
    "filters": "how many filters, which is the output's channels, such as `filters: 10`",
    "kernel": "the filter's size, such as `kernel: 5` or `kernel: 5x3`",
}


class Remainder(StrEnum):
    """What to do with input that no window reaches."""

    ERROR = "error"
    FLOOR = "floor"


class RawLayer(BaseModel):
    """Keys of one layer, each with its forms read; a key that was not given has its default.

    ``batch`` None stands for ``any``, ``groups`` None for ``depthwise``, ``schedule`` None for
    ``auto``, ``weights`` None for run time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    version: Annotated[int, PlainValidator(forms.version)] = Field(
        1, description="Version of the spec language."
    )
    name: Annotated[str | None, PlainValidator(forms.name)] = Field(
        None, description="Name of the layer: its files, package and C prefix. Default: the file's."
    )
    input: Annotated[tuple[int, ...] | None, PlainValidator(forms.image)] = Field(
        None,
        description="Input size, height x width x channels whatever the layout, or {c, h, w}; 1-D: "
        "length x channels, 3-D: depth x height x width x channels.",
    )
    batch: Annotated[
        int | None, PlainValidator(partial(word_or_whole, word="any", high=MAX_SIZE))
    ] = Field(1, description="Images per call; `any`: compiled for one, Python takes every N.")
    filters: Annotated[int | None, PlainValidator(partial(whole, low=1, high=MAX_SIZE))] = Field(
        None, description="Number of filters, the output's channels."
    )
    kernel: Annotated[Sizes | None, PlainValidator(partial(sizes, low=1, text_form=True))] = Field(
        None, description="Filter size: one number, one for each axis, [height, width], or 5x3."
    )
    stride: Annotated[Sizes, PlainValidator(partial(sizes, low=1))] = Field(
        1, description="Step of the filter: one number, or one for each axis, [height, width]."
    )
    padding: Annotated[Padding | nested.PadMode | Sizes, PlainValidator(nested.padding)] = Field(
        0, description="Zeros around the input: a number, [h, w], the four sides, or same."
    )
    dilation: Annotated[Sizes, PlainValidator(partial(sizes, low=1))] = Field(
        1, description="Distance between the filter's taps; 1 is dense."
    )
    transposed: Annotated[bool, PlainValidator(forms.truth)] = Field(
        False, description="The gradient of a convolution over its input, as in PyTorch and ONNX."
    )
    output_padding: Annotated[Sizes, PlainValidator(partial(sizes, low=0))] = Field(
        0, description="Rows and columns more at the end of a transposed layer's output."
    )
    groups: Annotated[
        int | None, PlainValidator(partial(word_or_whole, word="depthwise", high=MAX_SIZE))
    ] = Field(1, description="Channel groups; `depthwise`: one per input channel.")
    bias: Annotated[bool, PlainValidator(forms.truth)] = Field(
        True, description="Whether each filter adds a bias."
    )
    activation: Annotated[Activation, PlainValidator(nested.activation)] = Field(
        Activation(), description="Function applied to each output."
    )
    dtype: Annotated[DType, PlainValidator(partial(choice, kind=DType, key="dtype"))] = Field(
        DType.FLOAT32, description="Element type of input, weights and output."
    )
    layout: Annotated[ranks.LayoutWord, PlainValidator(ranks.layout)] = Field(
        ranks.LayoutWord(Layout.NHWC),
        description="Order of the input's and output's axes in memory: channels last or first.",
    )
    weight_layout: Annotated[ranks.WeightWord, PlainValidator(ranks.weight_layout)] = Field(
        ranks.WeightWord(WeightLayout.HWIO),
        description="Order of the weights' axes as they are given; I is the layer's input.",
    )
    remainder: Annotated[Remainder, PlainValidator(partial(choice, kind=Remainder))] = Field(
        Remainder.ERROR, description="What to do when the stride would drop input: error or floor."
    )
    weights: Annotated[WeightSource | None, PlainValidator(nested.weights)] = Field(
        None,
        description="Weights to bake into the C, from files or initialised. Default: run time.",
    )
    quant: Annotated[QuantForm | None, PlainValidator(quant_forms.quant)] = Field(
        None, description="Scales and zero points of int8 and uint8 layers, and their rounding."
    )
    quantize: Annotated[Calibration | None, PlainValidator(quant_forms.quantize)] = Field(
        None, description="Sample inputs from which scales are found; weights are given as floats."
    )
    accuracy: Annotated[Accuracy, PlainValidator(partial(choice, kind=Accuracy))] = Field(
        Accuracy.FAST,
        description="`strict`: products one by one; `fast`: Winograd, pairs of bfloat16.",
    )
    schedule: Annotated[Schedule | None, PlainValidator(forms.schedule)] = Field(
        None, description="`auto`, or a schedule as `convgen explain` prints it."
    )


@dataclass(frozen=True)
class Block:
    """One map of a spec: a layer, or the defaults beside ``layers``.

    ``written``: canonical key -> the key as the file spells it. ``values``: those that were read.
    ``bad``: canonical keys whose value was refused. ``meant``: required keys that an unknown key
    seems to mean.
    """

    path: Path
    written: Mapping[str, str]
    values: Mapping[str, Any]
    bad: frozenset[str]
    meant: frozenset[str]

    def at(self, key: str) -> Path:
        """Path of the value of a canonical key."""
        return (*self.path, self.written[key])


def read_block(mapping: Mapping[str, Any], path: Path, report: Report) -> Block:
    """Read every key of one map; what is wrong goes to ``report``."""
    written: dict[str, str] = {}
    given: dict[str, Any] = {}
    bad: set[str] = set()
    for key, value in mapping.items():
        canonical = CANONICAL.get(key, key)
        if canonical in written:
            text = f"`{key}` and `{written[canonical]}` are the same key: keep one of them"
            report.add((*path, key), "E102", text, key=True)
            continue
        written[canonical] = key
        if holds_unread(value):
            bad.add(canonical)
        else:
            given[canonical] = value
    values: dict[str, Any] = {}
    meant: set[str] = set()
    try:
        model = RawLayer.model_validate(given)
    except ValidationError as error:
        for item in error.errors(include_url=False, include_input=False):
            top = str(item["loc"][0])
            bad.add(top)
            spelled = (*path, written[top], *item["loc"][1:])
            meant |= tell(item["type"], item["msg"], spelled, len(item["loc"]) == 1, report)
        model = RawLayer.model_validate({k: v for k, v in given.items() if k not in bad})
    values.update((key, getattr(model, key)) for key in model.model_fields_set)
    return Block(path, written, values, frozenset(bad), frozenset(meant))


_MAP_KEYS: Mapping[str, tuple[str, ...]] = {
    "size": ("d", "h", "w", "c"),
    "padding": ("top", "left", "bottom", "right", "front", "back"),
    "activation": ("kind", "alpha", "min", "max", "approximate"),
    "weights": ("w", "b", "init", "stddev", "seed"),
    "quant": ("input", "weight", "output", "sum", "bias", "rounding"),
    **dict.fromkeys(("input", "weight", "output", "sum", "bias"), ("scale", "zero_point")),
    "quantize": ("calibration", "percentile", "rounding"),
}
_EXAMPLES: Mapping[str, str] = {
    "kind": "{kind: leaky_relu, alpha: 0.1}",
    "w": "{w: w.npy, b: b.npy}",
    "init": "{init: truncated_normal, stddev: 0.1}",
    "stddev": "{init: truncated_normal, stddev: 0.1}",
    "calibration": "{calibration: x.npy}",
}


def tell(kind: str, text: str, path: Path, top: bool, report: Report) -> frozenset[str]:
    """Report one of pydantic's errors. Returns the canonical key that an unknown one may mean."""
    match kind:
        case "missing":
            example = "{c: 3, h: 32, w: 32}" if path[-2] == "input" else _EXAMPLES[str(path[-1])]
            report.add(path[:-1], "E103", f"`{path[-1]}` is missing: add it, as in `{example}`")
        case "extra_forbidden":
            key = str(path[-1])
            known = _known(path, top)
            if folded(key) in (KEYS if top else PADDING_KEYS):
                meant, advice = KEYS[folded(key)]
                report.add(path, "E101", f"unknown key {show(key)}: {advice}", key=True)
                return frozenset({meant} - {""})
            close = get_close_matches(key[:64].lower(), known, 1)
            listed = [name for name in known if name not in CANONICAL]
            hint = f"did you mean `{close[0]}`?" if close else f"the keys are {', '.join(listed)}"
            report.add(path, "E101", f"unknown key {show(key)}: {hint}", key=True)
            return frozenset(CANONICAL.get(c, c) for c in close) if top else frozenset()
        case _:
            report.add(path, kind, text)
    return frozenset()


def _known(path: Path, top: bool) -> tuple[str, ...]:
    if top:
        return (*RawLayer.model_fields, "layers", *CANONICAL)
    parent = str(path[-2])
    if parent == "input" and "quant" not in path:
        return _MAP_KEYS["size"]
    return _MAP_KEYS[CANONICAL.get(parent, parent)]

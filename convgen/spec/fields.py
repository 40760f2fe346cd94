"""The raw spec: which keys there are, their aliases, forms and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from functools import partial
from typing import Any

from convgen.spec import forms, nested, quant_forms, ranks, reading
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
from convgen.spec.reading import Map, Mistakes, read_by
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


class RawLayer(Map):
    """Keys of one layer, each with its forms read; a key that was not given has its default.

    ``batch`` None stands for ``any``, ``groups`` None for ``depthwise``, ``schedule`` None for
    ``auto``, ``weights`` None for run time.
    """

    version: int = read_by(forms.version, 1, "Version of the spec language.")
    name: str | None = read_by(
        forms.name, None, "Name of the layer: its files, package and C prefix. Default: the file's."
    )
    input: tuple[int, ...] | None = read_by(
        forms.image,
        None,
        "Input size, height x width x channels whatever the layout, or {c, h, w}; 1-D: "
        "length x channels, 3-D: depth x height x width x channels.",
    )
    batch: int | None = read_by(
        partial(word_or_whole, word="any", high=MAX_SIZE),
        1,
        "Images per call; `any`: compiled for one, Python takes every N.",
    )
    filters: int | None = read_by(
        partial(whole, low=1, high=MAX_SIZE), None, "Number of filters, the output's channels."
    )
    kernel: Sizes | None = read_by(
        partial(sizes, low=1, text_form=True),
        None,
        "Filter size: one number, one for each axis, [height, width], or 5x3.",
    )
    stride: Sizes = read_by(
        partial(sizes, low=1),
        1,
        "Step of the filter: one number, or one for each axis, [height, width].",
    )
    padding: Padding | nested.PadMode | Sizes = read_by(
        nested.padding, 0, "Zeros around the input: a number, [h, w], the four sides, or same."
    )
    dilation: Sizes = read_by(
        partial(sizes, low=1), 1, "Distance between the filter's taps; 1 is dense."
    )
    transposed: bool = read_by(
        forms.truth, False, "The gradient of a convolution over its input, as in PyTorch and ONNX."
    )
    output_padding: Sizes = read_by(
        partial(sizes, low=0), 0, "Rows and columns more at the end of a transposed layer's output."
    )
    groups: int | None = read_by(
        partial(word_or_whole, word="depthwise", high=MAX_SIZE),
        1,
        "Channel groups; `depthwise`: one per input channel.",
    )
    bias: bool = read_by(forms.truth, True, "Whether each filter adds a bias.")
    activation: Activation = read_by(
        nested.activation, Activation(), "Function applied to each output."
    )
    dtype: DType = read_by(
        partial(choice, kind=DType, key="dtype"),
        DType.FLOAT32,
        "Element type of input, weights and output.",
    )
    layout: ranks.LayoutWord = read_by(
        ranks.layout,
        ranks.LayoutWord(Layout.NHWC),
        "Order of the input's and output's axes in memory: channels last or first.",
    )
    weight_layout: ranks.WeightWord = read_by(
        ranks.weight_layout,
        ranks.WeightWord(WeightLayout.HWIO),
        "Order of the weights' axes as they are given; I is the layer's input.",
    )
    remainder: Remainder = read_by(
        partial(choice, kind=Remainder),
        Remainder.ERROR,
        "What to do when the stride would drop input: error or floor.",
    )
    weights: WeightSource | None = read_by(
        nested.weights,
        None,
        "Weights to bake into the C, from files or initialised. Default: run time.",
    )
    quant: QuantForm | None = read_by(
        quant_forms.quant,
        None,
        "Scales and zero points of int8 and uint8 layers, and their rounding.",
    )
    quantize: Calibration | None = read_by(
        quant_forms.quantize,
        None,
        "Sample inputs from which scales are found; weights are given as floats.",
    )
    accuracy: Accuracy = read_by(
        partial(choice, kind=Accuracy),
        Accuracy.FAST,
        "`strict`: products one by one; `fast`: Winograd, pairs of bfloat16.",
    )
    schedule: Schedule | None = read_by(
        forms.schedule, None, "`auto`, or a schedule as `convgen explain` prints it."
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
        raw = RawLayer.read(given)
    except Mistakes as error:
        for place, mistake in error.found:
            top = str(place[0])
            bad.add(top)
            spelled = (*path, written[top], *place[1:])
            meant |= tell(mistake.code, mistake.text, spelled, len(place) == 1, report)
        raw = RawLayer.read({k: v for k, v in given.items() if k not in bad})
    values.update((name, getattr(raw, name)) for name in raw.given)
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
    """Report a mistake. Returns the canonical key that an unknown one may mean."""
    match kind:
        case reading.MISSING:
            example = "{c: 3, h: 32, w: 32}" if path[-2] == "input" else _EXAMPLES[str(path[-1])]
            report.add(path[:-1], "E103", f"`{path[-1]}` is missing: add it, as in `{example}`")
        case reading.UNKNOWN:
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
        return (*RawLayer.keys, "layers", *CANONICAL)
    parent = str(path[-2])
    if parent == "input" and "quant" not in path:
        return _MAP_KEYS["size"]
    return _MAP_KEYS[CANONICAL.get(parent, parent)]

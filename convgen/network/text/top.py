"""The keys beside ``layers``: the network's name, its inputs, what holds for all layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from convgen.network.graph import Quantization
from convgen.network.ops import Elem
from convgen.network.text import forms
from convgen.network.text.entries import read_values
from convgen.network.text.keys import Read
from convgen.spec import nested
from convgen.spec.forms import MAX_SIZE, whole
from convgen.spec.forms import name as network_name
from convgen.spec.forms import version as spec_version
from convgen.spec.model import Layout, WeightSource
from convgen.spec.quant import Rounding
from convgen.spec.reading import Mistake
from convgen.spec.scalars import show
from convgen.spec.tree import Path, Report, Tree, Unread


def _name(value: object) -> str:
    """A layer's rule of names; the fix names this key."""
    try:
        return network_name(value)
    except Mistake as error:
        raise Mistake(error.code, error.text.replace("`name: ", "`network: ")) from None


_TOP: Mapping[str, Read] = {
    "version": spec_version,
    "network": _name,
    "batch": partial(whole, low=1, high=MAX_SIZE),
    "dtype": forms.element,
    "layout": forms.word(Layout),
    "quant": forms.meaning,
    "rounding": forms.word(Rounding),
    "weights": nested.weights,
    "outputs": forms.names,
}
_INPUT: Mapping[str, Read] = {
    "size": forms.shape,
    "shape": forms.shape,
    "dtype": forms.element,
    "layout": forms.word(Layout),
    "batch": partial(whole, low=1, high=MAX_SIZE),
    "quant": forms.meaning,
}
_LISTS = ("input", "inputs", "layers")


@dataclass(frozen=True)
class Top:
    """The keys beside ``layers``."""

    name: str
    layout: Layout
    dtype: Elem
    batch: int
    quant: Quantization | None
    rounding: Rounding
    weights: WeightSource | None
    outputs: tuple[str, ...] | None


def read_top(tree: Tree, report: Report) -> Top:
    given = {}
    for key, value in tree.value.items():
        if key in _TOP:
            if value is not Unread.VALUE:
                given[key] = value
        elif key not in _LISTS:
            known = ", ".join((*_TOP, *_LISTS))
            text = f"unknown key {show(key)}: beside `network` stand {known}"
            report.add((key,), "E101", text, key=True)
    found, _ = read_values(given, _TOP, lambda key: (key,), report)
    return Top(
        found.get("network", "network"),
        found.get("layout", Layout.NHWC),
        found.get("dtype", Elem.FLOAT32),
        found.get("batch", 1),
        found.get("quant"),
        found.get("rounding", Rounding.TFLITE),
        found.get("weights"),
        found.get("outputs"),
    )


@dataclass(frozen=True)
class Input:
    """One input with its shape in the graph."""

    name: str
    shape: tuple[int, ...]
    dtype: Elem
    quant: Quantization | None
    path: Path


def read_inputs(tree: Tree, top: Top, report: Report) -> list[Input]:
    one, many = tree.value.get("input"), tree.value.get("inputs")
    if (one is None) == (many is None):
        both = one is not None
        text = "give `input` or `inputs`, not both" if both else "the network has no input"
        path: Path = ("inputs",) if both else ()
        report.add(path, "E505", f"{text}: write `input: 28x28x1`, or `inputs` with several names")
        return []
    if one is not None:
        made = _input("input", one, ("input",), top, report)
        return [] if made is None else [made]
    if not isinstance(many, dict) or not many:
        if many is not Unread.VALUE:
            text = f"{show(many)} names no input: write `inputs: {{left: 28x28x1}}`"
            report.add(("inputs",), "E505", text)
        return []
    found = [_input(name, value, ("inputs", name), top, report) for name, value in many.items()]
    return [made for made in found if made is not None]


def _input(name: str, value: Any, path: Path, top: Top, report: Report) -> Input | None:
    if value is Unread.VALUE:
        return None
    given = value if isinstance(value, dict) else {"size": value}
    places = {key: (*path, key) if isinstance(value, dict) else path for key in given}
    for key in given:
        if key not in _INPUT:
            text = f"unknown key {show(key)}: an input has {', '.join(_INPUT)}"
            report.add(places[key], "E101", text, key=True)
    known = {key: v for key, v in given.items() if key in _INPUT and v is not Unread.VALUE}
    found, good = read_values(known, _INPUT, lambda key: places[key], report)
    if good and ("size" in found) == ("shape" in found):
        text = "an input has a `size` (28x28x1, the batch apart) or a `shape` with every axis"
        report.add(path, "E505", text)
        return None
    if not good or len(known) != len(given):
        return None
    layout, batch = found.get("layout", top.layout), found.get("batch", top.batch)
    shape = found.get("shape") or _with_batch(found["size"], batch, layout)
    dtype, quant = found.get("dtype", top.dtype), found.get("quant", top.quant)
    if dtype.eight_bit and quant is None:
        text = f"an input of {dtype} says what its integers mean: add `quant: {{scale: 0.1}}`"
        report.add(path, "E401", text)
    return Input(name, shape, dtype, quant if not dtype.is_float else None, path)


def _with_batch(size: tuple[int, ...], batch: int, layout: Layout) -> tuple[int, ...]:
    """H x W x C in the graph's order of axes."""
    if layout is Layout.NCHW and len(size) > 1:
        size = (size[-1], *size[:-1])
    return (batch, *size)

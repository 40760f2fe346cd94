"""Raw blocks -> layers: defaults applied, sizes derived, every rule across keys checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from pathlib import PurePath
from typing import Any

from convgen.spec.axes import image_of, rank_of, rank_problems
from convgen.spec.fields import REQUIRED, Block, RawLayer, read_block
from convgen.spec.fixes import advised
from convgen.spec.geometry import (
    Geometry,
    group_problems,
    output_problems,
    size_problems,
    solve,
)
from convgen.spec.model import (
    ArrayWeights,
    ConvSpec,
    DType,
    InitWeights,
    Layer,
    Layout,
    NpyWeights,
    NpzWeights,
    Place,
)
from convgen.spec.names import refuse_name
from convgen.spec.nodes import MERGE
from convgen.spec.problem import Problem
from convgen.spec.quant_rules import (
    Meaning,
    filters_of_zeros,
    is_settled,
    quant_of,
    quant_problems,
)
from convgen.spec.ranks import KEYS, spread
from convgen.spec.scalars import show
from convgen.spec.tree import Report, Tree, Unread

MAX_BAKED = 2**24


def resolve(tree: Tree, report: Report) -> tuple[Layer, ...]:
    """Every layer of a document. What is wrong goes to ``report``; a layer with it is left out."""
    if "layers" not in tree.value:
        block = read_block(tree.value, (), report)
        return _layer(_Sheet(tree, report, block, None))
    defaults, items = _defaults(tree, report), _items(tree, report)
    blocks = [read_block(item, ("layers", at), report) for at, item in items]
    _names(blocks, report)
    layers = [_layer(_Sheet(tree, report, block, defaults)) for block in blocks]
    return tuple(layer for one in layers for layer in one)


def _defaults(tree: Tree, report: Report) -> Block:
    shared = {key: value for key, value in tree.value.items() if key not in ("layers", "name")}
    if "name" in tree.value:
        text = "`name` beside `layers` would name all layers alike: move it into the layer"
        report.add(("name",), "E143", text, key=True)
    return read_block(shared, (), report)


def _items(tree: Tree, report: Report) -> list[tuple[int, dict[str, Any]]]:
    value = tree.value["layers"]
    how = "write a list of maps, such as `- name: conv1`"
    if value is Unread.VALUE:
        return []
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else show(value)
        report.add(("layers",), "E140", f"{what} holds no layer; {how}")
        return []
    items = []
    for at, item in enumerate(value):
        if not isinstance(item, dict):
            if item is not Unread.VALUE:
                report.add(("layers", at), "E140", f"{show(item)} is no layer; {how}")
            continue
        if "layers" in item:
            text = "a layer cannot hold `layers`: write one flat list"
            report.add(("layers", at, "layers"), "E144", text, key=True)
        items.append((at, {key: v for key, v in item.items() if key != "layers"}))
    return items


def _names(blocks: Iterable[Block], report: Report) -> None:
    first: dict[str, Block] = {}
    for block in blocks:
        if "name" not in block.written:
            text = "this layer has no `name`: each entry of `layers` needs its own"
            report.add(block.path, "E141", text)
        elif name := block.values.get("name"):
            other = first.setdefault(name, block)
            if other is not block:
                line = report.tree.spot(other.at("name")).place().line
                where = f"on line {line}" if line else f"in layers[{other.path[-1]}]"
                text = f"a layer `{name}` stands {where} already: names are unique within a file"
                report.add(block.at("name"), "E142", text)


@dataclass(frozen=True)
class _Sheet:
    """One layer on its way: its own keys, the file's defaults, and where to report."""

    tree: Tree
    report: Report
    own: Block
    defaults: Block | None

    def home(self, key: str) -> Block | None:
        """The block that decides ``key``, or None when nobody gives it."""
        for block in (self.own, self.defaults):
            if block and key in block.written:
                return block
        return None

    def bad(self, *keys: str) -> bool:
        """Was any of these refused already?"""
        homes = [(key, self.home(key)) for key in keys]
        return any(home and key in home.bad for key, home in homes)

    def merged(self) -> RawLayer:
        base = self.defaults.values if self.defaults else {}
        return RawLayer({**base, **self.own.values})

    def add(self, problem: Problem) -> None:
        home = self.home(problem.key)
        text = problem.text
        if home is None:
            self.report.add(self.own.path, problem.code, text)
            return
        if home is self.defaults:
            text = f"(layer `{self.own.values.get('name', '?')}`) {text}"
        self.report.add((*home.at(problem.key), *problem.under), problem.code, text)

    def place(self, key: str) -> Place:
        home = self.home(key)
        return self.tree.spot(home.at(key)).place() if home else Place()


_REACH_KEYS = ("input", "kernel", "padding", "dilation", "transposed")
_GEOMETRY_KEYS = (*_REACH_KEYS, "stride", "output_padding", "remainder")
_OUTPUT_KEYS = ("input", "transposed", "output_padding", "stride", "dilation", "padding")
_QUANT_KEYS = ("dtype", "quant", "quantize", "filters", "activation", "weights")
_SIZE_KEYS = ("input", "filters", "kernel", "groups", "batch")


def _layer(sheet: _Sheet) -> tuple[Layer, ...]:
    """The layer, or nothing when a rule is broken; checks that can be done are all done."""
    raw = sheet.merged()
    name = raw.name or _default_name(sheet)
    missing = _missing(sheet)
    geometry, problems = _geometry(sheet, raw, missing)
    if not sheet.bad(*_QUANT_KEYS):
        problems += _quant_problems(raw)
    swapped = _swapped_note(sheet, raw)
    for problem in problems:
        hint = f"; {swapped}" if swapped and problem.code in _SIZE_CODES else ""
        sheet.add(replace(problem, text=problem.text + hint))
    refused = sheet.own.bad or (sheet.defaults and sheet.defaults.bad)
    if problems or refused or missing or geometry is None or name is None:
        return ()
    spec = _spec(raw, name, geometry)
    return (
        Layer(
            spec,
            sheet.tree.source,
            raw.schedule,
            raw.weights,
            (swapped, *geometry.notes) if swapped else geometry.notes,
            sheet.place("weights"),
            raw.quantize or (raw.quant if raw.quant and not is_settled(raw.quant) else None),
            sheet.place("quant" if raw.quant else "quantize"),
        ),
    )


_SIZE_CODES = ("E201", "E202", "E203", "E204", "E205", "E206")


def _swapped_note(sheet: _Sheet, raw: RawLayer) -> str:
    """Was ``input`` of an NCHW layer perhaps written as C x H x W? The note that says so, or "".

    Sizes by name are beyond doubt. Else such an input has its least size first, and its other two
    are those of an image: alike, or many times the first.
    """
    home = sheet.home("input")
    if home is None or raw.input is None or raw.layout.value is not Layout.NCHW:
        return ""
    if sheet.bad("input", "layout") or isinstance(sheet.tree.at(home.at("input")), dict):
        return ""
    if len(raw.input) != 3:
        return ""
    h, w, c = raw.input
    image = w == c > h or (1 < h <= 4 and min(w, c) >= 8 * h)
    if not image:
        return ""
    return (
        f"input is height {h} x width {w} x channels {c} here, in every layout; if {h} are the "
        f"channels, write `input: {{c: {h}, h: {w}, w: {c}}}`"
    )


def _geometry(
    sheet: _Sheet, raw: RawLayer, missing: set[str]
) -> tuple[Geometry | None, list[Problem]]:
    geometry = None
    problems: list[Problem] = []
    if not missing & {"input"} and not sheet.bad("input"):
        keys = (*KEYS, "layout", "weight_layout")
        unread = frozenset(key for key in keys if sheet.bad(key)) | missing
        problems += rank_problems(raw, unread)
    odd = {problem.key for problem in problems}  # they speak of other axes

    def bad(*keys: str) -> bool:
        return sheet.bad(*keys) or not odd.isdisjoint(keys)

    if not missing & {"input", "kernel"} and not bad(*_GEOMETRY_KEYS):
        solved = solve(raw)
        if isinstance(solved, Problem):
            problems.append(advised(raw, solved))
        else:
            geometry = solved
    elif not missing & {"input", "kernel"} and not bad(*_REACH_KEYS) and not raw.transposed:
        # Whether a window fits does not depend on the stride.
        plain = raw.changed(stride=1)
        unstrided = solve(plain)
        if isinstance(unstrided, Problem) and unstrided.code == "E201":
            problems.append(advised(plain, unstrided))
    if "input" not in missing and not bad(*_OUTPUT_KEYS):
        problems += output_problems(raw)
    if not missing & {"input", "filters"} and not sheet.bad("input", "filters", "groups"):
        problems += [advised(raw, problem) for problem in group_problems(raw)]
    if not missing and not bad(*_SIZE_KEYS):
        problems += size_problems(raw, geometry.axes if geometry else None)
        if not sheet.bad("weights"):
            problems += _baked_problems(raw)
    if not sheet.bad("weights", "bias"):
        problems += _bias_problems(raw)
    return geometry, problems


def _missing(sheet: _Sheet) -> set[str]:
    """Required keys that nobody gives; those that an unknown key seems to mean are not told."""
    missing = {key for key in REQUIRED if sheet.home(key) is None}
    if MERGE in sheet.own.written:  # refused already; it was to bring them
        return missing
    meant = sheet.own.meant | (sheet.defaults.meant if sheet.defaults else frozenset())
    for key in REQUIRED:
        if key in missing - meant:
            sheet.report.add(sheet.own.path, "E103", f"`{key}` is missing: say {REQUIRED[key]}")
    return missing


def _default_name(sheet: _Sheet) -> str | None:
    """The file's stem with ``-`` as ``_``; ``layer`` for text from no file."""
    if sheet.own.path or "name" in sheet.own.written:
        return None
    source = sheet.tree.source
    if source.startswith("<"):
        return "layer"
    name = PurePath(source).stem.replace("-", "_")
    if refused := refuse_name(name):
        code, why = refused
        text = f"without a `name`, the file's gives {show(name)}, but {why}"
        sheet.report.add((), code, text)
        return None
    return name


def _bias_problems(raw: RawLayer) -> list[Problem]:
    arrays = isinstance(raw.weights, ArrayWeights)
    if not isinstance(raw.weights, (NpyWeights, ArrayWeights)):
        return []
    if raw.bias == (raw.weights.b is not None):
        return []
    if raw.bias and arrays:
        text = "the layer has a bias, but no array for it: add `b`, or say `bias: false`"
        return [Problem("E310", "weights", text)]
    if raw.bias:
        text = "the layer has a bias, but no file for it: add `b: b.npy`, or say `bias: false`"
        return [Problem("E310", "weights", text)]
    what = "an array" if arrays else "a file"
    text = f"the layer has no bias, but {what} for `b`: drop it, or say `bias: true`"
    return [Problem("E309", "weights", text)]


def _baked_problems(raw: RawLayer) -> list[Problem]:
    assert raw.input and raw.filters and raw.kernel
    channels = raw.input[-1]
    groups = channels if raw.groups is None else raw.groups
    count = prod(spread(raw.kernel, rank_of(raw), 1)) * (channels // groups) * raw.filters
    if raw.weights is None or count <= MAX_BAKED:
        return []
    text = f"{count:,} weights are too many to write into C, the limit is {MAX_BAKED:,}"
    text += ": leave `weights` out and pass them at run time"
    return [Problem("E311", "weights", text)]


def _quant_problems(raw: RawLayer) -> list[Problem]:
    """Does an 8-bit layer say what its integers mean, in one way, and rightly?"""
    key = "quantize" if raw.quantize else "quant"
    eight_bits = raw.dtype in (DType.INT8, DType.UINT8)
    if not eight_bits and (raw.quant or raw.quantize):
        text = f"a {raw.dtype} layer has no scales: write `dtype: int8`, or remove `{key}`"
        return [Problem("E402", key, text)]
    if not eight_bits:
        return []
    if raw.quant and raw.quantize:
        text = "scales are given by `quant` or found by `quantize`, not both: keep one"
        return [Problem("E402", "quantize", text)]
    if raw.quantize:
        if raw.weights is not None:
            return []
        text = "it turns float weights into int8: name them with `weights`"
        return [Problem("E401", "quantize", text)]
    if raw.quant is None:
        text = f"{raw.dtype} layers say what their integers mean: add `quant`, or"
        return [Problem("E401", "dtype", f"{text} `quantize: {{calibration: x.npy}}`")]
    problems = quant_problems(raw.quant, _meaning(raw)) if raw.filters else []
    if raw.filters and (zeros := filters_of_zeros(raw.quant, raw.filters)):
        known = isinstance(raw.weights, (NpzWeights, NpyWeights, ArrayWeights))
        text = f"filter {zeros[0]} has scale 0, which only a filter of zeros may have: give "
        how = "it another, or name the weights, which show it"
        problems += [] if known else [Problem("E404", "quant", text + how, ("weight", "scale"))]
    if isinstance(raw.weights, InitWeights) and raw.quant.sums:
        text = "drawn weights are real numbers, which take a scale to become integers"
        problems.append(Problem("E403", "weights", f"{text}: give weights in a file"))
    return problems


def _meaning(raw: RawLayer) -> Meaning:
    assert raw.filters
    return Meaning(raw.dtype, raw.filters, raw.activation)


def _spec(raw: RawLayer, name: str, geometry: Geometry) -> ConvSpec:
    assert raw.input and raw.filters and raw.kernel
    rank, (d, h, w, c) = rank_of(raw), image_of(raw)
    kd, kh, kw = spread(raw.kernel, rank, 1)
    sd, sh, sw = spread(raw.stride, rank, 1)
    dd, dh, dw = spread(raw.dilation, rank, 1)
    return ConvSpec(
        name=name,
        h=h,
        w=w,
        c=c,
        oc=raw.filters,
        kh=kh,
        kw=kw,
        sh=sh,
        sw=sw,
        dh=dh,
        dw=dw,
        padding=geometry.padding,
        groups=c if raw.groups is None else raw.groups,
        batch=1 if raw.batch is None else raw.batch,
        batch_any=raw.batch is None,
        bias=raw.bias,
        activation=raw.activation,
        dtype=raw.dtype,
        layout=raw.layout.value,
        weight_layout=raw.weight_layout.value,
        accuracy=raw.accuracy,
        quant=quant_of(raw.quant, _meaning(raw)) if raw.quant and is_settled(raw.quant) else None,
        rank=rank,
        d=d,
        kd=kd,
        sd=sd,
        dd=dd,
        transposed=raw.transposed,
        extra=geometry.extra,
    )

"""``docs/networks.md``: the YAML form, every operator with its keys, what is fused, memory."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

from places import ROOT

from convgen.network import fuse, ops
from convgen.network.ops import BinaryFn, UnaryFn
from convgen.network.text import parse_network_text
from convgen.network.text.keys import CANONICAL, COMMON, KINDS
from convgen.spec.nested import ActKind

PAGE = ROOT / "docs" / "networks.md"
EXAMPLE = """\
network: digits                       # its C prefix
input: 28x28x1                        # or inputs: {left: 28x28x1, right: 28x28x1}
weights: {init: truncated_normal, stddev: 0.1}   # or digits.npz with conv.w, conv.b, ...
layers:                               # each reads what stands before it, unless `of:` names others
  - conv: {k: 8, f: 5, act: relu}
  - maxpool: {f: 2, s: 2}
  - conv: {name: skip, k: 16, f: 3, p: 1}
  - conv: {k: 16, f: 3, p: 1}
  - add: {of: [skip, previous], act: relu}
  - avgpool: global
  - dense: {k: 10}
  - softmax
outputs: [softmax]                    # default: the last layer
"""

# Whose docstring tells what a word means; words that share one stand in one row.
MEANINGS: dict[str, type] = {
    "conv": ops.Conv,
    "transposed": ops.ConvTransposed,
    "maxpool": ops.MaxPool,
    "avgpool": ops.AvgPool,
    "dense": ops.Dense,
    "matmul": ops.MatMul,
    "concat": ops.Concat,
    "split": ops.Split,
    "slice": ops.Slice,
    "pad": ops.Pad,
    "resize": ops.Resize,
    "reshape": ops.Reshape,
    "transpose": ops.Transpose,
    "softmax": ops.Softmax,
    "prelu": ops.PRelu,
    "reduce": ops.Reduce,
    "depth_to_space": ops.DepthToSpace,
    "space_to_depth": ops.SpaceToDepth,
    "tile": ops.Tile,
    "broadcast": ops.Broadcast,
    "gather": ops.Gather,
    "where": ops.Where,
    "cast": ops.Cast,
    "quantize": ops.Quantize,
    "requantize": ops.Requantize,
    "dequantize": ops.Dequantize,
    "identity": ops.Identity,
}
SAID = {
    "flatten": "All axes but the batch as one, in their logical order.",
    "log_softmax": "The logarithm of softmax.",
    "avgpool": "The mean of each window, over its elements inside the image or the padded image.",
    "slice": "From `starts` to before `ends` by `steps`, counted as in Python.",
    "pad": "`pads`: [before, after] of every axis; negative ones cut.",
    "resize": "Other sizes: `nearest`, `linear` or `cubic`, with ONNX's words for coordinates.",
    "softmax": "e^(beta*(x - max)) over its sum along `axis`.",
    "reduce": "`mean`, `sum`, `max`, `min`, `prod`, `l1`, `l2` and others over `axes`.",
    "cast": "The same numbers as elements of another type; fractions are cut.",
    "norm": "`batch`, `layer` or `local_response` normalisation.",
    "constant": "A tensor written out as `value`, or an array of the network's .npz.",
}


def test_the_page_is_current(golden: Callable[[Path, str], None]) -> None:
    golden(PAGE, page())


def test_the_example_on_the_page_is_a_network() -> None:
    spec = parse_network_text(EXAMPLE, "digits.yaml")
    assert not spec.missing and spec.graph.outputs == ("softmax",)


def page() -> str:
    return "\n".join([*_head(), *_operators(), *_fusions(), *_memory()]) + "\n"


def _head() -> list[str]:
    return [
        "# Networks",
        "",
        "A file with the key `network:` holds a network; model files (docs/models.md) become the",
        "same graph, and `convgen import` writes it in this form. Every mistake of a file is told",
        "in one run (docs/errors.md). `convgen check` draws the network with its shapes,",
        "parameters, multiply-adds and receptive fields, `convgen explain` adds what was fused,",
        "the kernels and the memory; `build` and `emit` make one C file of it. (Made by",
        "tests/network/test_networks_page.py.)",
        "",
        "```yaml",
        *EXAMPLE.rstrip("\n").splitlines(),
        "```",
        "",
        "Beside `network` stand `input` or `inputs`, `batch`, `dtype`, `layout` (NHWC or NCHW: the",
        "order of the graph's axes), `quant` (of 8-bit inputs), `rounding`, `weights`, `layers`",
        "and `outputs`. An input is `28x28x1`, `[28, 28, 1]`, or a map of `size` (the batch apart)",
        "or `shape` (every axis), `dtype`, `layout`, `batch` and `quant`. Axes are counted with",
        "the batch, which is 0.",
        "",
        "Weights are those of the network's .npz under `<layer>.w`, `<layer>.b` (also `.slope` of",
        "prelu, `.scale`, `.shift`, `.mean` and `.var` of norms, `.value` of constants), or of a",
        "layer's own `weights`. Kernels of convolutions have the shape [kernel, C/groups, filters]",
        "unless `weight_layout` says otherwise, those of dense layers [in, out]. 8-bit layers name",
        "`weight_quant` and `quant`, each `{scale, zero_point}`.",
        "",
    ]


def _operators() -> list[str]:
    lines = [
        "## Operators",
        "",
        f"Every layer may have {_listed(sorted(COMMON))} beside its own keys. Keys in bold must be",
        "given. A layer's spec has the same keys and aliases:",
        f"{', '.join(f'`{a}` is `{c}`' for a, c in CANONICAL.items() if len(a) <= 3)}.",
        "",
        "| operator | inputs | keys | |",
        "|---|---|---|---|",
    ]
    for words in _rows():
        kind = KINDS[words[0]]
        known = [*kind.keys, *(key for key in kind.needed if key not in kind.keys)]
        keys = [f"**{key}**" if key in kind.needed else key for key in known]
        least, most = kind.inputs
        count = str(least) if least == most else f"{least} to {most}"
        lines.append(f"| {_listed(words)} | {count} | {', '.join(keys)} | {_meaning(words[0])} |")
    return [*lines, ""]


def _rows() -> list[list[str]]:
    """The words in the table's order, alike ones together."""
    binary = [str(fn) for fn in BinaryFn]
    acts = [str(act) for act in ActKind if act is not ActKind.NONE]
    single = [str(fn) for fn in UnaryFn]
    arithmetic = [word for word in binary if KINDS[word] is KINDS["add"]]
    others = [word for word in binary if word not in arithmetic]
    grouped = {*binary, *acts, *single}
    plain = [[word] for word in KINDS if word not in grouped]
    with_keys = [["leaky_relu"], ["clip"], ["gelu"]]
    bare = [word for word in acts if [word] not in with_keys]
    return [*plain, arithmetic, others, bare, *with_keys, single]


def _meaning(word: str) -> str:
    if word in SAID:
        return SAID[word]
    if word in set(map(str, BinaryFn)):
        return "NumPy's broadcasting; `by` is a number, or numbers along the last axis."
    if word in set(map(str, UnaryFn)):
        return "A function of each element."
    if word in set(map(str, ActKind)):
        return "An activation; in the epilogue of what it follows."
    text = inspect.getdoc(MEANINGS[word]) or ""
    first = re.split(r"(?<=[a-z)`\]])[.]\s|$", " ".join(text.split()))[0].rstrip(".") + "."
    return first.replace("``", "`").replace("|", "\\|")


def _listed(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _fusions() -> list[str]:
    lines = [
        "## What is folded and fused",
        "",
        "In this order, until nothing changes. Real arithmetic on constants is done in float64 and",
        "rounded once; 8-bit nodes keep their integers to the bit. `convgen explain` tells for",
        "each node what was done.",
        "",
    ]
    for run in fuse.PASSES:
        text = " ".join((inspect.getdoc(run) or "").split()).replace("``", "`")
        lines.append(f"- `{run.__name__}`: {text}")
    return [*lines, ""]


def _memory() -> list[str]:
    return [
        "## Memory",
        "",
        "Images lie channels last, whatever the model's order; reshapes, transposes, slices and",
        "splits are views as long as their reader can take one, and parts of a concatenation are",
        "written into their place where the kernel that makes them can. Everything between steps",
        "lies in one arena of the caller's. The order of the steps is the one with the fewest live",
        "bytes that a greedy order, the file's own and a search find; buffers are placed by",
        "several greedy orders and exchanges. Both searches are bounded by counts, so the same",
        "network gives the same bytes everywhere. Outputs of element-wise steps lie over an input",
        "that dies there.",
    ]

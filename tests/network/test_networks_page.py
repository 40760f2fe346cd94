"""``docs/networks.md``: the YAML form, every operator with its keys, what is fused, memory."""

from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from places import ROOT

from convgen.network import fuse, ops
from convgen.network.ops import BinaryFn, UnaryFn
from convgen.network.text import parse_network_text
from convgen.network.text.keys import CANONICAL, COMMON, KINDS
from convgen.package.network.files import package_files
from convgen.package.network.program import program_of
from convgen.spec.nested import ActKind
from convgen.target import host_target

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

PROGRAM = """\
#include "digits.h"
DIGITS_ALIGNED static unsigned char arena[DIGITS_ARENA_BYTES];
static float image[28 * 28], chances[10];
int main(void)
{
  if (!digits_cpu_ok()) return 1;
  digits_run(digits_weights, image, chances, arena);
  return 0;
}
"""
THREADS = """\
#define _XOPEN_SOURCE 600
#include "digits.h"
#include <pthread.h>
#define PARTS 4
DIGITS_ALIGNED static unsigned char arena[DIGITS_ARENA_BYTES + (PARTS - 1) * DIGITS_PART_BYTES];
static float image[28 * 28], chances[10];
static pthread_barrier_t step_done;
static void *share(void *part)
{
  const digits_io io = { image, chances };
  for (int step = 0; step < DIGITS_STEPS; ++step) {
    digits_step(step, digits_weights, &io, arena, *(const int *)part, PARTS);
    pthread_barrier_wait(&step_done);
  }
  return NULL;
}
int main(void)
{
  pthread_t threads[PARTS];
  int parts[PARTS];
  if (!digits_cpu_ok() || pthread_barrier_init(&step_done, NULL, PARTS) != 0) return 1;
  for (int i = 0; i < PARTS; ++i) {
    parts[i] = i;
    if (pthread_create(&threads[i], NULL, share, &parts[i]) != 0) return 1;
  }
  for (int i = 0; i < PARTS; ++i) pthread_join(threads[i], NULL);
  return 0;
}
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


@pytest.mark.needs("gcc")
@pytest.mark.parametrize("program", [PROGRAM, THREADS], ids=["alone", "threads"])
def test_the_programs_on_the_page_run(program: str, tmp_path: Path) -> None:
    graph = parse_network_text(EXAMPLE, "digits.yaml").complete()
    for name, text in package_files(program_of(graph, host_target())).items():
        if "/" not in name:
            (tmp_path / name).write_text(text)
    (tmp_path / "main.c").write_text(program)
    sources = ["main.c", "digits.c", "digits_weights.c"]
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-O1", "-pthread"]
    subprocess.run(["gcc", *flags, *sources, "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run([str(tmp_path / "main")], check=True, timeout=60)


def page() -> str:
    parts = (_head(), _operators(), _fusions(), _memory(), _building(), _embedding(), _weights())
    return "\n".join(line for part in parts for line in part) + "\n"


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


def _building() -> list[str]:
    return [
        "",
        "## Building",
        "",
        "`convgen build` compiles the C once, that of a large network as a few files side by",
        "side, and maps the weights from a file of their own, so their size costs no compiler",
        "time. Steps of equal shape share a function; 8-bit",
        "convolutions do so even where their scales differ, on processors with vectors of int32.",
        "Each step is then held to the oracle on its own real inputs, and the whole network has to",
        "give the same bits wherever its arrays lie, whatever the arena held, and in any number of",
        "parts. The cache remembers choices of kernels, the compiled library and each judged step:",
        "an interrupted build goes on from there, and where the weights of one layer changed, that",
        "layer alone is judged again. `convgen tune` measures schedules for each distinct",
        "convolution, and `build --tuned` takes what won.",
    ]


def _embedding() -> list[str]:
    return [
        "",
        "## In your program",
        "",
        "`convgen emit` writes `<net>.c`, `<net>.h` and `<net>_weights.c`, a self test and project",
        "files (docs/embedding.md, as for a layer). The arena is yours; nothing is allocated, and",
        "calls with an arena each may run at the same time. The C needs no library but",
        "`<string.h>`; functions such as logarithms take `<math.h>` and `-lm` at the link, and",
        "the folder's README says where that is so.",
        "",
        "```c",
        *PROGRAM.rstrip("\n").splitlines(),
        "```",
        "",
        "`<net>_weights` need not be linked: the same bytes from a mapped file or from flash do as",
        "well, aligned to `<NET>_ALIGN`. `<NET>_SECTION` and `<NET>_WEIGHTS_SECTION`, defined",
        "before the header, place code and weights.",
        "",
        "## Threads",
        "",
        "The C starts none. `<net>_step` does a share of one step; every split gives the same",
        "bits. A step reads what the one before it wrote, so all parts wait for each other in",
        "between. Each part beyond the first needs `<NET>_PART_BYTES` more behind the arena. From",
        "Python it is `net.run(x, threads=4)`.",
        "",
        "```c",
        *THREADS.rstrip("\n").splitlines(),
        "```",
    ]


def _weights() -> list[str]:
    return [
        "",
        "## Weights and their licence",
        "",
        "Generated code carries no licence obligation of convgen's. The weights are the model's",
        "and keep its licence: `<net>_weights.c` says so, and repeats what the model file says of",
        "its author, licence and source.",
    ]

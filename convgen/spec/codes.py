"""Every error number of the front end: what the rule is and how to keep it.

The numbers are part of the interface: one is never reused for another rule. ``docs/errors.md`` is
made from this table and from the bad specs under ``tests/bad_specs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from convgen.spec.code import Code
from convgen.spec.network_codes import NETWORK
from convgen.spec.quant_codes import QUANT
from convgen.spec.weight_codes import WEIGHTS

_FILE = (
    Code(
        "E001",
        "file cannot be read",
        "The spec must be a readable file.",
        "Check the path and its permissions.",
    ),
    Code(
        "E002",
        "file too large",
        "A spec is at most 64 KiB (65536 bytes), a network's at most 1 MiB.",
        "Split the layers over several files.",
    ),
    Code("E003", "not UTF-8", "A spec is UTF-8 text.", "Save the file as UTF-8."),
    Code(
        "E004",
        "not YAML",
        "The text must follow YAML's grammar, without control characters.",
        "Indent with spaces; quote text that holds `: ` or `#`.",
    ),
    Code(
        "E005",
        "empty file",
        "A spec describes at least one layer.",
        "`convgen init` writes a starter.",
    ),
    Code(
        "E006",
        "several documents",
        "One file holds one YAML document.",
        "Use `layers:` for several layers, or several files.",
    ),
    Code(
        "E007",
        "not a map",
        "The top level is a map of keys to values.",
        "`input: 32x32x3`, one key a line.",
    ),
    Code(
        "E008",
        "nested too deep",
        "Lists and maps nest at most 8 deep.",
        "No spec needs more than 6.",
    ),
    Code(
        "E009",
        "anchor or alias",
        "YAML anchors (`&x`) and aliases (`*x`) are refused: a few lines of them can describe "
        "gigabytes.",
        "Write the value out; keys beside `layers:` are defaults for every layer.",
    ),
    Code(
        "E010",
        "merge key",
        "The merge key `<<` is refused, as are the aliases it needs.",
        "Put shared keys at the top level beside `layers:`.",
    ),
    Code(
        "E011",
        "tag",
        "YAML tags (`!!int`, `!x`) are refused: a value's kind follows from its key.",
        "Remove the tag.",
    ),
    Code("E012", "duplicate key", "A map names each key once.", "Remove one of the two lines."),
    Code("E013", "bad key", "A key is a word.", "`kernel: 3`"),
    Code("E014", "number too long", "A number has at most 40 characters.", "Write fewer digits."),
    Code(
        "E015",
        "a model or an array, not a spec",
        "A spec is YAML text; files of PyTorch, Keras and NumPy are known by their content.",
        "Export the weights to an `.npz` and name it in the spec: `weights: w.npz`.",
    ),
)

_VALUES = (
    Code(
        "E101",
        "unknown key",
        "Only the keys of the schema may appear.",
        "`convgen schema` lists them.",
    ),
    Code(
        "E102",
        "key given twice under two names",
        "An alias may not stand beside its canonical name or another alias of it.",
        "Keep one: `filters: 10` or `k: 10`.",
    ),
    Code(
        "E103",
        "missing key",
        "`input`, `filters` and `kernel` are required, as are some keys of nested maps.",
        "`input: 32x32x3`, `filters: 10`, `kernel: 5`",
    ),
    Code(
        "E104",
        "no value",
        "A key has a value; empty, `~` and `null` are none.",
        "Write the value, or remove the key to take its default.",
    ),
    Code(
        "E110",
        "not a whole number",
        "Counts and sizes are whole decimal numbers, unquoted.",
        "`stride: 2`",
    ),
    Code(
        "E111",
        "a spelling that YAML readers disagree on",
        "Where a number or a truth value belongs, spellings that YAML 1.1 and 1.2 read "
        "differently are refused: `no`, `on`, `017`, `0x3`, `0o7`, `1_0`, `12:30`.",
        "Write plain decimal numbers, and `true` or `false`.",
    ),
    Code(
        "E112",
        "truth value where a number belongs",
        "`true` and `false` are not numbers.",
        "`stride: 1`",
    ),
    Code(
        "E113",
        "whole number out of range",
        "Sizes, filters and batch lie in 1..16777216; kernel, stride and dilation in 1..65536; "
        "padding in 0..65536; seed in 0..2^64-1.",
        "`kernel: 3`",
    ),
    Code(
        "E114",
        "not a number",
        "A real number is decimal and finite: `0.1`, `1e-3`.",
        "`stddev: 0.1`",
    ),
    Code(
        "E115",
        "number out of range",
        "Constants of activations must fit float32; stddev lies in 1e-30..1e6, a percentile in "
        "50..100.",
        "`stddev: 0.1`",
    ),
    Code("E116", "not true or false", "A switch is `true` or `false`.", "`bias: false`"),
    Code(
        "E117",
        "wrong number of entries",
        "A list has one entry for each axis of the input: [height, width], in 1-D [length], in 3-D "
        "[depth, height, width]; an input has its axes and then the channels.",
        "`kernel: [5, 3]` with `input: 32x32x3`; `kernel: [3, 5, 5]` with `input: 16x32x32x3`",
    ),
    Code(
        "E118",
        "padding as a bare list of four or six",
        "ONNX, TensorFlow and PyTorch order the sides differently, so a bare list is refused.",
        "`padding: {top: 1, left: 1, bottom: 1, right: 1}`",
    ),
    Code(
        "E119",
        "wrong form",
        "Each key takes the forms that the schema lists.",
        "`kernel: 3`, `kernel: [5, 3]` or `kernel: 5x3`",
    ),
    Code(
        "E120",
        "unknown choice",
        "The value is one of a fixed list, spelled exactly.",
        "`activation: relu`",
    ),
    Code("E121", "unknown version", "The spec's version is 1.", "`version: 1`, or no such line"),
    Code(
        "E122",
        "parameter of another activation",
        "`alpha` belongs to leaky_relu, `min` and `max` to clip, `approximate` to gelu.",
        "`activation: {kind: leaky_relu, alpha: 0.1}`",
    ),
    Code(
        "E123",
        "clip without limits",
        "clip needs `min`, `max` or both, and min below max.",
        "`activation: {kind: clip, min: 0, max: 6}`",
    ),
    Code(
        "E124",
        "bad schedule",
        "A schedule is `auto`, or what `convgen explain` prints.",
        "`schedule: {family: direct, lanes: 8, tile: [1, 4], vectors: 2}`",
    ),
    Code(
        "E125",
        "padding of a side that is not there",
        "A 1-D input has the sides left and right, a 2-D one top and bottom as well, a 3-D one "
        "front and back besides.",
        "`padding: {left: 1, right: 1}` with `input: 128x3`",
    ),
    Code(
        "E126",
        "layout of another number of axes",
        "NHWC and NCHW, and the weights' five layouts, go with every input; a word that names "
        "other axes (NWC, NCDHW, OIW, OIDHW) goes with inputs that have them.",
        "`layout: NWC` with `input: 128x3`",
    ),
)

_NAMES = (
    Code(
        "E130",
        "bad name",
        "A name matches [a-z][a-z0-9_]{0,62}: it becomes file names, C and Python identifiers.",
        "`name: conv1`",
    ),
    Code(
        "E131",
        "name is a keyword",
        "A name is no keyword of C, C++ or Python, nor a word that compilers or systems reserve.",
        "`name: int_layer`",
    ),
    Code(
        "E132",
        "name is taken by a Python module",
        "The built package must not hide a module of the standard library, convgen, or a package "
        "that convgen and its users rely on.",
        "`name: random_layer`",
    ),
    Code(
        "E133",
        "name clashes in C",
        "The macros NAME_... and functions name_... must not clash with <stdint.h>, <limits.h>, "
        "<stddef.h>, <float.h> or the C library.",
        "`name: int8_layer`",
    ),
    Code(
        "E140",
        "bad list of layers",
        "`layers` is a list of at least one map.",
        "`layers: [{name: a, kernel: 3}, {name: b, kernel: 5}]`",
    ),
    Code(
        "E141",
        "layer without a name",
        "Each entry of `layers` has its own `name`.",
        "`- name: conv1`",
    ),
    Code(
        "E142", "two layers of one name", "Names are unique within a file.", "Rename one of them."
    ),
    Code(
        "E143",
        "key cannot be a default",
        "`name` beside `layers` would name every layer alike.",
        "Move it into the layer.",
    ),
    Code(
        "E144",
        "layers inside a layer",
        "`layers` stands at the top level only.",
        "Write one flat list.",
    ),
)

_GEOMETRY = (
    Code(
        "E201",
        "no window fits",
        "The padded input must be at least as large as the filter, (KH-1)*DH + 1 rows.",
        "A smaller kernel or dilation, or more padding.",
    ),
    Code(
        "E202",
        "input would be dropped",
        "r = (H + PT + PB - f) mod s rows are left over. They are accepted when "
        "r <= PB + max(0, s - f): then only padding, or what every gap between windows skips, is "
        "lost. Otherwise the spec must say what it wants.",
        "Another stride, `padding: same`, a bottom or right pad, or `remainder: floor`.",
    ),
    Code(
        "E203",
        "groups do not divide the input's channels",
        "Every group gets C/G input channels, a whole number.",
        "`groups: 4` with `input: 28x28x64`",
    ),
    Code(
        "E204",
        "groups do not divide the filters",
        "Every group gets OC/G filters, a whole number.",
        "`groups: depthwise` with as many filters as channels",
    ),
    Code(
        "E205",
        "array too large",
        "Each array (input, a padded image, weights, output) stays below 2^31 bytes, so that "
        "32-bit index arithmetic and ptrdiff_t are safe in the generated C.",
        "Cut the image into tiles, or lower the batch.",
    ),
    Code(
        "E206",
        "too much work",
        "One call has at most 2^44 multiply-adds; beyond that no build could be verified.",
        "Fewer filters, a smaller input, or several groups.",
    ),
    Code(
        "E207",
        "output_padding of a layer that is not transposed",
        "Only a transposed convolution leaves its output's size open, since several sizes of input "
        "of the convolution that it reverses give the same output.",
        "`transposed: true`, or no `output_padding`",
    ),
    Code(
        "E208",
        "output_padding too large",
        "On every axis it is less than the stride or less than the dilation: what lies farther out "
        "would hold nothing but the bias.",
        "`stride: 2` with `output_padding: 1`",
    ),
    Code(
        "E209",
        "transposed layer without an output",
        "OH = (H-1)*SH + (KH-1)*DH + 1 - PT - PB + output_padding must be 1 at least: padding is "
        "taken from the output there.",
        "Less padding.",
    ),
    Code(
        "E210",
        "output_padding beside same",
        "`same` and `same_lower` make a transposed layer's output H*SH x W*SW by definition.",
        "`padding: same` alone, or numbers for both",
    ),
)

CODES: Mapping[str, Code] = MappingProxyType(
    {c.number: c for c in (*_FILE, *_VALUES, *_NAMES, *_GEOMETRY, *WEIGHTS, *QUANT, *NETWORK)}
)

"""``convgen init``: a starter spec with every key explained."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from convgen.cli.command import Argument, Option
from convgen.cli.options import Json, Quiet, Verbose
from convgen.cli.output import session
from convgen.errors import UsageError

SCHEMA = "layer.schema.json"

STARTER = """\
# yaml-language-server: $schema={schema}
# A convolution layer for convgen. Check it with `convgen check {path}`,
# look inside with `convgen explain {path}`, make it with `convgen build {path}`.
version: 1
name: {name:<17} # the Python package and the prefix of every C symbol

input: [32, 32, 3]      # height, width, channels (in this order for every layout); 1-D: length,
                        # channels; 3-D: depth, height, width, channels
filters: 10             # output channels: ten feature maps
kernel: 5               # 5x5; also [height, width]
stride: 1               # step of the window; also [height, width]
padding: 2              # zeros on every side; also [height, width], same, same_lower, valid,
                        # or {{top: 2, left: 2, bottom: 2, right: 2}}
activation: relu        # none relu relu6 leaky_relu clip sigmoid tanh silu hardswish gelu

# The rest may be left out; these are the defaults.
batch: 1                # images of one call; any: compiled for one, Python takes every number
dilation: 1             # distance between the filter's taps; also [height, width]
transposed: false       # true: the gradient of a convolution over its input, also with
                        # output_padding: 1
groups: 1               # independent groups of channels; depthwise: one for each channel
bias: true
dtype: float32          # or float64, float16, bfloat16; int8 and uint8, with quant or quantize
layout: NHWC            # or NCHW
weight_layout: HWIO     # or OIHW (PyTorch), OHWI (TFLite), IOHW, HWOI (transposed ones there)
remainder: error        # floor: accept windows that do not reach the far edge of the input
accuracy: fast          # strict: every product summed by itself
schedule: auto          # or a schedule as `convgen explain` prints it

# Weights are given at run time. To bake them into the C, use one of these:
# weights: weights.npz                      # arrays w and b, in the layout above
# weights: {{w: w.npy, b: b.npy}}
# weights: {{init: truncated_normal, stddev: 0.1, seed: 0}}
"""


def init(
    path: Annotated[
        str, Argument("[PATH]", "File to write, or a folder for layer.yaml.")
    ] = "layer.yaml",
    force: Annotated[bool, Option("--force", help="Overwrite an existing file.")] = False,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write a starter spec with every key explained, and its schema.

    \b
    Example:  convgen init my_layer.yaml
    """
    with session("init", json=json, verbose=verbose, quiet=quiet) as out:
        target = Path(path)
        if target.is_dir() or path.endswith(("/", os.sep)):
            target = target / "layer.yaml"
        text = starter(target)
        _write(target, text, force)
        schema = target.with_name(SCHEMA)
        fresh = _write_schema(schema)
        out.payload |= {"path": str(target), "schema": str(schema)}
        out.done(f"wrote {target}")
        if fresh:
            out.done(f"wrote {schema} (completion and checks in editors)")
        out.note(f"next: convgen build {target}")


def starter(path: Path) -> str:
    """The starter's text, named after the file. Raises ``UsageError`` when that makes no name."""
    from convgen.errors import SpecError
    from convgen.spec import parse_text

    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path}: a spec's file name ends in .yaml or .yml, as in {path}.yaml")
    text = STARTER.format(schema=SCHEMA, path=path, name=path.stem.replace("-", "_"))
    try:
        parse_text(text, str(path))
    except SpecError as error:
        why = error.diagnostics[0].message
        raise UsageError(f"{path}: the file's name becomes the layer's: {why}") from None
    return text


def _write(path: Path, text: str, force: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # "x" refuses an existing file without a gap between looking and writing.
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already: --force overwrites it") from None


def _write_schema(path: Path) -> bool:
    """The schema that the starter's first line names; a file that is there already stays."""
    from json import dumps

    from convgen.spec import json_schema

    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(dumps(json_schema(), indent=2) + "\n")
    except FileExistsError:
        return False
    return True

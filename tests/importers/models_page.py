"""``docs/models.md``: which operators of which format are taken, and the errors of model files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from convgen.importers.codes import CODES
from convgen.importers.onnx.fold import FOLDABLE
from convgen.importers.onnx.qlinear import DOMAIN
from convgen.importers.onnx.rules import RULES as ONNX
from convgen.importers.tflite.fold import FOLDS
from convgen.importers.tflite.rules import RULES as TFLITE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"

HEAD = """# Model files

A model file stands wherever a spec does: `convgen build model.onnx`. Its format is known by its
content. `convgen import` writes it as YAML with its weights in one `.npz` and lists what becomes
of each node. (Tables made by tests/importers/models_page.py.)

    pip install 'convgen[onnx]'       # operator sets 6 to the newest it knows
    pip install 'convgen[tflite]'

- **Dimensions** that an ONNX file leaves open are fixed by `--shape NAME=1x3x224x224`; the error
  names those that are open. A TFLite file always suggests a size, which is taken (with a note)
  unless `--shape` says otherwise.
- **Folding**: whatever depends on constants and shapes alone is computed while reading: for ONNX
  by its own reference implementation. `If` with a known condition becomes the branch that is
  taken. Functions of the model are written out.
- **Integers**: 8-bit TFLite graphs keep TFLite's arithmetic, to the bit of its reference
  kernels. ONNX graphs in QDQ form keep their QuantizeLinear and DequantizeLinear until
  simplification makes integer layers, tables and 8-bit arithmetic of what lies in between; the
  QLinear operators of ONNX Runtime's domain (QOperator form) are taken as the same. Layers
  with float activations and 8-bit weights ("hybrid") get float weights: TFLite would quantise
  the activations anew in every call, which is coarser. float16 weights become float32.
- **Parts**: `--cut A:B` takes what lies between the tensors A and B. What cannot be taken is
  listed with node, operator, reason and advice, all at once.
- **Safety**: the file is parsed in a process of its own with bounds of memory (3 GiB and 8 bytes
  for each of the file's) and time. Sizes are checked before anything is read, weights beside the
  model are read from its own folder alone (links are followed first), nothing is unpickled,
  nothing in the file is run.
- **Conformance**: 594 of the 1,884 node tests of onnx 1.23 are built as C, run and right; 37 more
  are imported and lack a kernel (float16, float64, indices at run time). The others use operators
  or types that are not taken, or decide shapes by inputs. `pytest -s
  tests/importers/test_onnx_suite.py` counts them and gives the reasons.
- **Licence**: weights keep the licence of their model; what the file says about it goes into the
  generated files.
"""

ONNX_LIMITS: Mapping[str, str] = {
    "AveragePool": "other than 1 to 3 spatial axes; dilated in three dimensions",
    "BatchNormalization": "training mode; scales that are computed while the network runs",
    "Cast": "to and from bfloat16, float8, 4-bit and text; float16, unless constant",
    "Conv": "weights that are computed while the network runs; other than 1 to 3 spatial axes",
    "ConvTranspose": "weights that are computed while the network runs",
    "DequantizeLinear": "blocks of scales; other integers than int8, uint8 (int32 constants)",
    "Div": "integers, unless constant",
    "Dropout": "its mask; training mode",
    "Gather": "indices that are computed while the network runs",
    "GroupNormalization": "before operator set 21",
    "If": "a condition that is computed while the network runs",
    "InstanceNormalization": "scale or bias that are computed while the network runs",
    "LayerNormalization": "its outputs 1 and 2",
    "LpNormalization": "other p than 1 and 2",
    "MaxPool": "its indices; dilated in three dimensions",
    "Pad": "pads or value that are computed while the network runs",
    "Pow": "an integer base, unless constant",
    "QLinearConv": "weights that are computed while the network runs",
    "QLinearMatMul": "a second input that is no constant matrix",
    "QuantizeLinear": "blocks of scales; other integers than int8 and uint8",
    **{
        f"{DOMAIN}.QLinear{op}": "channels_last, unless 0"
        for op in ("AveragePool", "GlobalAveragePool")
    },
    f"{DOMAIN}.QGemm": "a bias or scales that are computed while the network runs",
    "ReduceL1": "no axes with noop_with_empty_axes; likewise L2, LogSum, LogSumExp, SumSquare",
    "ReduceProd": "numbers that are computed while the network runs",
    "Resize": "cubic interpolation; antialias, tf_crop_and_resize, tf_half_pixel_for_nn unless"
    " rounded by floor",
}
TFLITE_LIMITS: Mapping[str, str] = {
    "BATCH_MATMUL": "integers",
    "CONCATENATION": "8-bit inputs whose scale is not the output's",
    "CONV_2D": "weights that are computed while the network runs; 16-bit activations",
    "DEPTHWISE_CONV_2D": "weights that are computed while the network runs; 16-bit activations",
    "FULLY_CONNECTED": "shuffled weights, weights that are computed while the network runs",
    "GATHER": "batch axes",
    "L2_NORMALIZATION": "integers",
    "QUANTIZE": "other integers than int8 and uint8",
    "SELECT": "integers of 8 bits",
    "SELECT_V2": "integers of 8 bits",
    "SQUARED_DIFFERENCE": "integers",
    "STRIDED_SLICE": "ellipsis, new axes, offset",
    "TRANSPOSE_CONV": "weights that are computed while the network runs",
}


def page() -> str:
    parts = [HEAD, "\n## ONNX\n\n", *_table(ONNX, ONNX_LIMITS)]
    parts += ["\nComputed while reading, and only then: ", _words(FOLDABLE - ONNX.keys()), ".\n"]
    parts += ["\n## TFLite\n\n", *_table(TFLITE, TFLITE_LIMITS)]
    parts += ["\nComputed while reading, and only then: ", _words(FOLDS.keys() - TFLITE), ".\n"]
    parts.append("\n## Errors\n\n| number | what is wrong | what to do |\n|---|---|---|\n")
    parts += [f"| {number} | {code.what} | {code.fix} |\n" for number, code in CODES.items()]
    return "".join(parts)


def _table(rules: Mapping[str, object], limits: Mapping[str, str]) -> list[str]:
    """Operators with limits one by one, the others together."""
    assert limits.keys() <= rules.keys(), sorted(limits.keys() - rules.keys())
    lines = ["| operator | not taken |\n|---|---|\n"]
    lines += [f"| {op} | {limits[op]} |\n" for op in sorted(limits)]
    lines.append("\nWhole: " + _words(rules.keys() - limits.keys()) + ".\n")
    return lines


def _words(names: object) -> str:
    assert isinstance(names, set | frozenset)
    return ", ".join(sorted(names))
